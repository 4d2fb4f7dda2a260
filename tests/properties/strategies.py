"""Runs of every kind that a log may hold, and what is asked of any answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from lossfit import Runs

SHAPES = (
    "power",
    "power_line",
    "perfect",
    "rounded",
    "constant",
    "zero",
    "straight",
    "rising",
    "cliff",
    "saw",
    "walk",
    "noise",
    "to_zero",
    "negative",
    "outlier",
)
STEPS = ("even", "geometric", "random", "bursts", "from_one")


class Curve(NamedTuple):
    """Axis values and losses of one run."""

    x: np.ndarray
    y: np.ndarray


def axis_values(step: str, n: int, end: float, rng: np.random.Generator) -> np.ndarray:
    """Increasing axis values from above 0 to `end`."""
    if step == "even":
        x = np.arange(1, n + 1) / n
    elif step == "geometric":
        x = np.geomspace(1e-4, 1, n)
    elif step == "random":
        x = np.sort(rng.uniform(0.001, 1, n))
    elif step == "bursts":
        x = np.cumsum(np.where(rng.random(n) < 0.2, 1.0, 1e-3))
    else:
        x = np.concatenate([[1 / max(end, 100.0)], np.linspace(0.1, 1, n - 1)])
    return x / x[-1] * end


def losses(shape: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Losses of size about 1 to 10."""
    share = x / x[-1]
    n = len(x)
    floor, size, alpha = rng.uniform(0, 3), rng.uniform(0.05, 2), rng.uniform(0.1, 1.0)
    y = floor + size * np.minimum(share**-alpha, 50.0)
    noisy = y + rng.normal(0, 10 ** rng.uniform(-4, -1), n)
    made = {
        "power": noisy,
        "power_line": noisy - 0.3 * size * share,
        "perfect": y,
        "rounded": np.round(noisy, int(rng.integers(0, 4))),
        "constant": np.full(n, floor + size),
        "zero": np.zeros(n),
        "straight": 4 - share,
        "rising": noisy[::-1],
        "cliff": np.where(np.arange(n) > n // 2, y, y + 5),
        "saw": floor + np.arange(n) % 2,
        "walk": 5 + np.cumsum(rng.normal(0, 0.1, n)),
        "noise": rng.normal(0, 1, n),
        "to_zero": np.where(np.arange(n) < n // 3 + 1, y, 0.0),
        "negative": -noisy,
        "outlier": noisy,
    }
    found = np.array(made[shape])
    if shape == "outlier":
        found[rng.integers(n)] = 10 ** rng.uniform(1, 6) * rng.choice([-1, 1])
    return found


@st.composite
def curves(
    draw,
    shapes: Sequence[str] = SHAPES,
    steps: Sequence[str] = STEPS,
    least: int = 3,
    most: int = 200,
    log_size: tuple[float, float] = (-8, 8),
    log_end: tuple[float, float] = (0, 18),
) -> Curve:
    """One run of some kind, number of points, size of the loss and length of the axis."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(least, most))
    end = 10.0 ** draw(st.floats(*log_end))
    size = 10.0 ** draw(st.floats(*log_size))
    x = axis_values(draw(st.sampled_from(list(steps))), n, end, rng)
    return Curve(x, size * losses(draw(st.sampled_from(list(shapes))), x, rng))


def plain(**options: object):
    """Curves that a power law fits, with noise: nothing that a rule would leave out."""
    kinds = {"shapes": ("power", "power_line"), "steps": ("even", "geometric", "random")}
    return curves(**(kinds | {"least": 12, "log_size": (-2, 2), "log_end": (2, 12)} | options))


def runs_of(
    some: Sequence[Curve], names: Sequence[str] | None = None, axis: str = "tokens"
) -> Runs:
    """Runs end to end."""
    offsets = np.concatenate([[0], np.cumsum([len(c.x) for c in some])])
    names = [f"run{i}" for i in range(len(some))] if names is None else names
    return Runs.from_arrays(
        axis,
        np.concatenate([c.x for c in some]),
        np.concatenate([c.y for c in some]),
        offsets,
        list(names),
    )


def assert_same_draws(found, wanted, spread, *, close=1e-3, differ=0.05) -> None:
    """Draws agree to a small part of their spread, but for a few.

    Rounding may turn a candidate that was hardly rejected into one that is taken.
    """
    off = np.abs(np.asarray(found) - wanted) > close * spread
    assert off.mean() <= differ, f"{off.mean():.1%} of the draws differ"
