"""Results as netCDF files: what `lossfit.from_netcdf` reads, and tables and draws for xarray."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError
from .packing import Damaged, pack, unpack
from .results import Result
from .stored import Stored, opened, sealed
from .views import view

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FORMAT = "lossfit.result/1"
GROUP = "lossfit"
WHAT = "a result written by its to_netcdf"
ENGINE: Any = "h5netcdf"


def write(result: Result, path: str | os.PathLike[str]) -> None:
    """See `Result.to_netcdf`."""
    import xarray as xr

    tree, arrays = pack(result)
    texts = {"format": FORMAT, "tree": tree}
    # Variables, not attributes: HDF5 limits those to 64 kB.
    variables: dict[str, Any] = {
        f"json.{name}": ((), json.dumps(value)) for name, value in texts.items()
    }
    for name, values in arrays.items():
        variables[name] = (tuple(f"{name}.dim{k}" for k in range(values.ndim)), values)
    groups = {**_shown(result), GROUP: sealed(xr.Dataset(variables))}
    try:
        xr.DataTree.from_dict(groups).to_netcdf(os.fspath(path), engine=ENGINE)
    except OSError as error:
        raise DataError(f"cannot write {os.fspath(path)}: {error}") from None


def _shown(result: Result) -> dict[str, xr.Dataset]:
    """Groups for people: the frame, and the draws."""
    import xarray as xr

    groups = {"frame": _dataset(result.frame)}
    draws = getattr(result, "draws", None)
    if isinstance(draws, xr.DataArray):
        draws = draws.to_dataset(name=draws.name or "draws")
    if isinstance(draws, xr.Dataset):
        groups["draws"] = draws
    return groups


def _dataset(frame: pd.DataFrame) -> xr.Dataset:
    import xarray as xr

    columns: dict[str, Any] = {}
    for name in frame.columns:
        values = frame[name].to_numpy()
        if values.dtype == object:
            words = [", ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values]
            values = np.array(words, dtype=str) if len(words) else np.empty(0)
        columns[str(name)] = ("row", values)
    return xr.Dataset(columns)


def from_netcdf(path: str | os.PathLike[str], law: Any = None, kind: type[Result] = Result) -> Any:
    """Read a result, of whatever kind, that its ``to_netcdf`` wrote.

    Parameters
    ----------
    path : str or path
        The file.
    law : Law, optional
        The law, if it is none of lossfit's own (a file cannot hold its functions).
    kind : type, optional
        The class that it must be of; any by default.

    Returns
    -------
    Fit, Answer, WhatIf, Tail, Race, Plan, Surface, Ladder, Check, Phases, Priors or another result
        As it was written.

    Raises
    ------
    DataError
        No such file; a file of something else; a damaged one (the message says which part); a law
        that is not lossfit's own and was not given, or another one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import lossfit
    >>> path = Path(tempfile.mkdtemp()) / "surface.nc"
    >>> lossfit.surfaces.published("chinchilla").to_netcdf(path)
    >>> lossfit.from_netcdf(path)
    Surface coupled, published: ...
    """
    name = os.fspath(path)
    if not os.path.exists(name):
        raise DataError(f"there is no file {name}")
    stored = opened(name, GROUP, ENGINE, WHAT)
    result = _result(stored, law) if "json.tree" in stored else view("fit.read")(stored, law)
    if not isinstance(result, kind):
        raise DataError(
            f"{name} holds {type(result).__name__}, not {kind.__name__}: read it with "
            f"lossfit.from_netcdf"
        )
    return result


def _result(stored: Stored, law: Any) -> Any:
    """What the tree and the arrays stand for."""
    form = stored.text("format", str)
    if form != FORMAT:
        raise DataError(
            f"{stored.path} has format {form!r}, this version of lossfit reads {FORMAT!r}"
        )
    tree = stored.text("tree", dict)
    try:
        result = unpack(tree, {str(k): v.values for k, v in stored.data.variables.items()}, law)
        if not isinstance(result, Result):
            raise Damaged("it holds no result")
        result._checked()
    except Damaged as error:
        raise DataError(f"{stored.path} is damaged: {error}") from None
    except DataError as error:
        raise DataError(f"{stored.path}: {error}") from None
    except Exception as error:  # whatever is in the file, the reader is told that it is the file
        words = " ".join(str(error).split())
        raise DataError(
            f"{stored.path} is damaged: its parts do not fit together "
            f"({type(error).__name__}: {words})"
        ) from None
    return result
