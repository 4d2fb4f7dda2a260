"""Fuzzes the readers: whatever a file holds, `load` gives runs or a `DataError` in one line.

``python -m benches.fuzz_readers --seconds 300 --seed 0``

Each case is one of the small logs in tests/sources/files, one in a layout of tests/sources, or one
made here, changed at random:
bytes flipped, cut, repeated or put in, lines mixed with those of another log, numbers and names
replaced by awkward ones, compressed, in UTF-16; then read with the format found, or a forced one.
Anything but runs with finite losses or a `DataError` is a finding, and so is a case that takes more
than two seconds of CPU time.  A finding is printed with its seed and kept in --out.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import lossfit
from lossfit.sources import READERS, survey
from tests.sources.layouts import Points
from tests.sources.layouts_more import ALL

FILES = Path(__file__).parent.parent / "tests" / "sources" / "files"
SLOW = 2.0
AWKWARD = [
    b"nan", b"-inf", b"1e999", b"-0", b"9" * 400, b"0x10", b"1_000", b"\xd9\xa3", b"", b" ", b"\0",
    b"null", b"true", b"[]", b"{}", b'"', b"'", b",", b"\t", b"|", b"\r", b"\n", b"\r\n", b"\\",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3\x28", b"\xe2\x80\xa8", b"\x1c", b"\x85", b"1,5", b"--",
    b"step", b"loss", b"run", b"_step", b" - train/loss", b"__MIN", b"Group: ", b"count", b"weight",
    b"tokens", b"params", b"log_history", b"iteration 5/ 9 |", b"s:3 trl:", b"step:1/2 val_loss:",
    b"2024-01-01", b"1e308", b"1e-320", b"-5", b"val_loss", b"eval_loss", b"lr", b"#", b"\x1b[0m",
    b"{'", b"}", b"Epoch", b"Epoch [1/5]", b"validation", b"loss: ", b"step ", b"10/480",
    b"it/s]", b" of ", b"| train/ | |", b"--------", b"[rank1]: ", b"1e-3f0", b"12kit/30kit",
    b'{"log": "step 5 loss 2"}', b"name", b"value", b"ema", b"nan%",
]  # fmt: skip
SUFFIXES = [".csv", ".log", ".txt", ".json", ".jsonl", ".tsv", "", ".gz", ".parquet"]


def corpus() -> dict[str, bytes]:
    """The logs to change."""
    found = {path.name: path.read_bytes() for path in sorted(FILES.iterdir())}
    points = Points.made(n=20)
    for i, layout in enumerate(ALL.values()):
        found[f"{i}-{layout.name}"] = layout.text(points).encode()
    found["array.json"] = json.dumps([{"step": s, "loss": 9 / s} for s in range(1, 30)]).encode()
    found["tabs.tsv"] = b"run\ttokens\tloss\n" + b"".join(
        b"%s\t%d\t%.3f\n" % (b"ab"[s % 2 : s % 2 + 1], s * 1000, 9 / s) for s in range(1, 40)
    )
    try:
        import pandas as pd

        out = io.BytesIO()
        pd.DataFrame({"_step": range(1, 40), "train/loss": 1.5, "lr": 1e-3}).to_parquet(out)
        found["x.parquet"] = out.getvalue()
    except ImportError:
        pass
    return found


def changed(rng: random.Random, logs: dict[str, bytes]) -> tuple[str, bytes]:
    """A name and contents."""
    name = rng.choice(list(logs))
    data = bytearray(logs[name])
    if len(data) > 3000 and rng.random() < 0.7:  # short cases are quick
        del data[rng.randrange(500, 3000) :]
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8, 30])):
        kind = rng.randrange(8)
        at = rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.choice([1, 2, 8, 100, 1000])]
        elif kind == 2:
            data[at:at] = rng.choice(AWKWARD)
        elif kind == 3:
            piece = data[at : at + rng.choice([5, 50, 500])]
            data[at:at] = piece * rng.choice([1, 2, 5])
        elif kind == 4:
            _, other = rng.choice(list(logs.items()))
            start = rng.randrange(len(other))
            data[at:at] = other[start : start + rng.choice([10, 100, 400])]
        elif kind == 5:
            lines = bytes(data).split(b"\n")
            rng.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        elif kind == 6:  # a word becomes an awkward one
            words = [i for i, b in enumerate(data) if chr(b) in ",:| \n"]
            if len(words) > 1:
                k = rng.randrange(len(words) - 1)
                data[words[k] + 1 : words[k + 1]] = rng.choice(AWKWARD)
        else:
            data[at:] = b""
    out = bytes(data)
    form = rng.randrange(20)
    if form == 0:
        out = gzip.compress(out)
    elif form == 1:
        out = out.decode("utf-8", "replace").encode("utf-16")
    elif form == 2:
        out = out.replace(b"\n", b"\r\n")
    elif form == 3:
        out = out.replace(b"\n", b"\r")
    stem = rng.choice([Path(name).stem, "x", "metrics", "events.out.tfevents.1", "run-a-tag-loss"])
    return stem + (Path(name).suffix if rng.random() < 0.6 else rng.choice(SUFFIXES)), out


def trial(rng: random.Random, name: str, data: bytes) -> tuple[str, str]:
    """What came of it: "runs", "error" or a finding; and the format or words."""
    stream = io.BytesIO(data)
    stream.name = name
    format = rng.choice(READERS) if rng.random() < 0.25 else None
    loss = rng.choice(["train", "train", "val", "both", "loss"])
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            runs, logs = survey(stream, format=format, loss=loss)
            text = str(runs) + str(runs.flags)
    except lossfit.DataError as error:
        words = str(error)
        if "\n" in words:
            return "finding", f"an error of two lines: {words!r}"
        if len(words) > 1500:
            return "finding", f"an error of {len(words)} characters"
        if not words or words.startswith("run 'None'"):
            return "finding", f"unclear: {words!r}"
        outcome = "error", "error"
    except Exception:
        return "finding", " | ".join(traceback.format_exc().splitlines()[-5:])
    else:
        for run in runs:
            good = np.isfinite(run.loss).all() and all(
                (np.diff(run.axis(axis)) > 0).all() for axis in run.axes
            )
            if not good or len(run) < 3 or not text:
                return "finding", f"runs that are not clean: {run!r}"
        outcome = "runs", logs[0].format
    seconds = time.process_time() - start
    return outcome if seconds < SLOW else ("finding", f"took {seconds:.1f} s")


def main() -> int:
    """Fuzz for a while and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="Folder for findings.")
    args = parser.parse_args()
    logs = corpus()
    counts: Counter[str] = Counter()
    findings = 0
    stop = time.monotonic() + args.seconds
    seed = args.seed
    while time.monotonic() < stop and findings < 20:
        rng = random.Random(seed)
        name, data = changed(rng, logs)
        kind, words = trial(rng, name, data)
        counts[words if kind != "finding" else kind] += 1
        if kind == "finding":
            findings += 1
            print(f"seed {seed}, {name}, {len(data)} bytes: {words}", flush=True)
            if args.out is not None:
                args.out.mkdir(parents=True, exist_ok=True)
                (args.out / f"{seed}-{name}").write_bytes(data)
        seed += 1
    total = sum(counts.values())
    print(f"{total:,} cases from seed {args.seed}: {findings} findings")
    for words, count in counts.most_common():
        print(f"  {words:16} {count:8,}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
