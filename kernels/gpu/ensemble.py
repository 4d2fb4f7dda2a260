"""The ensemble sampler, one warp a run: laws with up to four nonlinear parameters.

In double precision only: a chain that takes a rounding error of the log posterior for a mode does
not leave it again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..columns import Program
from ..compress import compress
from ..driver import LEAST_ACCEPTED
from ..ensemble import draw_ensemble
from ..marginal import BASE_SIZE, set_up
from ..posterior import residual_autocorrelation
from ..records import ACCEPTANCE, BOUND_SHARE, EFFECTIVE_NODES, RHO1, STATUS
from ..team import lane, sync
from ..work import LANES, MAX_ORDER, STARTS, WALKERS, Model, RunPrior
from . import moments, nodes
from .backend import cuda, types
from .block_work import EnsembleWork
from .columns import law_columns
from .exact import points_in, signature, worst_bound_share
from .fit import POINTS, ROWS, held
from .moments import TILE_POINTS
from .port import Port
from .registers import SPARING
from .spec import Kernel
from .warp import TABLE

__all__ = ["build", "scratch"]


def scratch(blocks: int) -> Sequence[tuple[int, ...]]:
    """Shape of the scratch array of a launch."""
    return [(blocks, STARTS)]


def build(program: Program, points: int = POINTS[0]) -> Kernel:
    """The kernel of a law.

    Parameters
    ----------
    program : Program
        Of a law with one varying column.
    points : int
        Room for pseudo-points in shared memory, or 0: see `exact.points_in`.

    Returns
    -------
    Kernel
        Its arguments are those of `exact.build` up to info, where draws have the shape (n_runs, d +
        p + 1, chains * n_draws); two scratch arrays (`exact.room_of`, `scratch`); and n_draws, tune
        and chains.  A status of 2 says that it did not mix, 3 that the points have no room.
    """
    law = law_columns(program)
    n_fixed = program.n_fixed
    p = n_fixed + 1
    d = len(program.nonlinear)
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
    rows_fixed = max(n_fixed, 1)
    drawn_rows = p + 1 + d
    place = points_in(points, rows_fixed)
    most = points or MAX_ORDER

    def ensemble_run(  # type: ignore[no-untyped-def]
        r, x, y, w, order_index, priors, keys, out, info, n_draws, tune, chains, work
    ):
        """A run of `driver._fit_range` by the ensemble sampler."""
        model = Model(n_fixed, 1, d, 0, log_flags, order, constant)
        nonlinear, mean, precision, lower, sigma = priors
        prior = RunPrior(nonlinear[r], mean[r], precision[r], lower[r], sigma[r, 0], sigma[r, 1])
        n_points, centre, total, mass = compress(x, y, w, order_index, work.tables, work)
        set_up(x.size, n_points, centre, total, mass, model, prior, work)
        filled, accepted = draw_ensemble(
            n_draws, tune, chains, keys[r], n_points, model, prior, work, out
        )
        sync()
        rho = residual_autocorrelation(x, y, w, filled, model, work, out)
        near = worst_bound_share(filled, d, model, prior, out)
        if lane() == 0:
            info[r, EFFECTIVE_NODES] = np.nan
            info[r, BOUND_SHARE] = near
            info[r, ACCEPTANCE] = np.nan
            info[r, RHO1] = rho
            mixed = filled == chains * n_draws and accepted > LEAST_ACCEPTED
            info[r, STATUS] = 0.0 if mixed else 2.0

    run = Port(table).device(ensemble_run)

    def ensemble(  # type: ignore[no-untyped-def]
        x, y, weight, offsets, orders, tables, priors, keys, out, info, room, starts,
        n_draws, tune, chains,
    ):  # fmt: skip
        r = cuda.blockIdx.x
        staging, fixed, held_points = place(room[r])
        work = EnsembleWork(
            staging,
            fixed,
            cuda.shared.array(BASE_SIZE, np.float64),
            cuda.shared.array(p, np.float64),
            cuda.shared.array(p, np.float64),
            cuda.shared.array((d, LANES), np.float64),
            cuda.shared.array((d, LANES), np.float64),
            cuda.shared.array((ROWS, LANES), np.float64),
            cuda.shared.array(LANES, np.float64),
            cuda.shared.array((5, TILE_POINTS), np.float64),
            cuda.shared.array((2, most), np.float64),
            staging,
            tables,
            cuda.shared.array((drawn_rows, LANES), np.float64),
            cuda.shared.array((2, LANES), np.float64),
            cuda.shared.array((p, LANES), np.float64),
            cuda.shared.array((p, p, LANES), np.float64),
            cuda.shared.array((2, d), np.float64),
            starts[r],
            cuda.shared.array((d, WALKERS), np.float64),
            cuda.shared.array(WALKERS, np.float64),
            cuda.shared.array((drawn_rows, WALKERS), np.float64),
        )
        a = offsets[r]
        b = offsets[r + 1]
        if held(b - a, orders[r], tables, held_points):
            run(
                r, x[a:b], y[a:b], weight[a:b], orders[r], priors, keys, out[r], info, n_draws,
                tune, chains, work,
            )  # fmt: skip
        elif lane() == 0:
            info[r, STATUS] = 3.0

    types_of = signature()
    rest = (types_of[8], types_of[9], types.int64, types.int64, types.int64)
    body = Port(TABLE).rebound(ensemble)
    return Kernel("ensemble", body, (*types_of, *rest), LANES, False)
