"""Logs other than Parquet: read whole, and run by run where one of their runs is bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._base.errors import DataError
from ..runs.collection import Runs
from ..runs.known import Known
from ..runs.selection import chosen_rows
from .pieces import FramePiece


def read_logs(
    sources: Sequence[Any],  # paths, collections or "-"
    known: Known,  # what the user knows of the runs
    # format, loss, columns, join: as in `lossfit.load`
    format: str | None = None,
    loss: str = "train",
    columns: Mapping[str, str] | None = None,
    join: bool | None = None,
) -> Runs | list[FramePiece]:
    """The runs, as `lossfit.load` gives them; if it refuses them, their rows as they are.

    Raises `DataError`: what is wrong is not a matter of single runs: no such file, an unknown
    format, no losses.
    """
    from ..sources import load

    paths = list(sources)
    if "-" in paths:  # standard input can be read once
        import io
        import sys

        paths = [io.BytesIO(sys.stdin.buffer.read()) if path == "-" else path for path in paths]
    try:
        return load(
            paths,
            format=format,
            loss=loss,
            columns=columns,
            join=join,
            params=known.params,
            tokens_per_step=known.tokens_per_step,
            gpu_hours=known.gpu_hours,
        )
    except DataError as error:
        for path in paths:
            if hasattr(path, "seek"):
                path.seek(0)
        rows = _rows(paths, known, format, loss, columns)
        # A log of one run is that run: what is wrong with it is wrong with the input.
        if rows is None or sum(len(piece.names) for piece in rows) < 2:
            raise
        del error
        return rows


def _rows(
    paths: list[Any], known: Known, format: str | None, loss: str, columns: Mapping[str, str] | None
) -> list[FramePiece] | None:
    """Rows of the logs by run; None where they cannot be read as tables."""
    from .. import sources
    from ..runs import datasets

    if any(isinstance(path, str) and path in datasets.NAMES for path in paths):
        return None
    frames = []
    try:
        for log, table in sources.tables(paths, format):
            chosen = chosen_rows(table.frame, table.row_words, loss, columns, long=table.long)
            frame = chosen.frame
            if "run" not in frame.columns:
                frame = frame.assign(run=log.stem)
            frame = frame.reset_index(drop=True)
            frames.append(FramePiece.of_frame(frame, known, chosen.row_words))
    except DataError:
        return None
    return frames
