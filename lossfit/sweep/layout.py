"""The layout of a store in Zarr format 3, and its chunks as bytes.

Every array has the runs along one axis, ``chunk_runs`` to a chunk, so chunk k of every array holds
the same runs, and belongs to one file each that never changes again.  The bytes are made here
rather than by zarr-python, so that they are the same whatever its version and settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runs.labels import AXIS_UNITS
from .work import DIAGNOSTICS, Failure, Fitted, Spec

__all__ = ["ERROR_ROWS", "Array", "chunk_files", "error_files", "group", "layout", "text", "tree"]

LEVEL = 1  # of zstd: draws hardly compress, and more would cost time only
ERROR_ROWS = 4096  # rows of the table of errors in a chunk
LEDGER = "ledger/entry"
KINDS = {"float64": np.nan, "int32": 0, "int64": 0, "bool": False, "string": ""}


@dataclass(frozen=True)
class Array:
    """One array of a store.

    Attributes
    ----------
    path : str
        Within the store, e.g. ``posterior/alpha``.
    dtype : str
        As Zarr calls it.
    dims : tuple of str
    shape : tuple of int
        0 along the growing dimension.
    chunks : tuple of int
    grows : int or None
        The dimension that grows.
    attrs : dict
    """

    path: str
    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    grows: int | None = 0
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def metadata(self, length: int = 0) -> dict[str, Any]:
        """Its ``zarr.json`` where the growing dimension has that length."""
        shape = list(self.shape)
        if self.grows is not None:
            shape[self.grows] = length
        fill: Any = "NaN" if self.dtype == "float64" else KINDS[self.dtype]
        serial: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
        if self.dtype == "string":
            serial = {"name": "vlen-utf8", "configuration": {}}
        elif self.dtype == "bool":
            serial = {"name": "bytes"}
        zstd = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}
        grid = {"name": "regular", "configuration": {"chunk_shape": list(self.chunks)}}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": self.dtype,
            "chunk_grid": grid,
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill,
            "codecs": [serial, zstd],
            "attributes": dict(self.attrs),
            "dimension_names": list(self.dims),
            "storage_transformers": [],
        }

    def file(self, chunk: int) -> str:
        """The file of a chunk."""
        at = [0] * len(self.shape)
        if self.grows is not None:
            at[self.grows] = chunk
        return f"{self.path}/c/{'/'.join(map(str, at))}"

    def encode(self, values: NDArray[Any]) -> bytes:
        """A chunk as bytes; values that fill it in part are filled up."""
        from numcodecs import Zstd

        if self.grows is not None:
            short = self.chunks[self.grows] - values.shape[self.grows]
            if short:
                shape = list(values.shape)
                shape[self.grows] = short
                rest = np.full(shape, KINDS[self.dtype], values.dtype)
                values = np.concatenate([values, rest], axis=self.grows)
        if self.dtype == "string":
            data = _strings(values)
        else:
            kind = np.dtype(self.dtype).newbyteorder("<")
            data = np.ascontiguousarray(values, kind).tobytes()
        return bytes(Zstd(LEVEL).encode(data))


def _strings(values: NDArray[Any]) -> bytes:
    """Texts as the codec ``vlen-utf8``: their number, then the length and bytes of each."""
    encoded = [str(text).encode(errors="backslashreplace") for text in values]
    parts = [len(encoded).to_bytes(4, "little")]
    for string in encoded:
        parts += [len(string).to_bytes(4, "little"), string]
    return b"".join(parts)


def group(attrs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The ``zarr.json`` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs or {})}


def text(data: Mapping[str, Any]) -> bytes:
    """JSON whose bytes depend on the content only."""
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def layout(spec: Spec) -> tuple[list[Array], dict[str, NDArray[Any]]]:
    """The arrays of a store, and the values of those that do not grow (by path)."""
    law, size = spec.law, spec.chunk_runs
    docs = {p.name: p.doc for p in law.nonlinear} | {p.name: p.doc for p in law.linear}
    docs["sigma"] = "standard deviation of the noise of a point of weight 1"
    units = {"units": AXIS_UNITS[spec.axis]}
    p, q, t = len(spec.parameters), len(spec.quantiles), len(spec.targets)
    fixed: dict[str, NDArray[Any]] = {
        "parameter": np.array(spec.parameters, object),
        "quantile": np.array(spec.quantiles),
    }
    made: list[Array] = []

    def grown(path: str, dtype: str, dims: tuple[str, ...] = (), *inner: int, **attrs: str) -> None:
        made.append(Array(path, dtype, ("run", *dims), (0, *inner), (size, *inner), attrs=attrs))

    grown("run", "string")
    widest = f"{100 * spec.probs[0]:g} % equal-tailed interval, "
    names = {"lower": widest + "lower end", "upper": widest + "upper end"}
    if spec.keep == "quantiles":
        grown("parameter_quantile", "float64", ("parameter", "quantile"), p, q)
    else:
        for name in ("mean", "sd", "lower", "median", "upper"):
            grown(
                name, "float64", ("parameter",), p, long_name=names.get(name, f"posterior {name}")
            )
    if t:
        fixed["target"] = np.array(spec.targets, object)
        grown("at", "float64", ("target",), t, long_name=spec.axis, **units)
        if spec.keep != "quantiles":
            grown("loss_mean", "float64", ("target",), t, long_name="mean of the predicted loss")
            grown("loss_sd", "float64", ("target",), t, long_name="sd of the predicted loss")
        long_name = "quantiles of the predicted loss"
        grown("loss_quantile", "float64", ("target", "quantile"), t, q, long_name=long_name)
    grown("n_points", "int32", long_name="points in the window")
    grown("window_start", "float64", (), **units)
    grown("window_end", "float64", (), **units)
    for name in (*DIAGNOSTICS, "n_eff"):
        grown(name, "float64")
    grown("flags", "string", long_name="what a careful reader would want to know, with commas")
    grown("failed", "bool", long_name="whether the run is in the table of errors")
    for name, values in fixed.items():
        kind = "string" if values.dtype == object else "float64"
        made.append(Array(name, kind, (name,), values.shape, values.shape, None))
    if spec.keep == "draws":
        shape = (spec.sampler.chains, spec.sampler.draws)
        for name in spec.parameters:
            attrs = {"long_name": docs[name]}
            path = f"posterior/{name}"
            dims = ("chain", "draw", "run")
            made.append(Array(path, "float64", dims, (*shape, 0), (*shape, size), 2, attrs))
        made.append(Array("posterior/run", "string", ("run",), (0,), (size,)))
        made.append(Array("posterior/x_ref", "float64", ("run",), (0,), (size,), 0, units))
        for name, length in zip(("chain", "draw"), shape, strict=True):
            path = f"posterior/{name}"
            made.append(Array(path, "int64", (name,), (length,), (length,), None))
            fixed[path] = np.arange(length)
    rows = (ERROR_ROWS,)
    for name, kind in (("run", "string"), ("index", "int64"), ("error", "string")):
        made.append(Array(f"errors/{name}", kind, ("row",), (0,), rows))
    made.append(Array("errors/message", "string", ("row",), (0,), rows))
    made.append(Array(LEDGER, "string", ("chunk",), (0,), (1,)))
    return made, fixed


def chunk_files(number: int, fitted: Fitted, spec: Spec, arrays: list[Array]) -> dict[str, bytes]:
    """The files of a chunk, by path within the store."""
    columns = fitted.arrays
    out = {}
    for array in arrays:
        if array.grows is None or array.path.startswith(("errors/", "ledger/")):
            continue
        head, _, name = array.path.rpartition("/")
        if head and name in spec.parameters:
            draws = columns["draws"][:, spec.parameters.index(name)]
            split = draws.reshape(len(draws), spec.sampler.chains, spec.sampler.draws)
            values = np.moveaxis(split, 0, -1)
        else:
            values = columns["window_end" if name == "x_ref" else name]
        out[array.file(number)] = array.encode(values)
    return out


def error_files(start: int, failures: list[Failure], arrays: list[Array]) -> dict[str, bytes]:
    """The files of one chunk of the table of errors; `start` is the number of the chunk."""
    out = {}
    for array in arrays:
        head, _, name = array.path.rpartition("/")
        if head == "errors":
            kind: Any = object if array.dtype == "string" else np.int64
            column = np.array([*(getattr(f, name) for f in failures), None], object)[:-1]
            out[array.file(start)] = array.encode(column.astype(kind))
    return out


def tree(
    arrays: list[Array], lengths: Mapping[str, int], attrs: Mapping[str, Any], spec: Spec
) -> dict[str, bytes]:
    """All ``zarr.json`` of a store by path, the root's last; it has a copy of the others.

    Parameters
    ----------
    arrays : list of Array
    lengths : dict
        Lengths of the dimensions that grow: run, row, chunk.
    attrs : dict
        Of the root.
    spec : Spec
    """
    posterior = {
        "law": spec.law.name,
        "formula": spec.law.formula,
        "axis": spec.axis,
        "inference_library": "lossfit",
        "inference_library_version": spec.version,
        "coordinates": "x_ref",  # xarray makes it one
    }
    nodes: dict[str, dict[str, Any]] = {"errors": group(), "ledger": group()}
    if spec.keep == "draws":
        nodes["posterior"] = group(posterior)
    for array in arrays:
        length = 0 if array.grows is None else lengths[array.dims[array.grows]]
        nodes[array.path] = array.metadata(length)
    root = group(attrs)
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": nodes}
    out = {f"{path}/zarr.json": text(node) for path, node in nodes.items()}
    out["zarr.json"] = text(root)
    return out
