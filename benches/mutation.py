"""Mutation testing: small faults are made in chosen modules, one at a time; do their tests notice?

    python -m benches.mutation --minutes 60              # goes on where the last call stopped
    python -m benches.mutation --minutes 10 --only sweep --new --seed 3
    python -m benches.mutation --again                   # the survivors, by the tests of today

Cosmic Ray makes the faults (another operator, constant, comparison, branch, decorator) in a copy of
the repository.  They are tried in a random order of the seed, so that what was tried so far is a
random sample; results are kept in a session file, ``--session``.  Survivors are printed, to be
killed by a better test or explained in docs/robustness.md.  Tests that fail without a fault would
kill every one of them: they are run once before.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Room: modules, and the tests that hold them.
ROOMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "statistics": (
        ("lossfit/_base/summaries.py",),
        ("tests/base/test_summaries.py", "tests/fits/test_posterior.py"),
    ),
    "cleaning": (
        ("lossfit/runs/cleaning.py",),
        (
            "tests/runs/test_cleaning.py",
            "tests/runs/test_cleaning_rules.py",
            "tests/runs/test_runs.py",
        ),
    ),
    "sweep": (
        ("lossfit/sweep/files.py", "lossfit/sweep/ledger.py", "lossfit/sweep/verifying.py"),
        (
            "tests/sweep/test_ledger.py",
            "tests/sweep/test_durability.py",
            "tests/sweep/test_damage.py",
        ),
    ),
    "watch": (
        ("lossfit/monitoring/watching.py",),
        ("tests/monitoring/test_watch_pace.py", "tests/monitoring/test_watch.py"),
    ),
    "learning": (
        ("lossfit/forecasts/learning.py",),
        (
            "tests/forecasts/test_learning.py",
            "tests/forecasts/test_parts.py",
            "tests/forecasts/test_forecast.py",
        ),
    ),
    "conformal": (
        ("lossfit/backtests/conformal.py",),
        ("tests/backtests/test_conformal.py", "tests/backtests/test_backtest.py"),
    ),
    "racing": (
        ("lossfit/races/smoothing.py", "lossfit/races/crossings.py"),
        ("tests/races/test_race.py", "tests/races/test_smoothing.py"),
    ),
}
COPIED = ("lossfit", "kernels", "benches", "tests", "pyproject.toml")
SECONDS = 600.0  # that the tests of a fault may take


def wanted(item) -> bool:
    """Whether a fault can matter: not in annotations, which nothing evaluates."""
    return not any("_BitOr_" in mutation.operator_name for mutation in item.mutations)


def room_of(path: str) -> str:
    return next(room for room, (modules, _) in ROOMS.items() if path in modules)


def command_of(room: str) -> str:
    """What runs the tests of a room."""
    tests = " ".join(ROOMS[room][1])
    return f"{sys.executable} -m pytest -q -x -p no:cacheprovider {tests}"


def check(command: str) -> None:
    """Tests that fail as it is say nothing of a fault."""
    result = subprocess.run(shlex.split(command), capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"without any fault, {command} fails:\n{result.stdout[-3000:]}")


def main() -> None:
    from cosmic_ray.commands import init
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", choices=sorted(ROOMS), action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--session", default=str(ROOT / ".mutation.sqlite"))
    parser.add_argument("--new", action="store_true", help="begin a new session")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    options = parser.parse_args()
    stop = time.monotonic() + 60 * options.minutes
    session = Path(options.session).resolve()
    if options.new:
        session.unlink(missing_ok=True)
    modules = [Path(m) for room in options.only or ROOMS for m in ROOMS[room][0]]
    with tempfile.TemporaryDirectory() as place:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(place) / name, symlinks=True)
            else:
                shutil.copy(source, place)
        os.chdir(place)
        os.environ["PYTHONPATH"] = place
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        whole: set[str] = set()  # commands whose tests pass without a fault
        is_new = not session.exists()
        with use_db(str(session), WorkDB.Mode.create if is_new else WorkDB.Mode.open) as db:
            if is_new:
                init(modules, db, {})
            paths = {str(module) for module in modules}
            everything = [
                item
                for item in db.work_items
                if wanted(item) and str(item.mutations[0].module_path) in paths
            ]
            done = {
                item.job_id
                for item, result in db.completed_work_items
                if not (options.again and result.test_outcome == TestOutcome.SURVIVED)
            }
            tried = {item.job_id for item, _ in db.completed_work_items}
            if options.again:
                everything = [item for item in everything if item.job_id in tried]
            order = sorted(everything, key=lambda item: str(item.mutations[0]))
            random.Random(options.seed).shuffle(order)
            for item in order:
                if item.job_id in done:
                    continue
                if time.monotonic() > stop:
                    break
                module = str(item.mutations[0].module_path)
                command = command_of(room_of(module))
                if command not in whole:
                    check(command)
                    whole.add(command)
                result = mutate_and_test(item.mutations, command, SECONDS)
                db.set_result(item.job_id, result)
                if result.test_outcome == TestOutcome.SURVIVED:
                    print(f"survived: {module}\n{result.diff}", flush=True)
            report(db, paths, len(everything))


def report(db, paths: set[str], count: int) -> None:
    """Killed of tried, by room."""
    from cosmic_ray.work_item import TestOutcome

    tally: dict[str, list[int]] = {}
    for item, result in db.completed_work_items:
        module = str(item.mutations[0].module_path)
        if module in paths and result.test_outcome is not None:
            row = tally.setdefault(room_of(module), [0, 0])
            row[1] += 1
            row[0] += result.test_outcome != TestOutcome.SURVIVED
    for room, (killed, tried) in sorted(tally.items()):
        print(f"{room}: {killed} of {tried} killed")
    killed, tried = (sum(row[i] for row in tally.values()) for i in (0, 1))
    if tried:
        share = killed / tried
        error = (share * (1 - share) / tried) ** 0.5
        words = f"of a random sample of {tried} of {count}"
        print(f"score {100 * share:.0f} +- {100 * error:.0f} % {words}")


if __name__ == "__main__":
    main()
