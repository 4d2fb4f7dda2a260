"""Long tables and JSON lines are read by pyarrow: the result is that of the tolerant readers.

The same text is read twice, once with every file taken for a long one and once with none.  Points,
flags, the words for a row and errors must be equal, whatever stands in the cells.
"""

from __future__ import annotations

import io
import json
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import lossfit
from lossfit.sources import delimited, jsonl, survey

pytest.importorskip("pyarrow")

NEVER = 1 << 62
# What a cell may hold besides a plain number.
CELLS = st.sampled_from(
    [
        "nan", "NaN", "NAN", "-nan", "inf", "-inf", "Infinity", "None", "null", "NA", "N/A", "<NA>",
        "-", "--", "+1.5", "1e5", "1E-7", ".5", "5.", "0x10", "1_000", "007", "-0", "-0.0", "1e400",
        "1e-400", "9007199254740993", "18446744073709551616", "123456789012345678901234567890",
        "0.1000000000000000055511151231257827", "1,5", "12k", "3.0f", "true", "False", "2024-01-01",
        "12:30:00", "x", "'", "#", "", " ", "  3.5 ", '"2.5"', '"a,b"', '""', '"', "\t4", "1;5",
        "é", "\ufeff1",
    ]
)  # fmt: skip
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers().map(str)
COMMON = st.floats(0.01, 20).map(lambda v: f"{v:.6f}")
NAMES = ["step", "loss", "lr", "grad_norm", "val_loss", "tokens", "run", "epoch", "note", "mode"]


@st.composite
def tables(draw) -> str:
    """A table as text, most of it in order."""
    names = ["step", "loss", *draw(st.lists(st.sampled_from(NAMES[2:]), max_size=4, unique=True))]
    separator = draw(st.sampled_from(",,,\t;"))
    ending = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]))
    odd = draw(st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.5]))
    count = draw(st.integers(3, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lines = [separator.join(names)]
    for i in range(count):
        row = [str(10 * (i + 1))]
        for name in names[1:]:
            if rng.random() < odd:
                row.append(draw(CELLS | NUMBERS))
            elif name in ("run", "mode"):
                row.append(draw(st.sampled_from(["a", "train", "val"])))
            else:
                row.append(draw(COMMON))
        if odd and rng.random() < odd / 4:
            row.append("1")
        if odd and rng.random() < odd / 4:
            row.pop()
        lines.append(separator.join(row))
        if rng.random() < odd / 4:
            lines.append(draw(st.sampled_from(["", " ", lines[0], "# note", separator])))
    text = ending.join(lines)
    return text + (ending if draw(st.booleans()) else text[:0])


VALUES = (
    st.floats(0.01, 20)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([None, True, "2.5", "text", "nan", "", [], [1], {"a": 1.5}, {"a": {"b": 2}}])
    | st.sampled_from(["2024-01-01", "2024-01-01T10:00:00", "1e5", " 3 ", {}, {"a": "x"}])
)


@st.composite
def json_lines(draw) -> str:
    """JSON lines, most of them alike."""
    names = draw(st.lists(st.sampled_from(NAMES[2:]), max_size=4, unique=True))
    odd = draw(st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.5]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lines = []
    for i in range(draw(st.integers(3, 40))):
        row = {"step": 10 * (i + 1), "loss": draw(st.floats(0.01, 20))}
        row |= {name: draw(st.floats(0.01, 20)) for name in names}
        for name in [*row]:
            if rng.random() < odd:
                row[name] = draw(VALUES)
            if rng.random() < odd / 4:
                del row[name]
        if rng.random() < odd:
            row[draw(st.sampled_from([*NAMES, "nested"]))] = draw(VALUES)
        line = json.dumps(row, ensure_ascii=draw(st.booleans()))
        if rng.random() < odd / 6:
            odd_lines = ["", " ", line[:-3], "[1]", "3", "null", f" {line} ", "{}", f"{line},"]
            line = draw(st.sampled_from(odd_lines))
        if rng.random() < odd / 6:
            line = line.replace("}", ', "loss": 1.5}', 1)
        lines.append(line)
    ending = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return ending.join(lines) + (ending if draw(st.booleans()) else "")


def told(data: bytes, name: str, loss: str) -> object:
    """All that is read, in comparable form."""
    stream = io.BytesIO(data)
    stream.name = name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runs, logs = survey(stream, loss=loss)
    except lossfit.DataError as error:
        return str(error)
    return (
        runs.frame.map(repr).to_dict("list"),
        runs.flags.astype(str).to_dict("list"),
        [(log.format, log.rows, log.loss, log.losses) for log in logs],
    )


def both(monkeypatch, module, data: bytes, name: str, loss: str) -> tuple[object, object]:
    results = []
    for fast in (0, NEVER):
        monkeypatch.setattr(module, "FAST", fast)
        results.append(told(data, name, loss))
    return results[0], results[1]


LOSSES = st.sampled_from(["train", "train", "val", "both", "grad_norm"])


@given(text=tables(), loss=LOSSES)
@example(text="step,loss\n" + "".join(f"{s},{9 / s!r}\n" for s in range(1, 60)), loss="train")
def test_a_table_is_read_alike(text, loss):
    with pytest.MonkeyPatch.context() as patch:
        fast, tolerant = both(patch, delimited, text.encode(), "log.csv", loss)
    assert fast == tolerant


@given(text=json_lines(), loss=LOSSES)
def test_json_lines_are_read_alike(text, loss):
    with pytest.MonkeyPatch.context() as patch:
        fast, tolerant = both(patch, jsonl, text.encode(), "log.jsonl", loss)
    assert fast == tolerant


@pytest.mark.parametrize("module", [delimited, jsonl])
def test_the_fast_way_is_taken_for_what_is_in_order(module, monkeypatch):
    taken = []
    by_arrow = module._by_arrow

    def spy(*arguments):
        taken.append(by_arrow(*arguments))
        return taken[-1]

    monkeypatch.setattr(module, "_by_arrow", spy)
    monkeypatch.setattr(module, "FAST", 0)
    rows = [(s, 9.0 / s) for s in range(1, 60)]
    if module is delimited:
        data = "step,loss\n" + "".join(f"{s},{x!r}\n" for s, x in rows)
    else:
        data = "".join(json.dumps({"step": s, "loss": x}) + "\n" for s, x in rows)
    told(data.encode(), "log", "train")
    assert len(taken) == 1
    assert taken[0] is not None
