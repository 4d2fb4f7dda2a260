"""Which import of the kernels serves a question: the compiled one, or the one in plain Python.

Compiling takes a minute, once an installation; a small question takes plain Python a second.
So small questions are served uncompiled until another Python has compiled the kernels.  Both are
the same functions; draws agree to 1e-9 or better.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import Any

from . import compiling

__all__ = ["MOST_SECONDS", "Engine", "choose"]

MOST_SECONDS = 10.0  # of plain Python that a question may take
VARIABLE = "LOSSFIT_ENGINE"

log = logging.getLogger("lossfit")
_ready: set[str] = set()  # kernels that were found in the cache, or that this process compiles


class Engine(Enum):
    """An import of the kernels."""

    COMPILED = "compiled"
    UNCOMPILED = "uncompiled"

    def load(self, module: str) -> Any:
        """A module of the kernels, such as ``"driver"``."""
        package = __package__ if self is Engine.COMPILED else f"{__package__}.uncompiled"
        return import_module(f"{package}.{module}")


def choose(
    kernels: tuple[str, ...],
    seconds: float,
    *,
    same_bits: bool = False,
    tell: Callable[[float], None] | None = None,
) -> Engine:
    """What serves a question.

    The environment variable LOSSFIT_ENGINE may be ``compiled`` (wait for compiled kernels always)
    or ``uncompiled`` (never compile, where bits are not promised); by default, ``auto``.

    Parameters
    ----------
    kernels : tuple of str
        The kernels that it needs, such as ``"driver._fit_range"``.
    seconds : float
        About what it would take in plain Python.
    same_bits : bool
        Whether the answer must be the same to the last bit wherever it is computed: compiled
        kernels only.
    tell : callable, optional
        Called now and then with the seconds that this waited for compiled kernels.

    Returns
    -------
    Engine
    """
    setting = os.environ.get(VARIABLE, "auto")
    if setting not in ("auto", "compiled", "uncompiled"):
        raise ValueError(f"{VARIABLE} must be auto, compiled or uncompiled, got {setting!r}")
    engine = Engine.COMPILED
    if not same_bits and setting == "uncompiled":
        engine = Engine.UNCOMPILED
    elif not _are_ready(kernels):
        if same_bits or setting == "compiled" or seconds > MOST_SECONDS:
            compiling.wait(kernels, tell)
            _ready.update(kernels)
        else:
            compiling.start()
            engine = Engine.UNCOMPILED
    log.debug("%s kernels: %s", engine.value, ", ".join(kernels))
    return engine


def _are_ready(kernels: tuple[str, ...]) -> bool:
    missing = [name for name in kernels if name not in _ready]
    if missing and compiling.is_compiled(*missing):
        _ready.update(missing)
        missing = []
    return not missing
