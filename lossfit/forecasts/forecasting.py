"""Forecasts by laws that respond to the learning rate: from runs to draws of curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.ragged import Bools, Floats, Ints, gather
from .._base.seeds import run_keys
from ..engine.devices import CPU, Place, gpu_errors
from ..engine.serving import FORECAST_SECONDS, engine_of, serve
from ..fits.window import WindowSpec, rule_of, select, without_outer_spikes
from .rates import Plan, rates

if TYPE_CHECKING:
    from ..kernels.forecast_driver import Forecast, ResponsePrior
    from ..laws import GridLaw, ResponseStrength
    from ..runs.collection import Runs

ASSUMED_STEPS = 20_000  # of a run that counts no steps, at the end of its data
PRIOR_ONLY = 0.85  # the data say nothing of B: its posterior sd over its prior's
MAD = 1.4826  # standard deviations in a median absolute deviation
LEAST_NOISE = 5e-5  # of the loss, as in `lossfit.kernels.bins`
MATTERS = 0.25  # ... and that matters where it makes so much of the forecast's spread


@dataclass(frozen=True, eq=False)
class Forecasted:
    """Curves of some runs at their targets."""

    curves: Floats  # shape (R, T, D): draws without noise; NaN where the target is NaN
    sigma: Floats  # shape (R,): noise of a point of weight 1
    flags: dict[str, Bools]  # shape (R, T)
    # shape (R, T): mean of what the schedule takes off the loss between the end of the data and the
    # target
    falls: Floats
    # for each run the posterior weight of each hypothesis on its learning rate
    shares: list[dict[str, float]]
    strength: Floats  # shape (R, 2): posterior mean and sd of B
    slope: Floats  # shape (R,): local slope, in loss per e-fold
    start: Floats  # shape (R,): where the window starts
    memory: Floats  # shape (R,): autocorrelation of smoothed noise
    parameters: Floats  # shape (R, P, D) or (R, 0, 0)
    engine: str = "compiled"  # "compiled", or "uncompiled" for kernels that served in plain Python
    # shape (R,): how much the default law takes a run to be a language model on text, 0 to 1
    like: Floats = field(default_factory=lambda: np.zeros(0))
    # shape (R,): points that the default law was fitted to
    points: Floats = field(default_factory=lambda: np.zeros(0))
    # shape (R,): unit of the default law's parameters in the loss; 0 where they are of its
    # logarithm
    unit: Floats = field(default_factory=lambda: np.zeros(0))
    # shape (R, n_strengths): posterior probabilities of the normals of the default law's prior of B
    strengths: Floats = field(default_factory=lambda: np.zeros((0, 0)))


def forecast(
    runs: Runs,
    law: GridLaw,
    axis: str,
    window: WindowSpec,
    at: Floats,  # shape (R, T): targets in units of the axis, NaN where a run has fewer
    plan: Plan,  # what the caller says of the future
    # from the last losses, shape (R,), to the prior of the response
    prior: Callable[[Floats], ResponsePrior],
    *,
    draws: int,
    seed: int,
    parameters: bool = False,  # whether to keep the parameters of the draws
    where: Place = CPU,  # what computes it
    # called with the number of runs that were finished
    progress: Callable[[int], None] | None = None,
) -> Forecasted:
    """Fit the law to every run and evaluate it at the targets."""
    from ..kernels.bins import SPIKE_POINTS
    from ..kernels.forecast_driver import Curves

    rule = rule_of(window, runs, drop=law.first)
    flat = runs.flat(axis)
    # The kernel finds the spikes of the window itself: those of the whole run were judged by the
    # noise of its steep beginning too.  But it cannot judge the outermost points.
    chosen = select(flat, runs.names, rule, 0, len(runs), keep_spikes=True)
    chosen, spiked = without_outer_spikes(flat, chosen, SPIKE_POINTS)
    offsets = np.concatenate([[0], np.cumsum(chosen.n_points)]).astype(np.int64)
    t = flat.x[chosen.rows]
    y = flat.loss[chosen.rows]
    order = np.argsort(at, axis=1)  # NaN last
    sorted_at = np.take_along_axis(at, order, axis=1)
    found = rates(runs, axis, chosen.end, sorted_at, plan)
    steps, assumed = step_sizes(runs, axis)
    unknown = np.full(len(runs), np.nan)
    decimals = runs._columns.decimals
    # Rounding to a step adds noise of step / sqrt(12), which differences of equal losses hide.
    floor = np.where(decimals >= 0, 10.0 ** -np.maximum(decimals, 0.0) / 12**0.5, 0.0)
    strength = prior(_levels(y, offsets))
    weight = flat.weight[chosen.rows]
    sigma = _noise_of_three(y, weight, offsets, floor)
    curves = Curves(t, y, weight, offsets, steps, unknown, floor, sigma, unknown)
    brought = (
        curves, law.grid, found.hypotheses, strength, found.shapes, found.paths, sorted_at,
        run_keys(seed, runs.names, f"forecast {law.name}"),
    )  # fmt: skip
    options: dict[str, Any] = {"draws": draws, "parameters": parameters, "progress": progress}
    kernels = None
    if where.gpus:
        from ..kernels.gpu.forecast_batch import forecast_batch_on

        with gpu_errors():
            result = forecast_batch_on(
                where.open(), *brought, single=where.single, names=runs.names, **options
            )
    else:
        seconds = FORECAST_SECONDS * len(runs)
        kernels = serve("forecast_driver", "_forecast_range", seconds)
        result = kernels.forecast_batch(*brought, **options)
    back = np.argsort(order, axis=1)
    drawn = result.draws
    if not (back == np.arange(at.shape[1])).all():
        drawn = np.take_along_axis(drawn, back[:, :, None], axis=1)
    flags = {name: np.take_along_axis(where, back, axis=1) for name, where in found.flags.items()}
    flags["steps_unknown"] = np.repeat(assumed[:, None], at.shape[1], axis=1)
    flags["smoothed_noise"] = np.repeat(result.info["memory"][:, None] > 0, at.shape[1], axis=1)
    flags["spike"] = np.repeat(spiked[:, None], at.shape[1], axis=1)
    falls = np.take_along_axis(result.falls, back, axis=1)
    spreads = np.take_along_axis(result.spreads, back, axis=1)
    flags["response_from_prior"] = _prior_only(result, strength, spreads, falls)
    shares = [
        {label: float(w) for label, w in zip(names, row, strict=False)}
        for names, row in zip(found.labels, result.shares, strict=True)
    ]
    return Forecasted(
        curves=drawn,
        sigma=result.info["sigma"],
        flags=flags,
        falls=falls,
        shares=shares,
        strength=np.stack([result.info["b_mean"], result.info["b_sd"]], axis=1),
        slope=result.info["slope"],
        start=chosen.start,
        memory=result.info["memory"],
        parameters=result.parameters,
        engine=engine_of(kernels),
    )


def _noise_of_three(y: Floats, weight: Floats, offsets: Ints, floor: Floats) -> Floats:
    """Noise of runs with three points; NaN for the others, which the kernel measures.

    The kernel takes the spread of the points' distances from the middle of their neighbours, and
    one distance has no spread.  Its size says more, if little: the factor is that of a median.
    """
    sigma = np.full(len(offsets) - 1, np.nan)
    few = np.flatnonzero(np.diff(offsets) == 3)
    if len(few):
        a, b, c = (offsets[few] + i for i in range(3))
        spread = np.sqrt(1 / weight[b] + 0.25 / weight[a] + 0.25 / weight[c])
        size = MAD * np.abs(y[b] - (y[a] + y[c]) / 2) / spread
        most = np.maximum(np.maximum(np.abs(y[a]), np.abs(y[b])), np.abs(y[c]))
        sigma[few] = np.maximum(np.maximum(size, LEAST_NOISE * most + 1e-20), floor[few])
    return sigma


def _levels(y: Floats, offsets: Ints) -> Floats:
    """Mean loss of the last fortieth of each window."""
    last = np.maximum(np.diff(offsets) // 40, 1)
    # Each run by itself: differences of one running sum would carry the rounding of the others.
    rows, starts = gather(offsets[1:] - last, offsets[1:])
    return np.asarray(np.add.reduceat(y[rows], starts[:-1]) / last)


def step_sizes(runs: Runs, axis: str) -> tuple[Floats, Bools]:
    """Axis units in an optimiser step, and which runs count no steps."""
    ends = runs.flat(axis).x[runs.flat(axis).offsets[1:] - 1]
    if axis == "step":
        return np.ones(len(runs)), np.zeros(len(runs), bool)
    values, has = runs._axis("step")
    steps = values[runs.flat(axis).offsets[1:] - 1]
    steps = np.where(has & (steps > 0), steps, ASSUMED_STEPS)
    return np.asarray(ends / steps), ~has


def _prior_only(result: Forecast, strength: ResponsePrior, spreads: Floats, falls: Floats) -> Bools:
    """Where the data say nothing of B, and that makes much of the forecast's spread."""
    weight = np.exp(strength.log_weight)
    weight = weight / weight.sum(axis=1, keepdims=True)
    mean = (weight * strength.mean).sum(axis=1)
    spread = np.sqrt((weight * (strength.sd**2 + (strength.mean - mean[:, None]) ** 2)).sum(axis=1))
    b_mean, b_sd = result.info["b_mean"], result.info["b_sd"]
    blind = b_sd > PRIOR_ONLY * spread
    # B's relative sd times what the schedule takes off is its part in the forecast's sd.
    part = np.abs(falls) * (b_sd / np.maximum(b_mean, 1e-12))[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(blind[:, None] & (part > MATTERS * spreads))


def priors_by_run(
    each: Sequence[tuple[ResponseStrength, tuple[float, ...]]], level: Floats
) -> ResponsePrior:
    """Priors of runs, of which each has its own strength and weights of the responses."""
    from ..kernels.forecast_driver import ResponsePrior

    different = dict.fromkeys(each)
    if len(different) == 1:
        strength, weights = each[0]
        return strength.components(level, weights)
    n_runs = len(each)
    most = max(len(strength.scales) for strength, _ in different)
    mean, sd = np.zeros((n_runs, most)), np.ones((n_runs, most))
    log_weight = np.full((n_runs, most), -1e300)
    centre, slopes = np.empty(n_runs), np.empty(n_runs)
    log_unit = np.empty((n_runs, len(each[0][1])))
    number = {one: i for i, one in enumerate(different)}
    which = np.array([number[one] for one in each])
    for i, (strength, weights) in enumerate(different):
        rows = which == i
        found = strength.components(level[rows], weights)
        k = slice(found.mean.shape[1])
        mean[rows, k], sd[rows, k], log_weight[rows, k] = found[:3]
        centre[rows], slopes[rows], log_unit[rows] = found[3:]
    return ResponsePrior(mean, sd, log_weight, centre, slopes, log_unit)
