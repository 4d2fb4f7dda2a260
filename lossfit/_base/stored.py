"""Results in netCDF files: sealed when they are written, checked when they are read.

A file may come from anybody: cut, edited, of another program.  What is read of it is checked for
kind, shape and range before it is used, and a sealed file for its checksum too; what does not hold
is a `DataError` that names the file and the variable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

if TYPE_CHECKING:
    import xarray as xr

SEAL = "json.checksum"
KINDS = {"float": "f", "int": "iu", "bool": "biu", "text": "OUST"}
# What code that takes a file at its word may raise.
BROKEN = (
    ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


@contextmanager
def refusing(path: str, what: str) -> Iterator[None]:
    """Turn whatever a damaged file makes code raise into a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except BROKEN as error:
        words = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is not {what}, or is damaged ({words})") from None


def _checksum(data: xr.Dataset) -> str:
    """BLAKE2b of all variables but the seal."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(map(str, data.variables)):
        if name == SEAL:
            continue
        variable = data.variables[name]
        values = np.asarray(variable.values)
        digest.update(json.dumps([name, list(map(str, variable.dims)), values.shape]).encode())
        if values.dtype.kind in KINDS["text"]:
            digest.update(json.dumps([str(value) for value in values.ravel()]).encode())
        else:
            digest.update(values.dtype.newbyteorder("<").str.encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def sealed(data: xr.Dataset) -> xr.Dataset:
    """The same dataset with a checksum of all its variables."""
    return data.assign({SEAL: ((), json.dumps(_checksum(data)))})


def opened(path: str, group: str, engine: Any, what: str) -> Stored:
    """A group of a netCDF file.

    Raises `DataError`: no such group; a checksum that is not that of the data.

    Parameters
    ----------
    path, group, engine : str
    what : str
        For messages: "a fit written by Fit.to_netcdf".
    """
    import xarray as xr

    try:
        with xr.open_dataset(path, group=group, engine=engine) as on_disk:
            data = on_disk.load()
    except (OSError, *BROKEN) as error:
        raise DataError(f"{path} is not {what} ({error})") from None
    stored = Stored(data, path, what)
    if SEAL in data:
        seal = stored.text("checksum")
        with refusing(path, what):
            if seal != _checksum(data):
                raise DataError(
                    f"{path} is damaged: its checksum is not that of its data. Write it again"
                )
    return stored


class Stored:
    """A dataset read from a file, whose parts are checked as they are taken.

    Parameters
    ----------
    data : xarray.Dataset
    path : str
    what : str
        What the file should be, for messages.
    **sizes : int
        Lengths that are known beforehand; others are learned from the first array that has them.
    """

    def __init__(self, data: xr.Dataset, path: str, what: str, **sizes: int) -> None:
        self.data, self.path, self.what, self.sizes = data, path, what, dict(sizes)

    def __contains__(self, name: str) -> bool:
        return name in self.data.variables

    def refuse(self, name: str, why: str) -> DataError:
        """The error for a variable."""
        return DataError(f"{self.path} is not {self.what}, or is damaged: {name} {why}")

    def text(self, name: str, kind: type = object) -> Any:
        """What the JSON text ``json.NAME`` holds, of that Python type."""
        values = self._values(f"json.{name}")
        try:
            parsed = json.loads(str(values.item()))
        except (ValueError, RecursionError):
            raise self.refuse(f"json.{name}", "holds no JSON text") from None
        if not isinstance(parsed, kind):
            raise self.refuse(f"json.{name}", f"is {type(parsed).__name__}, not {kind.__name__}")
        return parsed

    def array(
        self,
        name: str,
        *shape: int | str,  # lengths; a name stands for the same length wherever it is used
        kind: str = "float",  # {"float", "int", "bool", "text"}
        # low, high: the range of its values
        low: float = -np.inf,
        high: float = np.inf,
        above: float | None = None,  # what all values must exceed
        missing: bool = False,  # whether NaN is allowed
    ) -> NDArray[Any]:
        """A variable as an array.

        Raises `DataError`: there is no such variable, or it is not like that.
        """
        values = self._values(name)
        if values.dtype.kind not in KINDS[kind]:
            raise self.refuse(name, f"has numbers of type {values.dtype}, not {kind}")
        lengths = [self.sizes.get(n, -1) if isinstance(n, str) else n for n in shape]
        if values.ndim != len(shape) or any(
            length not in (-1, size) for length, size in zip(lengths, values.shape, strict=True)
        ):
            wanted = ", ".join(
                f"{n} ({length})" if isinstance(n, str) and length >= 0 else str(n)
                for n, length in zip(shape, lengths, strict=True)
            )
            raise self.refuse(name, f"has shape {values.shape}, not ({wanted})")
        for word, size in zip(shape, values.shape, strict=True):
            if isinstance(word, str):
                self.sizes.setdefault(word, size)
        if kind == "text":
            return values
        bad = np.zeros(values.shape, bool)
        if values.dtype.kind == "f":
            empty = np.isnan(values)
            bad |= np.isinf(values) if missing else ~np.isfinite(values)
            values_in_range = np.where(empty, 0, values)
        else:
            empty, values_in_range = bad, values
        outside = (values_in_range < low) | (values_in_range > high)
        if above is not None:
            outside |= values_in_range <= above
        bad |= outside & ~empty
        if bad.any():
            place = tuple(int(at) for at in np.argwhere(bad)[0])
            at = f"{name}[{', '.join(map(str, place))}]" if place else name
            raise self.refuse(at, f"is {values[place]}")
        return values.astype(bool) if kind == "bool" else values

    def _values(self, name: str) -> NDArray[Any]:
        if name not in self.data.variables:
            raise self.refuse(name, "is missing")
        return np.asarray(self.data.variables[name].values)
