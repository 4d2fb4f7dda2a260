"""Forecasts of runs that share a model: joint fits (`joint`) for `extrapolate`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.blas import one_blas_thread
from .._base.errors import DataError, LossfitWarning
from .._base.progress import patience
from .._base.ragged import Bools, Floats
from .._base.seeds import run_keys
from ..fits.window import WindowSpec, rule_of, select
from ..runs.known import for_runs
from .forecasting import Forecasted, step_sizes
from .joint import JointConstants, fit_jointly
from .joint_data import Curve
from .joint_posterior import JointPosterior
from .rates import Plan, Rates, rates
from .responses import Rate, rate_along

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from .learning import Priors

Share = bool | str | Mapping[str, str] | None

SAME_PARAMS = 1.05  # runs of one model differ in their parameters by this factor at most
#: Standard deviations off the shared curve from which a run is said to disagree, the law's own
#: error of a level counted as a share of the slope.  In 32 random sets of public runs of one model
#: one had a run as far off (5.7; the others 2.1 at most); .05 nats on one run were so in 26 of 30.
DISAGREE = 3.5
LEVEL_ERROR = 0.02


def models_of(runs: Runs, share: Share) -> dict[str, str] | None:
    """The model of each run; None without sharing.

    Raises `DataError`: a run without an entry; runs of one model whose numbers of parameters differ
    by more than 5 %.
    """
    if share is None or share is False:
        return None
    models = _named_models(runs, share)
    sizes: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        params = runs[name].params
        if params is not None:
            sizes.setdefault(model, {})[name] = params
    for of_model in sizes.values():
        small, large = min(of_model, key=of_model.__getitem__), max(of_model, key=of_model.get)  # type: ignore[arg-type]
        if of_model[large] > SAME_PARAMS * of_model[small]:
            raise DataError(
                f"share= is for runs of one model, but run {small!r} has {of_model[small]:.3g} "
                f"parameters and run {large!r} {of_model[large]:.3g}: say which runs are of one "
                f"model, share={{run: model}} or the name of an entry of meta; for runs of several "
                f"sizes there is lossfit.fit_ladder"
            )
    return models


def _named_models(runs: Runs, share: str | bool | Mapping[str, str]) -> dict[str, str]:
    if share is True:
        return dict.fromkeys(runs.names, "the model")
    out = {}
    for name in runs.names:
        known: Mapping[str, Any] = share if isinstance(share, Mapping) else runs[name].meta
        key = name if isinstance(share, Mapping) else str(share)
        if key not in known:
            what = "share= has" if isinstance(share, Mapping) else f"share={share!r}: the meta has"
            raise DataError(f"{what} no entry for run {name!r}: give share=True or a dict by run")
        out[name] = str(known[key])
    return out


@patience("fitting the runs of each model together")
@one_blas_thread()
def forecast_shared(
    runs: Runs,  # all runs; every schedule must be known
    models: Mapping[str, str],  # dict by run: which model each run is of
    asked: tuple[str, ...],  # length R
    # axis, window, plan, draws, seed: as in `forecasting.forecast`; the automatic window starts
    # after the warm-up
    axis: str,
    window: WindowSpec,
    at: Floats,  # shape (R, T)
    plan: Plan,
    *,
    draws: int,
    seed: int,
    # dict by run: what finished runs say of B, for the asked ones
    learned: Mapping[str, Priors | None] | None = None,
) -> Forecasted:
    """Fit the runs of every model together and forecast the asked ones.

    Raises `DataError`: a schedule is not known; a run with too few points.
    """
    n_at = at.shape[1]
    curves = np.full((len(asked), n_at, draws), np.nan)
    sigma, slope = np.empty(len(asked)), np.full(len(asked), np.nan)
    start, strength = np.empty(len(asked)), np.empty((len(asked), 2))
    labels: list[dict[str, float]] = [{} for _ in asked]
    flags: dict[str, Bools] = {}
    for model in dict.fromkeys(models[name] for name in asked):
        members = tuple(name for name in runs.names if models[name] == model)
        some = runs.select(members)
        own = np.full((len(members), n_at), np.nan)
        for i, name in enumerate(members):
            if name in asked:
                own[i] = at[asked.index(name)]
        order = np.argsort(own, axis=1)
        first = next(name for name in members if name in asked)
        group = fit_members(
            some,
            axis,
            window,
            np.take_along_axis(own, order, axis=1),
            plan,
            constants_from(None if learned is None else learned[first]),
        )
        joint, found, steps, assumed = group.joint, group.rates, group.steps, group.assumed
        keys = run_keys(seed, [model], "joint")
        for i, name in enumerate(members):
            if name not in asked:
                continue
            r = asked.index(name)
            future = found.hypotheses.future[i, :, 0]
            back = np.argsort(order[i], kind="stable")
            for path in dict.fromkeys(future.tolist()):
                columns = np.flatnonzero((future[back] == path) & ~np.isnan(at[r]))
                if not columns.size:
                    continue
                same = path == int(found.hypotheses.history[i, 0])
                curves[r, columns] = joint.forecast(
                    rate_of(found, path, steps[i]),
                    at[r, columns] / steps[i],
                    key=int(keys[0]),
                    draws=draws,
                    curve=i if same else None,
                )
            sigma[r] = joint.sigma
            start[r] = group.start[i]
            strength[r] = _strength(joint)
            labels[r] = dict.fromkeys(found.labels[i], 1.0)
            for flag, where in found.flags.items():
                out = flags.setdefault(flag, np.zeros(at.shape, bool))
                out[r] = where[i][back]
            for flag, value in (("steps_unknown", assumed[i]), ("runs_disagree", group.apart)):
                out = flags.setdefault(flag, np.zeros(at.shape, bool))
                out[r] = value
    return Forecasted(
        curves=curves,
        sigma=sigma,
        flags=flags,
        falls=np.full(at.shape, np.nan),
        shares=labels,
        strength=strength,
        slope=slope,
        start=start,
        memory=np.zeros(len(asked)),
        parameters=np.empty((len(asked), 0, 0)),
    )


class Members(NamedTuple):
    """Runs of one model, fitted together."""

    joint: JointPosterior  # its curves are the runs in their order
    rates: Rates  # their paths
    steps: Floats  # shape (n_runs,): axis units in an optimiser step
    assumed: Bools  # shape (n_runs,): which count no steps
    # start, end: shape (n_runs,): of the windows, in units of the axis
    start: Floats
    end: Floats
    apart: bool  # whether one of them lies off the curve that they share


def fit_members(
    some: Runs,  # the runs; every schedule must be known
    # axis, window, plan: as of `forecast_shared`
    axis: str,
    window: WindowSpec,
    at: Floats,  # shape (n_runs, n_at): targets, not decreasing, NaN last
    plan: Plan,
    constants: JointConstants | None = None,
) -> Members:
    """Fit the runs of one model together.

    Raises `DataError`: a schedule is not known; a run with too few points.
    """
    rule = rule_of(for_runs(window, some), some, drop=0.0)
    flat = some.flat(axis)
    chosen = select(flat, some.names, rule, 0, len(some), keep_spikes=False)
    steps, assumed = step_sizes(some, axis)
    # Runs of one model that count no steps have steps of one size, whatever their lengths.
    steps = np.where(assumed, np.max(steps, where=assumed, initial=0.0), steps)
    found = rates(some, axis, chosen.end, at, plan)
    data = []
    for i, (name, label) in enumerate(zip(some.names, found.labels, strict=True)):
        if len(label) > 1:
            raise DataError(
                f"share= needs every learning-rate schedule; that of run {name!r} is not "
                f"known: give it with with_schedule(...) or an lr column"
            )
        rows = slice(int(flat.offsets[i]), int(flat.offsets[i + 1]))
        used = chosen.rows[rows]
        history = rate_of(found, int(found.hypotheses.history[i, 0]), steps[i])
        data.append(Curve(flat.x[rows][used] / steps[i], flat.loss[rows][used], history))
    joint = fit_jointly(data, constants, names=some.names)
    apart = len(some) > 1 and disagree(joint, some.names)
    return Members(joint, found, steps, assumed, chosen.start, chosen.end, apart)


def disagree(joint: JointPosterior, names: Sequence[str]) -> bool:
    """Whether a run lies off the curve that they share; warns of the one that does most."""
    off, sd = joint.offsets()
    sd = np.hypot(sd, LEVEL_ERROR * joint.data.slope)
    i = int(np.argmax(np.abs(off) / sd))
    if abs(off[i]) < DISAGREE * sd[i]:
        return False
    warnings.warn(
        LossfitWarning(
            f"share=: run {names[i]!r} lies {off[i]:+.3f} off the curve of the others, "
            f"{abs(off[i]) / sd[i]:.0f} standard deviations: are they of one model, on the same "
            f"data, with losses of one kind?"
        ),
        stacklevel=2,
    )
    return True


def rate_of(rates: Rates, path: int, step_size: float) -> Rate:
    """A path in steps."""
    return rate_along(rates.shapes, rates.paths, path, step_size)


def _strength(joint: JointPosterior) -> tuple[float, float]:
    """Posterior mean and sd of B."""
    mean = float(joint.weight @ joint.mean[:, 2])
    var = joint.weight @ (joint.cov[:, 2, 2] + (joint.mean[:, 2] - mean) ** 2)
    return mean, float(np.sqrt(var))


def constants_from(learned: Priors | None) -> JointConstants:
    """The constants, with the prior of B that finished runs give."""
    constants = JointConstants()
    if learned is None or not learned.used:
        return constants
    strength = learned.strength
    return replace(constants, b_mean=strength.mean, b_sd=max(strength.sds), b_low_loss=1e-9)
