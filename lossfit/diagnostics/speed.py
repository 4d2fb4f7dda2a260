"""How fast fits and forecasts are on this machine: what ``lossfit bench`` measures."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import laws
from .._base.errors import DataError
from ..engine.devices import Place, Work, place
from ..kernels.driver import Batch, PriorTable, fit_batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAW = "power_linear"
NODES = 128  # at which a posterior is tabulated
RUNS = 1_000
POINTS = 512
DRAWS = 200
LENGTHS = (32, 128, 512, 2048, 8192)
NUMBERS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
MOST_POINTS = 2e8  # of a batch: 5 GB of curves
# Issue slots of a fit of 512 points without draws, counted by benches.kernel_report for sm_90.
ISSUE_SLOTS = {"float64": 26_002, "float32": 46_384}


def problem(n_runs: int, n_points: int, seed: int) -> tuple[Batch, PriorTable, Any]:
    """Synthetic curves E + A x^-alpha - B x with noise, and weak priors."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0.02, 1.0, n_points)
    alpha = rng.uniform(0.2, 0.6, (n_runs, 1))
    y = 2.0 + rng.uniform(0.3, 0.8, (n_runs, 1)) * x**-alpha - 0.1 * x
    y += rng.standard_normal((n_runs, n_points)) * 0.01
    batch = Batch(
        np.tile(x, n_runs),
        y.ravel(),
        np.ones(n_runs * n_points),
        np.arange(n_runs + 1, dtype=np.int64) * n_points,
    )
    table = PriorTable(
        np.tile([[[0.02, 3.0, 2.0, 0.5, 1.0]]], (n_runs, 1, 1)),
        np.zeros((n_runs, 3)),
        np.tile([4.0, 4.0, 2.0], (n_runs, 1)),
        np.zeros((n_runs, 3)),
        np.tile([1.0, 0.01], (n_runs, 1)),
    )
    return batch, table, rng.integers(0, 2**63, n_runs).astype(np.uint64)


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, and versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    about: dict[str, Any] = {"cpu": model, "cores": cores, "python": platform.python_version()}
    for name in ("lossfit", "numpy", "numba", "numba-cuda", "cupy-cuda13x"):
        try:
            about[name] = version(name)
        except PackageNotFoundError:
            continue
    return about


def bench(
    # device, dtype: as in `lossfit.fit`; ``dtype="both"`` times both precisions of a GPU
    device: str = "auto",
    dtype: str = "auto",
    *,
    # about how long it may take; larger batches are left out when it is over
    seconds: float = 60.0,
    most: int = 1_000_000,  # largest batch
    seed: int = 0,  # of the synthetic curves
    say: Callable[[str], None] | None = None,  # called with a line of text for each measurement
) -> dict[str, Any]:
    """Time fits and forecasts.

    Returns
    -------
    dict
        Schema ``lossfit.bench/1``: machine, device and rows; each row has what was run, cold
        (the first call in this process, compilation included) and warm seconds, and rates.
    """
    if seconds <= 0 or most < 1:
        raise DataError("seconds must be positive and the largest batch at least 1")
    work = Work.FIT_ONE
    both = dtype == "both"
    places = [place(work, device, "auto" if both else dtype)]
    if both and places[0].gpus:
        places = [Place(places[0].gpus, number) for number in ("float64", "float32")]
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for k, where in enumerate(places, 1):
        rows += _fits(where, began + seconds * k / len(places), most, seed, say)
        rows.append(_answers(where, min(most, 1_000), seed, say))
    return {
        "schema": "lossfit.bench/1",
        "machine": machine(),
        "device": [_device(where) for where in places],
        "law": LAW,
        "seed": seed,
        "rows": rows,
    }


def _device(where: Place) -> dict[str, Any]:
    if not where.gpus:
        return {"device": "cpu", "dtype": where.dtype}
    gpus = where.open()
    return {
        "device": where.device,
        "dtype": where.dtype,
        "names": [gpu.name for gpu in gpus],
        "multiprocessors": [gpu.multiprocessors for gpu in gpus],
        "clock": [gpu.clock for gpu in gpus],
    }


def _fits(
    where: Place, until: float, most: int, seed: int, say: Callable[[str], None] | None
) -> list[dict[str, Any]]:
    """Cold and warm times against batch size, points and draws, one at a time."""
    program = laws.get(LAW).program
    gpus = where.open() if where.gpus else []

    def run(n_runs: int, n_points: int, draws: int, made: Any) -> None:
        batch, table, keys = made
        if gpus:
            from ..kernels.gpu.batch import fit_batch_on

            fit_batch_on(gpus, batch, program, table, keys, draws=draws, single=where.single)
        else:
            fit_batch(batch, program, table, keys, draws=draws)

    cases = [(n, POINTS, DRAWS) for n in NUMBERS]
    cases += [(RUNS, n, DRAWS) for n in LENGTHS if n != POINTS]
    cases += [(RUNS, POINTS, d) for d in (0, 1_000)]
    cases.sort(key=lambda case: case[0] * case[1])
    rows: list[dict[str, Any]] = []
    for n_runs, n_points, draws in cases:
        too_large = n_runs > most or n_runs * n_points > MOST_POINTS
        if too_large or (rows and time.perf_counter() > until):
            continue
        made = problem(n_runs, n_points, seed)
        times: list[float] = []
        while len(times) < 4 and (len(times) < 2 or time.perf_counter() < until):
            start = time.perf_counter()
            run(n_runs, n_points, draws, made)
            times.append(time.perf_counter() - start)
            if not rows and len(times) == 1:  # compilation does not count
                until += times[0]
        row: dict[str, Any] = {
            "what": "fit",
            "dtype": where.dtype,
            "runs": n_runs,
            "points": n_points,
            "draws": draws,
            "cold": times[0],
            "warm": min(times[1:]),
        }
        row["fits_per_second"] = n_runs / row["warm"]
        row["node_points_per_second"] = row["fits_per_second"] * NODES * n_points
        if gpus:
            row["transfers"] = _transfers(gpus, made, program, draws, where.single)
            row["share_of_limit"] = _share(gpus, row)
        rows.append(row)
        if say is not None:
            say(_row_text(row))
    return rows


def _transfers(gpus: Any, made: Any, program: Any, draws: int, single: bool) -> float:
    """Seconds of a job that copies and does not compute."""
    from ..kernels.gpu.batch import FitJob
    from ..kernels.gpu.launch import Chunk, run

    class Copies(FitJob):
        def launch(self, chunk: Chunk) -> None:
            return

    batch, table, keys = made
    times = []
    for _ in range(2):
        job = Copies(batch, program, table, keys, draws, single)
        start = time.perf_counter()
        run(job, gpus)
        times.append(time.perf_counter() - start)
    return min(times)


def _share(gpus: Any, row: dict[str, Any]) -> float | None:
    """Part of the GPU's issue slots that fits of 512 points without draws need by count."""
    slots = ISSUE_SLOTS.get(row["dtype"])
    if slots is None or row["points"] != POINTS or row["draws"] or not gpus[0].clock:
        return None
    total = sum(4 * gpu.multiprocessors * gpu.clock for gpu in gpus)
    return float(row["fits_per_second"] * slots / total)


def _answers(
    where: Place, n_runs: int, seed: int, say: Callable[[str], None] | None
) -> dict[str, Any]:
    """Default answers: `lossfit.extrapolate` with three targets, everything included."""
    from ..answers.extrapolation import extrapolate
    from ..runs.collection import Runs
    from ..schedules.kinds import cosine

    rng = np.random.default_rng(seed)
    step = np.linspace(20.0, 10_000.0, 500)
    loss = 2 + 3 * step ** -rng.uniform(0.3, 0.4, (n_runs, 1))
    loss += rng.normal(0, 0.01, loss.shape)
    names = [f"run {i}" for i in range(n_runs)]
    runs = Runs.from_arrays(
        "step", np.tile(step, n_runs), loss.ravel(), np.arange(n_runs + 1) * 500, names
    )
    schedule = cosine(peak=1.0, total=30_000, warmup=0)
    device = where.device if where.gpus else "cpu"
    dtype = where.dtype if where.gpus else "auto"
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extrapolate(
                runs, at=[12_500, 20_000, 30_000], axis="step", schedule=schedule, device=device,
                dtype=dtype,
            )  # fmt: skip
        times.append(time.perf_counter() - start)
    row: dict[str, Any] = {
        "what": "answer",
        "dtype": where.dtype,
        "runs": n_runs,
        "points": 500,
        "draws": 1_000,
        "cold": times[0],
        "warm": min(times[1:]),
    }
    row["answers_per_second"] = n_runs / row["warm"]
    if say is not None:
        say(_row_text(row))
    return row


def _row_text(row: dict[str, Any]) -> str:
    rate = row.get("fits_per_second", row.get("answers_per_second"))
    text = (
        f"{row['what']:<6} {row['dtype']}  {row['runs']:>9,} runs x {row['points']:>5,} points, "
        f"{row['draws']:>5,} draws: cold {row['cold']:8.3f} s, warm {row['warm']:8.3f} s, "
        f"{rate:>12,.0f} {row['what']}s/s"
    )
    if row.get("transfers") is not None:
        text += f", copies alone {row['transfers']:.3f} s"
    if row.get("share_of_limit") is not None:
        text += f", {row['share_of_limit']:.0%} of the issue limit"
    return text


def bench_text(record: dict[str, Any]) -> str:
    """The machine and the table."""
    here = record["machine"]
    devices = "; ".join(
        f"{d['device']} ({', '.join(d['names'])})" if "names" in d else d["device"]
        for d in record["device"]
    )
    lines = [f"{here['cpu']}, {here['cores']} cores; {devices}"]
    lines += [_row_text(row) for row in record["rows"]]
    return "\n".join(lines)


def plot_bench(record: dict[str, Any]) -> Figure:
    """Fits per second against batch size, points and draws, log-log."""
    import matplotlib.pyplot as plt

    fits = [row for row in record["rows"] if row["what"] == "fit"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    panels = (
        ("runs", "runs in a batch", {"points": POINTS, "draws": DRAWS}),
        ("points", "points of a run", {"runs": RUNS, "draws": DRAWS}),
    )
    for ax, (key, label, fixed) in zip(axes, panels, strict=True):
        for number in dict.fromkeys(row["dtype"] for row in fits):
            rows = [
                row for row in fits
                if row["dtype"] == number and all(row[k] == v for k, v in fixed.items())
            ]  # fmt: skip
            rows.sort(key=lambda row: row[key])
            ax.loglog(
                [row[key] for row in rows], [row["fits_per_second"] for row in rows], "o-",
                label=number,
            )  # fmt: skip
        said = ", ".join(f"{v:,} {k}" for k, v in fixed.items())
        ax.set(xlabel=label, title=said)
        ax.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("fits/s")
    axes[0].legend()
    devices = ", ".join(", ".join(d.get("names", ["CPU"])) for d in record["device"])
    figure.suptitle(f"{record['law']} on {devices or record['machine']['cpu']}")
    return figure
