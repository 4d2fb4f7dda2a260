"""Kill a sweep with SIGKILL at random moments, resume it, and compare every byte of the store.

Bar: 20 kills, the resumed store identical to an uninterrupted one each time.

    python -m benches.kill
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from benches import _report

RUNS, POINTS, CHUNK = 1500, 64, 64
CHUNKS = -(-RUNS // CHUNK)


def child(store: str, folder: str) -> None:
    """Start or resume the sweep; says when it begins."""
    import lossfit
    from lossfit.sweep import fit_to

    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    print("begin", flush=True)
    result = fit_to(
        store, folder, draws=50, keep="draws", horizons=(1.25, 2.0), chunk_runs=CHUNK, resume=True
    )
    print(f"end {result.resumed} {result.redone}", flush=True)


def contents(store: Path) -> dict[str, str]:
    """A hash of every file by its path in the store."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def start(store: Path, folder: Path) -> subprocess.Popen[str]:
    code = "import sys; from benches.kill import child; child(*sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(store), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    return process


def there(store: Path, process: subprocess.Popen[str], seconds: float = 120) -> float:
    """Wait until there is a store, or so many seconds; the time."""
    stop = time.monotonic() + seconds
    while not store.exists() and process.poll() is None and time.monotonic() < stop:
        time.sleep(0.0005)
    return time.monotonic()


def ended(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Runs that were there and chunks that were made again."""
    out, _ = process.communicate()
    assert process.returncode == 0, process.returncode
    resumed, redone = out.split()[1:]
    return int(resumed), int(redone)


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    record = _report.start("kill")
    failures: list[str] = []
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    moments = random.Random(seed)
    from benches.scaling import many

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "dataset"
        folder.mkdir()
        frame = many(RUNS, POINTS).frame.drop(columns="spike")
        half = len(frame) // 2 + 17  # in the middle of a run
        frame.iloc[:half].to_parquet(folder / "a.parquet", row_group_size=4000)
        frame.iloc[half:].to_parquet(folder / "b.parquet", row_group_size=4000)
        whole = Path(place) / "whole.zarr"
        ended(start(whole, folder))
        shutil.rmtree(whole)  # that one compiled; this one is timed
        process = start(whole, folder)
        begin = there(whole, process)
        ended(process)
        seconds = time.monotonic() - begin
        expected = contents(whole)
        print(
            f"uninterrupted: {RUNS:,} runs in {CHUNKS} chunks, {len(expected)} files, "
            f"{seconds:.2f} s; seed {seed}"
        )
        states = Counter[str]()
        for number in range(options.kills):
            store = Path(place) / f"{number}.zarr"
            # After a random number of chunks and a random part of the time of one; now and then
            # earlier, before or while the store is made.
            chunk = moments.randrange(CHUNKS)
            process = start(store, folder)
            if number % 5:
                there(store / f"ledger/entry/c/{chunk - 1}" if chunk else store, process)
                time.sleep(moments.uniform(0, seconds / CHUNKS))
            else:
                there(store.with_name("nothing"), process, moments.uniform(0, 2))
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            killed = process.returncode == -signal.SIGKILL
            parts = len(list(store.rglob("*.partial"))) if store.exists() else 0
            state = "during a chunk" if (store / "run/c").exists() else "before the first chunk"
            resumed, redone = ended(start(store, folder))
            if not killed or resumed == RUNS:
                state = "after the last chunk"
            found = contents(store)
            same = found == expected
            states[state] += 1
            print(
                f"kill {number + 1:2} {state}: {resumed:,} runs were there, {redone} chunks made "
                f"again, {parts} files half written: {'identical' if same else 'DIFFERENT'}",
                flush=True,
            )
            if not same:
                different = {k for k in {*found, *expected} if found.get(k) != expected.get(k)}
                failures.append(f"kill {number + 1}: {len(different)} files differ: {different}")
            shutil.rmtree(store)
        print(", ".join(f"{count} {state}" for state, count in states.items()))
    record["states"] = dict(states)
    record["seed"] = seed
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
