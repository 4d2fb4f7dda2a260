"""Random sweeps for a given time: memory, file handles, threads, and answers against an oracle.

Every round makes a sweep of runs of all kinds (`tests/properties/strategies.py`), fits, forecasts,
stores and reads it again, and asks of it: every number is finite; one run alone has, bit by bit,
the draws that it had among the others; a fit that was stored comes back the same.  Now and then
draws are compared with the exact posterior (`tests/kernels/oracles.py`, plain numpy).  Bars:

* no more file handles and threads at the end than after the first rounds;
* resident memory grows by less than 16 MiB between the second and the last quarter of the time,
  and at less than 64 MiB an hour unless that is within two standard errors of none;
* means and the 5, 50 and 95 % quantiles within 0.05 posterior standard deviations of the oracle's.

    python -m benches.soak --seconds 300
"""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

import lossfit
from benches import _report
from lossfit.kernels.driver import fit_batch
from tests.kernels.oracles import deviation, posterior, random_problem
from tests.properties.strategies import SHAPES, STEPS, Curve, axis_values, losses, runs_of

LAWS = ("power", "power_linear", "power_offset", "power_linear_offset")
ORACLE_EVERY = 5  # rounds
LEAST_EFFECTIVE = 20_000  # of the oracle's sample, else it is no judge
MOST_GROWTH = 16.0  # MiB, from the second to the last quarter
MOST_SLOPE = 64.0  # MiB an hour
OFF = 0.05  # posterior standard deviations
MIB = 1024**2


def resident() -> float:
    """Resident memory in MiB."""
    if Path("/proc/self/statm").exists():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def handles() -> int:
    """Open file handles; -1 where the system does not say."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else -1


def random_curve(rng: np.random.Generator) -> Curve:
    n = int(rng.choice([3, 5, 8, 12, 30, 80, 200, 600]))
    x = axis_values(str(rng.choice(STEPS)), n, 10 ** rng.uniform(0, 18), rng)
    return Curve(x, 10 ** rng.uniform(-8, 8) * losses(str(rng.choice(SHAPES)), x, rng))


def sweep(rng: np.random.Generator, folder: Path) -> tuple[int, list[str]]:
    """One round: how many runs, and what was wrong."""
    some = [random_curve(rng) for _ in range(int(rng.integers(1, 300)))]
    names = [f"run{i}" for i in range(len(some))]
    runs = runs_of(some, names)
    seed = int(rng.integers(2**31))
    law = str(rng.choice(LAWS))
    draws = int(rng.choice([20, 100, 300]))
    wrong: list[str] = []

    def check(good: bool, words: str) -> None:
        if not good:
            wrong.append(f"{words} (law {law}, seed {seed}, {len(some)} runs)")

    fit = lossfit.fit(runs, law, draws=draws, random_seed=seed)
    check(bool(np.isfinite(fit.draws).all()), "a draw is not finite")
    numbers = fit.summary()[["mean", "sd", "lower", "upper"]].to_numpy()
    check(bool(np.isfinite(numbers).all()), "a summary is not finite")
    at = {name: [0.5 * c.x[-1], 2 * c.x[-1]] for name, c in zip(names, some, strict=True)}
    answer = lossfit.extrapolate(runs, at=at, axis="tokens", draws=draws, random_seed=seed)
    check(bool(np.isfinite(answer.mixed.curves).all()), "a forecast is not finite")
    one = int(rng.integers(len(some)))
    alone = runs.select([names[one]])
    again = lossfit.fit(alone, law, draws=draws, random_seed=seed)
    check(np.array_equal(again.draws[0], fit.draws[one]), "a run alone has other draws")
    single = lossfit.extrapolate(
        alone, at=at[names[one]], axis="tokens", draws=draws, random_seed=seed
    )
    check(
        np.array_equal(single.mixed.curves[0], answer.mixed.curves[one]),
        "a run alone has another forecast",
    )
    if len(some) < 40:
        fit.to_netcdf(folder / "fit.nc")
        back = lossfit.from_netcdf(folder / "fit.nc")
        check(np.array_equal(back.draws, fit.draws), "a stored fit came back changed")
        check(back.runs == fit.runs, "stored runs came back changed")
        str(answer), answer.to_dict(), answer.by_law, repr(runs), runs.flags
    if len(some) < 20:
        heavy = lossfit.fit(runs, "power", draws=20, noise="student_t", chains=1, random_seed=seed)
        finite = np.isfinite(heavy.draws).all(axis=(1, 2)) | (heavy.info["status"] == 2)
        check(bool(finite.all()), "a draw with Student-t noise is not finite")
    try:
        lossfit.Runs.from_frame(runs.frame.assign(loss="x"))
        check(False, "text passed for a loss")
    except lossfit.DataError:
        pass
    return len(some), wrong


def against_oracle(seed: int) -> tuple[float, float] | None:
    """Largest error of means and of quantiles, in sd; None where the oracle cannot judge."""
    rng = np.random.default_rng([7, seed])
    law = str(rng.choice(("power", "power_linear")))
    problem = random_problem(rng, law)
    key = rng.integers(2**63, size=1).astype(np.uint64)
    result = fit_batch(*problem.arguments(), key, draws=40_000)
    exact = posterior(problem, seed=seed, size=200_000, n_nodes=4_000)
    if (
        exact.effective < LEAST_EFFECTIVE
        or result.info["status"][0] != 0
        or result.info["acceptance"][0] < 1e-4
    ):
        return None
    found = deviation(result.draws[0], exact)
    return float(np.abs(found.mean).max()), float(np.abs(found.quantile).max())


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=300.0)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("soak")
    rng = np.random.default_rng(options.seed)
    failures: list[str] = []
    times: list[float] = []
    memory: list[float] = []
    open_files: list[int] = []
    worst = [0.0, 0.0]
    total = rounds = judged = unjudged = 0
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        while time.perf_counter() - begin < options.seconds:
            count, wrong = sweep(rng, Path(folder))
            failures += wrong
            total += count
            if rounds % ORACLE_EVERY == 0:
                errors = against_oracle(options.seed * 1_000_000 + rounds)
                unjudged += errors is None
                if errors is not None:
                    judged += 1
                    worst = [max(pair) for pair in zip(worst, errors, strict=True)]
                    if max(errors) > OFF:
                        failures.append(
                            f"oracle, round {rounds}: mean off by {errors[0]:.3f} sd, "
                            f"a quantile by {errors[1]:.3f} sd"
                        )
            rounds += 1
            gc.collect()
            times.append(time.perf_counter() - begin)
            memory.append(resident())
            open_files.append(handles())
            if rounds == 5:
                threads = threading.active_count()
    print(f"{rounds} rounds, {total:,} runs in {times[-1]:.0f} s; {judged} checked by the oracle")
    if rounds < 12:
        failures.append("too few rounds to judge memory: give it more --seconds")
    else:
        failures += leaks(np.array(times), np.array(memory), open_files, record)
        if threading.active_count() > threads:
            failures.append(f"{threading.active_count()} threads at the end, {threads} before")
    print(
        f"oracle: means within {worst[0]:.3f} sd, sds within {worst[1]:.1%}; {unjudged} not judged"
    )
    record |= {
        "rounds": rounds,
        "runs": total,
        "judged": judged,
        "mean": worst[0],
        "quantile": worst[1],
    }
    _report.finish(record, options.json, failures)


def leaks(t, memory, open_files, record) -> list[str]:
    """What grew; the numbers go to the record."""
    failures = []
    quarter = len(t) // 4
    second = float(np.median(memory[quarter : 2 * quarter]))
    third = float(np.median(memory[2 * quarter : 3 * quarter]))
    last = float(np.median(memory[3 * quarter :]))
    half = len(t) // 2
    x = t[half:] / 3600 - (t[half:] / 3600).mean()
    slope = float(x @ memory[half:] / (x @ x))
    rest = memory[half:] - memory[half:].mean() - slope * x
    error = float(np.sqrt(rest @ rest / max(len(x) - 2, 1) / (x @ x)))
    print(
        f"memory: {memory[0]:.0f} MiB after the first round, {second:.1f} in the second quarter, "
        f"{third:.1f} in the third, {last:.1f} in the last; "
        f"slope of the second half {slope:.0f} +- {error:.0f} MiB an hour"
    )
    early, late = max(open_files[: quarter + 1]), open_files[-1]
    print(f"file handles: {early} at most in the first quarter, {late} at the end")
    if last - second > MOST_GROWTH:
        failures.append(f"memory grew by {last - second:.1f} MiB, bar {MOST_GROWTH:g}")
    if slope > MOST_SLOPE and slope > 2 * error and last - second > MOST_GROWTH / 4:
        failures.append(f"memory grows by {slope:.0f} MiB an hour, bar {MOST_SLOPE:g}")
    if late > early:
        failures.append(f"{late} file handles at the end, {early} before")
    record |= {"slope_mib_an_hour": slope, "slope_error": error, "growth_mib": last - second}
    record |= {"handles_early": early, "handles_late": late}
    return failures


if __name__ == "__main__":
    main()
