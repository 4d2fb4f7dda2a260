"""``trainer_state.json`` of the Hugging Face Trainer.

Entries of its ``log_history`` with ``loss`` are training losses, means over the steps since the
entry before, written with four decimals; those with ``eval_loss`` are validation losses.  The
closing entry's ``train_loss`` is the average over the whole run: no point.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools
from ..runs.cleaning import Flag
from ._records import frame_of
from ._source import Example, Source, Table

EXAMPLE = Example(
    """{
  "global_step": 40,
  "log_history": [
    {"epoch": 0.1, "learning_rate": 0.0003, "loss": 6.1862, "step": 10},
    {"epoch": 0.2, "learning_rate": 0.0002, "loss": 5.4321, "step": 20},
    {"epoch": 0.3, "learning_rate": 0.0001, "loss": 5.1234, "step": 30},
    {"epoch": 0.4, "learning_rate": 0.00005, "loss": 4.9876, "step": 40},
    {"epoch": 0.4, "step": 40, "train_loss": 5.4323, "train_runtime": 12.3}
  ]
}
""",
    {10: 6.1862, 20: 5.4321, 30: 5.1234, 40: 4.9876},
)

SEEN = "num_input_tokens_seen"
KEY = re.compile(r'"log_history"\s*:')


def matches(source: Source) -> bool:
    """A JSON object with a ``log_history``."""
    return source.first_line.lstrip("\ufeff \t").startswith("{") and bool(KEY.search(source.head))


def read(source: Source) -> Table:
    """The entries of ``log_history``, a row an entry.

    Raises `DataError`: not valid JSON, no list of entries, an entry without losses that can be
    read.
    """
    try:
        state = json.loads(source.text())
    except RecursionError:
        raise DataError(f"{source.name}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise DataError(f"{source.name}: not valid JSON ({error}): copy the file again") from None
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise DataError(f"{source.name} has no list log_history: give a trainer_state.json")
    entries: list[dict[str, Any]] = []
    numbers: list[int] = []
    stepless: Counter[str] = Counter()
    flags: list[Flag] = []
    for number, entry in enumerate(history, start=1):
        if not isinstance(entry, dict):
            raise DataError(
                f"{source.name}, entry {number} of log_history: not an object with step and loss"
            )
        entry = dict(entry)
        if "train_loss" in entry and "loss" not in entry:
            words = f"train_loss {_shown(entry.pop('train_loss'))} is the mean of the whole run"
            flags.append(Flag("", "run_average", 1, words))
            if not any("loss" in key for key in entry):
                continue
        if "step" not in entry:
            stepless[next(iter(entry), "nothing")] += 1
            continue
        entries.append(entry)
        numbers.append(number)
    if stepless:
        words = f"entries without a step, such as one of {next(iter(stepless))}"
        flags.append(Flag("", "stepless", sum(stepless.values()), words))
    if not entries:
        raise DataError(
            f"{source.name}: log_history has no entry with a step: train for longer, or log more "
            "often"
        )
    frame, ignored = frame_of(entries)
    losses = []
    if "loss" in frame.columns:
        losses = _averages(frame, np.array(["loss" in entry for entry in entries]))
    if SEEN in frame.columns and not any(_is_count(cell) for cell in frame[SEEN]):
        frame = frame.drop(columns=SEEN)  # not counted: 0 everywhere
    planned = state.get("max_steps")
    return Table(
        frame,
        lambda i: f"entry {numbers[i]} of {source.name}",
        [*flags, *ignored],
        loss_flags=losses,
        planned_steps=float(planned) if _is_count(planned) else None,
    )


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else repr(value)[:40]


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e18


def _averages(frame: Any, train: Bools) -> list[Flag]:
    """The count of steps behind each loss, in place: those since the training entry before."""
    import pandas as pd

    step = pd.to_numeric(frame.loc[train, "step"], errors="coerce").to_numpy(dtype=float)
    if not len(step):
        return []
    # A log that starts at its interval starts at the run's start; one that does not was resumed.
    taken = np.diff(step, prepend=np.nan)
    usual = float(np.median(taken[taken > 0])) if (taken > 0).any() else 1.0
    if usual <= 1:
        return []
    if np.isfinite(step[0]) and 0 < step[0] <= usual:
        taken[0] = step[0]
    taken[~(taken > 0)] = usual
    frame.loc[train, "count"] = taken
    words = f"each loss is a mean over the {usual:g} steps since the one before"
    return [Flag("", "window_average", int(train.sum()), words)]
