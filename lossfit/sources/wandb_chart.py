"""A chart of Weights & Biases, exported as CSV.

::

    "Step","a - train/loss","a - train/loss__MIN","a - train/loss__MAX","b - train/loss", ...

Each run has three columns; those of a grouped chart are called ``Group: NAME - METRIC`` and hold
means over the runs of the group.  Where the x axis is an epoch or a time each run has its own
``RUN - _step``, which is read in its place.  Charts are samples of at most 1,500 points a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from ..runs.cleaning import MINIMUM_POINTS, Flag
from ..runs.names import is_loss, loss_column, role_of
from . import delimited
from ._source import Example, Source, Table

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = Example(
    """"train/global_step","a - train/loss","a - train/loss__MIN","a - train/loss__MAX"
"100","6.1862","6.1862","6.1862"
"200","5.4321","5.4321","5.4321"
"300","5.1234","5.1234","5.1234"
"400","4.9876","4.9876","4.9876"
"500","4.9001","4.9001","4.9001"
""",
    {100: 6.1862, 200: 5.4321, 300: 5.1234, 400: 4.9876, 500: 4.9001},
)

SAMPLE = 1500  # points of a line, at most
SEPARATOR = " - "
BOUNDS = ("__MIN", "__MAX")
GROUP = "Group: "


def matches(source: Source) -> bool:
    """A table with columns ``X`` and ``X__MIN``, or none but ``RUN - METRIC`` after the first."""
    names = delimited.header(source)
    names_set = set(names)
    if any(name.endswith("__MIN") and name[:-5] in names_set for name in names):
        return True
    return (
        len(names) > 1
        and all(SEPARATOR in name for name in names[1:])
        and role_of(names[0]) in ("step", "epoch")
    )


def read(source: Source) -> Table:
    """The runs' rows one after another.

    Raises `DataError`: no line of losses; an x axis that is neither a step nor tokens, without the
    runs' steps.
    """
    import pandas as pd

    table = delimited.read(source)
    wide = table.frame
    x = str(wide.columns[0])
    lines: dict[str, dict[str, str]] = {}  # run -> metric -> column
    for column in map(str, wide.columns[1:]):
        if column.endswith(BOUNDS) and column[:-5] in wide.columns:
            continue
        run, separator, metric = column.rpartition(SEPARATOR)
        if separator:
            lines.setdefault(run.removeprefix(GROUP), {})[metric] = column
    if not lines:
        raise DataError(f"{source.name}: no column is called RUN - METRIC: export the chart again")
    metrics = list(dict.fromkeys(m for line in lines.values() for m in line if m != "_step"))
    own_steps = all("_step" in line for line in lines.values())
    axis = _axis(x)
    if axis is None and not own_steps:
        raise DataError(
            f"{source.name}: its x axis is {x!r}: export the chart against Step, or against a "
            "metric that counts steps or tokens"
        )
    _check(source.name, metrics)
    flags: list[Flag] = []
    parts: list[pd.DataFrame] = []
    rows: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    short: list[str] = []
    for run, columns in lines.items():
        data: dict[str, Any] = {"run": run}
        if own_steps:
            data["step"] = wide[columns["_step"]]
        if not own_steps and axis is not None:
            data[axis] = wide[x]
        for metric in metrics:
            data[metric] = wide[columns[metric]] if metric in columns else np.nan
        part = pd.DataFrame(data)
        filled = part[metrics].notna()
        # Blank where another run of the chart has a point: nothing of this run is missing there.
        keep = np.flatnonzero(filled.any(axis=1).to_numpy())
        most = int(filled.sum().max())
        if most < MINIMUM_POINTS:
            short.append(run)
            continue
        if most == SAMPLE:
            words = f"exactly {SAMPLE:,} points, which W&B samples longer lines to"
            flags.append(Flag(run, "sampled_history", most, words))
        flags += _bounds(run, wide, columns, metrics)
        parts.append(part.iloc[keep])
        rows.append(keep)
    if short and parts:
        listed = ", ".join(map(repr, short[:5])) + (", ..." if len(short) > 5 else "")
        flags.append(Flag(None, "short_run", len(short), f"fewer than 3 points: {listed}"))
    if not parts:
        raise DataError(f"{source.name}: no run of the chart has three points")
    frame = pd.concat(parts, ignore_index=True)
    if len(metrics) == 1 and loss_column(metrics, "train")[0] is None:
        frame = frame.rename(columns={metrics[0]: "loss"})
        flags.append(Flag(None, "renamed_columns", 1, f"{metrics[0]} -> loss"))
    at = np.concatenate(rows)
    return Table(frame, lambda i: table.row_words(int(at[i])), [*table.flags, *flags])


def _axis(x: str) -> str | None:
    role = role_of(x)
    return role if role in ("step", "tokens", "flops", "epoch") else None


def _check(name: str, metrics: list[str]) -> None:
    """`DataError` unless the chart shows a loss."""
    if not metrics:
        raise DataError(f"{name}: the chart shows no metric: export one of a loss")
    if not any(is_loss(metric) for metric in metrics):
        listed = ", ".join(map(repr, metrics[:5]))
        raise DataError(f"{name}: the chart shows {listed} and no loss: export the chart of a loss")


def _bounds(
    run: str, wide: pd.DataFrame, columns: dict[str, str], metrics: list[str]
) -> list[Flag]:
    """A flag where a line lies between bounds that differ: a mean over runs or steps."""
    flags = []
    for metric in metrics:
        column = columns.get(metric)
        bounds = [f"{column}{bound}" for bound in BOUNDS]
        if column is None or not all(bound in wide.columns for bound in bounds):
            continue
        try:
            low, high = (wide[bound].to_numpy(dtype=float) for bound in bounds)
        except ValueError:
            continue
        apart = int((high > low).sum())
        if apart:
            words = f"{metric}: points whose __MIN and __MAX differ"
            flags.append(Flag(run, "group_mean", apart, words))
    return flags
