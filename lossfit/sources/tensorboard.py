"""TensorBoard's event files; needs the package tensorboard.

All scalars are read: not the sample of 10,000 that TensorBoard keeps by default, and with the
points that were logged again after a restart, which the rules of `cleaning` then drop and
count.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ._source import EVENTS, Example, Source, Table


def is_event_file(path: Path) -> bool:
    """Whether a file is called as event files are."""
    return "tfevents" in path.name


def matches(source: Source) -> bool:
    """A file called ``events.out.tfevents...`` or one that begins as such."""
    return EVENTS in source.data[:64] or any(map(is_event_file, source.paths))


def read(source: Source) -> Table:
    """A row for each scalar; the columns are the tags.

    Raises `DataError`: tensorboard is not installed; a damaged file; no scalars.
    """
    import pandas as pd

    try:
        from tensorboard.backend.event_processing import event_file_loader
    except ImportError:
        raise DataError(
            f"{source.name}: event files need tensorboard: pip install 'lossfit[tensorboard]'"
        ) from None
    steps: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    flags: list[Flag] = []
    with _files(source) as files:
        for file in files:
            whole, left = _records(file)
            if not whole:
                raise DataError(
                    f"{source.name} is not an event file that can be read: its first record is "
                    "damaged"
                )
            reader = _Events(event_file_loader, file, source.name)
            for tag, step, value in reader.scalars():
                steps.setdefault(tag, []).append(step)
                values.setdefault(tag, []).append(value)
            if reader.count < whole:
                words = f"records of {file.name} from number {reader.count + 1} on"
                flags.append(Flag("", "damaged_lines", whole - reader.count, words))
            elif left:
                words = f"the last record of {file.name} was cut while writing"
                flags.append(Flag("", "cut_line", 1, words))
    if not steps:
        raise DataError(f"{source.name} has no scalars: give the event file of the training run")
    parts = [
        pd.DataFrame({"step": steps[tag], ("step value" if tag == "step" else tag): values[tag]})
        for tag in steps
    ]
    frame = pd.concat(parts, ignore_index=True)
    tags = [tag for tag in steps for _ in steps[tag]]
    at = [i for tag in steps for i in range(len(steps[tag]))]
    told = "value {} of tag {} in {}".format
    return Table(frame, lambda i: told(at[i] + 1, tags[i], source.name), flags, long=True)


@contextmanager
def _files(source: Source) -> Iterator[list[Path]]:
    """The event files on disk: TensorBoard reads nothing else."""
    if source.paths and all(path.is_file() for path in source.paths):
        yield list(source.paths)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.out.tfevents.1"
        path.write_bytes(source.data)
        yield [path]


def _records(file: Path) -> tuple[int, int]:
    """Whole records of an event file by their lengths alone, and the bytes after them.

    A record is its length in 8 bytes, a checksum of 4, the data, a checksum of 4.
    """
    size = file.stat().st_size
    count = at = 0
    with file.open("rb") as stream:
        while at + 16 <= size:
            stream.seek(at)
            (length,) = struct.unpack("<Q", stream.read(8))
            if at + 16 + length > size:
                break
            at += 16 + length
            count += 1
    return count, size - at


class _Events:
    """The scalars of one event file; ``count`` is how many records could be read."""

    def __init__(self, module: Any, file: Path, name: str) -> None:
        self.module = module
        self.file = file
        self.name = name
        self.count = 0

    def scalars(self) -> Iterator[tuple[str, float, float]]:
        """Tag, step and value of every scalar, in the order of logging."""
        plugins: dict[str, str] = {}  # told with a tag's first value only
        try:
            for event in self.module.LegacyEventFileLoader(str(self.file)).Load():
                self.count += 1
                for value in event.summary.value:
                    plugin = value.metadata.plugin_data.plugin_name
                    if plugin:
                        plugins[value.tag] = plugin
                    number = _number(value, plugins.get(value.tag, ""))
                    if number is not None:
                        yield str(value.tag), float(event.step), number
        except DataError:
            raise
        except Exception as error:  # protobuf's and TensorBoard's own, of many kinds
            words = " ".join(str(error).split())[:200]
            raise DataError(
                f"{self.name} is not an event file that can be read: record {self.count + 1}: "
                f"{words}"
            ) from None


def _number(value: Any, plugin: str) -> float | None:
    """The scalar, as TensorFlow 1 or 2 writes it; None for anything else."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if plugin != "scalars" or not value.HasField("tensor"):
        return None
    from tensorboard.util import tensor_util

    array = tensor_util.make_ndarray(value.tensor)
    return float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "fiu" else None


def _events() -> bytes:
    """Four scalars as TensorBoard's writer writes them."""
    import tempfile

    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    with tempfile.TemporaryDirectory() as folder:
        writer = EventFileWriter(folder)
        for step, value in ((100, 6.0), (200, 5.5), (300, 5.25), (400, 5.125)):
            scalar = Summary.Value(tag="train/loss", simple_value=value)
            writer.add_event(Event(step=step, wall_time=step, summary=Summary(value=[scalar])))
        writer.close()
        return next(Path(folder).iterdir()).read_bytes()


EXAMPLE = Example(_events, {100: 6.0, 200: 5.5, 300: 5.25, 400: 5.125})
