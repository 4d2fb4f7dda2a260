"""``metrics.csv`` of Lightning's CSVLogger: sparse, a row for each time that something was logged.

``train_loss_step`` is read, or ``train_loss``; ``train_loss_epoch``, the mean of an epoch, only
where there is nothing else.
"""

from __future__ import annotations

import re

from ..runs.aliases import ALIASES
from ..runs.cleaning import Flag
from ..runs.names import plain_name, role_of
from . import delimited
from ._source import Example, Source, Table

EXAMPLE = Example(
    """epoch,step,train_loss_step,val_loss
0,49,6.1862,
0,99,5.4321,
0,99,,5.5000
1,149,5.1234,
1,199,4.9876,
""",
    {49: 6.1862, 99: 5.4321, 149: 5.1234, 199: 4.9876},
)

EPOCH = ("train_loss_epoch", "train/loss_epoch", "loss_epoch")
STEP = ("train_loss_step", "train/loss_step", "loss_step")
RATE = re.compile(r"^lr-[A-Za-z]\w*(?:/pg1)?(?:-1)?$")


def matches(source: Source) -> bool:
    """A table with columns epoch and step, called metrics.csv or with a ``..._loss_step``."""
    names = delimited.header(source)
    low = {name.lower() for name in names}
    if not {"epoch", "step"} <= low or "run" in low:
        return False
    by_name = source.stem == "metrics" or any(path.name == "metrics.csv" for path in source.paths)
    return by_name or any(name.endswith(("_loss_step", "_loss_epoch")) for name in low)


def read(source: Source) -> Table:
    """The rows as a frame.

    Raises `DataError`: as the reader of CSV.
    """
    table = delimited.read(source)
    frame = table.frame
    columns = {str(column).lower(): column for column in frame.columns}
    flags: list[Flag] = []
    step = next((columns[name] for name in STEP if name in columns), None)
    skip = {plain_name(name) for name in (*STEP, *EPOCH)}
    roles = {plain_name(str(c)): role_of(str(c)) for c in frame.columns}
    plain = any(role == "loss" and name not in skip for name, role in roles.items())
    if step is not None and "loss" not in columns:
        frame = frame.rename(columns={step: "loss"})
    elif not plain:
        epoch = next((columns[name] for name in EPOCH if name in columns), None)
        if epoch is not None:
            count = int(frame[epoch].notna().sum())
            frame = frame.rename(columns={epoch: "loss"})
            words = f"each loss ({epoch}) is a mean over an epoch"
            flags.append(Flag("", "window_average", count, words))
    if not any(name in ALIASES["lr"] for name in roles):
        rates = [column for column in frame.columns if RATE.match(str(column))]
        if len(rates) == 1:
            frame = frame.rename(columns={rates[0]: "lr"})
    return Table(frame, table.row_words, table.flags, loss_flags=flags)
