"""Numbers with as many digits as the draws that they come from support."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from .errors import DataError

DRAWS = 1000  # of an answer, where nothing else is said
# Of an end of a 90 % interval of a normal posterior, in sds over the root of the number of draws.
ERROR_OF_END = 2.1
SDS_OF_INTERVAL = 3.3
MOST = 12  # decimals: losses of 1e-6 are real


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number, and not a truth value."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    return number and not isinstance(value, bool) and math.isfinite(float(value))  # type: ignore[arg-type]


def number_of(value: Any, what: str, positive: bool = True) -> float:
    """A finite number from anything that ``float()`` takes."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (positive and number <= 0):
        raise DataError(f"{what} must be a {'positive ' if positive else ''}number, got {value!r}")
    return number


def decimals_of(
    width: float,  # of a 90 % interval, in the unit of the number
    draws: int = DRAWS,  # from which it was found
) -> int:
    """Decimals that another seed would leave as they are.

    Examples
    --------
    >>> decimals_of(0.1), decimals_of(0.01)
    (2, 3)
    """
    error = ERROR_OF_END * width / SDS_OF_INTERVAL / math.sqrt(max(draws, 1))
    if not math.isfinite(error) or error <= 0:
        return 3
    return min(max(math.floor(-math.log10(error)), 0), MOST)


def interval_text(lower: float, upper: float, places: int, joint: str = " to ") -> str:
    """The ends of an interval with so many decimals."""
    return f"{lower:.{places}f}{joint}{upper:.{places}f}"


def estimate(
    row: Mapping[str, Any],  # with median, lower and upper
    draws: int = DRAWS,
) -> str:
    """A median and its interval: ``2.91 (2.85 to 2.98)``.

    Examples
    --------
    >>> estimate({"median": 2.9131, "lower": 2.851, "upper": 2.982})
    '2.91 (2.85 to 2.98)'
    """
    median, lower, upper = (float(row[name]) for name in ("median", "lower", "upper"))
    if not math.isfinite(upper - lower):
        return f"{median:.4g}"
    if max(abs(lower), abs(upper)) >= 1e5:
        return f"{median:.3g} ({lower:.3g} to {upper:.3g})"
    places = decimals_of(upper - lower, draws)
    return f"{median:.{places}f} ({interval_text(lower, upper, places)})"
