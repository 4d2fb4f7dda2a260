"""Logged learning rates after their peaks, side by side: what `rate_forms` looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints

CONSTANT = 0.02  # a logged rate that moved less is constant
MATCH = 0.01  # a logged rate follows a form within this rms share of the peak ...
STRAY = 2e-3  # of its fall: this much of the rms may be smooth, so that no rounding explains it
LEAST_POINTS = 8  # after the peak
SKIPPED = 2  # points right after the peak, where some logs lag behind
FORM_POINTS = 64  # of a logged rate that are looked at for its form
BLOCK = 64  # logs at a time: their waves stay in the processor's cache
AT_PEAK = 1e-6  # of the peak: a rate so near is at it


class LoggedRate(NamedTuple):
    """A logged learning rate; `lossfit.runs.logged_rate.rate_of` makes it."""

    t: Floats  # shape (n,)
    rho: Floats  # shape (n,): relative to its peak
    warmup: float  # its end, 0 where none was seen


class Falls(NamedTuple):
    """The rates of R logs after their peaks, at N points each, in units of the logs' ends."""

    which: Ints  # shape (R,): their places among the logs that were asked
    t: Floats  # shape (R, N)
    rho: Floats  # shape (R, N)
    weight: Floats  # shape (R, N), of sum 1: 0 for what only fills a row
    n: Ints  # shape (R,): points
    low: Floats  # shape (R,): the fall begins between it ...
    high: Floats  # ... and this: the points beside those at the peak
    held: Floats  # shape (R,): the first of several points at the peak, `high` where there is one
    top: Floats  # shape (R,): the last point at the peak
    end: Floats  # shape (R,): of the log, in its own units
    total: Floats  # shape (R,): planned end, NaN where none is

    def of(self, rows: Ints, total: Floats) -> Falls:
        """Some of them, with these planned ends."""
        part: dict[str, Any] = {name: values[rows] for name, values in self._asdict().items()}
        return Falls(**{**part, "total": total})


def falls_of(logs: Sequence[LoggedRate]) -> Iterator[Falls]:
    """The logs that may have a form, in blocks."""
    falls = [fall for i, log in enumerate(logs) if (fall := _fall_of(i, log)) is not None]
    for first in range(0, len(falls), BLOCK):
        yield _stacked(falls[first : first + BLOCK])


def _fall_of(i: int, log: LoggedRate) -> tuple[Any, ...] | None:
    """The points after the peak, if they may have a form, and between which the fall began."""
    t, rho = log.t, log.rho
    end = float(t[-1])
    at_peak = np.flatnonzero(rho >= 1 - AT_PEAK)
    first, top = int(at_peak[0]), int(at_peak[-1])
    warm = first if log.warmup <= 0 else min(int(np.searchsorted(t, log.warmup)), first)
    after = top + 1 + (SKIPPED if len(t) - 1 - top >= 3 * LEAST_POINTS else 0)
    n = len(t) - after
    if n < LEAST_POINTS or (rho[top] - rho[-1] < CONSTANT and np.ptp(rho[after:]) < CONSTANT):
        return None
    before = rho[: first + 1]
    if (np.diff(before) < 0).any() and before.min() < 1 - CONSTANT:
        return None  # a rise that is no warm-up
    if top - first >= len(at_peak):  # away from the peak and back
        return None
    rows = after + np.arange(n)
    if n > FORM_POINTS:
        rows = after + np.linspace(0, n - 1, FORM_POINTS).round().astype(int)
    low, high = (float(t[warm - 1]) if warm else 0.0), float(t[after])
    held = float(t[first]) if top > first else high
    bounds = (place / end for place in (low, high, held, t[top]))
    return i, t[rows] / end, rho[rows], *bounds, end


def _stacked(falls: list[tuple[Any, ...]]) -> Falls:
    which, t, rho, *places = zip(*falls, strict=True)
    n = np.array([len(each) for each in t])
    full = np.arange(FORM_POINTS) < n[:, None]  # of one width, so that sums are the same bits
    points, rates = np.ones(full.shape), np.zeros(full.shape)
    points[full], rates[full] = np.concatenate(t), np.concatenate(rho)
    low, high, held, top, end = (np.array(each) for each in places)
    return Falls(
        np.array(which), points, rates, full / n[:, None], n,
        low, high, held, top, end, np.full(len(n), np.nan),
    )  # fmt: skip


def judged(falls: Falls, residual: Floats, free: Any, fine: Any = True) -> tuple[Floats, Bools]:
    """Price of a form for each log, and whether what is left is noise.

    The price is the rms, the higher the more was free (BIC's, as a factor), and infinite where the
    rate does not follow the form: of a residual's mean square, half that of its differences is
    noise, and what remains is smooth.
    """
    square = (residual**2 * falls.weight).sum(-1)
    steps = np.diff(residual, axis=-1) ** 2 * (falls.weight[..., 1:] > 0)
    noise = steps.sum(-1) / (2 * (falls.n - 1))
    smooth = square * (1 - 2 / np.sqrt(falls.n)) - noise
    fell = 1 - falls.rho.min(-1, where=falls.weight > 0, initial=1.0)
    follows = (square < MATCH**2) & (smooth < (STRAY * fell) ** 2) & fine
    price = np.sqrt(square) * falls.n ** (np.asarray(free) / (2 * falls.n))
    return np.where(follows, price, np.inf), smooth <= 0
