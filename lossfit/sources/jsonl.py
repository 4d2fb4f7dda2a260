"""JSON: lines of objects, an array of objects, or an object of arrays.

::

    {"step": 10, "loss": 6.18, "lr": 0.001}                    a line a row
    [{"epoch": 1, "train_loss": 6.18}, ...]                    an array of rows
    {"loss": [6.18, 5.44, ...], "val_loss": [6.2, ...]}        a column a key (Keras' history)
    {"train.loss": {"steps": [0, 10], "values": [6.18, ...]}}  Sacred's metrics.json

Objects in a row become columns ``outer/inner``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ..runs.names import may_be_loss
from ._documents import table_of_document
from ._lines import LineWords
from ._rows import Rows
from ._source import LONGEST_LINE, Example, Source, Table

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = Example(
    """{"step": 10, "loss": 6.1862, "lr": 0.001}
{"step": 20, "loss": 5.4321, "lr": 0.001}
{"step": 30, "loss": 5.1234, "lr": 0.001}
{"step": 40, "loss": 4.9876, "lr": 0.001}
""",
    {10: 6.1862, 20: 5.4321, 30: 5.1234, 40: 4.9876},
)

# An array begins with a bracket or a value; "[2026-03-01 10:00:00] step 5" and "[rank0]" do not.
ARRAY = re.compile(
    r'\[\s*(?:[{"\]]|\[\s*["\d\]\[-]|-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?\s*[,\]]|null\b|NaN\b)'
)
OBJECT = re.compile(r'\{\s*(?:"|\})')
TEXTS = ("log", "message", "msg", "text", "line", "textPayload", "MESSAGE", "@message", "event")
PRINTED = re.compile(r"\{\s*'|\[\s*\{\s*'")
MOST_PRINTED = 3  # lines of it
BRACKET = object()
LOOSE = "[], \t\r\ufeff"  # around an object that is a line of an array
FAST = 1 << 21  # smaller files are read by json


def matches(source: Source) -> bool:
    """A text that starts with a JSON object or array."""
    if not source.is_text:
        return False
    start = source.head[:4096].lstrip("\ufeff \t\r\n")
    if start.startswith("["):
        line = source.first_line.strip().lstrip("\ufeff")
        closed = re.match(r"\[[^\[\]{}\"]*\]\s*(\S)", line)
        return ARRAY.match(start) is not None and (closed is None or closed[1] in ",")
    return OBJECT.match(start) is not None or _of_python(source) is not None


def read(source: Source) -> Table:
    """The objects as a frame; rows are called by their line.

    A last line without its end that is not valid JSON was cut while writing; other lines that
    cannot be read are left out too.  Both are flagged.

    Raises `DataError`: most lines are no JSON objects; the message names the first.  A document of
    another kind.
    """
    first = source.first_line.strip().lstrip("\ufeff")
    if first.startswith("{") and _whole(first) and source.data.count(b"\n", 0, 1 << 20) > 0:
        lone = _lone_document(source, first)
        return _of_lines(source) if lone is None else lone
    text = source.text()
    try:
        document = json.loads(_of_python(source) or text)
    except RecursionError:
        raise DataError(f"{source.name}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        documents = _several(text)
        if documents:
            return table_of_document(documents, source.name)
        lines = (line.strip(LOOSE) for line in source.first_lines)
        if "Extra data" in str(error) or any(map(_whole, lines)):
            return _of_lines(source)
        raise DataError(f"{source.name}: not valid JSON ({error}): copy the file again") from None
    return table_of_document(document, source.name)


def _of_python(source: Source) -> str | None:
    """What Python prints of a list of dicts or a dict of lists, as JSON; None for anything else."""
    head = source.head[:4096].lstrip("\ufeff \t\r\n")
    if not PRINTED.match(head) or len(source.data) > LONGEST_LINE or b'"' in source.data:
        return None
    if source.data.strip().count(b"\n") > MOST_PRINTED:
        return None
    text = source.text().replace("'", '"')
    for word, meaning in (("None", "null"), ("True", "true"), ("False", "false"), ("nan", "NaN")):
        text = re.sub(rf"\b{word}\b", meaning, text)
    return text if _is_json(text) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _whole(line: str) -> bool:
    """Whether a line is an object by itself."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lone_document(source: Source, first: str) -> Table | None:
    """A file of one line that is a document by itself, such as Keras' history; None for a row."""
    data = source.data
    end = data.find(b"\n", 0, 1 << 20)
    if end >= 0 and (data[end : end + 4096].strip() or data[end:].strip()):
        return None
    try:
        return table_of_document(json.loads(first), source.name)
    except DataError:
        return None


def _several(text: str) -> list[dict[str, Any]]:
    """Objects that follow one another without commas, over several lines each; [] if not that."""
    decoder = json.JSONDecoder()
    objects: list[dict[str, Any]] = []
    at = 0
    while at < len(text):
        while at < len(text) and text[at] in " \t\r\n\ufeff":
            at += 1
        if at == len(text):
            break
        try:
            item, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        if not isinstance(item, dict):
            return []
        objects.append(item)
    return objects if len(objects) > 1 else []


def _of_lines(source: Source) -> Table:
    if len(source.data) >= FAST:
        frame = _by_arrow(source)
        if frame is not None:
            whole = Table(frame, LineWords(np.arange(1, len(frame) + 1), source.name))
            return _of_texts(source, whole) or whole
    whole = _line_by_line(source)
    return _of_texts(source, whole) or whole


def _of_texts(source: Source, whole: Table) -> Table | None:
    """What a trainer printed, where each object is a line of it; None for another log.

    Docker's ``{"log": "step 10 loss 2.5", "stream": "stdout", "time": ...}``, the exports of
    cloud services.
    """
    from . import console

    frame = whole.frame
    if any(map(may_be_loss, map(str, frame.columns))):
        return None
    for name in TEXTS:
        column = next((c for c in frame.columns if str(c).rpartition("/")[2] == name), None)
        if column is None or frame[column].dtype.kind in "ifb":
            continue
        cells = frame[column].where(frame[column].notna(), "")
        lines = [" ".join(str(cell).rstrip().splitlines()) for cell in cells]
        assert isinstance(whole.row_words, LineWords)
        numbers = np.asarray(whole.row_words.lines)
        places = np.full(numbers.max(initial=0), "", dtype=object)
        places[numbers - 1] = lines
        text = "\n".join(places) + "\n"
        inner = replace(source, data=text.encode("utf-8", errors="replace"))
        if console.matches(inner):
            table = console.read(inner)
            return replace(table, flags=[*whole.flags, *table.flags])
    return None


def _by_arrow(source: Source) -> pd.DataFrame | None:
    """The lines by pyarrow, many times faster; None where it is missing or cannot read them all."""
    try:
        import pyarrow
        from pyarrow import json as arrow
    except ImportError:
        return None
    if source.encoding != "utf-8-sig" or source.data[:3] == b"\xef\xbb\xbf":
        return None
    count = source.data.count(b"\n") + (source.data[-1:] != b"\n")
    if source.data[:1] != b"{" or source.data.count(b"\n{") != count - 1:
        return None  # each line is an object: rows are called by their line
    try:
        options = arrow.ReadOptions(block_size=1 << 20, use_threads=False)
        table = arrow.read_json(pyarrow.BufferReader(source.data), read_options=options)
        if table.num_rows != count:
            return None
        for _ in range(4):
            if not any(pyarrow.types.is_struct(column.type) for column in table.columns):
                break
            names = [
                name if not pyarrow.types.is_struct(column.type) else None
                for name, column in zip(table.column_names, table.columns, strict=True)
            ]
            inner = [
                f"{name}/{field.name}" if plain is None else name
                for plain, name, column in zip(
                    names, table.column_names, table.columns, strict=True
                )
                for field in (list(column.type) if plain is None else [column])
            ]
            table = table.flatten().rename_columns(inner)
        if any(
            pyarrow.types.is_boolean(c.type)
            or pyarrow.types.is_nested(c.type)
            or pyarrow.types.is_temporal(c.type)
            for c in table.columns
        ):
            return None  # what is to be said of these is said line by line
        blank = [c.null_count == len(c) for c in table.columns]  # as line by line: no column
        table = table.select([i for i, is_blank in enumerate(blank) if not is_blank])
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    except (pyarrow.ArrowException, ValueError, OSError):
        return None
    return frame


def _line_by_line(source: Source) -> Table:
    loads = _loads()
    rows = Rows()
    damaged: list[tuple[int, str]] = []
    last = 0
    for number, line in source.lines():
        if not line.strip():
            continue
        last = number
        try:
            item = _item(loads, line)
        except RecursionError:
            damaged.append((number, "not valid JSON (nested too deeply)"))
            continue
        except ValueError as error:
            damaged.append((number, f"not valid JSON ({error})"))
            continue
        if item is BRACKET:
            continue
        if not isinstance(item, dict):
            damaged.append((number, "not an object with step and loss"))
            continue
        rows.add_record(item, number)
    flags = []
    if damaged and damaged[-1][0] == last and not source.ends_a_line and len(rows):
        damaged.pop()
        flags.append(Flag("", "cut_line", 1, f"line {last}, the last, was cut while writing"))
    start = source.data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"[") and not source.data[-64:].rstrip().endswith(b"]"):
        words = f"the array is not closed after line {last}: it was cut while writing"
        flags.append(Flag("", "cut_line", 1, words))
    if damaged and len(damaged) >= len(rows):
        number, words = damaged[0]
        raise DataError(f"{source.name}, line {number}: {words}")
    if damaged:
        number, words = damaged[0]
        first = f"first: line {number} of {source.name}, {words}"
        flags.append(Flag("", "damaged_lines", len(damaged), first))
    if rows.left_out:
        listed = f"{len(rows.left_out)} rare keys, such as {min(rows.left_out)[:60]!r}"
        flags.append(Flag(None, "ignored_columns", len(rows.left_out), listed))
    return Table(rows.frame(), LineWords(rows.numbers(), source.name), flags)


def _item(loads: Callable[[str], Any], line: str) -> Any:
    """The object in a line, which may be one of an array; `BRACKET` for one of its ends."""
    try:
        return loads(line)
    except ValueError:
        bare = line.strip(LOOSE)
        if not bare:
            return BRACKET
        if bare == line.strip():
            raise
        return loads(bare)


def _loads() -> Callable[[str], Any]:
    """Orjson where it is installed, else json; json too for what orjson refuses, such as NaN."""
    try:
        import orjson  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return json.loads
    fast: Callable[[str], Any] = orjson.loads

    def loads(line: str) -> Any:
        try:
            return fast(line)
        except ValueError:
            return json.loads(line)

    return loads
