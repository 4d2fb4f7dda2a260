"""Draws from exactly evaluated candidates, one warp a run.

For laws with two nonlinear parameters, and with one where the constraints cut off much.  There is
no form in single precision: the probabilities of constraints that cut off nearly everything, and
the ridges of two nonlinear parameters, want more digits than float32 has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..columns import Program
from ..compress import compress
from ..exact import draw_exact
from ..marginal import BASE_SIZE, set_up
from ..maths import exp
from ..posterior import residual_autocorrelation, tabulate_closely, tabulate_two
from ..records import ACCEPTANCE, BOUND_SHARE, EFFECTIVE_NODES, RHO1, STATUS
from ..team import lane, real, sync
from ..work import (
    CHECKS,
    COARSE,
    COARSE_OUTER,
    INNER,
    LANES,
    MAX_ORDER,
    NODES,
    OUTER,
    PILOT,
    Model,
    RunPrior,
    Tables,
)
from . import moments, nodes
from .backend import cuda, types
from .block_work import ExactWork
from .columns import law_columns
from .fit import POINTS, ROWS, bound_share, held
from .port import Port
from .registers import SPARING
from .spec import Kernel
from .warp import TABLE

__all__ = [
    "build",
    "points_in",
    "room_of",
    "scratch",
    "signature",
    "worst_bound_share",
]


def worst_bound_share(n_draws, d, model, prior, out):  # type: ignore[no-untyped-def]
    """`driver._bound_share`."""
    worst = real(0.0)
    for k in range(d):
        share = bound_share(
            n_draws, prior.nonlinear[k, 0], prior.nonlinear[k, 1], model.log[k] == 1, out[k:]
        )
        worst = max(worst, share)
    return worst


def points_in(points: int, rows: int) -> Any:
    """What gives a block room for its points, and for the fixed columns there.

    Shared memory for so many, or with 0 the scratch array `room_of`.
    """

    def shared(room):  # type: ignore[no-untyped-def]
        return (
            cuda.shared.array((4, points), np.float64),
            cuda.shared.array((rows, points), np.float64),
            points,
        )

    def scratch(room):  # type: ignore[no-untyped-def]
        return room[:4], room[4:], room.shape[1]

    return shared if points else scratch


def room_of(program: Program, blocks: int, n: int) -> tuple[int, ...]:
    """Shape of a launch's scratch array for up to n points of a run; 0 where they are shared."""
    return (blocks, 4 + max(program.n_fixed, 1), n)


def scratch(program: Program, blocks: int) -> Sequence[tuple[int, ...]]:
    """Shapes of the other scratch arrays of a launch."""
    d = len(program.nonlinear)
    return [
        (blocks, 2 * OUTER if d == 2 else 0, INNER),
        (blocks, program.n_linear + 1 + d, PILOT),
    ]


def signature() -> tuple[Any, ...]:
    """Types of the arguments from x to info."""
    r1 = types.Array(types.float64, 1, "C")
    r2 = types.Array(types.float64, 2, "C")
    r3 = types.Array(types.float64, 3, "C")
    u4 = types.Array(types.uint32, 1, "C")
    i4 = types.Array(types.int32, 1, "C")
    tables = types.NamedTuple((i4, r2, r3, r1, r2, r2), Tables)
    priors = types.Tuple((r3, r2, r2, r2, r2))
    keys = types.Array(types.uint64, 1, "C")
    return (r1, r1, r1, u4, i4, tables, priors, keys, r3, r2)


def build(program: Program, points: int = POINTS[0]) -> Kernel:
    """The kernel of a law.

    Parameters
    ----------
    program : Program
        Of a law with one or two nonlinear parameters and one varying column.
    points : int
        Room for pseudo-points in shared memory, or 0: see `points_in`.

    Returns
    -------
    Kernel
        Its arguments are those of `fit.build` up to info, without shifts: the nonlinear parameters'
        priors have the shape (n_runs, d, 5), draws (n_runs, d + p + 1, n_draws), info (n_runs,
        len(FIT)); then three scratch arrays (`room_of`, `scratch`).  A status of 1 says that too
        few candidates were accepted, 3 that the points have no room.
    """
    law = law_columns(program)
    n_fixed = program.n_fixed
    p = n_fixed + 1
    d = len(program.nonlinear)
    tabulate = tabulate_closely if d == 1 else tabulate_two
    table = {
        **TABLE,
        **SPARING,
        **law.table,
        **nodes.node_table(law, d, n_fixed),
        compress: moments.compress,
    }
    log_flags = tuple(int(program.log[k]) if k < d else 0 for k in range(4))
    order = (*(int(k) for k in program.order), 0, 0, 0)[:4]
    constant = program.constant
    sizes = (COARSE, COARSE_OUTER, INNER, NODES)
    wide = NODES + CHECKS
    rows_fixed = max(n_fixed, 1)
    drawn_rows = p + 1 + d
    place = points_in(points, rows_fixed)
    most = points or MAX_ORDER

    def exact_run(r, x, y, w, order_index, priors, keys, out, info, work):  # type: ignore[no-untyped-def]
        """`posterior.draw_quadrature`, less what `fit.build` does."""
        model = Model(n_fixed, 1, d, 0, log_flags, order, constant)
        nonlinear, mean, precision, lower, sigma = priors
        prior = RunPrior(nonlinear[r], mean[r], precision[r], lower[r], sigma[r, 0], sigma[r, 1])
        n_draws = out.shape[1]
        n_points, centre, total, mass = compress(x, y, w, order_index, work.tables, work)
        set_up(x.size, n_points, centre, total, mass, model, prior, work)
        filled = np.int64(-1)
        effective = real(0.0)
        evidence = real(0.0)
        share = real(0.0)
        for attempt in range(2):
            if filled < 0:
                constrained = attempt == 1
                first, step, tabulated, effective, value, coarse = tabulate(
                    n_points, model, prior, work, constrained
                )
                if attempt == 0:
                    evidence = value
                else:
                    share = min(exp(value - evidence), 1.0)
                if coarse or attempt == 1:
                    filled, pilot_share = draw_exact(
                        n_draws, keys[r], first, step, tabulated, n_points, model, prior, work,
                        constrained, out,
                    )  # fmt: skip
                    if attempt == 0:
                        share = pilot_share
        sync()
        written = max(filled, 0)
        rho = residual_autocorrelation(x, y, w, written, model, work, out)
        near = worst_bound_share(written, d, model, prior, out)
        if lane() == 0:
            info[r, EFFECTIVE_NODES] = effective
            info[r, BOUND_SHARE] = near
            info[r, ACCEPTANCE] = share
            info[r, RHO1] = rho
            info[r, STATUS] = 0.0 if filled == n_draws else 1.0

    run = Port(table).device(exact_run)

    def exact(  # type: ignore[no-untyped-def]
        x, y, weight, offsets, orders, tables, priors, keys, out, info, room, inner, pilot
    ):
        r = cuda.blockIdx.x
        node = cuda.shared.array((ROWS, wide), np.float64)
        staging, fixed, held_points = place(room[r])
        work = ExactWork(
            staging,
            fixed,
            cuda.shared.array(BASE_SIZE, np.float64),
            cuda.shared.array(p, np.float64),
            cuda.shared.array(p, np.float64),
            cuda.shared.array((2, LANES), np.float64),
            cuda.shared.array((d, LANES), np.float64),
            cuda.shared.array((ROWS, LANES), np.float64),
            cuda.shared.array(LANES, np.float64),
            cuda.shared.array(NODES, np.float64),
            node,
            cuda.shared.array(wide, np.float64),
            cuda.shared.array(NODES, np.float64),
            cuda.shared.array(NODES, np.float64),
            node,
            cuda.shared.array((2, most), np.float64),
            staging,
            tables,
            sizes,
            cuda.shared.array((3, OUTER), np.float64),
            cuda.shared.array((OUTER, 3), np.float64),
            inner[r, :OUTER],
            inner[r, OUTER:],
            cuda.shared.array((drawn_rows, LANES), np.float64),
            cuda.shared.array((2, LANES), np.float64),
            pilot[r],
            cuda.shared.array(PILOT, np.float64),
            cuda.shared.array((p, LANES), np.float64),
            cuda.shared.array((p, p, LANES), np.float64),
        )
        a = offsets[r]
        b = offsets[r + 1]
        if held(b - a, orders[r], tables, held_points):
            run(r, x[a:b], y[a:b], weight[a:b], orders[r], priors, keys, out[r], info, work)
        elif lane() == 0:
            info[r, STATUS] = 3.0

    types_of = signature()
    body = Port(TABLE).rebound(exact)
    return Kernel("exact", body, (*types_of, *[types_of[8]] * 3), LANES, False)
