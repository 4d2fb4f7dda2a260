"""Curves of several laws, mixed with equal weights, for many runs.

Runs are fitted in blocks and the parameters' draws dropped again: what is kept are the curves at
the targets.  A run's draws depend on the seed and its name only, so asking again (for a plot, or
for another target) gives the same curves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import laws as registry
from ._ragged import Bools, Floats
from .errors import DataError
from .fitting import fit_quietly
from .summaries import describe

if TYPE_CHECKING:
    from .laws import Law
    from .priors import Prior
    from .runs import Runs
    from .window import WindowSpec

__all__ = ["AUTO_LAWS", "Mixed", "Recipe", "mixed_laws"]

AUTO_LAWS = ("power", "power_linear")
BLOCK = 2000  # runs whose parameters are held at a time


class Mixed(NamedTuple):
    """Curves at the targets of R runs, T targets each, for D draws and L laws.

    Attributes
    ----------
    curves : ndarray, shape (R, T, D)
        Draw i comes from law i modulo L: any leading part is balanced too.
    sigma : ndarray, shape (R, D)
        Noise of the same draws.
    by_law : ndarray, shape (L, 5, R, T)
        Mean, sd, lower, median and upper of each law, from D draws each.
    below_floor : ndarray of bool, shape (L, R, T)
        Where a law's median curve lies below the median of its own E.
    flags : list (by law) of lists (by run) of tuples of str
        Flags of the fits.
    """

    curves: Floats
    sigma: Floats
    by_law: Floats
    below_floor: Bools
    flags: list[list[tuple[str, ...]]]


@dataclass(frozen=True)
class Recipe:
    """How the curves of an answer are made; the same recipe gives the same draws.

    Attributes
    ----------
    laws : tuple of Law
        With their priors.
    axis : str
    window : WindowSpec
    draws : int
        Draws of the mixture.
    seed : int
    prob : float
        Probability of the intervals by law.
    device : str
    """

    laws: tuple[Law, ...]
    axis: str
    window: WindowSpec
    draws: int
    seed: int
    prob: float
    device: str

    @property
    def weights(self) -> Floats:
        """Weight of each law."""
        return np.full(len(self.laws), 1 / len(self.laws))

    def curves(
        self, runs: Runs, at: Floats, progress: Callable[[int], None] | None = None
    ) -> Mixed:
        """Fit the runs and evaluate the mixture.

        Parameters
        ----------
        runs : Runs
        at : ndarray, shape (R, T)
            Targets in units of the axis; NaN gives NaN.
        progress : callable, optional
            Called with a number of runs times laws that were finished.
        """
        n_runs, n_at = at.shape
        n_laws = len(self.laws)
        curves = np.empty((n_runs, n_at, self.draws))
        sigma = np.empty((n_runs, self.draws))
        by_law = np.empty((n_laws, 5, n_runs, n_at))
        floor = np.zeros((n_laws, n_runs, n_at), bool)
        flags: list[list[tuple[str, ...]]] = [[] for _ in self.laws]
        for first in range(0, n_runs, BLOCK):
            some = slice(first, min(first + BLOCK, n_runs))
            block = runs if n_runs <= BLOCK else runs.select(runs.names[some])
            for k, law in enumerate(self.laws):
                fit = fit_quietly(
                    block, law, self.axis, self._window(block), self.draws, self.device, self.seed,
                    chains=1,
                )  # fmt: skip
                mine = fit.curves(at[some])
                by_law[k][:, some] = describe(mine, self.prob)
                mixed = slice(k, None, n_laws)
                curves[some, :, mixed] = mine[:, :, mixed]
                assert fit.draws is not None
                sigma[some, mixed] = fit.draws[:, -1, mixed]
                if "E" in law.parameters:
                    asymptote = fit.draws[:, law.parameters.index("E")]
                    median = np.median(asymptote, axis=-1)[:, None]
                    floor[k, some] = by_law[k, 3, some] < median
                flags[k] += fit.flags
                if progress is not None:
                    progress(len(block))
        return Mixed(curves, sigma, by_law, floor, flags)

    def _window(self, runs: Runs) -> WindowSpec:
        """The window for a block of runs: a dict may name runs of other blocks."""
        if isinstance(self.window, Mapping):
            return {name: one for name, one in self.window.items() if name in runs}
        return self.window


def mixed_laws(
    laws: str | Law | Sequence[str | Law], priors: Mapping[str, Prior] | None
) -> tuple[Law, ...]:
    """The laws of a mixture, with priors replaced in each that has a parameter of that name.

    Raises
    ------
    DataError
        No law, a law twice, or a prior for a parameter that none of them has.
    """
    if isinstance(laws, str) and laws == "auto":
        chosen = [registry.get(name) for name in AUTO_LAWS]
    elif isinstance(laws, (str, registry.Law)):
        chosen = [registry.get(laws)]
    else:
        chosen = [registry.get(law) for law in laws]
    if not chosen:
        raise DataError("laws is empty; give 'auto', a name or a list of names")
    names = [law.name for law in chosen]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"the law {name!r} is listed twice")
    priors = dict(priors or {})
    known = {p for law in chosen for p in (*law.parameters, "sigma")}
    for name in priors:
        if name not in known:
            raise DataError(
                f"priors name {name!r}, which is no parameter of {', '.join(names)}; "
                f"they have {', '.join(sorted(known))}"
            )
    return tuple(
        law.with_priors({n: p for n, p in priors.items() if n in (*law.parameters, "sigma")})
        for law in chosen
    )
