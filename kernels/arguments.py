"""Arguments of an entry point, as one table of 8-byte words that compiled code reads.

A table holds, one after the other: an integer or a number in a word, an array as the address of its
data and its lengths, and a named tuple as its fields.  Arrays are contiguous.  What compiled code
makes of the table is in `arguments_type`.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["kinds_of", "table_of"]

DTYPES = ("f8", "i8", "u8")


def kinds_of(values: Any) -> tuple[str, ...]:
    """What arguments are, one after the other: ``"int"``, ``"float"`` or such as ``"f8 2"``."""
    kinds: list[str] = []
    _read(values, [], kinds)
    return tuple(kinds)


def table_of(values: Any, kinds: tuple[str, ...], name: str) -> NDArray[np.int64]:
    """The table of arguments.

    Raises
    ------
    TypeError
        Arguments other than those that the code was made for.
    """
    words: list[int] = []
    given: list[str] = []
    _read(values, words, given)
    if tuple(given) != kinds:
        raise TypeError(f"{name} is compiled for {kinds}, not for {tuple(given)}")
    return np.array(words, np.int64)


def _read(values: Any, words: list[int], kinds: list[str]) -> None:
    for value in values:
        if isinstance(value, np.ndarray):
            if not value.flags.c_contiguous:
                raise TypeError("kernels take contiguous arrays")
            kinds.append(f"{value.dtype.str[1:]} {value.ndim}")
            words.append(value.__array_interface__["data"][0])
            words.extend(value.shape)
        elif isinstance(value, tuple):
            _read(value, words, kinds)
        elif isinstance(value, (float, np.floating)):
            kinds.append("float")
            words.append(struct.unpack("q", struct.pack("d", value))[0])
        else:
            kinds.append("int")
            words.append(int(value))
