"""The default forecast on a GPU: a warp for each run.

The stages of `forecast.forecast_run`, ported.  What has another form here: medians (`order`), the
walk of a path (`paths`), whitening and the Gram matrix (`cells`), and random words (`philox`).

`build` makes the kernels, `arguments` their arguments from what `forecast_driver.forecast_batch`
takes, `collect` a `Forecast` from their results.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import cells, forecast, order, paths, philox
from ..cells import Grid, RunInput, gram_size
from ..forecast import PARAMETERS, STATE
from ..forecast_driver import Curves, Forecast, Hypotheses, ResponsePrior
from ..paths import Paths, Shapes
from ..records import FORECAST
from .backend import cuda, typeof
from .cells import (
    draw_past,
    gram_by_entry,
    parts_of,
    put_columns,
    put_targets,
    quotient,
    short,
    slope_as_unit,
    sum_before,
    whiten_by_column,
)
from .chunks import Spec
from .order import team_median
from .paths import features_by_unit, multi_power_by_time
from .philox import philox_words, uniform, uniform_single
from .port import Port
from .spec import Kernel
from .warp import SINGLE_TABLE, TABLE

__all__ = [
    "GLOBAL",
    "Room",
    "arguments",
    "build",
    "collect",
    "constants",
    "input_specs",
    "inputs",
    "outputs",
    "room_for",
    "sizes_of",
    "take",
    "workspace",
]

LANES = 32
LARGEST = 1e30  # of the numbers that a single-precision kernel is given
LEFT_OUT = -3.0e38  # what a port makes of -1e300
LEAST_LEVEL = 1e-9  # losses that are all 0 count as so large: powers must not underflow
MOST_SHARED = 1024  # numbers of the whitened columns in shared memory

# Places in PerRun.numbers
B_CENTRE = 0
B_SLOPES = 1
STEP_SIZE = 2
MEMORY = 3
FLOOR = 4
SIGMA = 5
SLOPE = 6
UNIT = 7
LEVEL = 8
NUMBERS = 9

# Places in Workspace.rows and Workspace.small
LOG_T = 0
MEAN = 1
POINTS = 2
ROWS = 3
TIMES = 0
X = 1
TOTALS = 2
LEVELS = 3
SMALL = 4


class Room(NamedTuple):
    """Room in shared memory: for so many rows of so many columns; `GLOBAL` for none."""

    rows: int
    columns: int


GLOBAL = Room(0, 0)


class Points(NamedTuple):
    """Points of some runs: logarithm of the axis from the run's end, losses less its last one."""

    x: Any
    y: Any
    weight: Any
    offsets: Any  # int64, (n_runs + 1,)


class PerRun(NamedTuple):
    """`cells.RunInput` of some runs."""

    history: Any  # int32, (n_runs, n_paths)
    future: Any  # int32, (n_runs, n_at, n_paths)
    log_path: Any
    at: Any
    log_at: Any
    n_at: Any  # int32, (n_runs,)
    b_mean: Any
    b_sd: Any
    log_b: Any
    log_unit: Any
    numbers: Any  # (n_runs, NUMBERS)
    keys: Any  # uint64, (n_runs,)


class Workspace(NamedTuple):
    """Scratch in global memory; see `cells.Scratch`."""

    values: Any  # (2 n_points,)
    points: Any  # (3, n_points)
    state: Any  # (n_runs, STATE)
    ends: Any  # int32, (n_runs, n_bins)
    past_rows: Any  # int32, (n_runs, n_at)
    rows: Any  # (n_runs, ROWS, n_rows)
    b_prior: Any  # (n_runs, 2, n_b)
    columns: Any  # (n_runs, n_paths, n_rows, n_columns)
    clock: Any  # (n_runs, n_paths, n_rows + n_at + 1)
    tables: Any  # (n_runs, n_paths, n_alpha + n_units, n_at)
    gram: Any  # (n_runs, n_paths * n_kb, gram_size)
    log_weight: Any  # (n_runs, n_cells)
    nodes: Any  # (n_runs, max(n_groups, 2) * most nodes)
    filters: Any  # (n_runs, n_paths * n_kb, 3, n_rows)
    walk: Any  # (n_runs, n_rows, 32)
    fallen: Any  # (n_runs, n_at, 32)
    # Without runs where they are in shared memory:
    features: Any  # (n_runs, n_rows, n_columns)
    small: Any  # (n_runs, SMALL, n_rows or n_columns)


class Preparing(NamedTuple):
    """What `forecast.prepare_run` uses of `cells.Scratch`."""

    values: Any
    axis: Any
    loss: Any
    weight: Any
    state: Any
    ends: Any
    past_rows: Any
    log_t: Any
    mean: Any
    points: Any
    b_prior: Any


class Tabulating(NamedTuple):
    """What `forecast.tabulate_run` uses of it."""

    state: Any
    log_t: Any
    mean: Any
    x_ends: Any
    clock: Any
    clock_at: Any
    times: Any
    x: Any
    response: Any
    columns: Any
    level: Any
    taus: Any  # these two are not used here
    memory: Any
    tables: Any
    nodes: Any


class Weighing(NamedTuple):
    """What `forecast.weigh_run` uses of it."""

    state: Any
    points: Any
    clock: Any
    columns: Any
    white: Any
    totals: Any
    gram: Any
    b_prior: Any
    log_weight: Any
    filters: Any


class Drawing(NamedTuple):
    """What `forecast.draw_run` uses of it."""

    state: Any
    past_rows: Any
    points: Any
    clock_at: Any
    columns: Any
    gram: Any
    b_prior: Any
    log_weight: Any
    tables: Any
    filters: Any
    walk: Any
    fallen: Any


# What a port puts in the place of the CPU's functions.
OWN = {
    order.median: team_median,
    paths.features: features_by_unit,
    cells.put_columns: put_columns,
    cells.put_targets: put_targets,
    cells.whiten: whiten_by_column,
    cells.gram_products: gram_by_entry,
    cells.quotient: quotient,
    cells.short: short,
    forecast.draw_past: draw_past,
    forecast.parts_of: parts_of,
    forecast.sum_before: sum_before,
    philox.philox: philox_words,
    philox.uniform: uniform,
}
OWN_SINGLE = {
    **OWN,
    philox.uniform: uniform_single,
    forecast.loss_unit: slope_as_unit,
}


def room_for(grid: Grid, n_at: int) -> Room:
    """The room in shared memory for forecasts with so many targets."""
    rows = -(-(grid.n_bins + n_at + 2) // 16) * 16
    columns = 2 + grid.alphas.size + grid.units.shape[0]
    return Room(rows, columns) if rows * columns <= MOST_SHARED else GLOBAL


def run_input(per, r):  # type: ignore[no-untyped-def]
    """What a run brings."""
    given = per.numbers[r]
    return RunInput(
        per.history[r], per.future[r], per.log_path[r], per.at[r], per.log_at[r], per.n_at[r],
        per.b_mean[r], per.b_sd[r], per.log_b[r], given[B_CENTRE], given[B_SLOPES],
        per.log_unit[r], given[STEP_SIZE], given[MEMORY], given[FLOOR], given[SIGMA], given[SLOPE],
        given[UNIT], given[LEVEL], per.keys[r : r + 1],
    )  # fmt: skip


# In the place of what a kernel is built without.


def no_past(i, n_past, n_rows, h, hk, level, slope, drop, a, u, n_alpha, run, w, draws):  # type: ignore[no-untyped-def]
    return


def no_filters(n_paths, n_rows, noise, s, grid, w):  # type: ignore[no-untyped-def]
    return


def no_multi_power(z, rho, start, stretch, n_times, groups, units, step_size, nodes, x, out):  # type: ignore[no-untyped-def]
    return


def no_parameters(i, level, slope, drop, a, u, k, h, grid, parameters):  # type: ignore[no-untyped-def]
    return


def build(
    single: bool,
    room: Room = GLOBAL,
    past: bool = True,
    parameters: bool = True,
    multi_power: bool = True,
) -> tuple[Kernel, ...]:
    """The four stages of a forecast, to be launched one after the other.

    Four kernels, not one: each has little code and few registers.

    Parameters
    ----------
    single : bool
        Whether to compute in float32.
    room : Room
        Of `room_for`.
    past, parameters, multi_power : bool
        Whether there may be targets within the data, parameters of draws are kept, and some
        responses are those of the multi-power law.

    Returns
    -------
    tuple of Kernel
        All take the arguments of `arguments`.
    """
    number = np.float32 if single else np.float64
    table = {**SINGLE_TABLE, **OWN_SINGLE} if single else {**TABLE, **OWN}
    if not past:
        table |= {forecast.draw_past: no_past, forecast.find_filters: no_filters}
    if not parameters:
        table |= {forecast.keep_parameters: no_parameters}
    if not multi_power:
        table |= {multi_power_by_time: no_multi_power}
    port = Port(table, single)
    prepare_run = port.device(forecast.prepare_run)
    tabulate_run = port.device(forecast.tabulate_run)
    weigh_run = port.device(forecast.weigh_run)
    draw_run = port.device(forecast.draw_run)
    run_of = port.device(run_input)
    n_rows, n_columns = room
    shared = n_rows > 0

    def prepare(points, per, grid, shapes, paths, work, out):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        a = points.offsets[r]
        b = points.offsets[r + 1]
        if shared:  # noqa: SIM108  no expression: a branch that is not taken is not compiled
            ends = cuda.shared.array(n_rows, np.int32)
        else:
            ends = work.ends[r]
        w = Preparing(
            work.values[2 * a : 2 * b], work.points[0, a:b], work.points[1, a:b],
            work.points[2, a:b], work.state[r], ends, work.past_rows[r], work.rows[r, LOG_T],
            work.rows[r, MEAN], work.rows[r, POINTS], work.b_prior[r],
        )  # fmt: skip
        prepare_run(
            points.x[a:b], points.y[a:b], points.weight[a:b], grid, run_of(per, r), w, out.info[r]
        )

    def tabulate(points, per, grid, shapes, paths, work, out):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        if shared:
            times = cuda.shared.array(n_rows, number)
            x = cuda.shared.array(n_rows, number)
            response = cuda.shared.array((n_rows, n_columns), number)
            level = cuda.shared.array(n_columns, number)
        else:
            times = work.small[r, TIMES]
            x = work.small[r, X]
            response = work.features[r]
            level = work.small[r, LEVELS]
        rows = work.rows.shape[2]
        w = Tabulating(
            work.state[r], work.rows[r, LOG_T], work.rows[r, MEAN],
            work.clock[r, :, work.clock.shape[2] - 1], work.clock[r], work.clock[r, :, rows:],
            times, x, response, work.columns[r], level, level, level, work.tables[r], work.nodes[r],
        )  # fmt: skip
        tabulate_run(grid, run_of(per, r), shapes, paths, w)

    def weigh(points, per, grid, shapes, paths, work, out):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        if shared:
            white = cuda.shared.array((n_rows, n_columns), number)
            totals = cuda.shared.array(n_rows, number)
        else:
            white = work.features[r]
            totals = work.small[r, TOTALS]
        w = Weighing(
            work.state[r], work.rows[r, POINTS], work.clock[r], work.columns[r], white, totals,
            work.gram[r], work.b_prior[r], work.log_weight[r], work.filters[r],
        )  # fmt: skip
        weigh_run(grid, run_of(per, r), w, out.shares[r], out.info[r])

    def draw(points, per, grid, shapes, paths, work, out):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        w = Drawing(
            work.state[r], work.past_rows[r], work.rows[r, POINTS],
            work.clock[r, :, work.rows.shape[2] :], work.columns[r], work.gram[r],
            work.b_prior[r], work.log_weight[r], work.tables[r], work.filters[r], work.walk[r],
            work.fallen[r],
        )  # fmt: skip
        draw_run(
            grid, run_of(per, r), w, out.draws[r], out.parameters[r], out.falls[r],
            out.spreads[r], out.info[r],
        )  # fmt: skip

    signature = _signature(number)
    return tuple(
        Kernel(f"forecast_{function.__name__}", function, signature, LANES, single)
        for function in (prepare, tabulate, weigh, draw)
    )


def _signature(number: Any) -> tuple[Any, ...]:
    """Types of the kernel's arguments."""

    def array(n: int, kind: Any = number) -> Any:
        return np.empty((1,) * n, kind)

    whole = np.int32
    one = number(0.0)
    return tuple(
        typeof(example)
        for example in (
            Points(array(1), array(1), array(1), array(1, np.uint32)),
            PerRun(
                array(2, whole), array(3, whole), array(2), array(2), array(2), array(1, whole),
                array(2), array(2), array(2), array(2), array(2), array(1, np.uint64),
            ),
            Grid(
                array(1), array(1), array(1), array(1), array(2), array(1, whole), 1, one, one, one,
                one, one, one, one,
            ),
            Shapes(array(1), array(1), array(1, whole)),
            Paths(array(1, whole), array(1), array(1)),
            Workspace(
                array(1), array(2), array(2), array(2, whole), array(2, whole), array(3), array(3),
                array(4), array(3), array(4), array(3), array(2), array(2), array(4), array(3),
                array(3), array(3), array(3),
            ),
            Forecast(array(3), array(3), array(2), array(2), array(2), array(2)),
        )
    )  # fmt: skip


class Sizes(NamedTuple):
    """Sizes of some runs and of what they need."""

    n_runs: int
    n_points: int
    n_at: int
    n_paths: int
    n_b: int
    n_bins: int
    n_alpha: int
    n_units: int
    n_kb: int
    n_groups: int
    n_nodes: int

    @property
    def n_rows(self) -> int:
        """Bins, targets and the end of the data."""
        return self.n_bins + self.n_at + 2

    @property
    def n_columns(self) -> int:
        """Columns of the model."""
        return 2 + self.n_alpha + self.n_units


def sizes_of(
    curves: Curves,
    grid: Grid,
    hypotheses: Hypotheses,
    prior: ResponsePrior,
    shapes: Shapes,
    at: Any,
) -> Sizes:
    """Sizes of runs; the offsets of the shapes are read, which waits if they are on a GPU."""
    return Sizes(
        len(at), len(curves.t), at.shape[1], hypotheses.history.shape[1], prior.mean.shape[1],
        grid.n_bins, grid.alphas.size, grid.units.shape[0], grid.kbs.size, grid.groups.size - 1,
        int((shapes.offsets[1:] - shapes.offsets[:-1]).max()),
    )  # fmt: skip


def input_specs(sizes: Sizes, single: bool) -> list[Spec]:
    """A `Spec` of each array of `inputs`."""
    n, m, n_at, paths = sizes.n_runs, sizes.n_points, sizes.n_at, sizes.n_paths

    def spec(*shape: int, kind: Any = None) -> Any:
        return Spec(shape, np.dtype(kind or _number(single)))

    points = Points(spec(m), spec(m), spec(m), spec(n + 1, kind=np.uint32))
    per = PerRun(
        history=spec(n, paths, kind=np.int32),
        future=spec(n, n_at, paths, kind=np.int32),
        log_path=spec(n, paths),
        at=spec(n, n_at),
        log_at=spec(n, n_at),
        n_at=spec(n, kind=np.int32),
        b_mean=spec(n, sizes.n_b),
        b_sd=spec(n, sizes.n_b),
        log_b=spec(n, sizes.n_b),
        log_unit=spec(n, sizes.n_units),
        numbers=spec(n, NUMBERS),
        keys=spec(n, kind=np.uint64),
    )
    return [*points, *per]


def workspace(sizes: Sizes, single: bool, room: Room, past: bool) -> Workspace:
    """A `Spec` of each array of the workspace."""
    n, rows, columns, n_at = sizes.n_runs, sizes.n_rows, sizes.n_columns, sizes.n_at
    paths, covariances = sizes.n_paths, sizes.n_paths * sizes.n_kb
    pairs = sizes.n_alpha * sizes.n_units
    behind = rows if past else 0  # what only targets within the data need
    alone = n if room == GLOBAL else 0

    def spec(*shape: int, kind: Any = None) -> Any:
        return Spec(shape, np.dtype(kind or _number(single)))

    return Workspace(
        values=spec(2 * sizes.n_points),
        points=spec(3, sizes.n_points),
        state=spec(n, STATE),
        ends=spec(alone, sizes.n_bins, kind=np.int32),
        past_rows=spec(n, n_at, kind=np.int32),
        rows=spec(n, ROWS, rows),
        b_prior=spec(n, 2, sizes.n_b),
        columns=spec(n, paths, rows, columns),
        clock=spec(n, paths, rows + n_at + 1),
        tables=spec(n, paths, sizes.n_alpha + sizes.n_units, n_at),
        gram=spec(n, covariances, int(gram_size(sizes.n_alpha, sizes.n_units))),
        log_weight=spec(n, covariances * pairs * sizes.n_b),
        nodes=spec(n, max(sizes.n_groups, 2) * sizes.n_nodes),
        filters=spec(n, covariances, 3, behind),
        walk=spec(n, behind, LANES),
        fallen=spec(n, n_at, LANES),
        features=spec(alone, rows, columns),
        small=spec(alone, SMALL, max(rows, columns)),
    )


def outputs(sizes: Sizes, single: bool, draws: int, parameters: bool) -> Forecast:
    """A `Spec` of each array of the results."""
    n, n_at = sizes.n_runs, sizes.n_at
    shapes = (
        (n, n_at, draws), (n, len(PARAMETERS), draws) if parameters else (n, 0, 0),
        (n, sizes.n_paths),
        (n, n_at), (n, n_at), (n, len(FORECAST)),
    )  # fmt: skip
    return Forecast(*(Spec(shape, np.dtype(_number(single))) for shape in shapes))


def _number(single: bool) -> Any:
    return np.float32 if single else np.float64


def _numbers(xp: Any, values: Any, single: bool) -> Any:
    """In the kernel's precision; what float32 cannot hold is cut."""
    values = xp.asarray(values)
    if single:
        values = xp.clip(values, -LARGEST, LARGEST)
    return xp.ascontiguousarray(values, _number(single))


def constants(
    xp: Any, grid: Grid, shapes: Shapes, paths: Paths, single: bool
) -> tuple[Grid, Shapes, Paths]:
    """What all runs use, for the kernels."""

    def numbers(values: Any) -> Any:
        return _numbers(xp, values, single)

    def whole(values: Any) -> Any:
        return xp.ascontiguousarray(xp.asarray(values), np.int32)

    number = _number(single)
    return (
        Grid(
            numbers(grid.alphas), numbers(grid.log_alpha), numbers(grid.kbs), numbers(grid.log_kb),
            numbers(grid.units), whole(grid.groups), grid.n_bins,
            *(number(value) for value in grid[Grid._fields.index("n_bins") + 1 :]),
        ),
        Shapes(numbers(shapes.z), numbers(shapes.rho), whole(shapes.offsets)),
        Paths(whole(paths.shape), numbers(paths.start), numbers(paths.stretch)),
    )  # fmt: skip


def inputs(
    xp: Any,
    curves: Curves,
    hypotheses: Hypotheses,
    prior: ResponsePrior,
    at: Any,
    keys: Any,
    single: bool,
) -> tuple[Points, PerRun]:
    """What runs bring, for the kernels.

    What loses digits in float32 is subtracted here, in float64: the logarithm of the axis is
    relative to the run's last point, and losses are less the last one.
    """

    def numbers(values: Any) -> Any:
        return _numbers(xp, values, single)

    def whole(values: Any) -> Any:
        return xp.ascontiguousarray(xp.asarray(values), np.int32)

    def measured(values: Any) -> Any:
        # Negative for NaN: kernels of fast arithmetic take it that there is none.
        return xp.where(xp.isnan(values), -1.0, values)

    offsets = xp.asarray(curves.offsets)
    owner = xp.searchsorted(offsets[1:], xp.arange(len(curves.t)), side="right")
    end, level = curves.t[offsets[1:] - 1], curves.y[offsets[1:] - 1]
    log_end = xp.log(end)
    missing = xp.isnan(at)
    log_b = numbers(prior.log_weight)
    if single:
        log_b = xp.where(xp.asarray(prior.log_weight) < -1e299, np.float32(LEFT_OUT), log_b)
    points = Points(
        numbers(xp.log(curves.t) - log_end[owner]), numbers(curves.y - level[owner]),
        numbers(curves.weight), xp.ascontiguousarray(offsets, np.uint32),
    )  # fmt: skip
    per = PerRun(
        history=whole(hypotheses.history),
        future=whole(hypotheses.future),
        log_path=numbers(hypotheses.log_weight),
        at=numbers(xp.where(missing, end[:, None], at)),
        log_at=numbers(xp.where(missing, 0.0, xp.log(at) - log_end[:, None])),
        n_at=whole((~missing).sum(axis=1)),
        b_mean=numbers(prior.mean),
        b_sd=numbers(prior.sd),
        log_b=log_b,
        log_unit=numbers(prior.log_unit),
        numbers=numbers(xp.stack([
            xp.asarray(prior.centre), xp.asarray(prior.most_slopes), xp.asarray(curves.step_size),
            measured(curves.memory), xp.asarray(curves.floor), measured(curves.sigma),
            measured(curves.slope), end,
            xp.where(xp.abs(level) > LEAST_LEVEL, level, LEAST_LEVEL),
        ], axis=1)),
        keys=xp.ascontiguousarray(xp.asarray(keys), np.uint64),
    )  # fmt: skip
    return points, per


def take(
    curves: Curves,
    hypotheses: Hypotheses,
    prior: ResponsePrior,
    at: Any,
    keys: Any,
    start: int,
    stop: int,
) -> tuple[Curves, Hypotheses, ResponsePrior, Any, Any]:
    """What the runs from `start` to `stop` bring."""
    some = slice(start, stop)
    a, b = int(curves.offsets[start]), int(curves.offsets[stop])
    return (
        Curves(
            curves.t[a:b], curves.y[a:b], curves.weight[a:b],
            curves.offsets[start : stop + 1] - a, *(one[some] for one in curves[4:]),
        ),
        Hypotheses(*(one[some] for one in hypotheses)),
        ResponsePrior(*(one[some] for one in prior)),
        at[some],
        keys[some],
    )  # fmt: skip


def arguments(
    xp: Any,
    curves: Curves,
    grid: Grid,
    hypotheses: Hypotheses,
    prior: ResponsePrior,
    shapes: Shapes,
    paths: Paths,
    at: Any,
    keys: Any,
    *,
    draws: int,
    parameters: bool = False,
    single: bool = False,
    room: Room = GLOBAL,
    past: bool = True,
) -> tuple[Any, ...]:
    """The kernels' arguments, with new scratch and outputs.

    Parameters
    ----------
    xp : module
        numpy or CuPy.
    curves, grid, hypotheses, prior, shapes, paths, at, keys, draws, parameters
        As `forecast_driver.forecast_batch` takes them; arrays of `xp`, those of the grid, the
        shapes and the paths of numpy too.
    single, room, past : bool, Room, bool
        As the kernels were built.

    Returns
    -------
    tuple
        The last element is a `Forecast` of what the kernels write.
    """
    sizes = sizes_of(curves, grid, hypotheses, prior, shapes, at)

    def empty(specs: Any) -> Any:
        return type(specs)(*(xp.empty(spec.shape, spec.dtype) for spec in specs))

    return (
        *inputs(xp, curves, hypotheses, prior, at, keys, single),
        *constants(xp, grid, shapes, paths, single),
        empty(workspace(sizes, single, room, past)),
        empty(outputs(sizes, single, draws, parameters)),
    )


def collect(xp: Any, out: Forecast, curves: Curves, at: Any) -> Forecast:
    """The forecast in float64, losses at their own level again.

    Parameters
    ----------
    xp : module
    out : Forecast
        What the kernel wrote, the last of its arguments.
    curves, at
        As `arguments` took them.
    """
    level = curves.y[xp.asarray(curves.offsets)[1:] - 1]
    missing = xp.isnan(at)
    # The kernel leaves memory as it was where a target is missing: it is not read.
    draws = xp.where(missing[:, :, None], np.nan, out.draws) + level[:, None, None]
    parameters = out.parameters.astype(np.float64)
    if parameters.shape[1] > 0:
        parameters[:, 0] += level[:, None]

    def there(values: Any) -> Any:
        return xp.where(missing, np.nan, values).astype(np.float64)

    return Forecast(
        draws, parameters, out.shares.astype(np.float64), there(out.falls), there(out.spreads),
        out.info.astype(np.float64),
    )  # fmt: skip
