"""What float32 does to fits of real curves: the CUDA kernel's arithmetic, executed on the CPU.

    python -m benches.precision                      # the built-in curves
    python -m benches.precision CURVES --plot OUT    # and those of a folder (benches/curves.py)

The fit kernel's PTX is executed in both precisions (by the tests' emulator: no GPU is used), with
the library's own windows and priors.  Compared are the tabulated log posterior of the nonlinear
parameter (differences from its mean, within 3 nats of the maximum), its quantiles, and quantiles of
draws of all parameters (where both precisions accept the same draws), in posterior sd.  The kernel
estimates its own rounding errors, and leaves runs where they may exceed 0.001 nats to float64
(status 2): these are counted, and shown apart.
Needs the extra cuda-check.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lossfit
from benches import _report
from lossfit import laws
from lossfit._base.seeds import run_keys
from lossfit.fits.preparing import Source
from lossfit.fits.window import rule_of
from lossfit.kernels.driver import compression_orders
from lossfit.kernels.gpu import fit
from lossfit.kernels.gpu.batch import FitJob, room_for
from lossfit.kernels.gpu.chunks import Spec
from lossfit.kernels.gpu.launch import Chunk, run
from lossfit.kernels.records import STATUS
from lossfit.kernels.work import NODES
from tests.gpu import compiled

Floats = NDArray[np.float64]
NEAR = 3.0  # nats below the maximum: nearly all of the mass
SHARES = (0.05, 0.5, 0.95)
BAR_NATS, BAR_SD = 0.01, 0.05


class Tabulating(FitJob):
    """`FitJob` that brings the tabulated posteriors back.

    Attributes
    ----------
    tables : float64, shape (n_runs, 2 + NODES)
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tables = np.full((self.n_runs, 2 + NODES), np.nan)

    def room(self, start: int, stop: int) -> Sequence[Spec]:
        return ()

    def outputs(self, start: int, stop: int) -> Sequence[Spec]:
        return [*super().outputs(start, stop), Spec((stop - start, 2 + NODES), self.number)]

    def launch(self, chunk: Chunk) -> None:
        chunk.scratch = [chunk.outputs[-1], *chunk.scratch]
        super().launch(chunk)

    def collect(self, start: int, stop: int, outputs: Sequence[NDArray[Any]]) -> None:
        super().collect(start, stop, outputs)
        self.tables[start:stop] = outputs[-1]


class Fits:
    """Fits of some runs in both precisions.

    Attributes
    ----------
    names : tuple of str
    double, single : Tabulating
    """

    def __init__(self, runs: lossfit.Runs, law: str, draws: int) -> None:
        from tests.gpu.emulated import EmulatedDevice

        self.names = runs.names
        chosen = laws.get(law)
        axis = next(a for a in ("tokens", "step") if all(a in run.axes for run in runs))
        flat, rule = runs.flat(axis), rule_of("auto", runs)
        ready = Source(flat, runs.names, chosen, rule, 0, len(runs)).all()
        keys = run_keys(0, runs.names)
        jobs = []
        for single in (False, True):
            program, batch = chosen.program, ready.batch
            room = room_for(
                np.diff(batch.offsets), compression_orders(program, batch.x, batch.offsets)
            )
            points = fit.POINTS[0] if room.max() <= fit.POINTS[0] else fit.POINTS[1]
            job = Tabulating(batch, program, ready.table, keys, draws, single, points=points)
            run(job, [EmulatedDevice()])
            jobs.append(job)
        self.double, self.single = jobs


def errors(double: Floats, single: Floats) -> float:
    """Largest difference of log posteriors near the maximum, in nats.

    Parameters
    ----------
    double, single : ndarray, shape (2 + NODES,)
        First node, step, and log posterior up to a constant.
    """
    z = double[0] + double[1] * np.arange(NODES)
    other = single[0] + single[1] * np.arange(NODES)
    exact = double[2:] - double[2:].max()
    near = (exact > -NEAR) & (z >= other[0]) & (z <= other[-1])
    if near.sum() < 3:
        return float("inf")
    from scipy.interpolate import CubicSpline

    if not np.isfinite(single).all():
        return float("inf")
    found = CubicSpline(other, single[2:])(z[near])
    weight = np.exp(exact[near])
    difference = found - exact[near]
    return float(np.abs(difference - np.average(difference, weights=weight)).max())


def in_sd(double: Floats, single: Floats) -> float:
    """Largest shift of a quantile of a parameter, in posterior sd; (n_parameters, n_draws)."""
    sd = np.maximum(double.std(axis=-1), 1e-300)
    shift = np.quantile(single, SHARES, axis=-1) - np.quantile(double, SHARES, axis=-1)
    return float(np.abs(shift / sd).max())


def tabulated_quantiles(table: Floats) -> tuple[Floats, float]:
    """Quantiles and sd of log alpha, of a tabulated posterior (see `errors`)."""
    z = table[0] + table[1] * np.arange(NODES)
    density = np.exp(table[2:] - table[2:].max())
    mass = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    mean = np.average(z, weights=density)
    sd = float(np.sqrt(np.average((z - mean) ** 2, weights=density)))
    return np.interp(np.array(SHARES) * mass[-1], mass, z), sd


def alpha_in_sd(double: Floats, single: Floats) -> float:
    """Largest shift of a quantile of log alpha, in posterior sd; no draws are involved."""
    if not np.isfinite(single).all():
        return float("inf")
    exact, sd = tabulated_quantiles(double)
    return float(np.abs(tabulated_quantiles(single)[0] - exact).max() / sd)


def spread(values: Floats) -> Floats:
    """Median, 90 % and the largest of numbers that may be infinite."""
    return np.asarray(np.quantile(values, (0.5, 0.9, 1.0), method="inverted_cdf"))


def compare(fits: Fits) -> list[dict[str, Any]]:
    """One row a run."""
    rows = []
    for r, name in enumerate(fits.names):
        double, single = fits.double.info[r], fits.single.info[r]
        row = {
            "run": name,
            "points": int(np.diff(fits.double.batch.offsets)[r]),
            "status64": int(double[STATUS]),
            "status32": int(single[STATUS]),
            "estimate": float(single[fit.INFO.index("rounding")]),
        }
        # Left to the CPU where float32 overflowed altogether.
        whole = bool(np.isfinite(fits.single.tables[r]).all())
        if row["status64"] in (0, 1) and (whole or row["status32"] == 0):
            row["nats"] = errors(fits.double.tables[r], fits.single.tables[r])
            row["alpha"] = alpha_in_sd(fits.double.tables[r], fits.single.tables[r])
        if whole and row["status64"] == 0 and fits.single.info[r, 2] > 0:
            row["sd"] = in_sd(fits.double.draws[r], fits.single.draws[r])
            # Where rounding turns one acceptance over, all later draws move up by one.
            row["moved"] = bool(double[2] != single[2])
        rows.append(row)
    return rows


def report(rows: list[dict[str, Any]], law: str) -> dict[str, Any]:
    """Print and return what float32 does."""
    status = np.array([row["status32"] for row in rows])
    double = np.array([row["status64"] for row in rows])
    ours = [row for row in rows if row["status32"] == 0 and "nats" in row]
    left = [row for row in rows if row["status32"] == 2 and "nats" in row]
    found: dict[str, Any] = {
        "law": law,
        "runs": len(rows),
        "float64": {int(s): int((double == s).sum()) for s in np.unique(double)},
        "float32": {int(s): int((status == s).sum()) for s in np.unique(status)},
    }
    print(
        f"{law}: {len(rows)} runs. float64 serves {(double == 0).sum()}, float32 "
        f"{(status == 0).sum()}; it leaves {(status == 2).sum()} to float64 for their rounding"
    )
    for name, some in (("served", ours), ("left", left)):
        if not some:
            continue
        nats = np.array([row["nats"] for row in some])
        sd = np.array([row["sd"] for row in some if "sd" in row and not row["moved"]])
        found[name] = {
            "n": len(some),
            "nats": [float(v) for v in spread(nats)],
            "above": int((nats > BAR_NATS).sum()),
            "sd": [float(v) for v in spread(sd)] if sd.size else [],
            "sd_n": int(sd.size),
            "alpha": [float(v) for v in spread(np.array([row["alpha"] for row in some]))],
            "above_estimate": int(sum(row["nats"] > row["estimate"] for row in some)),
            "largest_ratio": float(max(row["nats"] / row["estimate"] for row in some)),
        }
        print(
            f"  {name}: error of log posterior differences, median {spread(nats)[0]:.1e}, 90 % "
            f"{spread(nats)[1]:.1e}, largest {nats.max():.1e} nats "
            f"({(nats > BAR_NATS).sum()} of {len(some)} above {BAR_NATS})"
        )
        alpha = found[name]["alpha"]
        print(
            f"  {name}: shift of quantiles of log alpha, median {alpha[0]:.1e}, 90 % "
            f"{alpha[1]:.1e}, largest {alpha[2]:.1e} sd\n"
            f"  {name}: {found[name]['above_estimate']} errors exceed the kernel's estimate, by up "
            f"to {found[name]['largest_ratio']:.0f} times"
        )
        if sd.size:
            print(
                f"  {name}: shift of quantiles of draws, median {np.median(sd):.1e}, largest "
                f"{sd.max():.1e} sd ({sd.size} runs with the same draws)"
            )
    return found


def plot(rows: list[dict[str, Any]], path: str) -> None:
    """The kernel's estimate of its error against the error."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for status, colour, label in ((0, "#3366aa", "served"), (2, "#cc6633", "left to float64")):
        some = [r for r in rows if r["status32"] == status and np.isfinite(r.get("nats", np.inf))]
        if some:
            axes.loglog(
                [max(r["estimate"], 1e-6) for r in some], [max(r["nats"], 1e-6) for r in some],
                "o", ms=4, alpha=0.7, mew=0, color=colour, label=f"{label} ({len(some)})",
            )  # fmt: skip
    axes.axvline(fit.LEAST_PRECISE, color="0.5", lw=1, ls=":")
    axes.axhline(BAR_NATS, color="0.5", lw=1, ls=":")
    axes.set_xlabel("error that the kernel expects of itself (nats)")
    axes.set_ylabel("error against float64 (nats)")
    axes.set_title("float32 fits of real training curves, PTX executed on a CPU", fontsize=10)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("curves", nargs="?", help="folder with public curves")
    parser.add_argument("--law", action="append", help="power and power_linear by default")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--plot", help="write a figure here")
    options = parser.parse_args()
    if (reason := compiled.missing()) is not None:
        raise SystemExit(f"nothing to execute: {reason}")
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("precision")
    groups = [lossfit.load("llama"), lossfit.load("cosine_ablation")]
    if options.curves:
        from benches.curves import load

        groups.append(load(options.curves)[0])
    failures, every = [], []
    record["laws"] = []
    for law in options.law or ("power", "power_linear"):
        rows = [row for runs in groups for row in compare(Fits(runs, law, options.draws))]
        every += rows
        found = report(rows, law)
        record["laws"].append({**found, "rows": rows})
        if found.get("served", {}).get("above"):
            failures.append(f"{law}: served runs with errors above {BAR_NATS} nats")
    if options.plot:
        plot(every, options.plot)
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
