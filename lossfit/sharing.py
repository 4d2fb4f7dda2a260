"""Forecasts of runs that share a model: joint fits (`lossfit.joint`) for `extrapolate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._ragged import Bools, Floats
from .errors import DataError
from .forecasting import Forecasted, step_sizes
from .joint import Curve, JointPosterior, Rate, fit_jointly
from .known import for_runs
from .rates import Plan, Rates, rates
from .seeds import run_keys
from .window import WindowSpec, rule_of, select

if TYPE_CHECKING:
    from .runs import Runs

__all__ = ["Share", "forecast_shared", "models_of"]

Share = bool | str | Mapping[str, str] | None


def models_of(runs: Runs, share: Share) -> dict[str, str] | None:
    """The model of each run; None without sharing.

    Raises
    ------
    DataError
        A run without an entry.
    """
    if share is None or share is False:
        return None
    if share is True:
        return dict.fromkeys(runs.names, "the model")
    out = {}
    for name in runs.names:
        known: Mapping[str, Any] = share if isinstance(share, Mapping) else runs[name].meta
        key = name if isinstance(share, Mapping) else share
        if key not in known:
            what = "share= has" if isinstance(share, Mapping) else f"share={share!r}: the meta has"
            raise DataError(f"{what} no entry for run {name!r}: give share=True or a dict by run")
        out[name] = str(known[key])
    return out


def forecast_shared(
    runs: Runs,
    models: Mapping[str, str],
    asked: tuple[str, ...],
    axis: str,
    window: WindowSpec,
    at: Floats,
    plan: Plan,
    *,
    draws: int,
    seed: int,
) -> Forecasted:
    """Fit the runs of every model together and forecast the asked ones.

    Parameters
    ----------
    runs : Runs
        All runs; every schedule must be known.
    models : dict by run
        Which model each run is of.
    asked : tuple of str, length R
    axis, window, plan, draws, seed
        As in `lossfit.forecasting.forecast`; the automatic window starts after the warm-up.
    at : ndarray, shape (R, T)

    Raises
    ------
    DataError
        A schedule is not known; a run with too few points.
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
        rule = rule_of(for_runs(window, some), some, drop=0.0)
        flat = some.flat(axis)
        chosen = select(flat, members, rule, 0, len(some), keep_spikes=False)
        steps, assumed = step_sizes(some, axis)
        own = np.full((len(members), n_at), np.nan)
        for i, name in enumerate(members):
            if name in asked:
                own[i] = at[asked.index(name)]
        order = np.argsort(own, axis=1)
        found = rates(some, axis, chosen.end, np.take_along_axis(own, order, axis=1), plan)
        for name, label in zip(members, found.labels, strict=True):
            if len(label) > 1:
                raise DataError(
                    f"share= needs every learning-rate schedule; that of run {name!r} is not "
                    f"known: give it with with_schedule(...) or an lr column"
                )
        history = [
            _rate(found, int(found.hypotheses.history[i, 0]), steps[i]) for i in range(len(members))
        ]
        data = []
        for i in range(len(members)):
            rows = slice(int(flat.offsets[i]), int(flat.offsets[i + 1]))
            used = chosen.rows[rows]
            data.append(Curve(flat.x[rows][used] / steps[i], flat.loss[rows][used], history[i]))
        joint = fit_jointly(data, names=members)
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
                    _rate(found, path, steps[i]),
                    at[r, columns] / steps[i],
                    key=int(keys[0]),
                    draws=draws,
                    curve=i if same else None,
                )
            sigma[r] = joint.sigma
            start[r] = chosen.start[i]
            strength[r] = _strength(joint)
            labels[r] = dict.fromkeys(found.labels[i], 1.0)
            for flag, where in found.flags.items():
                out = flags.setdefault(flag, np.zeros(at.shape, bool))
                out[r] = where[i][back]
            out = flags.setdefault("steps_unknown", np.zeros(at.shape, bool))
            out[r] = assumed[i]
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


def _rate(found: Rates, path: int, step_size: float) -> Rate:
    """A path in steps."""
    first = int(found.shapes.offsets[found.paths.shape[path]])
    last = int(found.shapes.offsets[found.paths.shape[path] + 1])
    t = found.paths.start[path] + found.shapes.z[first:last] * found.paths.stretch[path]
    return Rate(np.maximum(t / step_size, 0.0), found.shapes.rho[first:last])


def _strength(joint: JointPosterior) -> tuple[float, float]:
    """Posterior mean and sd of B."""
    mean = float(joint.weight @ joint.mean[:, 2])
    var = joint.weight @ (joint.cov[:, 2, 2] + (joint.mean[:, 2] - mean) ** 2)
    return mean, float(np.sqrt(var))
