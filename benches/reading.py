"""How fast logs are read, and in how much memory.

``python -m benches.reading --megabytes 200`` writes logs of that size in a few layouts, reads each
in a process of its own, and prints MB of log a CPU second and a wall second, the peak memory beyond
what the imports take, and what pyarrow takes for the same table in the same process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROWS = 20_000  # made once and repeated with other steps


def written(kind: str, path: Path, size: int) -> None:
    """A log of about that many bytes."""
    rng = np.random.default_rng(0)
    loss = 3 + rng.normal(0, 0.05, ROWS)
    step = 0
    with path.open("w") as stream:
        if kind == "csv":
            stream.write("step,loss,lr,grad_norm,tokens\n")
        while stream.tell() < size:
            lines = []
            for value in loss:
                step += 1
                rate = 3e-4 / (1 + step * 1e-6)
                if kind == "csv":
                    line = f"{step},{value:.6f},{rate:.6e},{value / 3:.4f},{step * 524288}"
                elif kind == "jsonl":
                    line = (
                        f'{{"step": {step}, "loss": {value:.6f}, "lr": {rate:.6e}, '
                        f'"grad_norm": {value / 3:.4f}, "tokens": {step * 524288}}}'
                    )
                elif kind == "nanogpt":
                    line = f"iter {step}: loss {value:.4f}, time 210.10ms, mfu 31.00%"
                else:
                    line = (
                        f"2026-03-01 10:00:00,123 - INFO - step: {step} | loss: {value:.6f} | "
                        f"lr: {rate:.4e} | grad norm: {value / 3:.4f} | tok/sec: 1,051,300"
                    )
                lines.append(line)
            stream.write("\n".join(lines) + "\n")


READ = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import pandas
import lossfit, lossfit.sources
try:
    import pyarrow.csv, pyarrow.json
except ImportError:
    pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wall, cpu = time.perf_counter(), time.process_time()
runs = lossfit.load(sys.argv[1])
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
alone = {"csv.log": "csv.read_csv", "jsonl.log": "json.read_json"}.get(sys.argv[1].split("/")[-1])
arrow = float("nan")
if alone and "pyarrow" in sys.modules:
    module, function = alone.split(".")
    begin = time.process_time()
    getattr(sys.modules["pyarrow." + module], function)(sys.argv[1])
    arrow = time.process_time() - begin
told = {"points": len(next(iter(runs))), "wall": wall, "cpu": cpu, "peak": peak / 1024}
print(json.dumps({**told, "arrow": arrow}))
"""


def main() -> None:
    """Print a line a layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--kinds", default="csv,jsonl,nanogpt,console")
    options = parser.parse_args()
    print(
        f"{'layout':<10}{'MB':>7}{'points':>12}{'MB/s CPU':>10}{'MB/s wall':>11}{'peak MB':>9}"
        f"{'pyarrow, MB/s CPU':>19}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds.split(","):
            path = Path(folder) / f"{kind}.log"
            written(kind, path, options.megabytes << 20)
            size = path.stat().st_size / (1 << 20)
            done = subprocess.run(
                [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
            )
            told = json.loads(done.stdout)
            path.unlink()
            print(
                f"{kind:<10}{size:7.0f}{told['points']:12,}{size / told['cpu']:10.0f}"
                f"{size / told['wall']:11.0f}{told['peak']:9.0f}"
                f"{size / told['arrow']:19.0f}"
            )


if __name__ == "__main__":
    main()
