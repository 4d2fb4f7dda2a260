"""Names that logs give to the columns that lossfit knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..cleaning import Flag
from ..errors import DataError
from ..frames import COLUMNS
from ..known import close_to

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALIASES", "with_known_names"]

# Compared in lower case.  Look-alikes such as val/loss or val/box_loss are left alone on purpose.
ALIASES: dict[str, tuple[str, ...]] = {
    "run": ("run_name", "run_id"),
    "loss": (
        "train/loss",
        "train_loss",
        "loss/train",
        "training_loss",
        "training loss",
        "train loss",
        "train_loss_step",
        "lm loss",
        "lm_loss",
    ),
    "step": (
        "steps",
        "_step",
        "global_step",
        "train/global_step",
        "trainer/global_step",
        "iter",
        "iteration",
        "iterations",
    ),
    "tokens": (
        "token",
        "n_tokens",
        "num_tokens",
        "tokens_seen",
        "train_tokens",
        "consumed_tokens",
        "consumed tokens",
        "num_input_tokens_seen",
    ),
    "gpu_hours": ("gpu-hours", "gpu hours", "gpuhours"),
    "flops": ("flop", "training_flops", "training flop"),
    "lr": ("learning_rate", "learning rate", "train/learning_rate", "train/lr", "lr-adamw"),
    "params": ("n_params", "num_params", "parameters", "model_size"),
}


def with_known_names(
    frame: pd.DataFrame, columns: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, list[Flag]]:
    """The frame with the names that lossfit knows, and a flag that says what was renamed.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns as in the log.
    columns : dict, optional
        What the user says: ``{"loss": "val/loss"}`` reads that column as the loss.

    Raises
    ------
    DataError
        ``columns`` names a column that is not there, or one that lossfit does not know.
    """
    there = [str(column) for column in frame.columns]
    named: dict[str, str] = {}
    for known, column in (columns or {}).items():
        if known not in COLUMNS:
            raise DataError(f"columns= knows {', '.join(COLUMNS)}; got {known!r}")
        if column not in there:
            raise DataError(
                f"columns= names {column!r}, which is not there{close_to(column, there)}"
            )
        named[column] = known
    for known, aliases in ALIASES.items():
        if known in named.values() or known in there:
            continue
        for alias in (known, *aliases):
            match = next((c for c in there if c.lower() == alias and c not in named), None)
            if match is not None:
                named[match] = known
                break
    given = set(named.values())
    # A column that already bears a name which the user gave to another one steps aside.
    aside = {c: f"{c} (not used)" for c in there if c in given and c not in named}
    frame = frame.rename(columns={**named, **aside})
    renamed = [f"{column} -> {known}" for column, known in named.items() if column != known]
    if not renamed:
        return frame, []
    return frame, [Flag(None, "renamed_columns", len(renamed), ", ".join(renamed))]
