"""Kill a sweep, its resumption and a repair with SIGKILL at random moments; is anything lost?

Bar: after every kill the sweep resumed is identical, in every byte of every file, to one that was
never interrupted.  A sweep is killed, resumed and killed again, resumed; a damaged store is killed
while ``lossfit store verify --repair`` writes, and repaired again.

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
ACTIONS = ("sweep", "resume", "repair")


def child(action: str, store: str, folder: str) -> None:
    """Start or resume the sweep, or repair the store; says when it begins."""
    import lossfit
    from lossfit.sweep import fit_to, verify

    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    print("begin", flush=True)
    if action == "repair":
        print(f"end {int(verify(store, repair=True).whole)} 0", flush=True)
        return
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


def start(action: str, store: Path, folder: Path) -> subprocess.Popen[str]:
    code = "import sys; from benches.kill import child; child(*sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, action, str(store), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    return process


def there(store: Path, process: subprocess.Popen[str], seconds: float = 120) -> float:
    """Wait until there is a file, or so many seconds; the time."""
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


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill it; whether it was going still."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def begun(store: Path, folder: Path, moments: random.Random, seconds: float) -> bool:
    """A sweep killed after a random number of chunks and a random part of one, or earlier."""
    chunk = moments.randrange(CHUNKS)
    process = start("sweep", store, folder)
    if moments.random() < 0.8:
        there(store / f"ledger/entry/c/{chunk - 1}" if chunk else store, process)
        time.sleep(moments.uniform(0, seconds / CHUNKS))
    else:
        there(store.with_name("nothing"), process, moments.uniform(0, 2))
    return kill(process)


def resumed(store: Path, folder: Path, moments: random.Random, seconds: float) -> bool:
    """A resumption killed at a random moment, of a store of some chunks."""
    begun(store, folder, moments, seconds)
    process = start("resume", store, folder)
    time.sleep(moments.uniform(0, seconds))
    return kill(process)


def repaired(store: Path, folder: Path, moments: random.Random, whole: Path) -> bool:
    """A repair killed at a random moment, of a whole store half of whose metadata is damaged."""
    shutil.copytree(whole, store)
    names = [n for n in contents(store) if n.endswith("zarr.json") or n.startswith("ledger/plan")]
    names = [n for n in names if n != "ledger/plan/c/0"]
    for name in moments.sample(names, len(names) // 2):
        (store / name).write_bytes(b"")
    process = start("repair", store, folder)
    time.sleep(moments.uniform(0, 0.25))
    return kill(process)


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--kills", type=int, default=200)
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
        ended(start("sweep", whole, folder))
        shutil.rmtree(whole)  # that one compiled; this one is timed
        process = start("sweep", whole, folder)
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
            action = ACTIONS[number % 3]
            if action == "sweep":
                killed = begun(store, folder, moments, seconds)
            elif action == "resume":
                killed = resumed(store, folder, moments, seconds)
            else:
                killed = repaired(store, folder, moments, whole)
                ended(start("repair", store, folder))
            parts = len(list(store.rglob("*.partial"))) if store.exists() else 0
            before, redone = ended(start("resume", store, folder))
            found = contents(store)
            same = found == expected
            states[f"{action}{'' if killed else ', which had ended'}"] += 1
            print(
                f"kill {number + 1:3} of {action}: {before:,} runs were there, {redone} chunks "
                f"made again, {parts} files half written: {'identical' if same else 'DIFFERENT'}",
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
