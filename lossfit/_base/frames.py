"""The order of a frame's columns: the answer first, wherever pandas has to leave columns out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ANSWER", "answer_first"]

ANSWER = ("median", "lower", "upper")
LATE = ("sd", "axis", "prob")


def answer_first(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The frame with its columns in the order in which they matter.

    Parameters
    ----------
    frame : pandas.DataFrame
    keys : sequence of str
        Columns that tell its rows apart.

    Returns
    -------
    pandas.DataFrame
        Median, lower and upper come first, and what tells rows apart last: of a wide frame pandas
        shows the first three and the last three columns in a terminal of 80.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame(columns=["run", "at", "sd", "lower", "median", "upper", "notes"])
    >>> list(answer_first(frame, ["run", "at"]))
    ['median', 'lower', 'upper', 'notes', 'sd', 'run', 'at']
    """
    columns = list(frame.columns)
    first = [name for name in ANSWER if name in columns]
    last = [name for name in (*LATE, *keys) if name in columns]
    middle = [name for name in columns if name not in (*first, *last)]
    return frame[[*first, *middle, *last]]
