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
from ..kernels.records import FIT, as_records, as_table
from ..laws.priors import Prior
from ..runs.axes import Columns
from ..runs.cleaning import Flag
from ..schedules.shapes import Schedule

if TYPE_CHECKING:
    import xarray as xr

    from ..laws import Law
    from .posterior import Fit

__all__ = ["FORMAT", "from_netcdf", "write"]

FORMAT = "lossfit.fit/1"
GROUP = "lossfit"
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
    return xr.Dataset(variables, coords={"run": list(columns.names)})


def _law_text(law: Law) -> dict[str, Any]:
    priors = {p.name: asdict(p.prior) for p in law.nonlinear}
    priors |= {p.name: asdict(p.prior) for p in law.linear}
    priors["sigma"] = asdict(law.sigma)
    return {
        "name": law.name,
        "formula": law.formula,
        "parameters": law.parameters,
        "priors": priors,
    }


def from_netcdf(path: str | os.PathLike[str], law: Law | None = None) -> Fit:
    """Read a fit that `Fit.to_netcdf` wrote.

    Parameters
    ----------
    path : path
    law : Law, optional
        The law, if it is none of lossfit's own (a file cannot hold its functions).

    Raises
    ------
    DataError
        Not such a file; a law that is not lossfit's own and was not given, or another one.
    """
    import xarray as xr

    from .._base.summaries import Moments
    from ..runs.collection import Runs
    from .posterior import Fit
    from .settings import Settings

    name = os.fspath(path)
    if not os.path.exists(name):
        raise DataError(f"there is no file {name}")
    try:
        with xr.open_dataset(name, group=GROUP, engine=ENGINE) as opened:
            data = opened.load()
        texts = {
            str(key)[5:]: json.loads(str(data[key].item()))
            for key in data
            if str(key).startswith("json.")
        }
        form = texts["format"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{name} is not a fit written by Fit.to_netcdf ({error})") from None
    if form != FORMAT:
        raise DataError(f"{name} has format {form!r}, this version of lossfit reads {FORMAT!r}")
    parts: dict[str, Any] = {part: data[part].values for part in PER_RUN}
    parts["info"] = as_records(parts["info"], FIT)
    return Fit(
        runs=Runs._of(_columns(data, texts)),
        law=_law(texts["law"], law, name),
        settings=Settings(**texts["settings"]),
        draws=data["draws"].values if "draws" in data else None,
        moments=Moments.of(data["moments"].values) if "moments" in data else None,
        **parts,
    )


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
    return law.with_priors({name: Prior(**prior) for name, prior in text["priors"].items()})


def _columns(data: xr.Dataset, texts: dict[str, Any]) -> Columns:
    """The runs' columns, from the variables ``runs.*``."""
    values: dict[str, Any] = {"logged": {}, "has": {}, "lr": None}
    for key in data.data_vars:
        kind, _, name = str(key).partition(".")
        if kind != "runs":
            continue
        array = data[key].values
        group, _, axis = name.partition(".")
        if axis:
            values[group][axis] = array.astype(bool) if group == "has" else array
        else:
            values[name] = array.astype(bool) if name == "spike" else array
    values["names"] = tuple(str(name) for name in data["run"].values)
    values["schedules"] = {name: _schedule(text) for name, text in texts["schedules"].items()}
    values["meta"] = texts["meta"]
    flags: dict[str | None, tuple[Flag, ...]] = {}
    for row in texts["flags"]:
        flag = Flag(*row)
        flags[flag.run] = (*flags.get(flag.run, ()), flag)
    values["flags"] = flags
    return Columns(**values)


def _schedule(text: dict[str, Any]) -> Schedule:
    for name in ("steps", "rates"):
        text[name] = tuple(text[name])
    return Schedule(**text)
