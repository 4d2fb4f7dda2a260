"""Frames as plain Python data, for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def rows_of(frame: pd.DataFrame | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a frame as plain Python values, NaN as None."""
    out = []
    for row in frame if isinstance(frame, list) else frame.to_dict("records"):
        clean: dict[str, Any] = {}
        for key, value in row.items():
            if isinstance(value, (float, np.floating)):
                value = float(value) if np.isfinite(value) else None
            elif isinstance(value, np.integer):
                value = int(value)
            elif isinstance(value, tuple):
                value = list(value)
            clean[str(key)] = value
        out.append(clean)
    return out


def rows_of_columns(columns: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Rows of columns, of which some hold one value for all."""
    filled = [[value] * count if np.isscalar(value) else list(value) for value in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*filled, strict=True)]
