"""One array of a store in Zarr format 3, and its chunks as bytes and back.

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

LEVEL = 1  # of zstd: draws hardly compress, and more would cost time only
ERROR_ROWS = 4096  # rows of the table of errors in a chunk
KINDS = {"float64": np.nan, "int32": 0, "int64": 0, "bool": False, "string": ""}


@dataclass(frozen=True)
class Array:
    """One array of a store."""

    path: str  # within the store, e.g. ``posterior/alpha``
    dtype: str  # as Zarr calls it
    dims: tuple[str, ...]
    shape: tuple[int, ...]  # 0 along the growing dimension
    chunks: tuple[int, ...]
    grows: int | None = 0  # the dimension that grows
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
        zstd = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": True}}
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
        """The file of a chunk; the first one of an array that does not grow."""
        at = [0] * len(self.shape)
        if self.grows is not None:
            at[self.grows] = chunk
        return f"{self.path}/c/{'/'.join(map(str, at))}"

    def encode(self, values: NDArray[Any]) -> bytes:
        """A chunk as bytes; values that fill it in part are filled up."""
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
        return _packed(data)


def _packed(data: bytes) -> bytes:
    """Bytes compressed by zstd with its checksum of the content, which every reader checks."""
    from numcodecs import Zstd

    return bytes(Zstd(LEVEL, checksum=True).encode(data))


def unpacked(data: bytes) -> bytes | None:
    """What `_packed` was given; None of what is not whole."""
    from numcodecs import Zstd

    try:
        return bytes(Zstd().decode(data)) if data else None
    except (RuntimeError, ValueError, MemoryError):
        return None


def same(data: bytes | None, expected: bytes) -> bool:
    """Whether a file is what it should be, or the same content as another zstd packs it."""
    if data is None or data == expected:
        return data is not None
    content = unpacked(data)
    return content is not None and content == unpacked(expected)


def texts(strings: list[str]) -> bytes:
    """A chunk of an array of texts, as bytes."""
    return _packed(_strings(np.array([*strings, None], object)[:-1]))


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
