"""Where the rows of a console log lie: the step of each, over all epochs, and the rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._base.ragged import Floats
from ..runs.aliases import ALIASES
from ..runs.names import falls, plain_name, role_of
from ._rows import Rows

if TYPE_CHECKING:
    import pandas as pd

# Columns that are not shown: the place and total of a fraction such as 10/2000, a number at the
# start of a line, a rank, where each progress bar stands before a row and after it.
AT, OF, LABEL, RANK, BAR, NEXT = (f"\0{n}" for n in ("at", "of", "label", "rank", "bar ", "next "))


def steps_of(rows: Rows, frame: pd.DataFrame) -> tuple[Floats | None, Floats, str | None]:
    """Step and total of each row, and the column that has the steps.

    The step is the column of that meaning that is filled best; else the place of a fraction such
    as 10/2000 in the line; else that of the progress bar before it.
    """
    total = rows.column(OF)
    names = {plain_name(str(c)): str(c) for c in reversed(list(frame.columns))}
    candidates = [names[alias] for alias in ALIASES["step"] if alias in names]
    candidates += [
        str(c) for c in frame.columns if role_of(str(c)) == "step" and str(c) not in candidates
    ]
    if len(candidates) > 1 and falls(frame[candidates[0]]):
        # A counter within epochs, where another counts all steps.
        rising = [c for c in candidates if not falls(frame[c]) and frame[c].notna().mean() > 0.9]
        candidates = rising or candidates
    place = rows.column(AT)
    if not candidates:
        if np.isfinite(place).mean() >= 0.5:
            return place, total, "step"
        bar = _bar_steps(rows)
        if bar is not None:
            return *bar, "step"
        label = rows.column(LABEL)  # "100: loss 3.2"
        if len(np.unique(label)) > 3 and not np.isnan(label).any():
            return label, total, "step"
        return None, total, None
    filled = [int(frame[c].notna().sum()) for c in candidates]
    name = next(c for c, n in zip(candidates, filled, strict=True) if n >= 0.95 * max(filled))
    step = frame[name].to_numpy(dtype=float).copy()
    other = next((c for c in candidates if c != name and "iter" in plain_name(c)), None)
    if other is not None and _repeats(step) and not _repeats(frame[other].to_numpy()):
        # litgpt counts micro-batches beside optimizer steps, and logs each of them.
        name, step = other, frame[other].to_numpy(dtype=float).copy()
    if np.isnan(step).any() and not np.isnan(place).all():
        gaps = np.isnan(step)
        step[gaps] = place[gaps]
    return step, total, name


def _repeats(step: Floats) -> bool:
    step = step[~np.isnan(step)]
    return len(step) > 2 and float((step[1:] == step[:-1]).mean()) > 0.1


def _bar_steps(rows: Rows) -> tuple[Floats, Floats] | None:
    """Steps from the progress bar that moved most between the rows."""
    bars = [name for name in rows.columns if name.startswith(BAR)]
    if not bars:
        return None
    best = max(bars, key=lambda name: (len(np.unique(rows.column(name))), float(name[len(BAR) :])))
    total = best[len(BAR) :]
    before, after = rows.column(best), rows.column(f"{NEXT}{total}")
    if len(np.unique(before)) < 3:
        return None
    # A bar is drawn at intervals, so that it may lag; what is drawn after a line does not.
    step = before
    if not _even(before) and _even(after[~np.isnan(after)]):
        step = np.where(np.isnan(after), before, after)
    return step, np.full(len(step), float(total))


def _even(step: Floats) -> bool:
    gaps = np.diff(step[np.isfinite(step)])
    return len(gaps) > 1 and bool((gaps > 0).all()) and float(np.ptp(gaps)) == 0


def carried_on(
    step: Floats, total: Floats, epoch: Floats | None, epochs: float
) -> tuple[Floats, float | None]:
    """Steps over all epochs where each epoch counts them again; the steps that were planned."""
    known = total[~np.isnan(total)]
    end = float(np.median(known)) if len(known) else None
    if epoch is None or end is None:
        return step, end
    whole = ~np.isnan(step) & ~np.isnan(epoch)
    s, e = step[whole], epoch[whole]
    if len(e) < 2 or (e != np.rint(e)).any() or s.max() > end:
        return step, end
    rises = np.flatnonzero(e[1:] > e[:-1])
    if len(rises) and (s[rises + 1] <= s[rises]).any():
        with np.errstate(over="ignore", invalid="ignore"):  # epochs may be infinite
            before = np.where(np.isnan(epoch), 0.0, epoch - min(1.0, float(e.min())))
            out = step + before * end
        return out, end * epochs if epochs else None
    if not len(rises) and epochs > 1:
        return step, end * epochs
    return step, end


def ranks_of(rows: Rows, step: str | None) -> Floats | None:
    """The rank that printed each row, where there are several."""
    rank = rows.column(RANK)
    if np.isnan(rank).all() and step is not None:
        rank = rows.column(LABEL)
    known = rank[~np.isnan(rank)]
    return rank if len(np.unique(known)) > 1 and len(known) == len(rank) else None
