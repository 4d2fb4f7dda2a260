"""How soon answers are there: import, first answer, compiling, warm answer.

The first answers are served uncompiled while another Python compiles the kernels; `lossfit warmup`
then compiles the rest.  Wall and CPU seconds of the best of three, and the bar of one of them.

    python -m benches.startup
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benches import _report

MAIN = [sys.executable, "-c", "from lossfit.cli.main import main; main()"]
QUESTION = ["extrapolate", "llama2", "--run", "llama2-7B", "--compute-of", "llama2-70B"]
RACE = ["race", "llama2", "--axis", "gpu_hours"]
# The bar of each, and whether it is one of CPU seconds (of wall seconds on a quiet machine).
BARS = {
    "import": (1.0, False),
    "first answer": (4.0, False),
    "first answer with a picture": (6.0, True),
    "first race": (12.0, True),
    "compile everything": (30.0, True),
    "warm answer": (0.7, False),
    "warm answer with a picture": (5.0, False),
}


class Spent(NamedTuple):
    """Seconds of a command."""

    wall: float
    cpu: float


def timed(command: list[str], times: int = 3, **environment: str) -> Spent:
    """The least of so many runs."""
    every = [once(command, environment) for _ in range(times)]
    return Spent(min(one.wall for one in every), min(one.cpu for one in every))


def once(command: list[str], environment: dict[str, str]) -> Spent:
    begin, before = time.perf_counter(), children()
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Spent(time.perf_counter() - begin, children() - before)


def children() -> float:
    """CPU seconds of processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    record = _report.start("startup")
    spent = {"import": timed([sys.executable, "-c", "import lossfit"])}
    with tempfile.TemporaryDirectory() as folder:
        picture = [*MAIN, *QUESTION, "--plot", str(Path(folder) / "answer.png")]
        # Nothing compiles in the background meanwhile: this is about one core.
        only = {"LOSSFIT_CACHE": folder, "LOSSFIT_ENGINE": "uncompiled"}
        once(picture, only)  # matplotlib builds its font cache once
        spent["first answer"] = timed([*MAIN, *QUESTION], **only)
        spent["first answer with a picture"] = timed(picture, **only)
        spent["first race"] = timed([*MAIN, *RACE], **only)
        warm_up = [sys.executable, "-m", "lossfit.kernels.warmup"]
        spent["compile everything"] = timed(warm_up, 1, LOSSFIT_CACHE=folder)
        cache = {"LOSSFIT_CACHE": folder, "LOSSFIT_ENGINE": "compiled"}
        once(picture, cache)  # compiles the columns of the laws that are compared
        spent["warm answer"] = timed([*MAIN, *QUESTION], **cache)
        spent["warm answer with a picture"] = timed(picture, **cache)
    failures = []
    print(f"{'':28} {'wall':>7} {'CPU':>7}  bar")
    for name, seconds in spent.items():
        bar, of_cpu = BARS[name]
        kind = "CPU" if of_cpu else "wall"
        print(f"{name:28} {seconds.wall:6.2f}s {seconds.cpu:6.2f}s  {bar:g} s {kind}")
        if (seconds.cpu if of_cpu else seconds.wall) > bar:
            failures.append(f"{name}: {seconds.wall:.2f} s wall, {seconds.cpu:.2f} s CPU")
    record["seconds"] = {name: seconds._asdict() for name, seconds in spent.items()}
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
