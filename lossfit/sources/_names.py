"""Names that logs give to the columns that lossfit knows, and which losses are read.

Training and validation losses are never mixed: ``loss="train"``, the default, reads the first
column of `ALIASES` that is there, ``"val"`` the first of `VALIDATION`, any other word the column of
that name.  A log that has validation losses only is read by them, with a flag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ..runs.frames import COLUMNS
from ..runs.known import close_to, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALIASES", "VALIDATION", "loss_column", "validation_columns", "with_known_names"]

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
        "train/loss_step",
        "lm loss",
        "lm_loss",
        "train/lm_loss",
        "reduced_train_loss",
        "train/crossentropyloss",
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
    "lr": (
        "learning_rate",
        "learning rate",
        "train/learning_rate",
        "train/lr",
        "lr-adamw",
        "lr-adam",
        "lr-sgd",
    ),
    "params": ("n_params", "num_params", "parameters", "model_size"),
}


# In the order of preference, in lower case.
VALIDATION: tuple[str, ...] = (
    "val/loss",
    "val_loss",
    "loss/val",
    "val loss",
    "validation_loss",
    "validation/loss",
    "loss/validation",
    "validation loss",
    "valid_loss",
    "valid/loss",
    "loss/valid",
    "val_loss_epoch",
    "eval_loss",
    "eval/loss",
    "loss/eval",
    "eval loss",
    "test_loss",
    "test/loss",
    "loss/test",
    "test loss",
)
# Further columns of validation losses: OLMo's eval/c4_en-validation/CrossEntropyLoss, eval_g0_loss.
HELD_OUT = re.compile(r"(?<![a-z])(val|valid|validation|eval|test|dev|held[-_ ]?out)(?![a-z])")
NO_LOSS = re.compile(r"box|cls|aux|balanc|regular")
LOSS = re.compile(r"(?<![a-z])loss(?![a-z])|crossentropyloss|ce_loss")


def validation_columns(columns: Sequence[str]) -> list[str]:
    """The columns with validation losses, the preferred one first."""
    lower = {column.lower(): column for column in reversed(columns)}
    found = [lower[name] for name in VALIDATION if name in lower]
    named = set(found)
    for column in columns:
        low = column.lower()
        held_out = HELD_OUT.search(low) and LOSS.search(low) and not NO_LOSS.search(low)
        if held_out and column not in named:
            found.append(column)
    return found


def loss_column(columns: Sequence[str], loss: str) -> tuple[str | None, str]:
    """The column to read as the loss, and what it holds: "train", "val" or "named".

    Parameters
    ----------
    columns : sequence of str
        Columns of the log.
    loss : str
        "train", "val" or the name of a column.

    Returns
    -------
    column : str or None
        None where there is no such column.
    kind : str

    Raises
    ------
    DataError
        ``loss`` names a column that is not there; several could be meant.
    """
    if loss == "train":
        lower = {column.lower(): column for column in reversed(columns)}
        for alias in ("loss", *ALIASES["loss"]):
            if alias in lower:
                return lower[alias], "train"
    elif loss != "val":
        if loss not in columns:
            raise DataError(
                f"loss= names {loss!r}, which is neither 'train', 'val' nor a column"
                f"{close_to(loss, columns)}"
            )
        return loss, "named"
    found = validation_columns(columns)
    if not found:
        return None, loss
    if len(found) > 1 and found[0].lower() not in VALIDATION:
        some = listed(found, 8)
        raise DataError(
            f"there are {len(found)} columns of validation losses ({some}): say which with "
            f"loss={found[0]!r}"
        )
    return found[0], "val"


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
    lower: dict[str, list[str]] = {}
    for column in there:
        lower.setdefault(column.lower(), []).append(column)
    for known, aliases in ALIASES.items():
        if known in named.values() or known in there:
            continue
        for alias in (known, *aliases):
            match = next((c for c in lower.get(alias, ()) if c not in named), None)
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
