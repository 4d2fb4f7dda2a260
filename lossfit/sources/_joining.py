"""Several logs of one run as one: asked for, or found where one begins where another ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..runs.axes import AXES
from ..runs.cleaning import Flag
from ..runs.intake import join
from ..runs.raw import Raw

NEAR = 5  # points at the seam that are compared
NOISES = 4.0  # standard deviations that the losses at the seam may lie apart
GAPS = 1.5  # strides that may lie between the parts
LEAST = 8  # points of a part
DIGITS = re.compile(r"\d+")


@dataclass
class _Ends:
    """Where a log of one run begins and ends."""

    x: Floats
    loss: Floats

    @property
    def stride(self) -> float:
        gaps = np.diff(self.x)
        gaps = gaps[gaps > 0]
        return float(np.median(gaps)) if len(gaps) else 0.0

    @property
    def noise(self) -> float:
        """Standard deviation of the points about their neighbours."""
        if len(self.loss) < 4:
            return 0.0
        return float(np.median(np.abs(np.diff(self.loss[len(self.loss) // 2 :])))) * 1.05


def joined(
    raws: Sequence[Raw],  # one for each log
    # True: logs of one run each are one run, and runs of equal names are one.  None: logs whose
    # names differ in numbers only are one run where each begins where another ends.  False: never
    join_all: bool | None,
) -> list[Raw]:
    """The logs' rows, those of one run together."""
    if join_all:
        return _all(raws)
    if join_all is None and len(raws) > 1:
        return _found(raws)
    return list(raws)


def _all(raws: Sequence[Raw]) -> list[Raw]:
    if all(len(raw.names) == 1 for raw in raws):
        return [_chained(list(raws))]
    names = dict.fromkeys(name for raw in raws for name in raw.names)
    parts = [_alone(raw, i) for raw in raws for i in range(len(raw.names))]
    out = []
    for name in names:
        same = [part for part in parts if part.names == (name,)]
        out.append(_chained(same) if len(same) > 1 else same[0])
    return out


def _alone(raw: Raw, run: int) -> Raw:
    """One run of a log; the log's own flags go with its first."""
    rows = np.arange(raw.offsets[run], raw.offsets[run + 1])
    name = raw.names[run]
    where = raw.where

    def of(values: Floats | None) -> Floats | None:
        return None if values is None else values[rows]

    return Raw(
        names=(name,),
        offsets=np.array([0, len(rows)]),
        loss=raw.loss[rows],
        axes={axis: values[rows] for axis, values in raw.axes.items()},
        lr=of(raw.lr),
        params=of(raw.params),
        precision=of(raw.precision),
        rank=of(raw.rank),
        where=lambda row: where(int(rows[row])),
        flags=[f for f in raw.flags if f.run == name or (f.run is None and run == 0)],
    )


def _found(raws: Sequence[Raw]) -> list[Raw]:
    """Chains of logs of which each begins where exactly one other ends."""
    ends = [_ends(raw) for raw in raws]
    after: dict[int, int] = {}
    for i, first in enumerate(ends):
        follows = [
            j
            for j, second in enumerate(ends)
            if i != j and first is not None and second is not None and _follows(first, second)
        ]
        if len(follows) == 1:
            after[i] = follows[0]
    targets = list(after.values())
    after = {i: j for i, j in after.items() if targets.count(j) == 1}
    out: list[Raw] = []
    starts = [i for i in range(len(raws)) if i not in after.values()]
    taken: set[int] = set()
    for i in starts:
        chain = [i]
        while chain[-1] in after and after[chain[-1]] not in chain:
            chain.append(after[chain[-1]])
        taken.update(chain)
        kinds = {DIGITS.sub("#", raws[k].names[0]) for k in chain}
        if len(chain) > 1 and len(kinds) == 1:
            out.append(_chained([raws[k] for k in chain]))
            continue
        for before, k in zip([None, *chain], chain, strict=False):
            raw = raws[k]
            if before is not None:
                words = (
                    f"begins where {raws[before].names[0]!r} ends: if they are one run, read them "
                    "with join=True (--join)"
                )
                raw = replace(raw, flags=[*raw.flags, Flag(raw.names[0], "follows", 1, words)])
            out.append(raw)
    out += [raws[k] for k in range(len(raws)) if k not in taken]
    order = {raw.names[0]: k for k, raw in enumerate(raws)}
    return sorted(out, key=lambda raw: order[raw.names[0]])


def _ends(raw: Raw) -> _Ends | None:
    axis = next((a for a in ("step", "tokens") if a in raw.axes), None)
    if len(raw.names) != 1 or axis is None:
        return None
    known = np.isfinite(raw.axes[axis]) & np.isfinite(raw.loss)
    x, loss = raw.axes[axis][known], raw.loss[known]
    if len(x) < LEAST or (np.diff(x) < 0).any():
        return None
    return _Ends(x, loss)


def _follows(first: _Ends, second: _Ends) -> bool:
    """Whether the second begins where the first ends, with its loss."""
    stride = max(first.stride, second.stride)
    middle = (first.x[0] + first.x[-1]) / 2
    if not (middle < second.x[0] <= first.x[-1] + GAPS * stride and second.x[-1] > first.x[-1]):
        return False
    if second.x[0] <= first.x[-1]:
        common, i, j = np.intersect1d(first.x, second.x, return_indices=True)
        if not len(common):
            return False
        apart = float(np.median(second.loss[j] - first.loss[i]))
        size = len(common)
    else:
        # The line of the last points, carried on to the first of the next log.
        tail = slice(-2 * NEAR, None)
        line = np.polynomial.Polynomial.fit(first.x[tail], first.loss[tail], 1)
        apart = float(np.median(second.loss[:NEAR] - line(second.x[:NEAR])))
        size = 1  # a line of a few points is not sure either
    noise = max(first.noise, second.noise)
    return bool(abs(apart) <= NOISES * noise / min(size, NEAR) ** 0.5 + 1e-3 * abs(first.loss[-1]))


def _chained(raws: list[Raw]) -> Raw:
    """The rows of several logs of one run, in order of their first axis values."""
    if len(raws) == 1:
        return raws[0]
    axis = next((a for a in AXES if all(a in raw.axes for raw in raws)), None)
    if axis is None:
        names = ", ".join(raw.names[0] for raw in raws)
        raise DataError(f"the logs to be joined ({names}) have no axis in common")
    raws = sorted(raws, key=lambda raw: float(np.nanmin(raw.axes[axis], initial=np.inf)))
    name = raws[0].names[0]
    told = [replace(raw, names=(f"{i}",)) for i, raw in enumerate(raws)]
    whole = join(told)
    parts = ", ".join(
        f"{raw.names[0]} ({np.nanmin(raw.axes[axis]):g} to {np.nanmax(raw.axes[axis]):g})"
        for raw in raws[:6]
    )
    words = f"{len(raws)} logs of one run along {axis}: {parts}{', ...' if len(raws) > 6 else ''}"
    own = {raw.names[0] for raw in raws}
    flags = [replace(f, run=name) if f.run in own else f for f in whole.flags]
    return replace(
        whole,
        names=(name,),
        offsets=np.array([0, len(whole.loss)]),
        flags=[*flags, Flag(name, "joined", len(raws), words)],
    )
