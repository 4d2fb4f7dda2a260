"""A race of runs along an axis of compute: who leads, who overtakes whom, and when."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import numpy as np

from .._base.blas import one_blas_thread
from .._base.errors import DataError, warn
from .._base.options import check_names
from .._base.ragged import Floats, Ints
from ..answers.meanings import unheard, unlearned
from ..backtests.conformal import calibrated
from ..forecasts.knowledge import FARTHEST_TARGET, check_knowledge
from ..forecasts.question import Options, Question, takes
from ..forecasts.record import farthest
from ..runs.broken import broken_runs, without_forecast
from ..runs.checks import axis_values, choose_axis, whole
from . import frontier as front
from .curves import RaceCurves, race_curves
from .result import Race
from .unseen import Unseen, contestants, with_unseen

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.axes import AnyAxis, Axis
    from ..runs.collection import Runs
    from ..runs.run import Run

# What runs of different sizes can be compared by.
COMPUTE_AXES: tuple[Axis, ...] = ("gpu_hours", "flops")
MOST_KEPT = 128  # runs whose draws are kept; of more, those that ever lead
BLOCK = 64  # runs drawn at a time where not all are kept
POINTS = ((16, 240), (64, 120), (1 << 62, 64))  # of the grid, up to so many runs
MOST_MARKED = 32  # runs whose ends are on the grid
MARGIN = 1e-3  # lead that counts, as a share of the loss
FAR = 2.0  # as of answers
DISAGREE = 3.0  # sds by which law and smoother may differ at the end of the data


@takes(Options)
def race(
    runs: Runs | pd.DataFrame | Sequence[Run | Unseen],
    *,
    axis: AnyAxis = "auto",
    until: float | None = None,
    points: int | None = None,
    margin: float | None = None,
    progress: bool = False,
    **options: Unpack[Options],
) -> Race:
    """Race runs along an axis of compute.

    Parameters
    ----------
    runs : Runs, pandas.DataFrame, or list of Run and LadderCurve
        At least two runs; a tidy frame goes through `Runs.from_frame`.  A list may mix runs with
        curves of sizes that were never trained (`Ladder.curve`).
    axis : str
        ``"auto"`` takes the first of GPU-hours and FLOPs that all runs have, else the first axis
        that they share.
    until : float, optional
        How far on the axis; by default to the largest end of the runs, so that every other run is
        forecast up to there.
    points : int, optional
        Places on the axis at which curves are drawn, half of them even in its logarithm; by default
        240 (120 for more than 16 runs, 64 for more than 64).  Of up to 32 runs the ends of the data
        are places too.
    margin : float, optional
        Lead, in loss, that counts: a crossing counts if both leads reach it, and smaller
        differences are ties.  By default 0.1 % of the loss.
    progress : bool
        Show a bar.
    **options
        See `lossfit.forecasts.question.Options`.

    Returns
    -------
    Race
        Curves of all runs over draws: ask ``leader``, ``overtakes``, ``frontier`` and ``bias``.

    Raises
    ------
    DataError
        Fewer than two runs; input or options that do not fit together; the message names the run
        and the fix.
    DeviceError
        A GPU is asked for and cannot be used.

    Warns
    -----
    LossfitWarning
        Once, if runs have flags that matter.

    Notes
    -----
    Inside its data a run's curve is a smoothing spline's posterior, beyond them the laws'
    (`lossfit.races.curves`; docs/how_it_works.md).  Beyond its data a run keeps the draws that it
    has by itself; runs err alike there, so the draws stand in an order that has their errors
    together (`lossfit.races.together`).  A run
    exists from its first point on; beyond its last one it is a forecast.  Of more than 128 runs
    only those are kept that lead somewhere in some draw.

    Examples
    --------
    >>> import lossfit
    >>> race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours", draws=200)
    >>> race.leader([1e5, 1e6]).shape  # a row a budget, a column a run
    (2, 4)
    """
    check_names(options, Options.__annotations__, "race")
    runs, unseen = contestants(runs, axis)
    if len(runs) < 2:
        raise DataError(f"a race needs at least two runs, got {len(runs)}: add one to compare with")
    axis = axis_of(runs, axis)
    flat = runs.flat(axis)
    end = flat.x[flat.offsets[1:] - 1]
    start = np.array([_first(flat.x[a:b], name) for a, b, name in zip(
        flat.offsets[:-1], flat.offsets[1:], runs.names, strict=True)])  # fmt: skip
    horizon = float(end.max()) if until is None else float(axis_values(until)[0])
    if until is not None and np.size(until) != 1:
        raise DataError(f"until is one axis value, got {until!r}")
    if horizon > FARTHEST_TARGET * end.max():
        raise DataError(
            f"until={horizon:g} is more than a million times the data of every run, which end at "
            f"{end.max():g} at most: give a smaller value of the axis {axis}"
        )
    if horizon <= start.min():
        raise DataError(
            f"until={horizon:g} lies before the first point of every run ({start.min():g}): give a "
            f"larger value of the axis {axis}"
        )
    question = Question.of(runs, axis, **options)
    check_knowledge(question.plan, runs, runs.names, axis)
    if margin is not None:
        if not (isinstance(margin, (int, float, np.number)) and 0 <= float(margin) < np.inf):
            raise DataError(f"margin must be a lead in loss, 0 or more, got {margin!r}")
        margin = float(margin)
    usual = next(count for most, count in POINTS if len(runs) <= most)
    count = usual if points is None else whole(points, "points", 8)
    marks = np.concatenate([start, end]) if len(runs) <= MOST_MARKED else np.empty(0)
    grid = _grid(float(start.min()), horizon, count, marks)
    targets = np.full((len(runs), 1), horizon)
    question, calibration = calibrated(question, runs, runs.names, targets)
    made = _run_it(runs, question, grid, end, margin, progress, unseen)
    made = replace(made, calibration=calibration)
    warn("race", made.warning)
    return made


def axis_of(runs: Runs, axis: str) -> Axis:
    """The axis of a race: compute, where all runs have it."""
    if axis == "auto":
        for name in COMPUTE_AXES:
            if runs.has(name):
                return name
    return choose_axis(runs, axis)


def _first(x: Floats, name: str) -> float:
    positive = x[x > 0]
    if positive.size < 3:
        raise DataError(
            f"run {name!r} has {positive.size} points above 0 on the axis; 3 are needed: leave it "
            f"out"
        )
    return float(positive[0])


def _grid(low: float, high: float, count: int, marks: Floats) -> Floats:
    """Places between two axis values, half even in the logarithm, with the marks among them."""
    half = count // 2
    both = [np.linspace(low, high, half), np.geomspace(low, high, count - half)]
    inside = marks[(marks >= low) & (marks <= high)]
    grid = np.unique(np.clip(np.concatenate([*both, inside]), low, high))
    # Places closer than rounding make no steps; the ends of the grid stay.
    near = np.diff(np.log(grid)) < 1e-9
    drop = np.concatenate([[False], near])
    return np.asarray(grid[~drop])


def _run_it(
    runs: Runs,
    question: Question,
    grid: Floats,
    end: Floats,
    margin: float | None,
    progress: bool,
    unseen: Mapping[str, Unseen],
) -> Race:
    n = len(runs)
    few = n <= MOST_KEPT
    breaks = broken_runs(runs, runs.names, question.axis)
    broken = frozenset(name for name in breaks if without_forecast(breaks, name))

    def curves(part_of: Runs) -> RaceCurves:
        part = race_curves(part_of, grid, question, broken)
        return with_unseen(part, part_of.names, grid, question.seed, question.axis, unseen)

    parts, lead, draws = _drawn(runs, curves, end, few, progress)
    if draws is None:
        shares = np.bincount(lead[1][lead[1] >= 0], minlength=n)
        shown_runs = np.sort(np.argsort(-shares, kind="stable")[:MOST_KEPT])
        shown_runs = shown_runs[shares[shown_runs] > 0]
        chosen = runs.select([runs.names[r] for r in shown_runs])
        draws = curves(chosen).draws
    else:
        shown_runs = np.arange(n)
    start = np.concatenate([part.start for part in parts])
    end = np.concatenate([part.end for part in parts])
    flags: list[tuple[str, ...]] = []
    for part in parts:
        for r in range(len(part.end)):
            if runs.names[len(flags)] in broken:
                flags.append(("broken",))
                continue
            flags_of_run = [name for name, where in part.row_flags.items() if where[r]]
            flags_of_run += part.fit_flags[r]
            if abs(part.gap[r]) > DISAGREE * part.gap_sd[r]:
                flags_of_run.append("end_disagrees")
            ratio = grid[-1] / part.end[r]
            name = runs.names[len(flags)]
            flags_of_run += ["broken"] * (name in breaks)
            flags_of_run += ["siblings_unused"] * unlearned(question, name)
            flags_of_run += ["broken_left_out"] * unheard(question, name)
            checked = farthest(question.by_default, "longer_plan" in flags_of_run)
            flags_of_run += ["far"] * bool(ratio > FAR) + ["untested"] * bool(ratio > checked)
            flags.append(tuple(dict.fromkeys(flags_of_run)))
    if margin is None:
        need = MARGIN * np.abs(np.median(lead[0], axis=1))
    else:
        need = np.full(len(grid), margin)
    return Race(
        runs, question, grid, draws, shown_runs, _shares(lead[1], n), lead[0], lead[1], need,
        start, end, tuple(flags),
    )  # fmt: skip


@one_blas_thread()
def _drawn(
    runs: Runs, curves: Callable[[Runs], RaceCurves], end: Floats, keep: bool, progress: bool
) -> tuple[list[RaceCurves], tuple[Floats, Ints], Floats | None]:
    """What was found of every run (in their order), the best of them all, and draws if kept.

    Runs of similar length are drawn together, so that blocks have few places that are not there.
    """
    from .._base.progress import bar

    order = np.argsort(end, kind="stable")
    blocks = [np.sort(order[first : first + BLOCK]) for first in range(0, len(order), BLOCK)]
    if keep:
        blocks = [np.arange(len(end))]

    def one(which: Ints) -> tuple[RaceCurves, tuple[Floats, Ints], Floats | None]:
        alone = len(which) == len(end)
        chosen_runs = runs if alone else runs.select([runs.names[r] for r in which])
        part = curves(chosen_runs)
        loss, run = front.best(part.draws)
        here = loss, np.where(run >= 0, which[run], -1)
        return part._replace(draws=part.draws[:, :0].copy()), here, part.draws if keep else None

    by_block: dict[int, RaceCurves] = {}
    lead, draws = None, None
    threads = min(len(blocks), _processors())
    with bar(len(end), "racing", progress) as advance, ThreadPoolExecutor(threads) as pool:
        for which, (part, here, drawn) in zip(blocks, pool.map(one, blocks), strict=True):
            lead = here if lead is None else front.merge_best(lead, here)
            draws = drawn
            for i, r in enumerate(which):
                by_block[int(r)] = part.only(i)
            if advance is not None:
                advance(len(which))
    assert lead is not None
    return [by_block[r] for r in range(len(end))], lead, draws


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shares(run: Ints, n_runs: int) -> Floats:
    """Share of the draws in which each run is the best, as `frontier.leading`: shape (G, R)."""
    out = np.zeros((len(run), n_runs))
    for g, row in enumerate(run):
        out[g] = np.bincount(row[row >= 0], minlength=n_runs) / row.size
    return out
