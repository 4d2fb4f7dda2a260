"""The table that a surface is fitted to: model sizes, tokens, final losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.collection import Runs

__all__ = ["MINIMUM_ROWS", "Table", "read_table", "table_of_runs"]

MINIMUM_ROWS = 3
FINAL_SHARE = 0.99  # of a run's tokens, from which its losses are averaged for the final one
FLOPS_PER_PARAM_TOKEN = 6.0


@dataclass(frozen=True, eq=False)
class Table:
    """Final losses of n runs.

    Attributes
    ----------
    params, tokens, loss : ndarray, shape (n,)
    unique_tokens : ndarray, shape (n,), or None
        Tokens of which ``tokens`` are repeats; at most ``tokens``.
    labels : tuple of str, length n
        What a row is called in messages.
    """

    params: Floats
    tokens: Floats
    loss: Floats
    unique_tokens: Floats | None
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.loss)

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
    table: Any,
    *,
    params: str,
    tokens: str,
    loss: str,
    flops: str,
    unique_tokens: str | float | None,
) -> Table:
    """Check a frame of final losses.

    Parameters
    ----------
    table : pandas.DataFrame or mapping of columns
    params, tokens, loss, flops : str
        Names of columns; ``flops`` (6 x params x tokens) stands in for params or tokens.
    unique_tokens : str, float or None
        A column, one number for all rows, or None: there are none.

    Raises
    ------
    DataError
        A missing column; too few rows; a value that is not a positive number (the row is named).
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
    if len(frame) < MINIMUM_ROWS:
        raise DataError(
            f"a surface needs at least {MINIMUM_ROWS} rows, the table has {len(frame)}: add "
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
            unique = _positive(frame, unique_tokens, labels)
    elif unique_tokens is not None:
        value = float(unique_tokens)
        if not (value > 0 and np.isfinite(value)):
            raise DataError(f"unique_tokens must be a positive number, got {unique_tokens!r}")
        unique = np.full(len(frame), value)
    if unique is not None:
        unique = np.minimum(unique, found["tokens"])
    return Table(found["params"], found["tokens"], losses, unique, labels)


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


def table_of_runs(runs: Runs, unique_tokens: float | None = None) -> Table:
    """The final losses of finished runs.

    The final loss is the mean over the last 1 % of a run's tokens, spikes left out.

    Raises
    ------
    DataError
        A run without params or tokens; too few runs.
    """
    rows = []
    for run in runs:
        if run.params is None:
            raise DataError(
                f"run {run.name!r} has no params, which a surface needs: give params= when the "
                f"runs are made, or a column params"
            )
        tokens = run.axis("tokens")
        late = (tokens >= FINAL_SHARE * tokens[-1]) & ~run.spike
        final = float(run.loss[late].mean()) if late.any() else float(run.loss[-1])
        rows.append((run.params, float(tokens[-1]), final))
    if len(rows) < MINIMUM_ROWS:
        raise DataError(
            f"a surface needs at least {MINIMUM_ROWS} finished runs, got {len(rows)}: add runs of "
            f"other sizes, or give a surface"
        )
    params, tokens, loss = (np.array(column) for column in zip(*rows, strict=True))
    unique = None if unique_tokens is None else np.minimum(tokens, float(unique_tokens))
    return Table(params, tokens, loss, unique, tuple(runs.names))
