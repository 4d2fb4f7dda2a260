"""Phases of training curves, a power law, nearly a line, a flat end: `phases`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from .._base.errors import DataError, warn
from .._base.ragged import Bools, Floats, Ints
from .._base.seeds import Seed, run_keys, seed_integer
from .._base.summaries import check_prob
from ..forecasts.constants import TEXT
from ..forecasts.forecasting import ASSUMED_STEPS
from ..forecasts.knowledge import check_knowledge
from ..forecasts.rates import Plan
from ..races.smoothing import binned, clock, smoothers
from ..runs.checks import as_runs, choose_axis, whole
from ..runs.known import schedules_by_run
from ..runs.logged_rate import axis_factor, history_of, warmed
from ..runs.schedule_words import schedules_of
from .models import (
    CHANGES,
    FIRST,
    MODELS,
    N_FIRST,
    SECOND,
    Curve,
    Evidence,
    columns_at,
    evidence,
    posterior,
    response_columns,
    terms,
)
from .result import Phases, RunPhases

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from ..runs.known import ScheduleByRun
    from ..runs.run import Run
    from ..schedules.shapes import Schedule

START = 0.03  # share of the run before which points are not used, by default
PAST = 0.6  # share of the run from which the rest is predicted for the held-out score
BLOCKS = 5  # of the later part of the run, each predicted from all other points
LEAST_BINS = 12
CLEAR = 1.0  # difference of log scores that is called a win
PLACES = 160  # at which curves are kept
DIFFERS = 0.05  # of the peak, rms: a given schedule that is not the run's own
LEAST_NOISE = 1e-4  # of the range of the losses


def phases(
    runs: Runs | Run | pd.DataFrame,
    *,
    axis: AnyAxis = "auto",
    schedule: ScheduleByRun = None,
    start: float = START,
    prob: float = 0.9,
    draws: int = 1000,
    random_seed: Seed = 0,
    progress: bool = False,
) -> Phases:
    """Where a power-law phase hands over to a nearly linear one, and where the end flattens.

    Parameters
    ----------
    runs : Runs, Run or pandas.DataFrame
        One run or several; a tidy frame goes through `Runs.from_frame`.
    axis : str
        ``"auto"`` takes the first axis that all runs have.  A line on one of step, tokens,
        GPU-hours and FLOP is one on the others where they are proportional.
    schedule : Schedule, str, or dict of these by run, optional
        Learning-rate schedules of runs that do not have theirs: one that differs from a run's own,
        or from its logged rate, is refused.
    start : float
        Share of a run, 0 to 0.3, before which its points are not used.
    prob : float
        Probability of the intervals.
    draws : int
        Draws of the break points and of the curve.
    random_seed : int, numpy.random.Generator or None
        A run's draws depend on it and on the run's name only.
    progress : bool
        Show a bar.

    Returns
    -------
    Phases
        A row a run and phase: where it begins and ends, and the probability that it exists.

    Raises
    ------
    DataError
        A run with fewer than 12 points after `start`; a schedule that ends before the data or that
        is not the one that the run had.

    Warns
    -----
    LossfitWarning
        Once, if runs have flags that matter: ``schedule_explains``, ``schedule_unknown``,
        ``cannot_tell``.

    Notes
    -----
    `models` has the models: four of phases (one, with a line, with a flat end, with
    both), equally probable beforehand, and the law that responds to the learning-rate schedule,
    without phases.  P(a phase exists) sums the posterior of the models that have it.  The schedule
    is compared by held-out score, not by evidence: log density of the last 40 % of the run,
    predicted from the first 60 %; and of each fifth of it, predicted from all other points.  Where
    the schedule's model wins one and loses neither, it explains the curve without phases, and the
    flag ``schedule_explains`` says so: break points are then a description only.  Where they
    disagree or nothing is between them, these data can't tell (``cannot_tell``).

    Examples
    --------
    >>> import lossfit
    >>> phases = lossfit.phases(lossfit.load("llama2").select(["llama2-7B"]), draws=100)
    >>> phases.frame["run"].unique().tolist()
    ['llama2-7B']
    """
    from .._base.blas import one_blas_thread
    from .._base.progress import bar

    runs = as_runs(runs)
    axis = choose_axis(runs, axis)
    _ = runs.flat(axis)  # every run must have it
    if not (isinstance(start, (int, float, np.number)) and 0 <= float(start) <= 0.3):
        raise DataError(f"start must be a share of the run from 0 to 0.3, got {start!r}")
    prob, draws, seed = check_prob(prob), whole(draws, "draws", 10), seed_integer(random_seed)
    if schedule is not None:
        runs = _with_given(runs, axis, schedule)
    keys = run_keys(seed, runs.names, "phases")
    results = []
    with bar(len(runs), "finding phases", progress) as advance, one_blas_thread():
        for run, key in zip(runs, keys, strict=True):
            results.append(_one(run, axis, float(start), draws, np.random.default_rng(int(key))))
            if advance is not None:
                advance(1)
    made = Phases(runs, axis, prob, seed, tuple(results))
    warn("phases", made.warning)
    return made


def _with_given(runs: Runs, axis: str, schedule: ScheduleByRun) -> Runs:
    """The runs with the schedules that were given, where their learning rates are not known."""
    given = schedules_by_run(schedules_of(schedule, runs, axis=axis), runs.names)
    check_knowledge(Plan(given), runs, list(given), axis)
    lacking = {}
    for name, stated in given.items():
        run = runs[name]
        own = _rate(run, axis, run.schedule)
        if own is None:
            lacking[name] = stated
            continue
        said = _rate(run, axis, stated)
        assert said is not None
        x = np.linspace(0.1, 1.0, 200) * run.end(axis)
        off = float(np.sqrt(np.mean((np.interp(x, *own) - np.interp(x, *said)) ** 2)))
        if off > DIFFERS:
            what = "a schedule" if run.schedule is not None else "a logged learning rate"
            raise DataError(
                f"run {name!r} has {what}, from which the schedule given differs by {off:.0%} of "
                f"the peak: leave schedule= out for it"
            )
    return runs.with_schedule(lacking) if lacking else runs


def _one(run: Run, axis: str, start: float, draws: int, rng: np.random.Generator) -> RunPhases:
    alone = as_runs(run)
    end = run.end(axis)
    curve, centre = _curve(alone, run, axis, start)
    whole_run = evidence(curve)
    logs = {name: grid.log_evidence for name, grid in whole_run.by_model.items()}
    held_out = _difference(curve, logs, curve.t <= PAST)
    blocked: dict[str, float] = dict.fromkeys(held_out, 0.0)
    edges = np.linspace(max(float(curve.t[0]), 0.1), 1.0, BLOCKS + 1)
    for low, high in pairwise(edges):
        inside = (curve.t > low) & (curve.t <= high)
        if inside.any() and (~inside).sum() >= LEAST_BINS // 2:
            for name, value in _difference(curve, logs, ~inside).items():
                blocked[name] += value
    weights = np.exp([logs[name] for name in MODELS] - logsumexp([logs[name] for name in MODELS]))
    places = np.unique(np.concatenate([
        np.linspace(curve.t[0], 1.0, PLACES // 2), np.geomspace(curve.t[0], 1.0, PLACES // 2)
    ]))  # fmt: skip
    chosen = rng.choice(len(MODELS), draws, p=weights)
    handover, tip = np.full(draws, np.nan), np.full(draws, np.nan)
    slopes = np.full((2, draws), np.nan)
    curves = np.empty((len(places), draws))
    for m, name in enumerate(MODELS):
        members = np.flatnonzero(chosen == m)
        if members.size:
            _draw(curve, whole_run, name, members, places, rng, handover, tip, slopes, curves)
    exist = max(weights[1] + weights[3], weights[2] + weights[3]) >= 0.5
    flags, gain = _compared(held_out, blocked, bool(exist))
    return RunPhases(
        run.name, end, weights, handover * end, tip * end, slopes / end, np.array(MODELS)[chosen],
        places * end, curves + centre, curve.t * end, curve.y + centre, logs, held_out, blocked,
        gain, tuple(flags),
    )  # fmt: skip


def _compared(
    held_out: dict[str, float], blocked: dict[str, float], exist: bool
) -> tuple[list[str], float | None]:
    """Flags, and by how much the schedule's model is ahead in the two held-out scores together."""
    if "schedule" not in held_out:
        return ["schedule_unknown"], None
    gains = [score["schedule"] - score["phases"] for score in (held_out, blocked)]
    if min(gains) >= 0 and max(gains) > CLEAR:
        return ["schedule_explains"], sum(gains)
    if max(gains) <= 0 and min(gains) < -CLEAR:
        return [], sum(gains)
    return (["cannot_tell"] if exist else []), sum(gains)


def _difference(curve: Curve, logs: dict[str, float], known: Bools) -> dict[str, float]:
    """Log density of the other bins given the known ones: of the phases together, the schedule."""
    if known.all() or known.sum() < 5:
        return {name: 0.0 for name in ("phases", "schedule") if name != "schedule" or name in logs}
    part = {name: grid.log_evidence for name, grid in evidence(curve, known).by_model.items()}
    out = {
        "phases": float(
            logsumexp([logs[name] for name in MODELS]) - logsumexp([part[name] for name in MODELS])
        )
    }
    if "schedule" in logs:
        out["schedule"] = logs["schedule"] - part["schedule"]
    return out


def _curve(alone: Runs, run: Run, axis: str, start: float) -> tuple[Curve, float]:
    """The run in bins, losses about their mean, and that mean."""
    all_t, all_y, all_w, _, _ = binned(alone, axis)
    end = run.end(axis)
    t, y, w = all_t[0] / end, all_y[0], all_w[0]
    keep = (w > 0) & (t >= start)
    if keep.sum() < LEAST_BINS:
        raise DataError(
            f"run {run.name!r} has {int(keep.sum())} points after {start:g} of its length; phases "
            f"need {LEAST_BINS}: log it more often, or leave it out"
        )
    t, y, w = t[keep], y[keep], w[keep]
    smooth = smoothers(alone, axis)
    # Of a point of weight 1, then of a bin of the mean weight.
    noise = float(np.sqrt((smooth.weights * smooth.squares / smooth.freedom[:, None]).sum()))
    noise /= float(np.sqrt(w.mean()))
    noise = max(noise, LEAST_NOISE * float(np.ptp(y)))
    w = w / w.mean()
    late = t > 0.25
    if late.sum() < 5:
        late = t > 0
    fit = np.polyfit(np.log(t[late]), y[late], 1, w=np.sqrt(w[late]))
    level = float(np.average(y[-3:], weights=w[-3:]))
    slope = max(-float(fit[0]), 0.004 * abs(level))
    centre = float(np.average(y, weights=w))
    v = clock(t[None], t[:1], t[-1:])[0]
    nats, share, slopes = TEXT
    strength = min(nats, share * abs(level), slopes * slope)
    rate = _rate(run, axis, run.schedule)
    lr_time, response = None, None
    if rate is not None:
        steps = run.end("step") if run.has("step") else ASSUMED_STEPS
        lr_time, response = response_columns(*rate, t * end, end / steps)
    return Curve(t, y - centre, w, v, slope, noise, lr_time, response, strength), centre


def _rate(run: Run, axis: str, own: Schedule | None) -> tuple[Floats, Floats] | None:
    """Axis values and the rate over its peak, the warm-up at the peak; None where unknown.

    Of a schedule, or as it was logged.
    """
    if own is None:
        logged = history_of(run, axis)
        return None if logged is None else warmed(*logged)
    factor = axis_factor(run, own, axis)
    fine = np.linspace(0.0, run.end(axis), 4001)
    rate = own(fine / factor)
    if own.warmup:
        rate = np.where(fine < own.warmup * factor, own.peak, rate)
        return fine, rate / rate.max()
    return warmed(fine, rate)


def _draw(
    curve: Curve,
    made: Evidence,
    name: str,
    members: Ints,
    places: Floats,
    rng: np.random.Generator,
    handover: Floats,
    tip: Floats,
    slopes: Floats,
    curves: Floats,
) -> None:
    """Draws of one model, written at the places `mine`."""
    grid = made.by_model[name]
    p = np.exp(grid.log_weight - grid.log_weight.max())
    cells = rng.choice(len(p), len(members), p=p / p.sum())
    which, mean, sd, positive = terms(name, curve, grid.alpha[cells], grid.first[cells],
                                      grid.second[cells])  # fmt: skip
    beta, lower, _, shape, scale = posterior(curve, made.parts, grid.error[cells], which, mean, sd)
    sigma = np.sqrt(scale / rng.gamma(shape, size=len(cells)))
    z = rng.standard_normal(beta.shape)
    if positive:
        # The last coefficient is the last of the factor: cut there, the others follow.
        from scipy.special import ndtr, ndtri

        low = ndtr(-beta[:, -1] * lower[:, -1, -1] / sigma)
        z[:, -1] = ndtri(low + (1 - low) * np.clip(rng.random(len(cells)), 1e-12, 1 - 1e-12))
    size = beta.shape[1]
    step = np.empty_like(z)
    for k in range(size - 1, -1, -1):  # L' step = z
        step[:, k] = (z[:, k] - (lower[:, k + 1 :, k] * step[:, k + 1 :]).sum(axis=1)) / lower[
            :, k, k
        ]
    beta = beta + sigma[:, None] * step
    table = columns_at(places)
    curves[:, members] = (table[:, which] * beta).sum(axis=2)
    # Inside a cell of the grid places are even.
    if (grid.first[cells] >= 0).all():
        handover[members] = _spread(FIRST, grid.first[cells], rng, log=True)
        at = CHANGES[grid.first[cells]]
        alpha = made.alphas[grid.alpha[cells]]
        slopes[0, members] = -beta[:, 1] * at ** (-alpha - 1) + beta[:, 2]
    if (grid.second[cells] >= 0).all():
        tip[members] = _spread(SECOND, grid.second[cells] - N_FIRST, rng, log=False)
        if name == "tip":
            at = CHANGES[grid.second[cells]]
            alpha = made.alphas[grid.alpha[cells]]
            before = -beta[:, 1] * at ** (-alpha - 1)
        else:
            before = slopes[0, members]
        slopes[1, members] = before + beta[:, -1]


def _spread(nodes: Floats, which: Ints, rng: np.random.Generator, log: bool) -> Floats:
    """Places even within the cells of a grid."""
    x = np.log(nodes) if log else nodes
    step = x[1] - x[0]
    out = x[which] + step * (rng.random(len(which)) - 0.5)
    return np.asarray(np.exp(out) if log else np.minimum(out, 1.0))
