"""The default forecast: from runs to draws of curves, by a hyper-prior that was learned."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints, spans
from .._base.seeds import run_keys
from .._base.summaries import deviations
from ..engine.devices import CPU, Place, gpu_errors
from ..engine.serving import CURVE_SECONDS, engine_of, serve
from ..fits.flags import FEW_POINTS
from ..fits.window import Rule, WindowSpec, rule_of, select, without_outer_spikes
from ..runs.known import for_runs
from ..runs.logged_rate import axis_factors, has_rate, warmups_of
from .constants import cell_grid, hyper_prior, references
from .curve_rates import asked_rates
from .domain import likes
from .falling import shows_no_fall
from .forecasting import Forecasted, step_sizes
from .moves import Moves, moves_at, strengths_of
from .rates import Plan, known_of

if TYPE_CHECKING:
    from ..kernels.curve_data import Observed
    from ..kernels.curve_law import CellGrid, HyperPrior
    from ..runs.collection import Runs

FARTHEST_RANGES = 10.0  # of a run's losses, from which a curve of its past may be
UNSURE = 0.5  # relative sd of B above which the data say little of it
MATTERS = 0.25  # ... and that matters where it makes so much of the forecast's spread


class Cells(NamedTuple):
    """The constants of a law of this kind."""

    name: str  # in the keys of draws
    grid: Callable[[bool], CellGrid]  # from whether the window has been chosen already to the cells
    prior: Callable[[], HyperPrior]  # to what is known of them


LEARNED = Cells("learned", cell_grid, hyper_prior)


def forecast_curves(
    runs: Runs,
    axis: str,
    window: WindowSpec,
    # shape (R, T): targets in units of the axis, NaN where a run has fewer.  A draw at one of them
    # depends on no other
    at: Floats,
    plan: Plan,  # what the caller says of the future
    *,
    draws: int,
    seed: int,
    # {"auto", "text", "other"}: whether the runs are of language models; by default their names
    # and curves tell
    domain: str = "auto",
    parameters: bool = False,  # whether to keep the parameters of the draws
    # dict by run: what finished runs say of errors and of B
    moves: Mapping[str, Moves] | None = None,
    cells: Cells = LEARNED,  # the law's constants, by default those of the default forecast
    where: Place = CPU,
    # called with the number of runs that were finished
    progress: Callable[[int], None] | None = None,
) -> Forecasted:
    """Fit the law to every run and draw its curve at the targets."""
    rule = rule_of(window, runs)
    groups = [np.flatnonzero(rule.auto), np.flatnonzero(~rule.auto)]
    parts = []
    for whole, rows in enumerate(groups):
        if not len(rows):
            continue
        alone = len(rows) == len(runs)
        some = runs if alone else runs.select([runs.names[r] for r in rows])
        its = Rule(rule.low[rows], rule.high[rows], rule.auto[rows], rule.warmup[rows], rule.text)
        made = _forecast(
            some, axis, its, bool(whole), at[rows], Plan(*(for_runs(p, some) for p in plan)),
            draws, seed, domain, parameters, moves, cells, where, progress,
        )  # fmt: skip
        if alone:
            return made
        parts.append((rows, made))
    return _joined(parts)


def _forecast(
    runs: Runs,
    axis: str,
    rule: Rule,
    whole: bool,
    at: Floats,
    plan: Plan,
    draws: int,
    seed: int,
    domain: str,
    parameters: bool,
    moves: Mapping[str, Moves] | None,
    cells: Cells,
    where: Place,
    progress: Callable[[int], None] | None,
) -> Forecasted:
    """`forecast_curves` for runs whose windows are all chosen here, or all by the kernel."""
    from ..kernels.bins import SPIKE_POINTS
    from ..kernels.curve_data import Asked, Observed

    flat = runs.flat(axis)
    # The kernel chooses the window, and the points that the slope is measured on, itself.
    every = rule._replace(low=np.where(rule.auto, 0.0, rule.low), auto=np.zeros(len(runs), bool))
    used = select(flat, runs.names, every, 0, len(runs), keep_spikes=True)
    # ... and its spikes, but for the outermost points and in logs too short to be judged.
    used, spiked = without_outer_spikes(flat, used, SPIKE_POINTS)
    offsets = spans(used.n_points)
    rates = asked_rates(runs, axis, used.end, at, plan)
    steps, assumed = step_sizes(runs, axis)
    decimals = runs._columns.decimals
    # Rounding to a step adds noise of step / sqrt(12), which differences of equal losses hide.
    floor = np.where(decimals >= 0, 10.0 ** -np.maximum(decimals, 0.0) / 12**0.5, 0.0)
    unknown = np.full(len(runs), np.nan)
    grid, hyper = cells.grid(whole), cells.prior()
    there = ~np.isnan(at)
    observed = Observed(
        t=flat.x[used.rows],
        loss=flat.loss[used.rows],
        weight=flat.weight[used.rows],
        offsets=offsets,
        warmup=_warmups(runs, axis, plan),
        step_size=steps,
        floor=floor,
        noise=unknown,
        slope=unknown,
        keys=run_keys(seed, runs.names, f"forecast {cells.name}"),
    )
    n_paths = np.diff(rates.offsets)
    asked_paths = np.repeat(there.ravel(), np.repeat(n_paths, at.shape[1]))
    n_runs, n_strengths = len(runs), len(grid.strengths)
    log_ratio = np.log(at / used.end[:, None])
    like, by_name = likes(runs.names, domain)
    asked = Asked(
        at=at[there],
        targets=spans(there.sum(axis=1)),
        hypotheses=rates.offsets,
        history=rates.history,
        kind=rates.kind,
        log_weight=np.zeros(len(rates.kind)),
        futures=spans(n_paths * there.sum(axis=1)),
        future=rates.future[asked_paths],
        plan=rates.plan,
        knowledge=rates.knowledge,
        like=like,
        longer=rates.longer[there].astype(np.int64),
        siblings=moves_at(moves, runs.names, log_ratio)[there],
        strengths=strengths_of(moves, runs.names, n_strengths) / references().strengths,
    )
    brought = observed, asked, grid, hyper, rates.shapes, rates.paths
    options: dict[str, Any] = {"draws": draws, "parameters": parameters, "progress": progress}
    kernels = None
    if where.gpus:
        from ..kernels.gpu.curve_batch import forecast_curves_on

        with gpu_errors():
            result = forecast_curves_on(where.open(), *brought, names=runs.names, **options)
    else:
        kernels = serve("curve_forecast", "_forecast_range", CURVE_SECONDS * n_runs)
        result = kernels.forecast_curves(*brought, **options)
    records = result.records
    curves = _near_the_data(_filled(result.draws, there), at < used.end[:, None], observed)
    falls = _filled(result.falls, there)
    unit = np.where(records["positive"] > 0, records["level"], records["scale"])
    strength = np.stack([records["strength_mean"], records["strength_sd"]], axis=1)
    flags = dict(rates.flags)
    flags["spike"] = np.repeat(spiked[:, None], at.shape[1], axis=1)
    flags["steps_unknown"] = np.repeat(assumed[:, None], at.shape[1], axis=1)
    flags["few_points"] = np.repeat((used.n_points < FEW_POINTS)[:, None], at.shape[1], axis=1)
    level = shows_no_fall(observed.loss, offsets)
    flags["no_fall"] = np.repeat(level[:, None], at.shape[1], axis=1)
    flags["constant"] = np.repeat(_constant(runs)[:, None], at.shape[1], axis=1)
    flags["domain_by_name"] = np.repeat(by_name[:, None], at.shape[1], axis=1)
    flags["response_from_prior"] = _prior_only(strength, falls, curves)
    edges = itertools.pairwise(rates.offsets.tolist())
    shares = result.shares.tolist()
    return Forecasted(
        curves=curves,
        sigma=unit * records["noise"],
        flags=flags,
        falls=falls,
        shares=[
            dict(zip(labels, shares[a:b], strict=True))
            for labels, (a, b) in zip(rates.labels, edges, strict=True)
        ],
        strength=strength,
        slope=unit * records["slope"],
        start=np.maximum(used.start, 0.0 if whole else grid.first * used.end),
        memory=np.zeros(n_runs),
        parameters=result.parameters,
        engine=engine_of(kernels),
        like=records["feature_like"],
        points=records["points"],
        unit=np.where(records["positive"] > 0, 0.0, records["scale"]),
        strengths=result.marginals[:, -n_strengths:],
    )


def _constant(runs: Runs) -> Bools:
    """Which runs have one loss only."""
    data = runs._columns.flags
    if not data:
        return np.zeros(len(runs), bool)
    return np.array(
        [any(flag.flag == "constant" for flag in data.get(name, ())) for name in runs.names]
    )


def _warmups(runs: Runs, axis: str, plan: Plan) -> Floats:
    """Where each run's warm-up ends on the axis, 0 where none is known."""
    out = warmups_of(runs, axis)
    rated = has_rate(runs)
    for own, given, rows in known_of(runs, plan):
        if own is None and given is not None:
            some = rows[~rated[rows]]
            out[some] = given.warmup * axis_factors(runs, some, given, axis)
    return out


def _filled(values: Floats, there: Bools) -> Floats:
    """Rows of the targets in their places, NaN where there is none."""
    if there.all():
        return values.reshape(*there.shape, *values.shape[1:])
    out = np.full((*there.shape, *values.shape[1:]), np.nan)
    out[there] = values
    return out


def _near_the_data(curves: Floats, past: Bools, observed: Observed) -> Floats:
    """Curves of the past within ten times the range of the run's losses.

    Far before the window nothing holds a power law back: there it may leave double precision.
    """
    if not past.any():
        return curves
    starts = observed.offsets[:-1]
    low, high = (
        np.minimum.reduceat(observed.loss, starts),
        np.maximum.reduceat(observed.loss, starts),
    )
    margin = FARTHEST_RANGES * (high - low)
    bounded = np.clip(curves, (low - margin)[:, None, None], (high + margin)[:, None, None])
    return np.where(past[:, :, None], bounded, curves)


def _prior_only(strength: Floats, falls: Floats, curves: Floats) -> Bools:
    """Where the data say little of B, and that makes much of the forecast's spread."""
    mean, sd = strength.T
    part = np.abs(falls) * (sd / np.maximum(np.abs(mean), 1e-12))[:, None]
    with np.errstate(invalid="ignore"):
        blind = sd > UNSURE * np.abs(mean)
        return np.asarray(blind[:, None] & (part > MATTERS * deviations(curves)))


def _joined(parts: list[tuple[Ints, Forecasted]]) -> Forecasted:
    """Forecasts of groups of runs in the runs' order."""
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))

    def arrays(name: str) -> Any:
        return np.concatenate([getattr(made, name) for _, made in parts])[order]

    shares = [one for _, made in parts for one in made.shares]
    flags = {
        name: np.concatenate([made.flags[name] for _, made in parts])[order]
        for name in parts[0][1].flags
    }
    names = (
        "curves", "sigma", "falls", "strength", "slope", "start", "memory", "like", "unit",
        "points", "strengths",
    )  # fmt: skip
    kept = parts[0][1].parameters
    return Forecasted(
        flags=flags,
        shares=[shares[i] for i in order],
        engine=parts[0][1].engine,
        parameters=arrays("parameters") if kept.size else kept,
        **{name: arrays(name) for name in names},
    )
