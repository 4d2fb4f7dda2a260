"""From runs to what the kernels take: windows, scaled axes, priors as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.ragged import Floats, Ints
from .prior_table import prior_table
from .window import select

if TYPE_CHECKING:
    from ..kernels.driver import Batch, PriorTable
    from ..laws import Law
    from ..runs.collection import Flat
    from .window import Rule

__all__ = ["Prepared", "prepare"]

SECONDS = 5e-6  # of a point, in plain Python


class Prepared(NamedTuple):
    """Some runs, ready for the kernels.

    Attributes
    ----------
    batch : Batch
        Scaled data in the windows.
    table : PriorTable
    start, end : ndarray, shape (n_runs,)
        First and last axis value used; ``end`` is what the axis is divided by.
    n_points : ndarray of int, shape (n_runs,)
        Points used.
    scales : ndarray, shape (n_runs, 2)
        Loss and noise scales.
    """

    batch: Batch
    table: PriorTable
    start: Floats
    end: Floats
    n_points: Ints
    scales: Floats


def prepare(
    flat: Flat,
    names: tuple[str, ...],
    law: Law,
    rule: Rule,
    first: int,
    last: int,
    *,
    keep_spikes: bool = False,
    same_bits: bool = False,
) -> Prepared:
    """Window, scale and give priors to the runs ``first`` to ``last`` (exclusive).

    With ``same_bits`` only compiled kernels serve.
    """
    from ..engine.serving import serve
    from ..kernels.driver import Batch

    chosen = select(flat, names, rule, first, last, keep_spikes=keep_spikes)
    points = slice(int(flat.offsets[first]), int(flat.offsets[last]))
    offsets = np.concatenate([[0], np.cumsum(chosen.n_points)]).astype(np.int64)
    # A division, not a product with 1 / end: the last point must land on exactly 1.
    x = flat.x[points][chosen.rows] / np.repeat(chosen.end, chosen.n_points)
    y = flat.loss[points][chosen.rows]
    weight = flat.weight[points][chosen.rows]
    kernels = serve("scales", "_run_scales", SECONDS * len(x), same_bits=same_bits)
    scales = kernels.run_scales(x, y, weight, offsets)
    table = prior_table(law, scales[:, 0], scales[:, 1], chosen.start, chosen.end)
    batch = Batch(x=x, y=y, weight=weight, offsets=offsets)
    return Prepared(batch, table, chosen.start, chosen.end, chosen.n_points, scales)
