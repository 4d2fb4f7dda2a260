"""Mixed commands in parallel processes, of two versions of lossfit, on one cache: what is lost?

The cache is empty at first, so that commands are served uncompiled while other processes compile;
now and then one is emptied under the others (``warmup --clear``) or a process is killed.  Bars:

* every command that is not killed ends with exit code 0;
* it says what it says alone, on a cache of its own, to the last character; numbers that were
  served uncompiled to 1e-6;
* of the other version, in whose kernels a constant is another, likewise: never the first's code.

    python -m benches.mixed --seconds 600
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from benches import _report

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("lossfit", "kernels")
CLOSE = 1e-6  # relative, between compiled and uncompiled kernels
SECONDS = 900  # that a command may take on a busy machine
#: What the other version changes in its kernels: the answers of `COMMANDS` change with it.
CHANGE = ("curve_draws.py", "STREAM_NORMALS = uint64(0)", "STREAM_NORMALS = uint64(9)")
COMMANDS = (
    "extrapolate llama2 --run llama2-7B --at 3T --json",
    "extrapolate llama1 --at 2T --draws 200 --json",
    "fit llama2 --draws 200 --json",
    "race llama2 --draws 100 --json",
    "inspect log.csv --json",
    "watch log.csv --at 3e12 --axis tokens --once --json",
    "plan chinchilla --compute 1e22 --json",
    "fit llama1 --draws 100 --out {store} --json",
)
NUMBER = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?")


def other_version(place: Path, file: str, old: str, new: str) -> Path:
    """A copy of the package whose kernels have another constant."""
    for name in COPIED:
        shutil.copytree(ROOT / name, place / name, symlinks=True)
    path = place / "kernels" / file
    text = path.read_text()
    assert text.count(old) == 1, (file, old)
    path.write_text(text.replace(old, new))
    init = place / "lossfit/__init__.py"
    init.write_text(re.sub(r'__version__ = "', '__version__ = "9', init.read_text()))
    return place


def same(found: str, expected: str, close: float) -> bool:
    """Whether two texts differ in nothing but numbers, and in these by so little."""
    if found == expected:
        return True
    if NUMBER.sub("#", found) != NUMBER.sub("#", expected):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=close, abs_tol=1e-12) for a, b in pairs)


MOMENT = ("lossfit", "seconds", "store", "path", "rate", "created_at")  # of one call or version


def told(text: str) -> str:
    """What a command said, without what is of this moment, and which kernels served it."""

    def bare(data: object) -> object:
        if isinstance(data, dict):
            return {name: bare(value) for name, value in data.items() if name not in MOMENT}
        return [bare(value) for value in data] if isinstance(data, list) else data

    try:
        data = json.loads(text)
    except ValueError:
        return text
    return json.dumps(bare(data), sort_keys=True).replace('"uncompiled"', '"compiled"')


class User:
    """One that gives commands, one after another."""

    def __init__(self, number: int, versions: tuple[Path, Path], place: Path, seed: int) -> None:
        self.number, self.versions, self.place = number, versions, place
        self.moments = random.Random(seed + number)
        self.log: list[tuple[str, int, int, str, str]] = []
        self.killed = self.cleared = 0

    def run(self, command: str, version: int, cache: Path, kill_after: float | None = None):
        store = self.place / f"{self.number}-{len(self.log)}-{time.monotonic_ns()}.zarr"
        words = command.format(store=store).split()
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.versions[version]),
            "LOSSFIT_CACHE": str(cache),
            "PYTHONWARNINGS": "ignore",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "lossfit", *words],
            cwd=self.place, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            out, errors = process.communicate(timeout=kill_after or SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
        shutil.rmtree(store, ignore_errors=True)
        return process.returncode, out, errors

    def go(self, stop: float, cache: Path) -> None:
        while time.monotonic() < stop:
            version = self.moments.randrange(2)
            chance = self.moments.random()
            if chance < 0.02:
                self.run("warmup --clear", version, cache)
                self.cleared += 1
                continue
            command = self.moments.choice(COMMANDS)
            if chance < 0.12:
                self.run(command, version, cache, self.moments.uniform(0.2, 6))
                self.killed += 1
                continue
            code, out, errors = self.run(command, version, cache)
            self.log.append((command, version, code, out, errors))


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    record = _report.start("mixed")
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        import lossfit
        from lossfit.kernels import cache as kernel_cache

        place = Path(folder)
        versions = (ROOT, other_version(place / "other", *CHANGE))
        (place / "work").mkdir()
        frame = lossfit.load("llama2").select(["llama2-7B"]).frame
        frame.iloc[:80].to_csv(place / "work/log.csv", index=False)
        users = [User(k, versions, place / "work", options.seed) for k in range(options.users)]
        begin = time.monotonic()
        threads = [
            threading.Thread(target=user.go, args=(begin + options.seconds, place / "cache"))
            for user in users
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin
        alone = User(99, versions, place / "work", 0)
        expected = {}
        for version in (0, 1):
            shutil.copytree(kernel_cache.root(), place / f"own{version}")
            alone.run("warmup", version, place / f"own{version}")
            for command in COMMANDS:
                code, out, errors = alone.run(command, version, place / f"own{version}")
                assert code == 0, errors
                expected[command, version] = told(out)
        distinct = sum(expected[c, 0] != expected[c, 1] for c in COMMANDS)
        if not distinct:
            failures.append("both versions say the same: nothing was tested")
        tally = Counter[str]()
        for user in users:
            for command, version, code, out, errors in user.log:
                wanted = expected[command, version]
                if code:
                    kind = "failed"
                    failures.append(f"{command} (version {version}): exit {code}: {errors[-600:]}")
                elif told(out) == wanted:
                    kind = "the same to the last character"
                elif same(told(out), wanted, CLOSE):
                    kind = "the same to 1e-6 (served uncompiled)"
                else:
                    kind = "different"
                    failures.append(f"{command} (version {version}) said something else: {out}")
                tally[kind] += 1
        killed, cleared = (sum(getattr(u, n) for u in users) for n in ("killed", "cleared"))
        left = [p.name for p in (place / "work").iterdir() if p.name != "log.csv"]
        if left:
            failures.append(f"left behind: {left}")
    total = sum(tally.values())
    print(
        f"{total} commands of {options.users} users in {seconds:.0f} s, {distinct} of "
        f"{len(COMMANDS)} differ between the two versions; {killed} more were killed, the cache "
        f"was emptied {cleared} times"
    )
    print(", ".join(f"{count} {kind}" for kind, count in tally.items()))
    record |= {"tally": dict(tally), "killed": killed, "cleared": cleared, "seconds": seconds}
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
