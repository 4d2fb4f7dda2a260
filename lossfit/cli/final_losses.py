"""Tables of final losses as the commands ``plan`` and ``surface`` take them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._base.errors import DataError, LossfitWarning

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "LAW", "surface_of", "table_of"]

NAMES = ("params", "tokens", "loss", "flops", "unique_tokens", "se", "weight")
COLUMNS = click.option(
    "--columns",
    metavar="NAME=COLUMN,...",
    help="Names of a table's columns: params=Model Size,flops=Training FLOP,loss=loss.",
)
LAW = click.option(
    "--law", "-l", default="auto", show_default=True, help="Law to fit to a table: coupled, kaplan,"
    " chinchilla or data_constrained.",
)  # fmt: skip


def surface_of(
    table: str, columns: str | None, law: str, draws: int, seed: int, prob: float = 0.9
) -> Any:
    """A surface fitted to what the argument names; its flags stay with it, without a warning."""
    from ..surfaces.fitting import fit_surface

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return fit_surface(
            _data(table), law, draws=draws, random_seed=seed, prob=prob, **_names(columns)
        )


def table_of(table: str, columns: str | None, beside: str) -> Any:
    """The runs, or the table with columns of our names, that an argument names.

    ``columns`` are of the table of the argument ``beside`` too, if it is one: what it names need
    not be in both.
    """
    from ..runs.collection import Runs

    data, names = _data(table), _names(columns)
    if isinstance(data, Runs):
        return data
    lacking = [given for given in names.values() if given not in data.columns]
    if lacking and not Path(beside).is_file() and beside != "-":
        raise DataError(f"{table} has no column {lacking[0]!r}: it has {', '.join(data.columns)}")
    named = {given: name for name, given in names.items() if given in data.columns}
    hidden = [name for given, name in named.items() if name != given and name in data.columns]
    return data.drop(columns=[name for name in hidden if name not in named]).rename(columns=named)


def _data(table: str) -> Any:
    from ..runs import datasets

    return datasets.collection(table) if table in datasets.NAMES else _table(table)


def _names(columns: str | None) -> dict[str, Any]:
    """What ``--columns`` says, by our names."""
    names: dict[str, Any] = {}
    for part in (columns or "").split(",") if columns else []:
        name, equals, column = part.partition("=")
        if not equals or name.strip() not in NAMES:
            raise DataError(
                f"--columns has {part!r}: write {'=..., '.join(NAMES)}=..., separated by commas"
            )
        names[name.strip()] = column.strip()
    return names


def _table(path: str) -> pd.DataFrame:
    import pandas as pd

    if path != "-" and not Path(path).is_file():
        from ..surfaces.fitting import PUBLISHED

        raise DataError(
            f"there is no file {path!r}, no collection and no surface of that name "
            f"({', '.join(PUBLISHED)})"
        )
    try:
        return pd.read_csv(sys.stdin if path == "-" else path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"cannot read {path} as a CSV of final losses: {error}") from None
