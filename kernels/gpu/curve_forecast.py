"""The default forecast on a GPU: a warp for each run.

The stages of `curve_run.forecast_run`, ported: points to bins, bins to columns, columns to weights
of the cells, cells to draws, draws to curves.  What has another form here is in `curve_leaves`;
order statistics are in `order`, random words in `philox`.  All is computed in float64: differences
of sums over the bins lose what single precision has.

`build` makes the kernels, `Sizes` says what runs need, `curve_batch` runs them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import (
    curve_cells,
    curve_draws,
    curve_points,
    curve_run,
    curve_weights,
    maths,
    philox,
    ranks,
    team,
)
from ..curve_cells import A_ROW, FRAME_ROWS
from ..curve_data import PARAMETERS, RECORD, Asked, Observed
from ..curve_draws import CELL_ROWS, DRAW_ROWS, GIVEN_ROWS, N_KNOTS, TAIL_ROWS
from ..curve_law import FEATURES, LIKE, CellGrid, HyperPrior, n_marginals
from ..curve_window import SLOPE_BINS, Window, prepare
from ..paths import NODE_ROWS, Paths, Shapes
from ..team import lane
from .backend import cuda, typeof
from .chunks import Spec
from .curve_leaves import (
    bin_means_by_bin,
    choose_by_draw,
    each_frame_by_lane,
    list_cells_by_draw,
    parts_by_draw,
    permutation_by_one,
    products_in_one_pass,
    put_priors_by_frame,
    strength_by_column,
    sum_by_lanes,
    sum_marginals_by_value,
    sum_of_squares_by_lanes,
    whiten_by_column,
)
from .order import team_neighbours
from .philox import philox_words, uniform
from .port import Port
from .registers import lane as lane_anew
from .spec import Kernel
from .warp import TABLE

__all__ = ["ARGUMENTS", "Results", "Sizes", "build", "specs"]

LANES = 32

# Places in Known.state, after the numbers of the window
N_PAST = len(Window._fields)
TOTAL = N_PAST + 1  # of the weights, and of their squares
SQUARES = N_PAST + 2
BEST = N_PAST + 3  # log weight of the best cell
STATE = N_PAST + 4


class Points(NamedTuple):
    """Scratch of the first stage."""

    points: Any  # (5, n_points)
    work: Any  # (3, n_points)
    slopes: Any  # (n_runs, 6, SLOPE_BINS or n_bins)


class Known(NamedTuple):
    """What several stages need of a run; see `curve_data.Scratch`."""

    state: Any
    bins: Any
    feature: Any
    theta: Any
    units: Any
    phi_at: Any
    response_at: Any
    past: Any


class Tabulated(NamedTuple):
    """Columns, and what they are made with."""

    nodes: Any
    taus: Any
    memory: Any
    times: Any
    x: Any
    response: Any
    response_end: Any
    columns: Any
    gains: Any
    scales: Any
    log_dets: Any


class Weighed(NamedTuple):
    """Cells."""

    white: Any
    inner: Any
    frame: Any
    log_kinds: Any
    cells: Any
    table: Any  # (n_runs, cells over responses)
    covariances: Any  # (n_runs, components of the strength times covariances)


class Drawn(NamedTuple):
    """Draws of parameters; whole numbers are int32 but for the order's."""

    tails: Any
    frames: Any
    strengths: Any
    tail: Any
    order: Any
    parts: Any
    flip: Any
    sides: Any
    gain: Any
    drawn: Any


class Evaluated(NamedTuple):
    """Curves at a target."""

    log_ratio: Any
    discrepancy: Any
    slow: Any
    moments: Any
    values: Any


class Results(NamedTuple):
    """A `CurveForecast`, its records as a table."""

    draws: Any
    parameters: Any
    shares: Any
    marginals: Any
    falls: Any
    records: Any


class Tabulating(NamedTuple):
    """What `curve_run.tabulate_run` uses of `curve_data.Scratch`."""

    bins: Any
    feature: Any
    theta: Any
    units: Any
    nodes: Any
    taus: Any
    memory: Any
    times: Any
    x: Any
    response: Any
    response_end: Any
    columns: Any
    phi_at: Any
    response_at: Any
    gains: Any
    scales: Any
    log_dets: Any


class Weighing(NamedTuple):
    """What `curve_run.weigh_run` uses of it."""

    theta: Any
    columns: Any
    gains: Any
    scales: Any
    log_dets: Any
    moments: Any  # not used here
    white: Any
    inner: Any
    frame: Any
    past: Any
    log_kinds: Any
    frame_parts: Any  # not used here
    cells: Any


class Drawing(NamedTuple):
    """What `curve_run.draw_run` uses of it."""

    theta: Any
    cells: Any
    frame: Any
    frame_parts: Any  # not used here
    tails: Any
    frames: Any
    strengths: Any
    tail: Any
    order: Any
    parts: Any
    flip: Any
    sides: Any
    gain: Any
    drawn: Any
    words: Any
    z: Any
    given: Any
    of_cell: Any
    of_draw: Any
    cell: Any


class Describing(NamedTuple):
    """What `curve_run.describe_curves` uses of it."""

    theta: Any
    response_at: Any
    order: Any
    parts: Any
    drawn: Any
    log_ratio: Any
    discrepancy: Any
    slow: Any
    moments: Any


class Evaluating(NamedTuple):
    """What `curve_run.evaluate_target` uses of it."""

    bins: Any
    phi_at: Any
    response_at: Any
    past: Any
    order: Any
    parts: Any
    sides: Any
    gain: Any
    drawn: Any
    log_ratio: Any
    discrepancy: Any
    slow: Any
    values: Any
    work: Any  # these two are not used here
    counts: Any


# What a port puts in the place of the CPU's functions.
OWN = {
    team.lane: lane_anew,
    curve_cells.each_frame: each_frame_by_lane,
    curve_cells.products: products_in_one_pass,
    curve_cells.whiten: whiten_by_column,
    curve_draws.choose: choose_by_draw,
    curve_draws.list_cells: list_cells_by_draw,
    curve_draws.permutation: permutation_by_one,
    curve_points.bin_means: bin_means_by_bin,
    curve_run.parts_of_draws: parts_by_draw,
    curve_run.strength_by_response: strength_by_column,
    curve_weights.put_priors: put_priors_by_frame,
    curve_weights.sum_of: sum_by_lanes,
    curve_weights.sum_of_squares: sum_of_squares_by_lanes,
    philox.philox: philox_words,
    philox.uniform: uniform,
    ranks.neighbours: team_neighbours,
}


def keep_window(window, state):  # type: ignore[no-untyped-def]
    """Write a window's numbers."""
    if lane() == 0:
        state[0] = window.n
        state[1] = 1.0 if window.positive else 0.0
        state[2] = window.level
        state[3] = window.scale
        state[4] = window.end
        state[5] = window.log_end
        state[6] = window.noise
        state[7] = window.trend
        state[8] = window.trend_error
        state[9] = window.own_error
        state[10] = window.slope
        state[11] = window.last
        state[12] = window.top
        state[13] = window.density
        state[14] = window.points


def window_of(state):  # type: ignore[no-untyped-def]
    """The window that was written."""
    return Window(
        np.int64(state[0]), state[1] > 0.0, state[2], state[3], state[4], state[5], state[6],
        state[7], state[8], state[9], state[10], state[11], state[12], state[13], state[14],
    )  # fmt: skip


def run_of_target(t, targets):  # type: ignore[no-untyped-def]
    """The run of a target: the last that begins at it or before it."""
    low = 0
    high = targets.size - 1
    while high - low > 1:
        half = (low + high) // 2
        if targets[half] <= t:
            low = half
        else:
            high = half
    return low


# What each stage takes, in this order: groups of arrays, or one of them.  No stage takes more than
# 4,096 bytes, the most for drivers before 530.
ARGUMENTS = {
    "prepare": ("observed", "grid", "points", "known"),
    "tabulate": (
        "step_size", "asked", "grid", "hyper", "shapes", "paths", "known", "tabulated",
    ),
    "weigh": ("asked", "grid", "hyper", "known", "tabulated", "weighed", "out"),
    "draw": ("keys", "asked", "grid", "hyper", "known", "weighed", "drawn"),
    "describe": ("asked", "grid", "hyper", "known", "drawn", "evaluated", "out"),
    "evaluate": ("asked", "grid", "hyper", "known", "drawn", "evaluated", "out"),
}  # fmt: skip


def build() -> tuple[Kernel, ...]:
    """The stages of a forecast, to be launched one after the other.

    Several kernels, not one: each has little code and few registers.

    Returns
    -------
    tuple of Kernel
        They take what `ARGUMENTS` says.  All are launched with a block for each run, but for the
        last, which wants one for each target.
    """
    port = Port({**TABLE, **OWN}, constants={"BLOCK": LANES})
    prepare_run = port.device(prepare)
    measured = port.device(curve_run.measured)
    tabulate_run = port.device(curve_run.tabulate_run)
    weigh_run = port.device(curve_run.weigh_run)
    sum_marginals = port.device(sum_marginals_by_value)
    draw_run = port.device(curve_run.draw_run)
    describe_curves = port.device(curve_run.describe_curves)
    evaluate_target = port.device(curve_run.evaluate_target)
    run_of = port.device(run_of_target)
    is_missing = port.device(maths.missing)
    keep_parameters = port.device(curve_run.keep_parameters)
    put_record = port.device(curve_run.put_record)
    keep, kept = port.device(keep_window), port.device(window_of)

    def prepare_(observed, grid, points, known):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        a = observed.offsets[r]
        b = observed.offsets[r + 1]
        slopes = points.slopes[r]
        window = prepare_run(
            observed.t[a:b], observed.loss[a:b], observed.weight[a:b], observed.warmup[r],
            observed.floor[r], measured(observed.noise[r]), measured(observed.slope[r]), grid,
            points.points[:, a:b], points.work[:, a:b], slopes, slopes, known.bins[r],
        )  # fmt: skip
        keep(window, known.state[r])

    def tabulate(step_size, asked, grid, hyper, shapes, paths, known, tabulated):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        w = Tabulating(
            known.bins[r], known.feature[r], known.theta[r], known.units[r], tabulated.nodes[r],
            tabulated.taus[r], tabulated.memory[r], tabulated.times[r], tabulated.x[r],
            tabulated.response[r], tabulated.response_end[r], tabulated.columns[r],
            known.phi_at[r], known.response_at[r], tabulated.gains[r], tabulated.scales[r],
            tabulated.log_dets[r],
        )  # fmt: skip
        n_past = tabulate_run(
            kept(known.state[r]), asked, r, step_size[r], grid, hyper, shapes, paths, w
        )
        if cuda.threadIdx.x == 0:
            known.state[r, N_PAST] = n_past

    def weigh(asked, grid, hyper, known, tabulated, weighed, out):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        w = Weighing(
            known.theta[r], tabulated.columns[r], tabulated.gains[r], tabulated.scales[r],
            tabulated.log_dets[r], tabulated.x[r], weighed.white[r], weighed.inner[r],
            weighed.frame[r], known.past[r], weighed.log_kinds[r], weighed.frame[r],
            weighed.cells[r],
        )  # fmt: skip
        state = known.state[r]
        total, squares, best = weigh_run(
            kept(state), asked, r, np.int64(state[N_PAST]), grid, hyper, w
        )
        h0 = asked.hypotheses[r]
        h1 = asked.hypotheses[r + 1]
        sum_marginals(
            h1 - h0, grid, total, w.cells, weighed.table[r], weighed.covariances[r],
            out.shares[h0:h1], out.marginals[r],
        )  # fmt: skip
        if cuda.threadIdx.x == 0:
            state[TOTAL] = total
            state[SQUARES] = squares
            state[BEST] = best

    def draw(keys, asked, grid, hyper, known, weighed, drawn):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        words = cuda.shared.array((4, LANES), np.uint32)
        z = cuda.shared.array((8, LANES), np.float64)
        given = cuda.shared.array((GIVEN_ROWS, LANES), np.float64)
        of_cell = cuda.shared.array((CELL_ROWS, LANES), np.float64)
        index = cuda.shared.array(LANES, np.int32)
        w = Drawing(
            known.theta[r], weighed.cells[r], weighed.frame[r], weighed.frame[r], drawn.tails[r],
            drawn.frames[r], drawn.strengths[r], drawn.tail[r], drawn.order[r], drawn.parts[r],
            drawn.flip[r], drawn.sides[r], drawn.gain[r], drawn.drawn[r], words, z, given, of_cell,
            of_cell, index,
        )  # fmt: skip
        longer = False
        for j in range(asked.targets[r], asked.targets[r + 1]):
            longer = longer or asked.longer[j] > 0
        state = known.state[r]
        draw_run(
            kept(state), asked.hypotheses[r + 1] - asked.hypotheses[r], w.order.size, longer,
            state[TOTAL], keys[r], grid, hyper, w,
        )  # fmt: skip

    def describe(asked, grid, hyper, known, drawn, evaluated, out):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        w = Describing(
            known.theta[r], known.response_at[r], drawn.order[r], drawn.parts[r], drawn.drawn[r],
            evaluated.log_ratio[r], evaluated.discrepancy[r], evaluated.slow[r],
            evaluated.moments[r],
        )  # fmt: skip
        t0 = asked.targets[r]
        t1 = asked.targets[r + 1]
        state = known.state[r]
        window = kept(state)
        describe_curves(window, asked.at[t0:t1], grid, hyper, w, out.falls[t0:t1])
        if out.parameters.shape[0] > 0:
            keep_parameters(
                w.order.size, w.order, w.parts, w.drawn, drawn.tail[r], known.units[r], grid,
                out.parameters[r],
            )  # fmt: skip
        put_record(
            window, w.order.size, w.drawn, known.feature[r], state[TOTAL], state[SQUARES],
            state[BEST], out.records[r],
        )  # fmt: skip

    def evaluate(asked, grid, hyper, known, drawn, evaluated, out):  # type: ignore[no-untyped-def]
        t = cuda.blockIdx.x
        r = run_of(t, asked.targets)
        window = kept(known.state[r])
        w = Evaluating(
            known.bins[r], known.phi_at[r], known.response_at[r], known.past[r], drawn.order[r],
            drawn.parts[r], drawn.sides[r], drawn.gain[r], drawn.drawn[r], evaluated.log_ratio[r],
            evaluated.discrepancy[r], evaluated.slow[r], evaluated.values[t], drawn.drawn[r],
            drawn.tail[r],
        )  # fmt: skip
        past = 0  # targets within the data before this one
        for j in range(asked.targets[r], t):
            past += 1 if asked.at[j] <= window.end else 0
        like = asked.like[r]
        if is_missing(like):
            like = known.feature[r, LIKE]
        evaluate_target(
            t - asked.targets[r], past, asked.at[t], asked.longer[t], asked.siblings[t], window,
            (asked.hypotheses[r + 1] - asked.hypotheses[r]) * grid.alphas.size, asked.knowledge[r],
            like, hyper, w, out.draws[t],
        )  # fmt: skip

    kinds = _kinds()
    stages = prepare_, tabulate, weigh, draw, describe, evaluate
    return tuple(
        Kernel(f"curve_{name}", stage, tuple(kinds[group] for group in taken), LANES, False)
        for (name, taken), stage in zip(ARGUMENTS.items(), stages, strict=True)
    )


class Sizes(NamedTuple):
    """Sizes of some runs and of what they need.

    Attributes
    ----------
    runs, points, targets, hypotheses, futures : int
        How many there are in all.
    paths, at, past, nodes : int
        The most hypotheses, targets and targets within the data of a run, and nodes of a shape.
    draws : int
    parameters : bool
        Whether they are kept.
    """

    runs: int
    points: int
    targets: int
    hypotheses: int
    futures: int
    paths: int
    at: int
    past: int
    nodes: int
    draws: int
    parameters: bool


def specs(sizes: Sizes, grid: CellGrid, hyper: HyperPrior) -> dict[str, Any]:
    """A `Spec` of each array of a run's: what it brings, its scratch and results, by groups."""
    n, draws, at, paths = sizes.runs, sizes.draws, sizes.at, sizes.paths
    n_alpha, n_response, n_sizes = grid.alphas.size, len(grid.responses), grid.sizes.size
    covariances, bins, strengths = grid.noises.size * n_sizes, grid.n_bins, len(grid.strengths)
    times = bins + 1 + at
    columns = A_ROW + paths * (n_alpha + n_response) + sizes.past
    tables = strengths * covariances * paths * n_alpha

    def spec(*shape: int, kind: Any = np.float64) -> Any:
        return Spec(shape, np.dtype(kind))

    def whole(*shape: int) -> Any:
        return spec(*shape, kind=np.int64)

    def short(*shape: int) -> Any:
        return spec(*shape, kind=np.int32)

    return {
        "observed": Observed(
            *[spec(sizes.points)] * 3, whole(n + 1), *[spec(n)] * 5, spec(n, kind=np.uint64)
        ),
        "asked": Asked(
            at=spec(sizes.targets),
            targets=whole(n + 1),
            hypotheses=whole(n + 1),
            history=whole(sizes.hypotheses),
            kind=whole(sizes.hypotheses),
            log_weight=spec(sizes.hypotheses),
            futures=whole(n + 1),
            future=whole(sizes.futures),
            plan=spec(n),
            knowledge=whole(n),
            like=spec(n),
            longer=whole(sizes.targets),
            siblings=spec(sizes.targets, 2),
            strengths=spec(n, strengths),
        ),
        "points": Points(
            spec(5, sizes.points), spec(3, sizes.points), spec(n, 6, max(SLOPE_BINS, bins))
        ),
        "known": Known(
            state=spec(n, STATE),
            bins=spec(n, 3, bins),
            feature=spec(n, 2 * len(FEATURES)),
            theta=spec(n, len(hyper.matrix)),
            units=spec(n, *grid.responses.shape),
            phi_at=spec(n, at, paths * n_alpha),
            response_at=spec(n, at, paths * n_response),
            past=spec(n, sizes.past, covariances, 1 + columns),
        ),
        "tabulated": Tabulated(
            nodes=spec(n, NODE_ROWS * sizes.nodes),
            taus=spec(n, n_response),
            memory=spec(n, n_response),
            times=spec(n, times),
            x=spec(n, times),
            response=spec(n, times, n_response),
            response_end=spec(n, n_response),
            columns=spec(n, bins, columns),
            gains=spec(n, covariances, bins),
            scales=spec(n, covariances, bins),
            log_dets=spec(n, covariances),
        ),
        "weighed": Weighed(
            white=spec(n, columns, bins),
            inner=spec(n, 3, columns),
            frame=spec(n, FRAME_ROWS, covariances * paths * n_alpha * n_response),
            log_kinds=spec(n, paths),
            cells=spec(n, tables * n_response),
            table=spec(n, tables),
            covariances=spec(n, strengths * covariances),
        ),
        "drawn": Drawn(
            tails=spec(n, TAIL_ROWS, hyper.n_tails),
            frames=short(n, draws),
            strengths=short(n, draws),
            tail=short(n, draws),
            order=whole(n, draws),
            parts=short(n, 5, draws),
            flip=spec(n, draws),
            sides=spec(n, 2, draws),
            gain=spec(n, draws),
            drawn=spec(n, DRAW_ROWS, draws),
        ),
        "evaluated": Evaluated(
            log_ratio=spec(n, at),
            discrepancy=spec(n, at, N_KNOTS, n_sizes),
            slow=spec(n, at, grid.noises.size),
            moments=spec(n, paths * n_response),
            values=spec(sizes.targets, draws),
        ),
        "out": Results(
            draws=spec(sizes.targets, draws),
            parameters=spec(*((n, len(PARAMETERS), draws) if sizes.parameters else (0, 0, 0))),
            shares=spec(sizes.hypotheses),
            marginals=spec(n, n_marginals(grid)),
            falls=spec(sizes.targets),
            records=spec(n, len(RECORD)),
        ),
    }


def _kinds() -> dict[str, Any]:
    """Types of the kernels' arguments, by what they take."""

    def array(n: int, kind: Any = np.float64) -> Any:
        return np.empty((1,) * n, kind)

    whole = np.int64
    grid = CellGrid(
        array(1), array(1), array(1), array(2), array(1), array(1, whole), array(2), 1,
        *[1.0] * 6,
    )  # fmt: skip
    hyper = HyperPrior(array(2), 1, 1, array(1), array(1), array(4))
    examples: dict[str, Any] = {
        "grid": grid,
        "hyper": hyper,
        "shapes": Shapes(array(1), array(1), array(1, whole)),
        "paths": Paths(array(1, whole), array(1), array(1)),
    }
    for name, group in specs(Sizes(*[1] * len(Sizes._fields)), grid, hyper).items():
        examples[name] = type(group)(*(array(len(s.shape), s.dtype) for s in group))
    examples |= {name: getattr(examples["observed"], name) for name in ("step_size", "keys")}
    return {name: typeof(example) for name, example in examples.items()}
