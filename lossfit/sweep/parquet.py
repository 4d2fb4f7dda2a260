"""Parquet datasets, read run by run in bounded memory: files in order, row groups in order.

A folder is read with all its files, sorted by path.  Folders called ``key=value`` (Hive partitions)
give columns: ``run=llama-7b`` names the run, ``params=7e9`` gives its parameters.  The rows of a
run lie together; where a run comes again after others it is refused there (its rows are not sorted
by run).  A run of more than `MOST_ROWS` rows is refused too: all others need a bounded memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from .._base.errors import DataError
from ..runs.axes import AXES
from ..runs.frames import COLUMNS
from ..runs.known import Known
from ..runs.raw import Raw
from .pieces import FramePiece, LongPiece, Piece, RawPiece

BATCH_ROWS = 1 << 19
MOST_ROWS = 1 << 25  # of one run: it is held, cleaned and fitted as a whole
HASHED_BYTES = 4 << 30  # datasets up to this size are hashed in full, larger ones by their footers
NUMBERS = (*AXES, "loss", "lr", "params")
# Where a row came from: the file's number and the row's in it.
FILE, ROW = "__file__", "__row__"

Stamp = tuple[int, int, int]


def _stamp(path: str) -> Stamp | None:
    """What the system says of a file: its size, time and number; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _name_at(names: Any, row: int) -> str | None:
    name = names[row].as_py()
    return None if name is None else str(name)


def _starts(names: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows at which another run begins, 0 among them."""
    import pyarrow.compute as pc

    names = names.combine_chunks() if hasattr(names, "combine_chunks") else names
    if len(names) < 2:
        return np.zeros(len(names), np.int64)
    codes = pc.fill_null(names.dictionary_encode(null_encoding="encode").indices, -1).to_numpy()
    return np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1]).astype(np.int64)


def _run_ends(names: Any) -> tuple[int, int]:
    """Where the first run of some rows ends, and where the last one begins."""
    starts = _starts(names)
    if len(starts) < 2:
        return len(names), len(names)
    return int(starts[1]), int(starts[-1])


class _Held:
    """The rows of the last run so far, which may go on; of one that is too long, only a few."""

    def __init__(self) -> None:
        self.tables: list[Any] = []
        self.rows = 0

    def __bool__(self) -> bool:
        return bool(self.tables)

    @property
    def name(self) -> str | None:
        """Of the run."""
        return _name_at(self.tables[0]["run"], 0)

    def add(self, table: Any) -> None:
        """Hold more rows of it."""
        if not table.num_rows:
            return
        self.rows += table.num_rows
        if self.rows > MOST_ROWS:
            self.tables = [(self.tables or [table])[0].slice(0, 1)]
        else:
            self.tables.append(table)

    def take(self) -> tuple[Any, int]:
        """The rows, and how many there were; then it holds none."""
        import pyarrow as pa

        tables, rows = self.tables, self.rows
        self.tables, self.rows = [], 0
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks(), rows


class Parquet:
    """A dataset of Parquet files.

    Parameters
    ----------
    source : path, list of paths, or pyarrow.dataset.Dataset
    known : Known
        What the user knows of the runs.
    shard : (int, int), optional
        Number and count: only every count-th file is read.

    Raises
    ------
    DataError
        pyarrow is not installed; no such files; a file that is no Parquet.
    """

    def __init__(self, source: Any, known: Known, shard: tuple[int, int] | None = None) -> None:
        try:
            import pyarrow
            import pyarrow.dataset
        except ImportError:
            raise DataError(
                "Parquet datasets need pyarrow: pip install 'lossfit[parquet]'"
            ) from None
        self.known = known
        self.errors = (pyarrow.ArrowException, OSError, ValueError)
        self.root = ""
        try:
            if isinstance(source, pyarrow.dataset.Dataset):
                dataset = source
            else:
                paths = _paths(source)
                self.root = (
                    os.path.expanduser(os.fspath(source))
                    if isinstance(source, (str, os.PathLike))
                    else ""
                )
                dataset = pyarrow.dataset.dataset(paths, format="parquet", partitioning=None)
            fragments = sorted(dataset.get_fragments(), key=lambda fragment: str(fragment.path))
            # The schema of each file is its own: one may have a column that others lack.
            self.fragments = [fragment for fragment in fragments if fragment.metadata.num_rows]
        except self.errors as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"the Parquet dataset {source} cannot be read: {error}") from None
        if shard is not None:
            if len(self.fragments) < shard[1]:
                raise DataError(
                    f"a Parquet dataset is divided by files, and there are {len(self.fragments)} "
                    f"for {shard[1]} shards: write it in more files, or use fewer shards"
                )
            self.fragments = self.fragments[shard[0] :: shard[1]]
        if not self.fragments:
            raise DataError(f"the Parquet dataset {source} has no rows")
        self.rows = sum(fragment.metadata.num_rows for fragment in self.fragments)
        self._identity = ""
        self._stamps: list[Stamp | None] = []  # of the files, before they were hashed

    def identity(self) -> str:
        """A hash of the files: of all their bytes, or of their footers where there are many.

        A footer has the sizes of all columns of all row groups and, mostly, their extremes.
        """
        self._stamps = [_stamp(str(fragment.path)) for fragment in self.fragments]
        self._identity = self._hash()
        return self._identity

    def changed(self) -> str:
        """A file that may not be any more what `identity` hashed, "" for none.

        By the time, size and number that the system says of it; where all is hashed, files that
        were only written again with the same bytes have not changed.
        """
        for fragment, before in zip(self.fragments, self._stamps, strict=True):
            now = _stamp(str(fragment.path))
            if now == before:
                continue
            in_full = self._identity.startswith("files") and now is not None
            return "" if in_full and self._hash() == self._identity else str(fragment.path)
        return ""

    def _hash(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        paths = [str(part.path) for part in self.fragments]
        local = all(os.path.exists(path) for path in paths)
        sizes = [os.path.getsize(path) for path in paths] if local else []
        in_full = local and sum(sizes) <= HASHED_BYTES
        for fragment in self.fragments:
            digest.update(self._inner(fragment.path).encode() + b"\0")
            if in_full:
                with open(fragment.path, "rb") as file:
                    while block := file.read(1 << 22):
                        digest.update(block)
            else:
                digest.update(repr(fragment.metadata.to_dict()).encode())
        return f"{'files' if in_full else 'footers'}:{digest.hexdigest()}"

    def pieces(self) -> Iterator[Piece]:
        """The runs, in order of files and row groups, some at a time."""
        held = _Held()
        for number, fragment in enumerate(self.fragments):
            if held and not self._goes_on(held.name, fragment):
                yield self._held(held)
            for table in self._tables(number, fragment):
                first, last = _run_ends(table["run"])
                if held and held.name != _name_at(table["run"], 0):
                    yield self._held(held)
                if first == table.num_rows:  # one run, which may go on
                    held.add(table)
                    continue
                held.add(table.slice(0, first))
                yield self._held(held)
                if last > first:
                    yield self._piece(table.slice(first, last - first))
                held.add(table.slice(last))
        if held:
            yield self._held(held)

    def _held(self, held: _Held) -> Piece:
        """The run that was held, which is over."""
        table, rows = held.take()
        if rows > MOST_ROWS:
            return LongPiece(str(_name_at(table["run"], 0)), rows)
        return self._piece(table)

    def _goes_on(self, name: str | None, fragment: Any) -> bool:
        """Whether a run may go on in another file: files without a column run are runs."""
        return self._run_column(fragment)[0] is not None or self._name(fragment) == name

    def _inner(self, path: Any) -> str:
        """A file's path within the dataset."""
        text = str(path)
        if self.root and os.path.isdir(self.root):
            return os.path.relpath(text, self.root)
        return os.path.basename(text) if not self.root else text

    def _partitions(self, fragment: Any) -> dict[str, str]:
        parts = self._inner(fragment.path).split("/")[:-1] if self.root else []
        parts = parts or str(fragment.path).split("/")[:-1]
        pairs = [part.split("=", 1) for part in parts if "=" in part]
        return {unquote(key): unquote(value) for key, value in pairs}

    def _name(self, fragment: Any) -> str:
        """The run of a file without a column ``run``."""
        partitions = self._partitions(fragment)
        if "run" in partitions:
            return partitions["run"]
        return str(Path(self._inner(fragment.path)).with_suffix("").as_posix())

    def _run_column(self, fragment: Any) -> tuple[str | None, dict[str, str]]:
        """The column with the runs' names, and the columns to read with our names for them."""
        import pandas as pd

        from ..runs.names import loss_column, with_known_names

        columns = list(fragment.physical_schema.names)
        loss = loss_column(columns, "train")[0]
        asked = {"loss": loss} if loss is not None and loss != "loss" else None
        frame, _ = with_known_names(pd.DataFrame(columns=columns), asked)
        known = {
            old: str(new)
            for old, new in zip(columns, frame.columns, strict=True)
            if new in COLUMNS and new != "spike"
        }
        run = next((old for old, new in known.items() if new == "run"), None)
        return run, known

    def _tables(self, number: int, fragment: Any) -> Iterator[Any]:
        """The rows of a file in batches, with our names, partitions and the rows' numbers."""
        import pyarrow as pa

        run, known = self._run_column(fragment)
        partitions = self._partitions(fragment)
        first = 0
        try:
            batches = fragment.to_batches(
                columns=list(known),
                batch_size=BATCH_ROWS,
                batch_readahead=1,
                fragment_readahead=1,
                use_threads=False,
            )
            for batch in batches:
                if not batch.num_rows:
                    continue
                table = pa.Table.from_batches([batch]).rename_columns(list(known.values()))
                rows = table.num_rows
                if run is None:
                    table = table.append_column("run", pa.repeat(self._name(fragment), rows))
                else:
                    at = table.column_names.index("run")
                    table = table.set_column(at, "run", table["run"].cast(pa.string()))
                for key, value in partitions.items():
                    if key in NUMBERS and key not in table.column_names:
                        table = table.append_column(key, pa.repeat(_number(key, value), rows))
                table = table.append_column(FILE, pa.repeat(pa.scalar(number, pa.int32()), rows))
                table = table.append_column(ROW, pa.array(np.arange(first, first + rows)))
                first += rows
                yield table
        except self.errors as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{fragment.path} cannot be read: {error}") from None

    def _piece(self, table: Any) -> Piece:
        """Rows as a piece: flat arrays where every column is of numbers, else a frame."""
        import pyarrow as pa

        columns = [name for name in table.column_names if name not in (FILE, ROW, "run")]
        plain = all(
            pa.types.is_floating(table[name].type) or pa.types.is_integer(table[name].type)
            for name in columns
        )
        weights = [name for name in columns if name not in NUMBERS]
        enough = "loss" in columns and any(axis in columns for axis in AXES)
        if not plain or not enough or len(weights) > 1 or table["run"].null_count:
            frame = table.drop_columns([FILE, ROW]).to_pandas()
            frame.index = table[ROW].to_numpy()
            file = str(self.fragments[table[FILE][0].as_py()].path)
            return FramePiece.of_sorted(frame, self.known, partial(_row_of, file))
        starts = _starts(table["run"])
        names = tuple(map(str, table["run"].take(starts).to_pylist()))
        arrays = {name: _floats(table[name]) for name in columns}
        where = np.stack([table[FILE].to_numpy().astype(np.int64), table[ROW].to_numpy()])
        precision = None
        if weights:
            from ..runs.frames import _precision

            precision = _precision({weights[0]: arrays[weights[0]]})
        raw = Raw(
            names=names,
            offsets=np.append(starts, table.num_rows).astype(np.int64),
            loss=arrays["loss"],
            axes={axis: arrays[axis] for axis in AXES if axis in arrays},
            lr=arrays.get("lr"),
            params=arrays.get("params"),
            precision=precision,
            where=_Where([str(fragment.path) for fragment in self.fragments], where),
        )
        return RawPiece(raw, self.known)


def _row_of(file: str, row: int) -> str:
    return f"row {row + 1} of {file}"


class _Where:
    """The words for a row, its number and file; only where these jump is kept."""

    def __init__(self, files: list[str], where: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        jumps = (np.diff(where[0]) != 0) | (np.diff(where[1]) != 1)
        self.starts = np.concatenate([[0], np.flatnonzero(jumps) + 1])
        self.numbers = where[1, self.starts]
        self.codes = where[0, self.starts]
        self.files = {int(code): files[code] for code in np.unique(self.codes)}

    def __call__(self, row: int) -> str:
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        number = int(self.numbers[part]) + row - int(self.starts[part])
        return f"row {number + 1} of {self.files[int(self.codes[part])]}"


def _floats(column: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column as float64, NaN where it is null; integers beyond 2**53 to the nearest."""
    return np.array(column.cast("float64", safe=False).to_numpy(), dtype=np.float64)


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise DataError(f"the partition {key}={value} gives no number: rename the folder") from None


def _paths(source: Any) -> Any:
    """Paths of files, in order; `DataError` where there are none."""
    if isinstance(source, (list, tuple)):
        return [path for item in source for path in _paths(item)]
    text = os.path.expanduser(os.fspath(source))
    if not os.path.exists(text):
        raise DataError(f"there is no file or folder {text}")
    if not os.path.isdir(text):
        return [text]
    paths = []
    for folder, inner, files in os.walk(text):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "_")))
        paths += [
            os.path.join(folder, name)
            for name in files
            if not name.startswith((".", "_")) and name.endswith((".parquet", ".pq", ".parq"))
        ]
    if not paths:
        raise DataError(f"there are no Parquet files in {text} (names that end in .parquet)")
    return sorted(paths)
