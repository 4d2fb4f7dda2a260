"""Corrupted and hostile logs: a clear error, in bounded time and memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import lossfit
from lossfit import DataError
from lossfit.sources import READERS, _source

FILES = Path(__file__).parent / "files"


def of(name: str) -> bytes:
    return (FILES / name).read_bytes()


def noise(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


CSV = b"step,loss\n" + b"".join(b"%d,%.6f\n" % (s, 9 / s) for s in range(1, 60))
STATE = of("trainer_state.json")
TWICE = json.dumps({"step": 1, "loss": 2.0}).encode() + b"\n"

# name of the file, contents, what the message says
VARIANTS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("x.csv", b"", "is empty"),
    "blank": ("x.log", b"\n \r\n\t\n" * 500, "is empty"),
    "only a byte-order mark": ("x.csv", b"\xef\xbb\xbf", "not a table|is empty|no rows"),
    "only a UTF-16 mark": ("x.csv", b"\xff\xfe", "not a table|is empty|no rows"),
    "NUL bytes alone": ("x.log", b"\0" * 5000, "binary file of a kind"),
    "NUL bytes in the middle": (
        "x.csv",
        CSV * 90 + b"\0" * 9000,
        r"line 5401: NUL bytes, as a crash",
    ),
    "random bytes": ("x.log", b"\0" + noise(9000), "binary file of a kind"),
    "random bytes called json": (
        "trainer_state.json",
        noise(9000, 1),
        "binary file|line 1: not utf",
    ),
    "a picture": ("x.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary file of a kind"),
    "a pickle": (
        "x.pkl",
        b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.",
        "is a pickle, which can run any",
    ),
    "an archive": ("x.zip", b"PK\x03\x04" + noise(300), "is a zip archive: unpack it first"),
    "xz": ("x.csv.xz", b"\xfd7zXZ\x00" + noise(300), "is compressed with xz: unpack it first"),
    "cut JSON": (
        "trainer_state.json",
        STATE[: len(STATE) // 2],
        "not valid JSON.*copy the file again",
    ),
    "JSON cut in a name": ("trainer_state.json", STATE[:-40], "not valid JSON"),
    "a log_history of another kind": (
        "a.json",
        b'{"log_history": {"step": 1}}',
        "no list log_history",
    ),
    "a log_history of numbers": (
        "a.json",
        b'{"log_history": [1, 2]}',
        "entry 1 of log_history: not an",
    ),
    "a log_history of nothing": ("a.json", b'{"log_history": []}', "no entry with a step"),
    "a log_history without losses": (
        "a.json",
        b'{"log_history": [{"step": 1, "epoch": 1}]}',
        "no column 'loss'; the columns are 'step', 'epoch'",
    ),
    "a loss of text": (
        "a.json",
        b'{"log_history": [{"step": 1, "loss": 2}, {"step": 2, "loss": "much"}]}',
        "entry 2 of .*: loss 'much' is not a number",
    ),
    "deep JSON": ("x.json", b'{"a":' * 50_000, "not valid JSON"),
    "deep JSON in a line": ("x.jsonl", TWICE + b"[" * 90_000 + b"\n", "line 2: not valid JSON"),
    "deep JSON in a state": (
        "trainer_state.json",
        b'{"log_history": ' + b"[" * 90_000,
        "not valid JSON",
    ),
    "a number of 5,000 digits": (
        "x.jsonl",
        TWICE + b'{"step": 2, "loss": ' + b"9" * 5000 + b"}\n",
        "line 2: not valid JSON",
    ),
    "a step of 400 digits": (
        "x.jsonl",
        b"".join(b'{"step": %s%d, "loss": 2}\n' % (b"9" * 400, k) for k in range(4)),
        "has no usable points|is not a number",
    ),
    "JSON lines of lists": ("x.jsonl", TWICE + b"[1, 2]\n", "line 2: not an object"),
    "wrong columns": (
        "x.csv",
        b"time,accuracy\n1,2\n2,3\n3,4\n",
        "no column 'loss'; the columns are",
    ),
    "no axis": ("x.csv", b"colour,loss\n1,2\n2,3\n3,4\n", "no column of steps, tokens or epo"),
    "too many cells": ("x.csv", CSV + b"1,2,3,4\n", "line 61|61"),
    "more cells in all rows": (
        "x.csv",
        b"step,loss\n" + b"".join(b"%d,3.%d,7\n" % (s, s) for s in range(1, 20)),
        "line 2: more cells than the 2 names of the first line: name every column",
    ),
    "very many columns": (
        "x.csv",
        b",".join(b"a%d" % k for k in range(5_000)) + b"\n" + b"1," * 4_999 + b"1\n",
        "no column 'loss'; the columns are 'a0', .* and 4,980 more",
    ),
    "far too many columns": (
        "x.csv",
        b"a" + b",a" * 5_000_000 + b"\n1,2\n",
        r"2,097,153 columns or more, which no log has: write one row for each",
    ),
    "an open quote": ("x.csv", CSV + b'60,"1.5\n61,1.4\n', "EOF inside string|line 61"),
    "letters in a cell": (
        "x.csv",
        CSV.replace(b"30,0.3", b"30,O.3"),
        "line 31 of .*'O.300000' is not",
    ),
    "decimal commas": (
        "x.csv",
        b"step;loss\n1;2,5\n2;2,4\n3;2,3\n",
        "'2,5' is not a number: write",
    ),
    "Latin-1": (
        "x.csv",
        CSV + "60,1.5ß\n".encode("latin-1"),
        "line 61 of .*: loss '1.5.' is not a number",
    ),
    "mixed encodings": (
        "x.csv",
        CSV + CSV.decode().encode("utf-16"),
        "line 61: NUL bytes after text",
    ),
    "UTF-16 without a mark": (
        "x.csv",
        CSV.decode().encode("utf-16-le"),
        "looks like UTF-16 text without a byte-order mark: save the file as UTF-8",
    ),
    "cut UTF-16": (
        "x.csv",
        CSV.decode().encode("utf-16")[:-1],
        "line 60 of .*: loss '0.152542.' is not a number",
    ),
    "a log of code alone": (
        "main.log",
        b"import os\nprint('s:1 trl:')\n" * 90,
        "is not a table|no line",
    ),
    "a log without losses": (
        "x.log",
        b"step:1/9 val_loss:none\n" * 9,
        "not a table|no line is a point|there are no rows",
    ),
    "a log cut in its second line": (
        "x.log",
        b"s:0 trl:11.0091\ns:1 tr",
        "has 0 usable|no usable|has no",
    ),
    "too few points": ("main.log", b"s:1 trl:3.5000\ns:2 trl:3.4000\n", "has 2 usable points"),
    "rows out of order": (
        "x.csv",
        b"step,loss\n" + b"".join(b"%d,3\n" % (7919 * k % 1009) for k in range(90)),
        "so the rows are not in log order: sort them by step first",
    ),
    "negative steps": ("x.csv", CSV + b"-5,2\n", "step is -5; it must be 0 or more"),
    "cut gzip": ("x.csv.gz", gzip.compress(CSV * 99)[:-30], "in the middle of its gzip data"),
    "damaged gzip": (
        "x.csv.gz",
        gzip.compress(CSV)[:20] + noise(200),
        "is not a gzip file that can be read|in the middle",
    ),
    "gzip of a picture": ("x.gz", gzip.compress(b"\x89PNG\0\0\0\0\0"), "binary file of a kind"),
    "cut Parquet": ("x.parquet", b"PAR1" + noise(500), "not a Parquet file that can be read"),
    "text called Parquet": ("x.parquet", CSV, "not a Parquet file that can be read"),
    "a chart without a line": (
        "x.csv",
        b'"Step","x__MIN","x"\n"1","2","3"\n',
        "no column is called RUN",
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(tmp_path, variant):
    name, data, words = VARIANTS[variant]
    path = tmp_path / name
    path.write_bytes(data)
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    start = time.process_time()
    with pytest.raises(DataError, match=words) as error:
        lossfit.load(path)
    assert time.process_time() - start < 5
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600 + len(str(path))
    assert (
        path.name in text or path.stem.split(".")[0] in text
    )  # the file, or the run named after it
    assert error.value.__cause__ is None


def test_there_are_forty_of_them():
    assert len(VARIANTS) >= 40


@pytest.mark.filterwarnings("ignore:reading. ")
@pytest.mark.parametrize("format", READERS)
def test_a_format_forced_on_every_other_log(format):
    """Runs or an error that names the file, whatever is read as what."""
    pytest.importorskip("tensorboard")
    for path in sorted(FILES.iterdir()):
        try:
            runs = lossfit.load(path, format=format)
        except DataError as error:
            words = str(error)
        else:
            words = path.stem
            assert all(len(run) >= 3 for run in runs)
        assert path.stem in words


def test_logs_changed_at_random():
    """A few cases of benches/fuzz_readers.py, which ran for minutes."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("tensorboard")
    from benches.fuzz_readers import changed, corpus, trial

    logs = corpus()
    for seed in range(400):
        rng = random.Random(seed)
        kind, words = trial(rng, *changed(rng, logs))
        assert kind != "finding", f"seed {seed}: {words}"


PEAK = """
import resource, sys, time
import lossfit, pandas, lossfit.sources
from lossfit.sources import READERS, _module
for name in READERS: _module(name)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    start = time.process_time()
    try:
        lossfit.load(path)
        words = "no error"
    except lossfit.DataError as error:
        words = str(error)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) / 1024, time.process_time() - start, words)
"""


def measured(paths, root) -> Iterator[tuple[float, float, str]]:
    """Growth of the peak in MiB so far, seconds and the message, of a process that loads them."""
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, paths)],
        capture_output=True, text=True, check=True, timeout=120, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        peak, seconds, words = line.split(" ", 2)
        assert str(path) in words
        yield float(peak), float(seconds), words


def big(path: Path, first: bytes, piece: bytes, megabytes: int) -> Path:
    with path.open("wb") as out:
        out.write(first)
        block = piece * (2**20 // len(piece))
        for _ in range(megabytes):
            out.write(block)
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="units of the peak are Linux's")
def test_lines_of_200_mb(tmp_path, root):
    pieces = {
        "x.csv": (b"step,loss\n1,", b"7"),
        "x.log": (b"s:1 trl:3.5000\n", b"s:1 trl:3.5 "),
        "x.jsonl": (b'{"step": 1, "loss": 2}\n{"step": ', b"1"),
        "x.json": (b"", b"["),
        "trainer_state.json": (b'{"log_history": [', b'{"step":1,"loss":2},'),
    }
    paths = [big(tmp_path / name, *parts, 200) for name, parts in pieces.items()]
    told = measured(paths, root)
    for path, (first, _), (peak, seconds, words) in zip(paths, pieces.values(), told, strict=True):
        line = first.count(b"\n") + 1
        assert f"{path}, line {line}: longer than 64 MiB" in words
        assert peak < 200, path
        assert seconds < 5, path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="units of the peak are Linux's")
def test_what_unpacks_beyond_reason(tmp_path, root):
    paths = [tmp_path / "zeros.csv.gz", tmp_path / "rows.csv.gz"]
    for path, piece in zip(paths, (b"\0" * 1024, b"1,2.5\n" * 1024), strict=True):
        pack = zlib.compressobj(9, zlib.DEFLATED, 31)
        with path.open("wb") as out:
            out.write(pack.compress(b"step,loss\n"))
            for _ in range(200):
                out.write(pack.compress(piece * (2**20 // len(piece))))
            out.write(pack.flush())
        assert path.stat().st_size < 2**21
    for peak, seconds, words in measured(paths, root):
        assert "unpacks to more than 200 times its size" in words or "NUL bytes" in words
        assert peak < 500
        assert seconds < 10


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs the endless file /dev/zero")
def test_endless_files():
    with pytest.raises(DataError, match="is a device and no log: give a file"):
        lossfit.load("/dev/zero")
    with (
        Path("/dev/zero").open("rb") as stream,
        pytest.raises(DataError, match="binary file of a kind"),
    ):
        lossfit.load(stream)
    with (
        Path("/dev/urandom").open("rb") as stream,
        pytest.raises(DataError, match=r"binary file|longer than"),
    ):
        lossfit.load(stream)


def test_records_that_each_bring_new_keys():
    """A frame of these would have 8,000 x 24,000 cells."""
    lines = (
        json.dumps({"step": k, "loss": 3 + 1 / k, **{f"k{k}_{i}": 1 for i in range(3)}})
        for k in range(1, 8_001)
    )
    runs = lossfit.load(io.StringIO("\n".join(lines)))
    assert len(runs["run"]) == 8_000
    assert "rare keys" in runs.flags["detail"][0]


def test_parquet_of_one_repeated_value(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    block = pyarrow.table({name: pyarrow.nulls(5_000_000, "float64") for name in ("step", "loss")})
    with pq.ParquetWriter(tmp_path / "x.parquet", block.schema, compression="zstd") as writer:
        for _ in range(12):
            writer.write_table(block)
    assert (tmp_path / "x.parquet").stat().st_size < 2**19
    with pytest.raises(DataError, match=r"unpacks to .* cells, which no log of its size does"):
        lossfit.load(tmp_path / "x.parquet")


def test_event_file_that_claims_a_huge_record(tmp_path):
    pytest.importorskip("tensorboard")
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(struct.pack("<Q", 2**62) + noise(100))
    with pytest.raises(DataError, match="first record is damaged"):
        lossfit.load(path)


def test_a_log_with_very_many_bad_lines_is_read_in_time():
    text = "s:1 trl:3.5\n" + "s:2 trl:\n" * 200_000 + "x" * 1_000_000 + " |" * 500_000
    start = time.process_time()
    with pytest.raises(DataError, match="1 usable point"):
        lossfit.load(io.StringIO(text))
    bars = "iteration 1/ 9 |" + " lm loss: |" * 200_000 + "\n"
    with pytest.raises(DataError):
        lossfit.load(io.StringIO(bars * 3))
    assert time.process_time() - start < 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_read_and_one_without_a_writer_is_refused(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    monkeypatch.setattr("lossfit.sources._source.PIPE_WAIT", 0.2)
    with pytest.raises(DataError, match="is a pipe that nothing writes to: start the writer"):
        lossfit.load(pipe)
    monkeypatch.setattr("lossfit.sources._source.PIPE_WAIT", 20.0)
    code = "import sys, time; f = open(sys.argv[1], 'wb'); time.sleep(.3); f.write(b'step,loss\\n')"
    code += "; time.sleep(.3); [f.write(b'%d,%.4f\\n' % (k, 9 / k)) for k in range(1, 60)]"
    with subprocess.Popen([sys.executable, "-c", code, str(pipe)]):
        assert len(lossfit.load(pipe)["pipe"]) == 59


def test_sockets_are_refused(tmp_path):
    import socket

    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs sockets with names")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "s.csv"))
        with pytest.raises(DataError, match="is a socket and no log: give a file"):
            lossfit.load(tmp_path / "s.csv")


def test_gzip_of_many_members_takes_time_in_proportion():
    from lossfit.sources._source import _unpacked

    def seconds(count: int) -> float:
        members = [gzip.compress(b"%d,%.4f\n" % (k, 9 / k), 1) for k in range(1, count + 1)]
        data = b"".join(members)
        begun = time.process_time()
        assert b"".join(_unpacked(data, "x")).count(b"\n") == count
        return time.process_time() - begun

    once = min(seconds(4_000) for _ in range(2))
    assert seconds(16_000) < 12 * once


def test_a_file_beyond_the_limit_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(_source, "LARGEST_FILE", 1 << 30)
    path = tmp_path / "run.csv"
    path.write_text("step,loss\n" + "1,2.5\n" * 1000)
    os.truncate(path, (1 << 30) + 1)  # sparse: no such memory is taken
    tracemalloc.start()
    with pytest.raises(DataError, match="larger than 1 GiB"):
        lossfit.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24
