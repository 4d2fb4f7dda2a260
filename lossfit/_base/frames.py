"""The order of a frame's columns: the answer first, wherever pandas has to leave columns out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ANSWER = ("median", "lower", "upper")
LATE = ("sd", "axis", "prob")


def answer_first(
    frame: pd.DataFrame,
    keys: Sequence[str] = (),  # columns that tell its rows apart
    *,
    # whether its numbers are so large that a terminal of 80 columns shows four of them
    wide: bool = False,
) -> pd.DataFrame:
    """The frame with its columns in the order in which they matter.

    Returns
    -------
    pandas.DataFrame
        Median, lower and upper come first, and what tells rows apart last: of a wide frame pandas
        shows the first three and the last three columns in a terminal of 80, of a `wide` one two
        and two: upper stands there before the last column that tells rows apart.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame(columns=["run", "at", "sd", "lower", "median", "upper", "notes"])
    >>> list(answer_first(frame, ["run", "at"]))
    ['median', 'lower', 'upper', 'notes', 'sd', 'run', 'at']
    """
    columns = list(frame.columns)
    first = [name for name in ANSWER if name in columns and not (wide and name == "upper")]
    ends = (*keys[:-1], "upper", *keys[-1:]) if wide else keys
    last = [name for name in (*LATE, *ends) if name in columns]
    middle = [name for name in columns if name not in (*first, *last)]
    return frame[[*first, *middle, *last]]


def word_column(words: Iterable[str | None], index: pd.Index | None = None) -> pd.Series:
    """A column of words, with None for none: pandas by itself may make that NaN."""
    import pandas as pd

    return pd.Series(list(words), index=index, dtype=object)
