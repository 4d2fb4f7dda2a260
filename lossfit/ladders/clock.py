"""What a learning-rate schedule does along a run: its cumulative rate, and the response to it.

The cumulative learning rate X is counted in tokens at the peak rate.  The response is that of
annealing: every drop of the rate, rho^p, lowers the loss, and takes tau steps to do so.  Both are
tabulated along the run once; tau and p are looked up on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats

LOG_TAUS = np.log(np.geomspace(50.0, 3200.0, 13))  # steps
POWERS = np.linspace(0.4, 1.0, 5)
NODES = 3000  # of the table along a run
AT_PEAK = 0.995  # of the peak: where the warm-up ends
GRADUAL = 0.5  # share of the run spent near the peak, below which a schedule decays gradually
NEAR_PEAK = 0.9


@dataclass(frozen=True, eq=False)
class Clock:
    """Cumulative rate and response along one run."""

    tokens: Floats  # shape (m,): from 0 to the end of the schedule
    cumulative: Floats  # shape (m,)
    response: Floats | None  # shape (len(LOG_TAUS), len(POWERS), m): None for a constant rate
    warmup: float  # tokens of the warm-up
    # {"constant", "gradual", "late"}: how the rate decays: not at all, along the whole run, or late
    # in it
    kind: str
    peak: float  # the highest rate, NaN where it is not known

    @classmethod
    def of(
        cls,
        # tokens, rate: shape (k,)
        tokens: Floats,
        rate: Floats,
        end: float,  # tokens to which the run goes
        batch: float,  # tokens of a step
        peak: float = np.nan,  # the highest rate in the units of the log, where it is known
    ) -> Clock:
        """The clock of a rate given at some tokens, held beyond them, up to ``end``."""
        if not rate.max() > 0:
            raise DataError("the learning rate is 0 throughout: give the schedule that was used")
        t = np.linspace(0.0, end, NODES)
        rho = np.interp(t, tokens, rate) / rate.max()
        top = int(np.argmax(rho >= AT_PEAK * rho.max()))
        mean = (rho[1:] + rho[:-1]) / 2
        cumulative = np.concatenate([[0.0], np.cumsum(mean * np.diff(t))])
        after = np.maximum(rho, 0.0)
        after[:top] = after[top]
        after = after / after[top]
        kind = _kind(after[top:])
        response = None if kind == "constant" else _responses(after, (t[1] - t[0]) / batch)
        return cls(t, cumulative, response, float(t[top]), kind, peak)

    @classmethod
    def constant(cls, end: float, warmup: float = 0.0, peak: float = np.nan) -> Clock:
        """The clock of a constant rate after a linear warm-up."""
        t = np.linspace(0.0, end, NODES)
        rho = np.minimum(t / warmup, 1.0) if warmup > 0 else np.ones(NODES)
        mean = (rho[1:] + rho[:-1]) / 2
        cumulative = np.concatenate([[0.0], np.cumsum(mean * np.diff(t))])
        return cls(t, cumulative, None, warmup, "constant", peak)

    def at(self, tokens: Floats) -> tuple[Floats, Floats]:
        """Cumulative rate, shape (k,), and responses, shape (taus, powers, k), at some tokens."""
        x = np.interp(tokens, self.tokens, self.cumulative)
        if self.response is None:
            return np.maximum(x, 1e-9), np.zeros((len(LOG_TAUS), len(POWERS), len(tokens)))
        place = np.clip(np.interp(tokens, self.tokens, np.arange(len(self.tokens))), 0, None)
        below = np.minimum(place.astype(np.int64), len(self.tokens) - 2)
        part = place - below
        q = (1 - part) * self.response[..., below] + part * self.response[..., below + 1]
        return np.maximum(x, 1e-9), q


def _kind(rho: Floats) -> str:
    if rho.min() > 0.98:
        return "constant"
    return "late" if (rho > NEAR_PEAK).mean() > GRADUAL else "gradual"


def _responses(rho: Floats, steps: float) -> Floats:
    """What drops of the rate have won so far; ``steps`` lie between two nodes."""
    from scipy.signal import lfilter

    drops = -np.diff(rho[None] ** POWERS[:, None], axis=1, prepend=1.0)
    total = np.cumsum(drops, axis=1)
    out = np.empty((len(LOG_TAUS), len(POWERS), len(rho)))
    for i, log_tau in enumerate(LOG_TAUS):
        fade = np.exp(-steps / np.exp(log_tau))
        out[i] = total - lfilter([1.0], [1.0, -fade], drops, axis=1)
    return out
