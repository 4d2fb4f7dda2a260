"""Draws of a race on the device that forecast them: comparing pairs is work for it, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.devices import gpu_errors, host_array

if TYPE_CHECKING:
    from ..forecasts.question import Question


@contextmanager
def placed(question: Question) -> Iterator[Callable[[Any], Any]]:
    """What puts arrays on the question's (first) GPU; on the CPU it leaves them as they are."""
    where = question.place(question.laws[0])
    if not where.gpus:
        yield np.asarray
        return
    with gpu_errors():
        gpu = where.open()[0]
        with gpu.active():
            yield gpu.xp.asarray  # type: ignore[attr-defined, unused-ignore]


def back(array: Any) -> NDArray[Any]:
    """An array of whatever device as a NumPy array."""
    return np.asarray(host_array(array))
