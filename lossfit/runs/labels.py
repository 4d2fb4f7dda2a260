"""Words and numbers as people read them: axis labels, 2.0T tokens, lists of names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

AXIS_LABELS = {
    "tokens": "training tokens",
    "step": "training step",
    "gpu_hours": "GPU-hours",
    "flops": "training FLOP",
    "epoch": "epoch",
    "hours": "hours",
    "record": "record of the log",
}
AXIS_UNITS = {"tokens": "tokens", "step": "steps", "gpu_hours": "GPU-hours", "flops": "FLOP"} | {
    "epoch": "epochs",
    "hours": "hours",
    "record": "records",
}

PREFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))


def amount(value: float, axis: str) -> str:
    """An axis value with its unit: ``2.00T tokens``, ``184,320 GPU-hours``, ``8.0e+22 FLOP``."""
    unit = AXIS_UNITS[axis]
    if not np.isfinite(value):
        return f"{value:g} {unit}"
    if axis == "flops":
        return f"{value:.3g} {unit}"
    if axis == "tokens":
        for size, letter in PREFIXES:
            if value >= size:
                return f"{value / size:.3g}{letter} {unit}"
    if value >= 100:
        return f"{value:,.0f} {unit}"
    return f"{value:.4g} {unit}"


def span(low: float, high: float, axis: str) -> str:
    """Two axis values with one unit: ``30B to 2T tokens``."""
    return f"{amount(low, axis).removesuffix(AXIS_UNITS[axis]).rstrip()} to {amount(high, axis)}"


def size_text(value: float) -> str:
    """A number of parameters or tokens as people write it: 70B, 1.4T, 57.3M."""
    for size, letter in PREFIXES:
        if value >= size:
            return f"{value / size:,.3g}{letter}" if value < 1e15 else f"{value:.3g}"
    return f"{value:.3g}"


def ratio_text(ratio: float) -> str:
    """A horizon ratio: ``9.3x``."""
    return f"{ratio:.3g}x" if ratio < 10 else f"{ratio:.0f}x"


def names_text(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown
