"""Fits as netCDF files, with their data: ArviZ reads the groups, `read` gives the fit back.

Groups ``posterior``, ``observed_data``, ``constant_data`` and ``sample_stats`` are those of
`Fit.to_datatree`.  ``lossfit`` holds what the fit needs to go on: draws on the scaled axis, and
every column of the runs, with schedules, flags and priors as JSON text.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, astuple, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import laws
from .._base.errors import DataError
from .._base.stored import Stored, refusing, sealed
from .._base.summaries import check_prob
from ..kernels.records import FIT, as_records, as_table
from ..laws.priors import checked
from ..laws.stored import priors_of
from ..runs.axes import AXES, Columns, check_axis
from ..runs.cleaning import Flag
from ..runs.limits import AXIS_LIMIT, MOST_LOSS
from ..schedules.shapes import Schedule
from .settings import Settings

if TYPE_CHECKING:
    import xarray as xr

    from ..laws import Law
    from .posterior import Fit

FORMAT = "lossfit.fit/1"
GROUP = "lossfit"
WHAT = "a fit written by Fit.to_netcdf"
ENGINE: Any = "h5netcdf"
PER_RUN = ("start", "end", "count", "scales", "info")
DIMS = {"scales": ("run", "scale"), "info": ("run", "diagnostic")}


def write(fit: Fit, path: str | os.PathLike[str]) -> None:
    """See `Fit.to_netcdf`."""
    import xarray as xr

    fit = fit.to_host()  # where its draws are on a GPU
    tree: dict[str, xr.Dataset] = {}
    if fit.draws is not None:
        from .arviz_groups import groups

        tree.update(groups(fit, predictive=False))
    tree[GROUP] = _own(fit)
    xr.DataTree.from_dict(tree).to_netcdf(os.fspath(path), engine=ENGINE)


def _own(fit: Fit) -> xr.Dataset:
    """All that makes up a fit."""
    import xarray as xr

    variables: dict[str, Any] = {
        name: (DIMS.get(name, ("run",)), as_table(getattr(fit, name))) for name in PER_RUN
    }
    if fit.draws is not None:
        variables["draws"] = (("run", "parameter", "sample"), fit.draws)
    if fit.moments is not None:
        variables["moments"] = (("run", "parameter", "moment"), fit.moments.values)
    columns = fit.runs._columns
    texts: dict[str, Any] = {
        "format": FORMAT,
        "settings": asdict(fit.settings),
        "law": _law_text(fit.law),
        "schedules": {name: asdict(s) for name, s in columns.schedules.items()},
        "meta": {name: dict(m) for name, m in columns.meta.items()},
        "flags": [astuple(flag) for group in columns.flags.values() for flag in group],
    }
    for field in fields(Columns):
        value = getattr(columns, field.name)
        if isinstance(value, np.ndarray):
            per = {"offsets": "edge"}.get(
                field.name, "point" if len(value) == len(columns.loss) else "run"
            )
            if field.name in ("base", "params", "tokens_per_step", "gpu_rate", "decimals"):
                per = "run"
            variables[f"runs.{field.name}"] = (
                per,
                value.astype(np.int8) if value.dtype == bool else value,
            )
    for axis, values in columns.logged.items():
        variables[f"runs.logged.{axis}"] = ("point", values)
        variables[f"runs.has.{axis}"] = ("run", columns.has[axis].astype(np.int8))
    # Variables, not attributes: HDF5 limits those to 64 kB.
    for name, value in texts.items():
        variables[f"json.{name}"] = ((), json.dumps(value, default=str))
    return sealed(xr.Dataset(variables, coords={"run": list(columns.names)}))


def _law_text(law: Law) -> dict[str, Any]:
    return {
        "name": law.name,
        "formula": law.formula,
        "parameters": law.parameters,
        "priors": {name: asdict(prior) for name, prior in priors_of(law).items()},
    }


def read(stored: Stored, law: Law | None = None) -> Fit:
    """The fit that a file's group holds; see `lossfit.from_netcdf`."""
    from .._base.summaries import Moments
    from ..runs.collection import Runs
    from .posterior import Fit

    name = stored.path
    form = stored.text("format", str)
    if form != FORMAT:
        raise DataError(f"{name} has format {form!r}, this version of lossfit reads {FORMAT!r}")
    with refusing(name, WHAT):
        law = _law(stored.text("law", dict), law, name)
        settings = _settings(stored)
        columns = _columns(stored)
        parameters, samples = len(law.parameters) + 1, settings.chains * settings.draws
        parts: dict[str, Any] = {
            "start": stored.array("start", "run", low=0.0, high=AXIS_LIMIT),
            "end": stored.array("end", "run", above=0.0, high=AXIS_LIMIT),
            "count": stored.array("count", "run", kind="int", low=1),
            "scales": stored.array("scales", "run", 2, low=0.0),
            "info": as_records(stored.array("info", "run", len(FIT), missing=True), FIT),
        }
        if (parts["start"] > parts["end"]).any():
            raise stored.refuse("start", "is after end")
        if (parts["count"] > np.diff(columns.offsets)).any():
            raise stored.refuse("count", "is more than the points of its run")
        draws = moments = None
        if "draws" in stored:
            draws = stored.array("draws", "run", parameters, samples)
            if (draws[:, -1] <= 0).any():
                raise stored.refuse("draws", "has a sigma that is not positive")
        if "moments" in stored:
            described = stored.array("moments", "run", parameters, 4)
            if (described[:, :, 1] < 0).any():
                raise stored.refuse("moments", "has a negative standard deviation")
            moments = Moments.of(described)
        if draws is None and moments is None:
            raise stored.refuse("draws", "is missing, and so are moments")
        return Fit(
            runs=Runs._of(columns),
            law=law,
            settings=settings,
            draws=draws,
            moments=moments,
            **parts,
        )


def _settings(stored: Stored) -> Settings:
    """How the fit was made, each part of its kind."""
    settings = Settings(**stored.text("settings", dict))
    check_axis(settings.axis)
    check_prob(settings.prob)
    for name in ("random_seed", "chains", "draws"):
        value = getattr(settings, name)
        if not isinstance(value, int) or value < (1 if name == "chains" else 0):
            raise stored.refuse("json.settings", f"has {name} {value!r}")
    for name in ("axis", "window", "method", "noise", "device", "dtype", "engine", "created_at"):
        if not isinstance(getattr(settings, name), str):
            raise stored.refuse("json.settings", f"has {name} {getattr(settings, name)!r}")
    return settings


def _law(text: dict[str, Any], given: Law | None, path: str) -> Law:
    stored = tuple(text["parameters"])
    law = given
    if law is None:
        own = laws.get(text["name"]) if text["name"] in laws.NAMES else None
        if own is None or (own.formula, own.parameters) != (text["formula"], stored):
            raise DataError(
                f"the law {text['name']!r} of {path} is none of lossfit's own; a file cannot hold "
                f"its functions, so give it: from_netcdf(path, law=...)"
            )
        law = own
    elif law.parameters != stored:
        raise DataError(
            f"the law {law.name!r} has parameters {', '.join(law.parameters)}, the fit in {path} "
            f"has {', '.join(stored)}: give the law that it was made with"
        )
    return law.with_priors({name: checked(**prior) for name, prior in text["priors"].items()})


def _columns(stored: Stored) -> Columns:
    """The runs' columns, from the variables ``runs.*``."""
    names = tuple(map(str, stored.array("run", "run", kind="text")))
    if len(set(names)) != len(names) or not names:
        raise stored.refuse("run", "has no names, or one twice")
    loss = stored.array("runs.loss", "point", low=-MOST_LOSS, high=MOST_LOSS)
    edges = stored.array("runs.offsets", len(names) + 1, kind="int").astype(np.int64)
    if edges[0] != 0 or edges[-1] != len(loss) or (np.diff(edges) < 1).any():
        raise stored.refuse("runs.offsets", f"does not rise from 0 to {len(loss)}")
    logged, has = {}, {}
    for axis in AXES:
        if f"runs.logged.{axis}" in stored:
            values = stored.array(
                f"runs.logged.{axis}", "point", low=0, high=AXIS_LIMIT, missing=True
            )
            present = stored.array(f"runs.has.{axis}", "run", kind="bool", low=0, high=1)
            if np.isnan(values[np.repeat(present, np.diff(edges))]).any():
                raise stored.refuse(f"runs.logged.{axis}", "has gaps")
            logged[axis], has[axis] = values, present
    base = stored.array("runs.base", "run", kind="int", low=0, high=len(AXES) - 1)
    for run, axis in enumerate(AXES[code] for code in base):
        if axis not in has or not has[axis][run]:
            raise stored.refuse(f"runs.base[{run}]", f"is {axis}, which that run does not have")
    numbers = {
        name: stored.array(f"runs.{name}", "run", above=0.0, missing=True)
        for name in ("params", "tokens_per_step", "gpu_rate")
    }
    flags: dict[str | None, tuple[Flag, ...]] = {}
    for row in stored.text("flags", list):
        flag = Flag(*row)
        if flag.run not in (None, *names) or not isinstance(flag.flag, str):
            raise stored.refuse("json.flags", f"has a flag of {flag.run!r}, which is no run")
        flags[flag.run] = (*flags.get(flag.run, ()), flag)
    lr = stored.array("runs.lr", "point", missing=True) if "runs.lr" in stored else None
    return Columns(
        names=names,
        offsets=edges,
        loss=loss,
        weight=stored.array("runs.weight", "point", above=0.0),
        lr=lr,
        logged=logged,
        has=has,
        base=base,
        spike=stored.array("runs.spike", "point", kind="bool", low=0, high=1),
        decimals=stored.array("runs.decimals", "run", kind="int", low=-1),
        schedules=_schedules(stored, names),
        meta=_of_runs(stored, "meta", names),
        flags=flags,
        **numbers,
    )


def _of_runs(stored: Stored, name: str, names: tuple[str, ...]) -> dict[str, Any]:
    """A text that has something for some runs."""
    given: dict[str, Any] = stored.text(name, dict)
    for run, value in given.items():
        if run not in names or not isinstance(value, dict):
            raise stored.refuse(f"json.{name}", f"has {run!r}, which is no run of the file")
    return given


def _schedules(stored: Stored, names: tuple[str, ...]) -> dict[str, Schedule]:
    out = {}
    for name, text in _of_runs(stored, "schedules", names).items():
        points = {key: tuple(map(float, text[key])) for key in ("steps", "rates")}
        schedule = Schedule(**{**text, **points})
        ends = schedule([0.0, schedule.total or 1.0])
        if not (np.isfinite(ends) & (ends >= 0)).all():
            raise stored.refuse("json.schedules", f"of {name!r} is no schedule")
        out[name] = schedule
    return out
