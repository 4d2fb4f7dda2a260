"""Fit a ladder: finished runs of several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._base.errors import DataError, warn
from .._base.seeds import Seed, run_keys, seed_integer
from .._base.summaries import check_prob
from ..runs.broken import sound_runs
from ..runs.checks import as_runs
from .core import readings
from .notes import notes_of
from .result import Ladder
from .rows import levels
from .rungs import rungs_of

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.axes import Axis
    from ..runs.collection import Runs


def fit_ladder(
    runs: Runs | pd.DataFrame, axis: Axis = "tokens", *, prob: float = 0.9, random_seed: Seed = 0
) -> Ladder:
    """Fit one law of sizes and schedules to the whole curves of finished runs.

    Parameters
    ----------
    runs : Runs or pandas.DataFrame
        Finished runs of at least two sizes, with params, and their learning-rate schedules given or
        logged.  Runs of different losses, tokenizers or data are to be fitted apart.
    axis : {"tokens", "step"}
        The axis of the curves.
    prob : float
        Probability of the intervals.
    random_seed : int, numpy.random.Generator or None
        Seed of the draws.

    Returns
    -------
    Ladder
        What the runs say of other sizes: ask ``ladder.extrapolate``, ``ladder.curve`` or
        `lossfit.plan`.

    Raises
    ------
    DataError
        Runs of one size only; a run without params, or whose schedule alone is not known.

    Warns
    -----
    LossfitWarning
        What `Ladder.flags` names, such as too few sizes or a run that lies off the others.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2").select(["llama2-7B", "llama2-13B", "llama2-34B"])
    >>> ladder = lossfit.fit_ladder(runs)
    >>> answer = ladder.extrapolate(params=7e10, at=[1e12, 2e12])
    >>> answer.frame[["at", "lower", "median", "upper"]].shape
    (2, 4)
    """
    runs = as_runs(runs)
    if axis not in ("tokens", "step"):
        raise DataError(f"a ladder counts tokens or steps: axis='tokens' or 'step', got {axis!r}")
    runs, broken = sound_runs(runs, axis)
    known = rungs_of(runs, axis)
    if levels(known.rungs) < 2:
        size = known.rungs[0].params
        raise DataError(
            f"a ladder needs finished runs of at least two sizes, and all {len(runs)} have about "
            f"{size:.3g} parameters: add runs of a smaller and of a larger size"
            + "".join(f" ({note})" for note in broken.values())
        )
    seed = seed_integer(random_seed)
    fitted = readings(known.rungs, int(run_keys(seed, ["readings"], "ladder")[0]))
    ladder = Ladder(
        runs, known.rungs, fitted, axis, check_prob(prob), seed, broken | notes_of(known, fitted)
    )
    warn("ladder", ladder.notes)
    return ladder
