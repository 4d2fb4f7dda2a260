"""What every bench needs: the machine in words, timings, and a JSON file on request."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OUT = Path("out")


def machine() -> dict[str, Any]:
    """CPU model, cores this process may use, load, and versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = {}
    for name in ("numpy", "scipy", "numba", "emcee", "numpyro", "jax"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": model,
        "cores": cores,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": packages,
    }


def parser(doc: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options that all benches share."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--json", action="store_true", help="write out/bench_NAME.json too")
    return made


def start(name: str) -> dict[str, Any]:
    """Print the machine; the record to fill."""
    here = machine()
    print(f"{name}: {here['cpu']}, {here['cores']} cores, load {here['load']} at the start")
    return {"bench": name, "machine": here}


def finish(record: dict[str, Any], write: bool, failures: list[str]) -> None:
    """Write the record if asked for; leave with status 1 if a check failed."""
    record["failures"] = failures
    if write:
        OUT.mkdir(exist_ok=True)
        path = OUT / f"bench_{record['bench']}.json"
        path.write_text(json.dumps(record, indent=1, default=float) + "\n")
        print(f"wrote {path}")
    for failure in failures:
        print(f"FAILED: {failure}")
    if failures:
        sys.exit(1)


def best(task: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of the first call (cold) and of the best of `repeats` more (warm)."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        task()
        times.append(time.perf_counter() - begin)
    return times[0], min(times[1:])


def cpu(task: Callable[[], Any], repeats: int) -> float:
    """The fewest CPU seconds of several calls."""
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        task()
        spent.append(time.process_time() - begin)
    return min(spent)


def python(code: str, **environment: str) -> str:
    """Standard output of some code in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout
