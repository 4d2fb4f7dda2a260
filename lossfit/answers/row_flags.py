"""What an answer says beside the numbers of each of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.ragged import Bools, Floats
from ..forecasts.record import farthest
from .meanings import unheard, unlearned

if TYPE_CHECKING:
    from .answer import Answer

FAR = 2.0


def flags_of(answer: Answer) -> list[list[tuple[str, ...]]]:
    """Flags by run and target; a row's own first, then the fits'."""
    question, mixed = answer.question, answer.mixed
    ratio = answer.at / answer.ends[:, None]
    checked = np.full(ratio.shape, farthest(question.by_default))
    if "longer_plan" in mixed.row_flags:
        checked[mixed.row_flags["longer_plan"]] = farthest(True, longer=True)
    rows: dict[str, Bools] = {
        "interpolation": ratio <= 1,
        "far": ratio > FAR,
        "untested": ratio > checked,
        "short_span": ratio > _spans(answer)[:, None],
        "below_zero": mixed.below_zero,
        "below_floor": np.asarray(mixed.below_floor.any(axis=0)),
    }
    rows.update(mixed.row_flags)
    if len(question.laws) > 1:
        _, _, lower, medians, upper = mixed.by_law.swapaxes(0, 1)
        widest = (upper - lower).max(axis=0)
        rows["law_disagreement"] = np.ptp(medians, axis=0) > widest
    if answer.calibration is not None:
        known = np.isfinite(answer.calibration.factors)
        rows["calibrated"], rows["not_calibrated"] = known, ~known & (ratio > 1)
    out = _sets(rows)
    for r, name in enumerate(answer.names):
        fits = [flag for law in mixed.flags for flag in law[r]]
        if name in answer.broken:
            fits.insert(0, "broken")
        if unheard(question, name):
            fits.append("broken_left_out")
        if unlearned(question, name):
            fits.append("siblings_unused")
        if fits:
            fits = list(dict.fromkeys(fits))
            out[r] = [(*row, *fits) for row in out[r]]
    return out


def _spans(answer: Answer) -> Floats:
    """End of the data of each run over their first point above 0, shape (R,)."""
    out = np.full(len(answer.names), np.inf)
    in_runs = [r for r, name in enumerate(answer.names) if name in answer.runs]
    if in_runs:  # a run of a ladder may not exist yet
        every = answer.names == answer.runs.names
        runs = answer.runs if every else answer.runs.select([answer.names[r] for r in in_runs])
        flat = runs.flat(answer.axis)
        x = np.where(flat.x > 0, flat.x, np.inf)
        out[in_runs] = flat.x[flat.offsets[1:] - 1] / np.minimum.reduceat(x, flat.offsets[:-1])
    return out


def _sets(rows: dict[str, Bools]) -> list[list[tuple[str, ...]]]:
    """By row and column, the names of the arrays that are true there."""
    words = list(rows)
    codes = np.zeros(rows[words[0]].shape, np.int64)
    for k, has in enumerate(rows.values()):
        codes |= has.astype(np.int64) << k
    different, which = np.unique(codes, return_inverse=True)
    sets = [
        tuple(word for k, word in enumerate(words) if code >> k & 1) for code in different.tolist()
    ]
    places: Any = which.reshape(codes.shape).tolist()
    return [[sets[i] for i in row] for row in places]
