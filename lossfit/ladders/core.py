"""Both readings of a ladder and what they say together of a curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._base.blas import one_blas_thread
from .._base.ragged import Floats
from .pooling import ends_share, pooled, sharpened
from .reading import Reading, read
from .rows import Rung, levels

TOGETHER = 0.8  # correlation of log size and log tokens from which ends can't tell them apart
APART = 0.3  # sd of log tokens below which they hardly differ


@dataclass(frozen=True, eq=False)
class Readings:
    """A ladder by its whole curves, and by their ends."""

    whole: Reading
    ends: Reading | None  # None for a run that has begun: its own rows tell the level
    together: bool  # whether sizes and tokens grow together: then the ends are not asked
    begun: bool
    sizes: int  # different sizes of the ladder

    @one_blas_thread()
    def curves(
        self, rung: Rung, tokens: Floats, seed: int, draws: int = 1000, noisy: bool = False
    ) -> Floats:
        """Joint draws of a run's loss at increasing tokens, shape (k, draws)."""
        rng = np.random.default_rng(seed)
        curves = self.whole.curves(rung, tokens, rng, draws, noisy, self.begun)
        if self.ends is None or self.together:
            return curves
        end = self.ends.curves(rung, tokens[-1:], rng, draws, noisy)[0]
        both = pooled(curves, end, ends_share(curves[-1], end, self.sizes))
        return sharpened(both, self._ratio(rung))

    @one_blas_thread()
    def ends_of(self, rungs: list[Rung], seed: int, draws: int = 1000) -> Floats:
        """Joint draws of the last losses of several runs to come, shape (len(rungs), draws)."""
        rng = np.random.default_rng(seed)
        out = self.whole.ends_of(rungs, rng, draws)
        if self.ends is None or self.together:
            return out
        others = self.ends.ends_of(rungs, rng, draws)
        for k, other in enumerate(others):
            share = ends_share(out[k], other, self.sizes)
            both = pooled(out[k : k + 1], other, share)
            out[k] = sharpened(both, self._ratio(rungs[k]))[0]
        return out

    def _ratio(self, rung: Rung) -> float:
        """A size over the largest that was fitted."""
        return float(np.exp(np.log(rung.params) - self.whole.top[0] - self.whole.centre[0]))


def grow_together(rungs: list[Rung]) -> bool:
    """Whether the ends of the curves can't tell size from tokens."""
    n = np.log([rung.params for rung in rungs])
    x = np.log([rung.clock.at(rung.tokens[-1:])[0][0] for rung in rungs])
    if len(rungs) < 2 or x.std() <= APART or n.std() == 0:
        return False
    return bool(abs(np.corrcoef(n, x)[0, 1]) > TOGETHER)


@one_blas_thread()
def readings(
    rungs: list[Rung],  # finished runs
    seed: int,
    begun: Rung | None = None,  # a run of the target's size that is still in training
) -> Readings:
    """Fit both readings."""
    rng = np.random.default_rng(seed)
    if begun is not None:
        return Readings(read([*rungs, begun], rng, begun=True), None, False, True, levels(rungs))
    together = grow_together(rungs)
    whole = read(rungs, rng)
    ends = None if together else read(rungs, rng, ends=True)
    return Readings(whole, ends, together, False, levels(rungs))
