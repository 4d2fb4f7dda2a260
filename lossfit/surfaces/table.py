"""The table that a surface is fitted to: model sizes, tokens, final losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints
from ..runs.broken import sound_runs

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.collection import Runs
    from ..runs.run import Run

MINIMUM_ROWS = 3
FINAL_SHARE = 0.99  # of a run's tokens, from which its losses are averaged for the final one
FLOPS_PER_PARAM_TOKEN = 6.0
STILL_HIGH = 0.5  # share of the peak rate at which a run that ends has not annealed


@dataclass(frozen=True, eq=False)
class Table:
    """Final losses of n runs."""

    # params, tokens, loss: shape (n,)
    params: Floats
    tokens: Floats
    loss: Floats
    # shape (n,) or None: tokens of which ``tokens`` are repeats; at most ``tokens``
    unique_tokens: Floats | None
    labels: tuple[str, ...]  # length n: what a row is called in messages
    error: Floats | None = None  # shape (n,) or None: standard errors of the losses
    weight: Floats | None = None  # shape (n,) or None: relative precision
    # shape (n,) or None: rows of runs whose learning rate was still high when they ended
    high_rate: Bools | None = None
    broken: Mapping[str, str] = field(default_factory=dict)  # flags that name runs that broke

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def copies(self) -> Ints:
        """How often each row's size, tokens and loss stand in the table, shape (n,)."""
        rows = np.column_stack([self.params, self.tokens, self.loss])
        _, which, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return np.asarray(counts[which.ravel()])

    @property
    def first(self) -> Bools:
        """Rows that are no copy of one above them, shape (n,)."""
        rows = np.column_stack([self.params, self.tokens, self.loss])
        out = np.zeros(len(self), bool)
        out[np.unique(rows, axis=0, return_index=True)[1]] = True
        return out

    @property
    def compute(self) -> Floats:
        """Training FLOP of each row, 6 x params x tokens."""
        return FLOPS_PER_PARAM_TOKEN * self.params * self.tokens

    @property
    def sizes(self) -> int:
        """Different model sizes, to 1 %."""
        return _levels(self.params)

    @property
    def budgets(self) -> int:
        """Different numbers of tokens, to 1 %."""
        return _levels(self.tokens)


def _levels(values: Floats) -> int:
    return 1 + int((np.diff(np.sort(np.log(values))) > 0.01).sum())


def read_table(
    table: Any,  # pandas.DataFrame or mapping of columns
    *,
    # params, tokens, loss, flops: names of columns; ``flops`` (6 x params x tokens) stands in for
    # params or tokens
    params: str,
    tokens: str,
    loss: str,
    flops: str,
    # str, float or None: a column, one number for all rows or None: there are none
    unique_tokens: str | float | None,
    # error, weight: columns that may be there: standard errors of the losses, relative precision
    error: str = "se",
    weight: str = "weight",
    least: int = MINIMUM_ROWS,  # fewest rows
    other_unique: float | None = None,  # unique tokens of rows of which the column says nothing
) -> Table:
    """Check a frame of final losses.

    Raises `DataError`: a missing column; too few rows; a value that is not a positive number (the
    row is named).
    """
    import pandas as pd

    try:
        frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table)
    except (TypeError, ValueError):
        raise DataError(
            f"a surface is fitted to a pandas frame or a dict of columns, got "
            f"{type(table).__name__}"
        ) from None
    have = [str(column) for column in frame.columns]
    if loss not in frame.columns:
        raise DataError(
            f"the table has no column {loss!r} of final losses (it has {', '.join(have)}): name "
            f"it with loss="
        )
    known = {name: column for name, column in (("params", params), ("tokens", tokens))
             if column in frame.columns}  # fmt: skip
    if len(known) < 2 and flops not in frame.columns:
        missing = [c for c in (params, tokens) if c not in frame.columns]
        raise DataError(
            f"the table has no column {' and none '.join(map(repr, missing))} (it has "
            f"{', '.join(have)}): name it with params= or tokens=, or give a column flops "
            f"(6 x params x tokens)"
        )
    if not known:
        raise DataError(
            f"flops alone do not say how large a model was: the table needs {params!r} or "
            f"{tokens!r} too (it has {', '.join(have)})"
        )
    if len(frame) < least:
        raise DataError(
            f"a surface needs at least {least} rows, the table has {len(frame)}: add "
            f"finished runs of other sizes"
        )
    labels = _labels(frame)
    losses = _positive(frame, loss, labels)
    found = {name: _positive(frame, column, labels) for name, column in known.items()}
    if len(found) < 2:
        (name, other), = found.items()  # fmt: skip
        derived = _positive(frame, flops, labels) / (FLOPS_PER_PARAM_TOKEN * other)
        found["tokens" if name == "params" else "params"] = derived
    unique: Floats | None = None
    if isinstance(unique_tokens, str):
        if unique_tokens in frame.columns:
            own = frame if other_unique is None else frame.fillna({unique_tokens: other_unique})
            unique = _positive(own, unique_tokens, labels)
        elif other_unique is not None:
            unique = np.full(len(frame), float(other_unique))
    elif unique_tokens is not None:
        value = float(unique_tokens)
        if not (value > 0 and np.isfinite(value)):
            raise DataError(f"unique_tokens must be a positive number, got {unique_tokens!r}")
        unique = np.full(len(frame), value)
    if unique is not None:
        unique = np.minimum(unique, found["tokens"])
    extra = {
        name: _positive(frame, column, labels) if column in frame.columns else None
        for name, column in (("error", error), ("weight", weight))
    }
    if extra["error"] is not None and extra["weight"] is not None:
        raise DataError(
            f"the table has both {error!r} (standard errors) and {weight!r} (relative precision): "
            f"keep one"
        )
    return Table(
        found["params"], found["tokens"], losses, unique, labels, extra["error"], extra["weight"]
    )


def _labels(frame: pd.DataFrame) -> tuple[str, ...]:
    for column in ("run", "name"):
        if column in frame.columns and frame[column].is_unique:
            return tuple(str(v) for v in frame[column])
    return tuple(f"row {v}" for v in frame.index)


def _positive(frame: pd.DataFrame, column: str, labels: tuple[str, ...]) -> Floats:
    try:
        values = np.asarray(frame[column], np.float64)
    except (TypeError, ValueError):
        raise DataError(f"column {column!r} of the table must hold numbers") from None
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if bad.size:
        k = int(bad[0])
        raise DataError(
            f"{labels[k]} of the table: {column} is {values[k]:g}, not a positive number "
            f"({bad.size} such row{'s' if bad.size > 1 else ''}); correct or drop it"
        )
    return np.array(values)


def table_of_runs(
    runs: Runs, unique_tokens: float | None = None, least: int = MINIMUM_ROWS
) -> Table:
    """The final losses of finished runs.

    The final loss is the mean over the last 1 % of a run's tokens, spikes left out.  Runs that
    diverged, or broke in another way after which they do not go on as they went, are left out.

    Raises `DataError`: a run without params or tokens; too few runs.
    """
    rows, high = [], []
    runs, broken = sound_runs(runs, "tokens")
    for run in runs:
        if run.params is None:
            raise DataError(
                f"run {run.name!r} has no params, which a surface needs: give params= when the "
                f"runs are made, or a column params"
            )
        tokens = run.axis("tokens")
        high.append(_ends_high(run))
        late = (tokens >= FINAL_SHARE * tokens[-1]) & ~run.spike
        final = float(run.loss[late].mean()) if late.any() else float(run.loss[-1])
        rows.append((run.params, float(tokens[-1]), final))
    if len(rows) < least:
        raise DataError(
            f"a surface needs at least {least} finished runs, got {len(rows)}: add runs of "
            f"other sizes, or give a surface" + "".join(f" ({note})" for note in broken.values())
        )
    params, tokens, loss = (np.array(column) for column in zip(*rows, strict=True))
    unique = None
    if unique_tokens is not None:  # of a run that does not say how many it had itself
        own = [_number_in(run.meta.get("unique_tokens"), float(unique_tokens)) for run in runs]
        unique = np.minimum(tokens, own)
    return Table(
        params,
        tokens,
        loss,
        unique,
        tuple(runs.names),
        high_rate=np.array(high, dtype=bool),
        broken=broken,
    )


def _number_in(value: Any, otherwise: float) -> float:
    """A positive number of a run's ``meta``, else another."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return otherwise
    return number if number > 0 and np.isfinite(number) else otherwise


def _ends_high(run: Run) -> bool:
    """Whether the learning rate is known to have been high still when the run ended."""
    if run.schedule is not None:
        place = run.end(run.schedule.axis)
        return bool(run.schedule(place) > STILL_HIGH * run.schedule.peak)
    lr = run.lr
    if lr is None or not np.isfinite(lr[-1]):
        return False
    return bool(lr[-1] > STILL_HIGH * np.nanmax(lr))
