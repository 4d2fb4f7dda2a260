"""Numbers as people write them: 4e12, 4T, 40k, 1,000."""

from __future__ import annotations

import re

from .errors import DataError

SIZES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
THOUSANDS = re.compile(r"\d{1,3}(?:[,_]\d{3})+(?:\.\d+)?")


def amount_of(word: str) -> float:
    """An axis value as people write it.

    Raises `DataError`: no such number.

    Examples
    --------
    >>> amount_of("40k"), amount_of("2T"), amount_of("1,000")
    (40000.0, 2000000000000.0, 1000.0)
    """
    text = word.strip()
    factor = SIZES.get(text[-1:], 1.0)
    digits = text[:-1].rstrip() if factor != 1.0 else text
    if THOUSANDS.fullmatch(digits):
        digits = re.sub("[,_]", "", digits)
    try:
        value = float(digits) * factor
    except ValueError:
        raise DataError(
            f"{word!r} is no axis value: write 4e12, 4T, 500k, or 2x for twice the data"
        ) from None
    return value


def multiple_of(word: str) -> float | None:
    """How many times the data, of "2x"; None for a word that is no such multiple.

    Examples
    --------
    >>> multiple_of("2x"), multiple_of("2T")
    (2.0, None)
    """
    text = word.strip()
    return amount_of(text[:-1]) if text[-1:] in ("x", "X") and len(text) > 1 else None
