"""A million runs to a Zarr store on this machine: throughput against the in-memory fit; memory.

Bars: peak memory below 1.5 GiB; at least 60 % of the rate at which `lossfit.fit` fits runs in
memory with the same kernels, draws and points; resumable (a smaller sweep is stopped in its middle
and completed).  The two rates are compared in turns, smaller sweeps and fits in memory one after
the other, so that what else runs on the machine is shared by both.

    python -m benches.million                  # a million runs
    python -m benches.million --runs 100000
    python -m benches.million --parquet        # from a Parquet dataset, made first, on disk
    python -m benches.million --rounds 1 --kills 5   # the million again, with SIGKILL five times
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import lossfit
from benches import _report
from benches.kill import contents
from lossfit.sweep import fit_to, open_store

POINTS = 128
BATCH = 4096
HORIZONS = (1.25, 2.0)


def batches(runs: int, stop: int | None = None) -> Iterator[tuple[list[str], Any, Any, Any]]:
    """Random power laws plus a line, as (names, x, loss, offsets); made as they are asked for."""
    x = np.linspace(0.05, 1, POINTS) * 1000
    for first in range(0, runs, BATCH):
        if stop is not None and first >= stop:
            raise KeyboardInterrupt
        count = min(BATCH, runs - first)
        rng = np.random.default_rng([7, first])
        alpha, level, size, fall = (
            rng.uniform(low, high, (count, 1))
            for low, high in ((0.3, 0.9), (1.5, 2.5), (0.01, 0.1), (0.02, 0.1))
        )
        y = level + size * (x / 1000) ** -alpha - fall * x / 1000
        y += rng.normal(0, 0.004, y.shape)
        names = [f"run{i:07}" for i in range(first, first + count)]
        yield names, np.tile(x, count), y.ravel(), np.arange(count + 1) * POINTS


def parquet(runs: int, folder: Path) -> Path:
    """The same runs as a dataset of files of about a hundred thousand runs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    schema = pa.schema([("run", pa.string()), ("step", pa.float64()), ("loss", pa.float64())])
    writer = None
    for number, (names, x, loss, offsets) in enumerate(batches(runs)):
        if number % 25 == 0:
            if writer is not None:
                writer.close()
            writer = pq.ParquetWriter(folder / f"part-{number // 25:04}.parquet", schema)
        run = pa.array(np.repeat(names, np.diff(offsets)).tolist())
        writer.write_table(pa.table({"run": run, "step": x, "loss": loss}, schema=schema))
    if writer is not None:
        writer.close()
    return folder


def in_memory(draws: int) -> tuple[float, float]:
    """Seconds and processor seconds of `lossfit.fit` for a run that is in memory, mean of four."""
    names, x, loss, offsets = next(batches(BATCH))
    runs = lossfit.Runs.from_arrays("step", x, loss, offsets, names)
    runs.flat("step")
    wall, busy = time.perf_counter(), time.process_time()
    for _ in range(4):
        lossfit.fit(runs, draws=draws)
    fits = 4 * len(runs)
    return (time.perf_counter() - wall) / fits, (time.process_time() - busy) / fits


def in_turns(rounds: int, place: Path, asked: dict[str, Any]) -> tuple[float, float]:
    """Seconds a run of a sweep and of fits in memory, over alternating rounds."""
    sweep = memory = 0.0
    runs = 16 * BATCH
    for number in range(rounds):
        memory += in_memory(asked["draws"])[0] / rounds
        store = place / f"round{number}.zarr"
        sweep += fit_to(store, batches(runs), **asked).seconds / runs / rounds
        shutil.rmtree(store)
    return sweep, memory


def settings(draws: int) -> dict[str, Any]:
    """What is asked of every sweep."""
    return {"draws": draws, "keep": "summary", "horizons": HORIZONS, "axis": "step"}


def child(store: str, runs: str, draws: str) -> None:
    """Start or resume a sweep, in a process that may be killed; says what was there."""
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    result = fit_to(store, batches(int(runs)), resume=True, **settings(int(draws)))
    print(result.resumed, result.runs, flush=True)


def killed(store: Path, runs: int, draws: int, seconds: float, kills: int) -> list[str]:
    """A sweep that is killed at random moments and resumed each time; what was there at last."""
    code = "import sys; from benches.million import child; child(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(store), str(runs), str(draws)]
    moments = random.SystemRandom()
    for number in range(kills):
        process = subprocess.Popen(command)
        try:
            process.wait(moments.uniform(0.2, 1.8) * seconds / (kills + 1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        entries = store / "ledger/entry/c"
        chunks = len(list(entries.glob("[0-9]*"))) if entries.exists() else 0
        print(f"kill {number + 1}: {chunks} chunks were there", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=6, help="turns of the comparison")
    parser.add_argument("--kills", type=int, default=0, help="once more, killed so often")
    parser.add_argument("--parquet", action="store_true", help="read a Parquet dataset")
    parser.add_argument("--folder", help="where to put the store (and dataset); kept")
    options = parser.parse_args()
    record = _report.start("million")
    failures: list[str] = []
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    place = Path(options.folder or tempfile.mkdtemp(prefix="lossfit-million-"))
    place.mkdir(parents=True, exist_ok=True)
    asked = settings(options.draws)
    try:
        in_memory(options.draws)  # compiles
        source: Any = None
        if options.parquet:
            source = parquet(options.runs, place / "dataset")
        # A stop in the middle first, of a smaller sweep, and its completion.
        small = min(options.runs or BATCH * 4, 40_000)
        stopped = place / "stopped.zarr"
        with suppress(KeyboardInterrupt):
            fit_to(stopped, batches(small, stop=small // 2), **asked)
        done = fit_to(stopped, batches(small), resume=True, **asked)
        print(f"stopped and resumed: {done.resumed:,} of {done.runs:,} runs were there")
        if not 0 < done.resumed < small or done.runs != small:
            failures.append("the stopped sweep was not completed from where it stood")

        turns = in_turns(options.rounds, place, asked)
        print(
            f"in turns: sweep {1 / turns[0]:,.0f} runs/s, in memory {1 / turns[1]:,.0f}: "
            f"{turns[1] / turns[0]:.2f}"
        )
        if options.runs == 0:
            return
        before = in_memory(options.draws)
        source = source if options.parquet else batches(options.runs)
        busy = time.process_time()
        result = fit_to(place / "sweep.zarr", source, progress=True, **asked)
        busy = (time.process_time() - busy) / result.runs
        after = in_memory(options.draws)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of this process so far
        share = turns[1] / turns[0]
        cost = (before[1] + after[1]) / 2
        print(result)
        print(
            f"in memory: {1 / before[0]:,.0f} fits/s before, {1 / after[0]:,.0f} after, "
            f"{1e6 * cost:.0f} us of a processor each ({options.draws} draws, kept)"
        )
        print(
            f"sweep: {result.rate:,.0f} runs/s, {1e6 * busy:.0f} us of a processor each: by "
            f"processor time {cost / busy:.2f} of the in-memory rate"
        )
        with open_store(result.path) as data:
            size = sum(f.stat().st_size for f in result.path.rglob("*") if f.is_file())
            print(
                f"peak memory {peak / 2**30:.2f} GiB (everything: imports, kernels, the in-memory "
                f"fits); store {size / 1e6:,.0f} MB, {size / result.runs:.0f} bytes a run"
            )
            # The numbers are checked: some runs again, in memory.
            names, x, loss, offsets = next(batches(options.runs))
            some = lossfit.Runs.from_arrays("step", x, loss, offsets, names).select(names[:64])
            fit = lossfit.fit(some, draws=options.draws)
            mean = fit.summary()["mean"].to_numpy().reshape(64, -1)
            if not np.allclose(data["mean"][:64].to_numpy(), mean, rtol=1e-10, atol=0):
                failures.append("means differ from those of lossfit.fit")
            low, high = (0.05, 0.95)
            curves = fit.curves(np.tile(np.array(HORIZONS) * 1000.0, (64, 1)))
            expected = np.quantile(curves, [low, 0.5, high], axis=-1).transpose(1, 2, 0)
            found = data["loss_quantile"][:64].to_numpy()
            if not np.allclose(found, expected, rtol=1e-10):
                failures.append("quantiles differ from those of lossfit.fit")
        record |= {
            "runs": result.runs,
            "rate": result.rate,
            "in_memory": [1 / before[0], 1 / after[0]],
            "processor_seconds": {"sweep": busy, "in_memory": cost},
            "share": share,
            "in_turns": [1 / turns[0], 1 / turns[1]],
            "peak_bytes": peak,
            "store_bytes": size,
        }
        if options.kills:
            again = place / "killed.zarr"
            resumed, runs = killed(
                again, options.runs, options.draws, result.seconds, options.kills
            )
            same = contents(again) == contents(result.path)
            print(
                f"killed {options.kills} times and resumed: {int(resumed):,} of {int(runs):,} runs "
                f"were there at last; the store is {'identical' if same else 'DIFFERENT'}"
            )
            record["killed"] = {"kills": options.kills, "identical": same}
            if not same:
                failures.append("the store of the killed sweep differs")
        if result.failed or result.runs != options.runs:
            failures.append(f"{result.failed} runs failed, {result.runs} in all")
        if share < 0.6:
            failures.append(f"sweeps have {share:.2f} of the in-memory rate")
        if peak >= 1.5 * 2**30:
            failures.append(f"peak memory is {peak / 2**30:.2f} GiB")
    finally:
        shutil.rmtree(place / "stopped.zarr", ignore_errors=True)
        if not options.folder:
            shutil.rmtree(place, ignore_errors=True)
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
