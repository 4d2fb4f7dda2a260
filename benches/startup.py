"""How soon the first answer is there: import, first (compiling) answer, warm answer.

Bars: import of lossfit under 1 s, a warm `lossfit extrapolate llama2 ...` under 5 s, the very first
one under 60 s.

    python -m benches.startup
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benches import _report

QUESTION = ["extrapolate", "llama2", "--run", "llama2-7B", "--compute-of", "llama2-70B"]
COMMAND = [sys.executable, "-c", "from lossfit.cli.main import main; main()", *QUESTION]
BARS = {"import": 1.0, "cold": 60.0, "warm": 5.0, "warm with a picture": 5.0}
COMPILE = """
import collections, time
from numba.core import event

spent, inside = collections.Counter(), []


class Listener(event.Listener):
    def on_start(self, e):
        function = e.data["dispatcher"].py_func
        inside.append([f"{function.__module__}.{function.__qualname__}", time.perf_counter(), 0.0])

    def on_end(self, e):
        name, begin, below = inside.pop()
        total = time.perf_counter() - begin
        spent[name] += total - below
        if inside:
            inside[-1][2] += total


event.register("numba:compile", Listener())
import warnings
import lossfit
warnings.simplefilter("ignore")
lossfit.extrapolate(lossfit.load("llama2"), run="llama2-7B", compute_of="llama2-70B")
for name, seconds in spent.most_common(12):
    print(f"  {seconds:6.2f} s  {name.removeprefix('lossfit.kernels.')}")
print(f"  {sum(spent.values()):6.2f} s  all {len(spent)} functions")
"""


def timed(command: list[str], **environment: str) -> float:
    begin = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.perf_counter() - begin


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    record = _report.start("startup")
    with tempfile.TemporaryDirectory() as folder:
        cache = {"LOSSFIT_CACHE": folder}
        code = (
            "import time; t = time.perf_counter(); import lossfit; print(time.perf_counter() - t)"
        )
        times = {"import": min(float(_report.python(code)) for _ in range(3))}
        times["cold"] = timed(COMMAND, **cache)
        times["warm"] = min(timed(COMMAND, **cache) for _ in range(3))
        picture = ["--plot", str(Path(folder) / "answer.png")]
        timed([*COMMAND, *picture], **cache)  # matplotlib builds its font cache once
        times["warm with a picture"] = min(timed([*COMMAND, *picture], **cache) for _ in range(3))
    for name, seconds in times.items():
        print(f"{name:20} {seconds:6.2f} s (bar {BARS[name]:g} s)")
    with tempfile.TemporaryDirectory() as folder:
        print("where compilation goes, each function without those that it calls:")
        print(_report.python(COMPILE, LOSSFIT_CACHE=folder), end="")
    record["seconds"] = times
    failures = [f"{n}: {s:.2f} s, bar {BARS[n]:g} s" for n, s in times.items() if s > BARS[n]]
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
