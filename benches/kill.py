"""Kill a sweep, its resumption, a repair and a watch with SIGKILL at random moments: any loss?

Bar: after every kill the sweep resumed is identical, in every byte of every file, to one that was
never interrupted.  A sweep is killed, resumed and killed again, resumed; a damaged store is killed
while ``lossfit store verify --repair`` writes, and repaired again.  A watch is killed while its log
grows: the log is as it was written and nothing lies beside it, every update told before is that of
a watch that nobody killed, and the next watch ends with the same words.

    python -m benches.kill
    python -m benches.kill --kills 20 --only watch
"""

from __future__ import annotations

import hashlib
import json
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
ACTIONS = ("sweep", "resume", "repair", "watch")
WATCHED = "llama2-7B"  # the run whose log grows while it is watched ...
LOOKS = (20, 45, 70, 97)  # ... with so many rows at first, then more; a killed watch never has all


def child(action: str, store: str, folder: str) -> None:
    """Start or resume the sweep, repair the store, or watch a log; says when it begins."""
    import lossfit
    from lossfit.sweep import fit_to, verify

    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    print("begin", flush=True)
    if action == "repair":
        print(f"end {int(verify(store, repair=True).whole)} 0", flush=True)
        return
    if action == "watch":
        for update in lossfit.watch(store, total=float(folder), axis="tokens", interval=0.0):
            print(json.dumps(update.to_dict()), flush=True)
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


def uninterrupted(place: Path) -> tuple[Path, Path, float]:
    """The data set, the store of a sweep that nobody killed, and the seconds that it took."""
    from benches.scaling import many

    folder = place / "dataset"
    folder.mkdir()
    frame = many(RUNS, POINTS).frame.drop(columns="spike")
    half = len(frame) // 2 + 17  # in the middle of a run
    frame.iloc[:half].to_parquet(folder / "a.parquet", row_group_size=4000)
    frame.iloc[half:].to_parquet(folder / "b.parquet", row_group_size=4000)
    whole = place / "whole.zarr"
    ended(start("sweep", whole, folder))
    shutil.rmtree(whole)  # that one compiled; this one is timed
    process = start("sweep", whole, folder)
    begin = there(whole, process)
    ended(process)
    return folder, whole, time.monotonic() - begin


class Watched:
    """A log that grows, and what a watch that nobody kills says of it."""

    def __init__(self, place: Path) -> None:
        import lossfit

        self.log = place / "watched/log.csv"
        self.log.parent.mkdir()
        frame = lossfit.load("llama2").select([WATCHED]).frame[["tokens", "loss"]]
        self.total = str(float(frame["tokens"].iloc[-1]))
        lines = frame.to_csv(index=False).splitlines(keepends=True)
        cuts = (*LOOKS, len(lines) - 1)
        self.pieces = [
            "".join(lines[a + 1 if a else 0 : b + 1]).encode()
            for a, b in zip((0, *cuts), cuts, strict=False)
        ]
        self.told: dict[int, dict[str, object]] = {}  # by the number of points
        process = self.start(self.pieces[0])
        for number, piece in enumerate([*self.pieces[1:], b""]):
            self.told |= self.updates([process.stdout.readline()], {})[0]
            assert len(self.told) == number + 1
            self.add(piece)
        process.communicate()
        assert process.returncode == 0

    def start(self, content: bytes) -> subprocess.Popen[str]:
        self.log.write_bytes(content)
        return start("watch", self.log, Path(self.total))

    def add(self, piece: bytes) -> None:
        with open(self.log, "ab") as file:
            file.write(piece)

    @staticmethod
    def updates(lines: list[str], told: dict[int, dict[str, object]]) -> tuple[dict, int]:
        """Updates by their number of points, and how many differ from what should be told."""
        seen = {}
        for line in lines:
            update = json.loads(line)
            del update["new_points"]  # of a watch that began later there are more
            seen[update["points"]] = update
        return seen, sum(told[points] != update for points, update in seen.items()) if told else 0

    def killed(self, moments: random.Random, seconds: float) -> tuple[bool, list[str], str]:
        """Kill a watch at a random moment: whether it went on still, faults, and words."""
        faults: list[str] = []
        written = self.pieces[0]
        process = self.start(written)
        stop = time.monotonic() + moments.uniform(0, seconds)
        for piece in self.pieces[1:-1]:  # each in two parts, the first of which ends in a line
            half = moments.randrange(1, len(piece))
            for part in (piece[:half], piece[half:]):
                wait = min(moments.uniform(0, seconds / 5), stop - time.monotonic())
                time.sleep(max(wait, 0.0))
                if time.monotonic() < stop and process.poll() is None:
                    self.add(part)
                    written += part
        time.sleep(max(stop - time.monotonic(), 0.0))
        os.kill(process.pid, signal.SIGKILL)
        lines = process.communicate()[0].splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        # A look may come between the two parts of a piece: such a number of points is nobody's.
        known = [line for line in whole if json.loads(line)["points"] in self.told]
        told, wrong = self.updates(known, self.told)
        if wrong:
            faults.append(f"{wrong} updates differ")
        if self.log.read_bytes() != written:
            faults.append("the log was changed")
        self.add(b"".join(self.pieces)[len(written) :])
        again = start("watch", self.log, Path(self.total))
        last = again.communicate()[0].splitlines()
        end, wrong = self.updates(last[-1:], self.told)
        if again.returncode or wrong or max(self.told) not in end:
            faults.append("the watch that followed ends in other words")
        beside = [path.name for path in self.log.parent.iterdir() if path != self.log]
        if beside:
            faults.append(f"left behind: {beside}")
        words = f"{len(whole)} updates were told, {len(told)} of them compared"
        return process.returncode == -signal.SIGKILL, faults, words


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", choices=ACTIONS, action="append", help="kill nothing else")
    options = parser.parse_args()
    record = _report.start("kill")
    failures: list[str] = []
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    moments = random.Random(seed)

    with tempfile.TemporaryDirectory() as place:
        states = Counter[str]()
        actions = [action for action in ACTIONS if action in (options.only or ACTIONS)]
        if actions != ["watch"]:
            folder, whole, seconds = uninterrupted(Path(place))
            expected = contents(whole)
            print(
                f"uninterrupted: {RUNS:,} runs in {CHUNKS} chunks, {len(expected)} files, "
                f"{seconds:.2f} s; seed {seed}"
            )
        begin = time.monotonic()
        watched = Watched(Path(place)) if "watch" in actions else None
        looking = time.monotonic() - begin
        for number in range(options.kills):
            store = Path(place) / f"{number}.zarr"
            action = actions[number % len(actions)]
            if action == "watch":
                assert watched is not None
                killed, faults, words = watched.killed(moments, looking)
                states[f"{action}{'' if killed else ', which had ended'}"] += 1
                print(
                    f"kill {number + 1:3} of watch: {words}: {'; '.join(faults) or 'identical'}",
                    flush=True,
                )
                failures += [f"kill {number + 1}: {fault}" for fault in faults]
                continue
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
