"""Many curves at once are told the same as each by itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lossfit import DataError
from lossfit.runs.breaks import recognise
from lossfit.runs.suspects import recognise_all, suspects

LENGTHS = (4, 19, 20, 23, 47, 48, 60, 100, 200, 500, 1500)
KINDS = (
    "sound", "diverged", "restarted", "began again", "scale", "rising", "fall", "spike", "waves",
    "counter", "late part", "frozen", "not finite", "zeros", "negative", "rounded",
)  # fmt: skip


def falling(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A healthy curve, as the logarithm of the loss: a power law, an exponential or a cooldown."""
    t = np.cumsum(rng.integers(1, 4, n)).astype(float)
    if rng.random() < 0.3:
        t = np.unique(np.round(np.geomspace(10, 1e6, n)))
    u = t / t[-1]
    loss = [
        rng.uniform(0.5, 3) + rng.uniform(1, 8) * (1 + u / rng.uniform(1e-4, 1e-2)) ** -0.5,
        rng.uniform(0.01, 2) + rng.uniform(0.5, 5) * np.exp(-u / rng.uniform(0.01, 0.5)),
        3 - rng.uniform(0, 0.3) * np.clip((u - 0.8) / 0.2, 0, 1),
    ][int(rng.integers(3))]
    return t, np.log(loss)


def curve(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A curve that broke in some way."""
    t, z = falling(rng, int(rng.choice(LENGTHS)))
    n, up = len(t), rng.uniform(0.2, 2)
    j = int(rng.uniform(0.3, 0.85) * n)
    since = np.arange(n - j)
    if kind == "diverged":
        z[j:] += up * (1 - np.exp(-since / rng.uniform(0.5, 20)))
    elif kind == "restarted":
        z[j:] += up * np.exp(-since / ((n - j) * rng.uniform(0.3, 2)))
    elif kind == "began again":
        z[j:] = np.interp(rng.uniform(0.5, 2) * (t[j:] - t[j]) + t[0], t, z)
    elif kind == "scale":
        z[j:] += np.log(rng.choice([2, 4, 8, 0.125, 0.25]))
    elif kind == "rising":
        z[j:] += 0.4 * up * since / n
    elif kind == "fall":
        z[j:] -= 2 * up * (1 - np.exp(-since / (n / 10)))
    elif kind == "spike":
        z[j : j + int(rng.integers(1, 30))] += up
    elif kind == "waves":
        z += rng.uniform(0.02, 0.2) * np.sin(t / t[-1] * rng.uniform(3, 60))
    elif kind == "counter":
        t = t + t[-1] * rng.choice([1, 3, 10, 1000])
    elif kind == "late part":
        t, z = t[j:], z[j:]
    loss = np.exp(z + rng.normal(0, rng.choice([0.002, 0.01, 0.03, 0.1, 0.3]), len(z)))
    if kind in ("frozen", "not finite", "zeros"):
        loss[j:] = {"frozen": loss[j], "not finite": np.nan, "zeros": 0.0}[kind]
    elif kind == "negative":
        loss -= np.median(loss)
    elif kind == "rounded":
        loss = np.round(loss, int(rng.integers(0, 3)))
    return t, loss


def flat(curves: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    t, loss = (np.concatenate(columns) for columns in zip(*curves, strict=True))
    return t, loss, np.cumsum([0, *(len(x) for x, _ in curves)])


def test_what_broke_is_never_left_out_and_most_sound_curves_are() -> None:
    rng = np.random.default_rng(0)
    kinds = [kind for kind in KINDS for _ in range(60)]
    curves = [curve(rng, kind) for kind in kinds]
    t, loss, offsets = flat(curves)
    held_out = rng.random(len(curves)) < 0.3
    each = [recognise(*one, bool(val)) for one, val in zip(curves, held_out, strict=True)]
    at_once = recognise_all(t, loss, offsets, held_out.tolist())
    assert list(map(str, at_once)) == list(map(str, each))
    seen = Counter(one.kind for one in each if one is not None)
    assert min(seen.values()) >= 5
    assert len(seen) == 11
    # What is looked at in full takes ten times as long.
    looked_at = suspects(t, loss, offsets)
    sound = np.array([kind == "sound" for kind in kinds])
    assert looked_at[sound].mean() < 0.2
    # Curves beside it change nothing, nor where blocks of them end.
    many = np.tile(looked_at, 6)
    again = suspects(np.tile(t, 6), np.tile(loss, 6), flat(curves * 6)[2])
    np.testing.assert_array_equal(again, many)


def test_an_axis_that_falls_is_refused_and_named() -> None:
    t, loss = np.array([1.0, 2, 1, 2, 2]), np.ones(5)
    with pytest.raises(DataError, match="row 2 of curve 1 "):
        recognise_all(t, loss, np.array([0, 2, 5]))
    assert recognise_all(t[:4], loss[:4], np.array([0, 2, 2, 4])) == [None, None, None]
    assert recognise_all(t[:0], loss[:0], np.array([0, 0])) == [None]
