"""How soon the first answer is there: import, first answer, compiling, warm answer.

The first answer is served uncompiled while another Python compiles the kernels; `lossfit warmup`
then compiles the rest.  Wall times of a quiet machine, and CPU seconds of compiling.

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

from benches import _report

QUESTION = ["extrapolate", "llama2", "--run", "llama2-7B", "--compute-of", "llama2-70B"]
COMMAND = [sys.executable, "-c", "from lossfit.cli.main import main; main()", *QUESTION]
BARS = {
    "import": 1.0,
    "first answer": 4.0,
    "compile everything, CPU": 30.0,
    "warm": 0.7,
    "warm with a picture": 5.0,
}


def timed(command: list[str], **environment: str) -> float:
    begin = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.perf_counter() - begin


def children() -> float:
    """CPU seconds of processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    record = _report.start("startup")
    code = "import time; t = time.perf_counter(); import lossfit; print(time.perf_counter() - t)"
    times = {"import": min(float(_report.python(code)) for _ in range(3))}
    with tempfile.TemporaryDirectory() as folder:
        # Nothing compiles in the background meanwhile: this is about one core.
        only = {"LOSSFIT_CACHE": folder, "LOSSFIT_ENGINE": "uncompiled"}
        times["first answer"] = min(timed(COMMAND, **only) for _ in range(3))
        before = children()
        timed([sys.executable, "-m", "lossfit.kernels.warmup"], LOSSFIT_CACHE=folder)
        times["compile everything, CPU"] = children() - before
        cache = {"LOSSFIT_CACHE": folder, "LOSSFIT_ENGINE": "compiled"}
        times["warm"] = min(timed(COMMAND, **cache) for _ in range(3))
        picture = ["--plot", str(Path(folder) / "answer.png")]
        timed([*COMMAND, *picture], **cache)  # matplotlib builds its font cache once
        times["warm with a picture"] = min(timed([*COMMAND, *picture], **cache) for _ in range(3))
    for name, seconds in times.items():
        print(f"{name:24} {seconds:6.2f} s (bar {BARS[name]:g} s)")
    record["seconds"] = times
    failures = [f"{n}: {s:.2f} s, bar {BARS[n]:g} s" for n, s in times.items() if s > BARS[n]]
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
