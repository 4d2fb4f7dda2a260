"""The picture of learned priors: how strongly each finished run responded to its learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .style import BLUE, DATA, GREY, axes, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..forecasts.learning import Priors

MOST = 30  # runs drawn


@figure_options
def plot_priors(priors: Priors, *, ax: Axes | None = None) -> Any:
    """B of every finished run with its interval, and the prior that they give.

    Parameters
    ----------
    priors : Priors
        What `lossfit.learn_priors` gave.

    Returns
    -------
    matplotlib axes
        Runs that could not tell (hollow) are not part of the prior; those whose B is not known at
        all are left out, and so are all beyond the first 30.

    Examples
    --------
    >>> import lossfit
    >>> priors = lossfit.learn_priors(lossfit.load("llama2"))
    >>> ax = lossfit.plotting.plot_priors(priors)
    """
    ax = axes(ax)
    known = np.flatnonzero(np.isfinite(priors.b))[:MOST]
    lower, upper = priors._ends(priors.prob)
    for y, r in enumerate(known[::-1]):
        used = not priors.reasons[r]
        colour = DATA if used else GREY
        ax.plot([lower[r], upper[r]], [y, y], color=colour, linewidth=1.5)
        ax.plot([priors.b[r]], [y], "o", color=colour, markersize=5,
                markerfacecolor=colour if used else "white")  # fmt: skip
    ax.set_yticks(range(len(known)), [plain(priors.names[r]) for r in known[::-1]])
    mean, sd = priors.strength.mean, priors.strength.sds[-1]
    ax.axvspan(mean * (1 - sd), mean * (1 + sd), color=BLUE, alpha=0.15, linewidth=0,
               label="prior of the next run, one sd")  # fmt: skip
    ax.axvline(mean, color=BLUE, linewidth=1.2)
    ax.set_xlabel("B: loss won by taking the learning rate from its peak to 0")
    ax.set_ylabel(" ")
    ax.set_ylim(-0.7, len(known) - 0.3)
    return finish(ax, f"{len(priors.used)} of {len(priors.names)} finished runs say how strong")
