"""Broken runs are recognised, named and placed; healthy ones are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lossfit import DataError
from lossfit.runs.breaks import recognise

N, BROKEN = 400, 250


def healthy(seed: int = 0, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    t = 10.0 * np.arange(1, N + 1)
    return t, (2.6 + 20 * t**-0.5) * np.exp(np.random.default_rng(seed).normal(0, noise, N))


def broken(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    t, loss = healthy(seed)
    after = np.arange(N) >= BROKEN
    since = np.maximum(np.arange(N) - BROKEN, 0)
    if kind == "not_finite":
        loss[after] = np.nan
    elif kind == "zeros":
        loss[after] = 0.0
    elif kind == "frozen":
        loss[after] = loss[BROKEN - 1]
    elif kind == "scale_jump":
        loss[after] *= 8
    elif kind == "diverged":
        rng = np.random.default_rng(seed)
        loss[after] = 6.9 * np.exp(rng.normal(0, 0.01, after.sum()))
    elif kind == "restarted":
        loss *= np.where(after, np.exp(0.8 * np.exp(-since / 120.0)), 1.0)
    elif kind == "began_again":  # and learns faster, to below where it was
        again = np.interp(2 * (t - t[BROKEN]) + t[0], t, 2.6 + 20 * t**-0.5)
        noises = np.random.default_rng(seed).normal(0, 0.02, N)
        loss = np.where(after, again * np.exp(noises), loss)
    elif kind in ("overfitting", "rising"):
        loss *= np.where(after, (t / t[BROKEN]) ** 0.6, 1.0)
    elif kind == "sudden_fall":
        loss = 2.3 * np.exp(0.01 * np.random.default_rng(seed).normal(size=N))
        loss *= np.where(np.arange(N) >= 350, np.exp(-(np.arange(N) - 350.0) / 40), 1.0)
    return t, loss


KINDS = (
    "not_finite",
    "zeros",
    "frozen",
    "scale_jump",
    "diverged",
    "restarted",
    "began_again",
    "overfitting",
    "rising",
    "sudden_fall",
)


def test_a_counter_that_began_before_the_run():
    t, loss = healthy()
    found = recognise(t + 50 * t[-1], loss)
    assert found is not None
    assert (found.kind, found.row) == ("counter", 0)
    assert found.origin == 50 * t[-1]
    assert "the log begins at 200,010" in str(found)
    assert "subtract 200,000)" in str(found)
    # A late part of a run, and a slow fall late on the axis, are none.
    late = t > 0.6 * t[-1]
    assert recognise(t[late], loss[late]) is None
    assert recognise(t + 3 * t[-1], loss[0] * np.exp(-0.1 * t / t[-1])) is None


@pytest.mark.parametrize(
    ("first", "fall"), [(1e6, 0.1), (1e6, 0.3), (1e5, 0.1), (8e3, 0.2), (4.2e3, 0.2)]
)
def test_a_small_fall_tells_too(first: float, fall: float) -> None:
    """... by its steepness on the axis, or by its bend where the counter began not long before."""
    t, _ = healthy()
    rng = np.random.default_rng(1)
    loss = 2.6 * np.exp(fall * ((t / t[0]) ** -0.4 - 1) + rng.normal(0, 0.004, N))
    assert recognise(t, loss) is None
    found = recognise(t + first, loss)
    assert found is not None
    assert (found.kind, found.origin) == ("counter", first)


@pytest.mark.parametrize("begin", [0.55, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("shape", ["power law", "cooldown", "1 - sqrt", "straight", "cosine"])
@pytest.mark.parametrize("noise", [0.002, 0.02])
def test_the_last_part_of_a_log_is_no_start(begin: float, shape: str, noise: float) -> None:
    t = 10.0 * np.arange(1, 4 * N + 1)
    u = t / t[-1]
    fall = {
        "power law": 0.3 * (u**-0.4 - 1),
        "cooldown": -0.12 * np.clip((u - 0.8) / 0.2, 0, 1),
        "1 - sqrt": -0.12 * np.sqrt(np.clip((u - 0.8) / 0.2, 0, 1)),
        "straight": -0.3 * u,
        "cosine": 0.1 * np.cos(np.pi * u),
    }[shape]
    loss = 2.5 * np.exp(fall + np.random.default_rng(2).normal(0, noise, len(t)))
    part = u > begin
    assert recognise(t[part], loss[part]) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_each_kind_is_named_and_placed(kind: str, seed: int) -> None:
    t, loss = broken(kind, seed)
    found = recognise(t, loss, is_validation=kind == "overfitting")
    assert found is not None
    assert found.kind == kind
    first = t[350] if kind == "sudden_fall" else t[BROKEN]
    slow = kind in ("overfitting", "rising", "sudden_fall")
    assert abs(found.at - first) <= (0.12 * t[-1] if slow else 20)
    assert t[found.row] == found.at
    if kind == "scale_jump":
        assert found.size == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.002, 0.02, 0.2])
def test_noise_is_no_break(seed: int, noise: float) -> None:
    assert recognise(*healthy(seed, noise)) is None


@pytest.mark.parametrize(
    "what",
    ["spike", "high spike", "slow spike", "cooldown", "waves", "rounded", "plateau at the start"],
)
def test_what_looks_like_a_break_but_is_none(what: str) -> None:
    t, loss = healthy()
    if what == "spike":
        loss[200:206] *= 2.5
    elif what == "high spike":  # to the first losses and beyond, gone within a few points
        loss[200:] *= 1 + 3 * np.exp(-np.arange(N - 200) / 3)
    elif what == "slow spike":  # falls as at a start, but did not rise so high
        loss[200:] *= 1 + 0.8 * np.exp(-np.arange(N - 200) / 20)
    elif what == "cooldown":
        loss *= np.where(t > 3000, 1 - 0.08 * (t - 3000) / 1000, 1.0)
    elif what == "waves":
        loss *= np.exp(0.05 * np.sin(t / 150))
    elif what == "rounded":
        loss = np.round(np.exp(-t / 400), 4)
    else:
        loss = np.where(t < 300, 6.9, 2.6 + 4.3 * (t / 300.0) ** -0.5)
    assert recognise(t, loss) is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("n", "noise", "kind", "first"),
    [
        (400, 0.01, "overfitting", 200),  # by a fifth of the fall
        (25, 0.01, "diverged", 16),  # the lowest points are among the last ten
        (400, 0.005, "restarted", 300),  # an older checkpoint: by a sixth
    ],
)
def test_small_and_late_breaks(n: int, noise: float, kind: str, first: int, seed: int) -> None:
    t = 50.0 * np.arange(1, n + 1)
    noises = np.random.default_rng(seed).normal(0, noise, n)
    loss = 2.2 + 30 * (t + 50) ** -0.4
    since = np.maximum(np.arange(n) - first + 1.0, 0)
    if kind == "overfitting":
        loss *= 1 + 0.18 * since / since[-1]
    elif kind == "diverged":
        loss *= np.exp(0.12 * since)
    else:
        loss *= np.exp(0.17 * (since > 0) * np.exp(-since / 150))
    seen = recognise(t, loss * np.exp(noises), is_validation=kind == "overfitting")
    assert seen is not None
    assert seen.kind == kind
    # where a small rise leaves the noise is seen late
    assert 0 <= seen.row - first <= (0.3 * n if kind == "overfitting" else 3)


def test_equal_losses_at_the_end_of_a_rounded_log_are_no_break() -> None:
    t, loss = healthy(noise=1e-4)
    rounded = np.round(loss, 1)
    assert (rounded[-50:] == rounded[-1]).all()
    assert recognise(t, rounded) is None
    assert recognise(t, np.full(N, 2.5)) is None


def test_a_unit_does_not_matter() -> None:
    t, loss = broken("diverged")
    one, other = recognise(t, loss), recognise(1e6 * t, 1e-5 * loss)
    assert one is not None
    assert other is not None
    assert (one.kind, one.row) == (other.kind, other.row)
    assert other.size == pytest.approx(one.size)


def test_rows_count_the_points_given() -> None:
    t, loss = broken("diverged")
    whole = recognise(t, loss)
    loss[50] = np.nan
    assert whole is not None
    again = recognise(t, loss)
    assert again is not None
    assert (again.kind, again.at, again.row) == ("diverged", whole.at, whole.row)


def test_too_few_points_are_not_judged() -> None:
    assert recognise([1, 2, 3], [3.0, 9.0, 90.0]) is None
    assert recognise([], []) is None


@pytest.mark.parametrize(
    ("t", "loss", "words"), [([1, 2], [1.0], "one length"), ([1, 1, 2], [3.0, 2, 1], "row 1")]
)
def test_bad_input_is_refused(t: list[float], loss: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        recognise(t, loss)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("diverged", "diverged"),
        ("scale_jump", "scale_jump"),
        ("zeros_after_nan", "zeros"),
        ("fall_after_plateau", "sudden_fall"),
        ("data_order_waves", None),
    ],
)
def test_the_reported_cases(case: str, kind: str | None, shared: Path) -> None:
    frame = pd.read_csv(shared / "cases" / case / "metrics.csv")
    found = recognise(frame["step"], frame["loss"])
    assert (found.kind if found else None) == kind
