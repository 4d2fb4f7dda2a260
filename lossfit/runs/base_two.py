"""Losses in bits: a log's own perplexities say which base its logarithms have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._base.ragged import Bools, Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

PERPLEXITY = ("ppl", "perplexity")
OF_LOSS = ("nll_loss", "loss")  # whose exponential it may be: fairseq smooths labels in its loss
LEAST = 3  # rows that must say so
OFF = 0.02  # of a loss: what rounding of both may make
NEARLY_ALL = 0.9  # of the rows


def in_bits(
    frame: pd.DataFrame,
    codes: Ints,  # shape (N,): the run of each row
    n_runs: int,
) -> tuple[Bools, str]:
    """Which runs show that their losses are to base 2, and how.

    fairseq prints losses divided by log 2, and ``ppl``, which is 2 to the ``nll_loss``.
    """
    for perplexity in PERPLEXITY:
        for loss in OF_LOSS:
            if perplexity in frame.columns and loss in frame.columns:
                said, bits = _numbers(frame[perplexity]), _numbers(frame[loss])
                rows = np.flatnonzero(np.isfinite(said) & np.isfinite(bits) & (said > 1))
                said, bits, of = said[rows], bits[rows], codes[rows]
                usable, base_two, base_e = (
                    np.bincount(of[which], minlength=n_runs)
                    for which in (
                        slice(None),
                        np.abs(np.log2(said) - bits) < OFF,
                        np.abs(np.log(said) - bits) < OFF,
                    )
                )
                shown = (usable >= LEAST) & (base_two >= NEARLY_ALL * usable)
                shown &= base_e < (1 - NEARLY_ALL) * usable
                if shown.any():
                    return shown, f"{perplexity} is 2 to the {loss}"
    return np.zeros(n_runs, bool), ""


def _numbers(column: pd.Series) -> Floats:
    import pandas as pd

    return np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)
