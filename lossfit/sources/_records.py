"""Records (dicts) of a log as a frame, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..runs.cleaning import Flag
from ..runs.frames import COLUMNS
from ..runs.names import role_of

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 8_000_000
KNOWN = frozenset(COLUMNS)


def frame_of(records: Sequence[dict[str, Any]]) -> tuple[pd.DataFrame, list[Flag]]:
    """The records as a frame, a column a key.

    A frame has a cell for every record and key, so records that each bring new keys would fill the
    memory: beyond `MOST_CELLS` cells the known keys, those of losses and the most frequent ones are
    kept.

    Returns
    -------
    frame : pandas.DataFrame
    flags : list of Flag
        The keys left out.
    """
    import pandas as pd

    count: Counter[str] = Counter()
    for record in records:
        count.update(record.keys())
    room = max(MOST_CELLS // max(len(records), 1), 64)
    keys = list(count)
    if len(keys) <= room:
        return pd.DataFrame(list(records)), []
    ranked = sorted(keys, key=lambda key: (not _is_known(key), -count[key]))
    columns = set(ranked[:room])
    keys = [key for key in keys if key in columns]
    data = {key: [record.get(key) for record in records] for key in keys}
    left = len(count) - len(keys)
    words = f"{left} rare keys, such as {ranked[room][:60]!r}"
    return pd.DataFrame(data), [Flag(None, "ignored_columns", left, words)]


def _is_known(key: str) -> bool:
    return str(key) in KNOWN or role_of(str(key)) != ""
