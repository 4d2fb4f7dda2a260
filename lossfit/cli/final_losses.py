"""Tables of final losses as the commands ``plan`` and ``surface`` take them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._base.errors import DataError, LossfitWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

LEAST_LOG = 20  # rows
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


def tables_of(tables: Sequence[str], columns: str | None, beside: str) -> Any:
    """The runs, or the rows of all tables that arguments name; see `table_of`."""
    import pandas as pd

    from ..runs.collection import Runs

    data = [table_of(table, columns, beside) for table in tables]
    if len(data) == 1:
        return data[0]
    if any(isinstance(each, Runs) for each in data):
        raise DataError("--runs takes one built-in collection, or tables: not both, nor several")
    return pd.concat(data, ignore_index=True)


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
        from ..surfaces.constants import PUBLISHED

        raise DataError(
            f"there is no file {path!r}, no collection and no surface of that name "
            f"({', '.join(PUBLISHED)})"
        )
    try:
        table = pd.read_csv(sys.stdin if path == "-" else path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"cannot read {path} as a CSV of final losses: {error}") from None
    if _is_log(table):
        raise DataError(
            f"{path} is the log of a run, whose steps rise from row to row, and no table of final "
            f"losses: give one row a finished run, with columns params, tokens and loss "
            f"(lossfit ladder reads whole logs)"
        )
    return table


def _is_log(table: pd.DataFrame) -> bool:
    """Whether rows are the points of one curve: its steps rise, at one size or none."""
    if len(table) < LEAST_LOG or "step" not in table:
        return False
    step = table["step"]
    one_size = "params" not in table or table["params"].nunique() <= 1
    return one_size and step.dtype.kind in "iuf" and bool((step.diff().iloc[1:] > 0).all())
