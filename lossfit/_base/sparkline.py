"""A curve in one line of text."""

from __future__ import annotations

import numpy as np

from .ragged import Floats

SPARK_WIDTH = 32
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-~=+*#"


def sparkline(
    loss: Floats,  # shape (n,): finite values
    unicode: bool = True,  # eight heights of block; else eight ASCII characters that rise
    width: int = SPARK_WIDTH,  # characters, at most
) -> str:
    """The loss in a few characters: medians of equal shares of the points."""
    shares = np.array_split(loss, min(width, len(loss)))
    heights = np.array([np.median(share) for share in shares])
    low, high = heights.min(), heights.max()
    blocks = BLOCKS if unicode else ASCII_BLOCKS
    if high == low:
        return blocks[0] * len(heights)
    with np.errstate(over="ignore", invalid="ignore"):
        level = np.round((heights / 2 - low / 2) / (high / 2 - low / 2) * (len(blocks) - 1))
    return "".join(blocks[int(k)] for k in np.nan_to_num(level))
