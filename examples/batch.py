"""Fit 10,000 synthetic curves: how often do 90 % intervals hold the truth, law by law.

Half of the curves are power laws, half have a linear decrease as well.  Each law is fitted to all
of them and asked for the loss at 1.5 and 3 times the data.  Where the law is the right one 90 %
should come out; where it is not, the table shows what that costs.

    python examples/batch.py [--runs 10000]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd

import lossfit

POINTS = 100
RATIOS = (1.5, 3.0)
LAWS = ("power", "power_linear")


def simulate(n_runs: int, seed: int = 0) -> tuple[lossfit.Runs, dict[str, np.ndarray]]:
    """Curves as flat arrays, and the truth at the targets, shape (n_runs, n_ratios)."""
    rng = np.random.default_rng(seed)
    x = np.linspace(1 / POINTS, 1, POINTS)
    alpha = rng.lognormal(np.log(0.4), 0.4, (n_runs, 1))
    floor, amplitude = rng.uniform(1.5, 3, (n_runs, 1)), rng.uniform(0.1, 0.6, (n_runs, 1))
    linear = np.arange(n_runs)[:, None] % 2 == 1
    slope = rng.uniform(0.02, 0.2, (n_runs, 1)) * linear

    def curve(at: np.ndarray) -> np.ndarray:
        return floor + amplitude * at**-alpha - slope * at

    loss = curve(x) + rng.normal(0, 0.005, (n_runs, POINTS))
    runs = lossfit.Runs.from_arrays(
        "step", np.tile(1000 * x, n_runs), loss.ravel(), np.arange(n_runs + 1) * POINTS
    )
    true_law = np.where(linear[:, 0], "power_linear", "power")
    return runs, {"law": true_law, "loss": curve(np.array(RATIOS))}


def main(n_runs: int = 10_000) -> pd.DataFrame:
    """Fit, compare with the truth, print the coverage table."""
    runs, truth = simulate(n_runs)
    tables = []
    for law in LAWS:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lossfit.LossfitWarning)
            answer = lossfit.extrapolate(
                runs, at=[1000 * ratio for ratio in RATIOS], laws=law, window="all", prob=0.9
            )
            frame = answer.frame
        seconds = time.perf_counter() - start
        print(f"{law}: {n_runs:,} runs in {seconds:.1f} s, {1e6 * seconds / n_runs:.0f} us a run")
        loss = truth["loss"].ravel()
        frame["covered"] = (frame["lower"] <= loss) & (loss <= frame["upper"])
        frame["width"] = frame["upper"] - frame["lower"]
        frame["true law"] = np.repeat(truth["law"], len(RATIOS))
        frame["fitted law"] = law
        tables.append(frame)
    table = (
        pd.concat(tables)[["true law", "fitted law", "horizon_ratio", "covered", "width"]]
        .groupby(["true law", "fitted law", "horizon_ratio"])
        .agg({"covered": "mean", "width": "median"})
    )
    print(table.to_string(float_format="{:.3f}".format))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000, help="number of curves")
    main(parser.parse_args().runs)
