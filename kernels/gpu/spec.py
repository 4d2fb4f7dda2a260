"""What a kernel is, to those who compile, launch or check it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Kernel"]


class Kernel(NamedTuple):
    """A CUDA kernel that is not compiled yet.

    Attributes
    ----------
    name : str
    function : callable
        The plain Python function.
    signature : tuple
        Numba types of its arguments.
    block : int
        Threads of a block; a block serves one run.
    fastmath : bool
        Whether approximate instructions may be used.
    """

    name: str
    function: Callable[..., None]
    signature: tuple[Any, ...]
    block: int
    fastmath: bool
