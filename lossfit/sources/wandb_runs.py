"""The table of runs of Weights & Biases: a row a run, so there is no curve in it.  Refused."""

from __future__ import annotations

from .._base.errors import DataError
from . import delimited
from ._source import Example, Source, Table

EXAMPLE = Example(
    """Name,State,Created,Runtime,train/loss
a,finished,2025-01-01T00:00:00Z,3600,3.21
b,finished,2025-01-02T00:00:00Z,3600,3.12
""",
    {},
)

STEPS = frozenset(("step", "_step", "steps", "global_step", "iter", "iteration"))


def matches(source: Source) -> bool:
    """A table with the columns Name and State, and Runtime, Created or ID, but no step."""
    names = {name.lower() for name in delimited.header(source)}
    return {"name", "state"} <= names and bool(
        names & {"runtime", "created", "id", "end time", "created timestamp"}
    )


def read(source: Source) -> Table:
    """Nothing: raises.

    Raises `DataError`: always; the message says what to export in its place.
    """
    raise DataError(
        f"{source.name} is W&B's table of runs, a row a run with its last loss only: export the "
        "chart of the loss as CSV, or run.scan_history()"
    )
