"""From a CSV of your own to a fit, predictions, a figure and a file.

python examples/own_csv.py [folder]
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

import lossfit


def write_csv(path: Path) -> None:
    """Two runs as a training script might log them: step, loss, tokens."""
    rng = np.random.default_rng(7)
    step = np.arange(100, 20_001, 100)
    frames = []
    for name, floor in (("small", 2.9), ("large", 2.6)):
        curve = floor + 0.9 * (step / 20_000) ** -0.25
        loss = curve + rng.normal(0, 0.01, step.size)
        frames.append(
            pd.DataFrame({"run": name, "step": step, "tokens": step * 500_000, "loss": loss})
        )
    pd.concat(frames).to_csv(path, index=False)


def main(folder: str = ".") -> lossfit.Fit:
    """Load, fit, predict, draw, save."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    write_csv(home / "runs.csv")
    runs = lossfit.load(home / "runs.csv", params=1.2e8)
    print(runs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        fit = lossfit.fit(runs, law="power", axis="tokens", random_seed=1)
    print(fit.summary().drop(columns="notes").to_string(float_format="{:.4g}".format))

    # The loss at 10 and 20 billion tokens; the data end at 10.
    at = [10e9, 20e9]
    loss = fit.predict(at)
    for name in runs.names:
        low, middle, high = loss.sel(run=name).quantile([0.05, 0.5, 0.95], ["chain", "draw"]).values
        for k, tokens in enumerate(at):
            print(
                f"{name} at {tokens / 1e9:g}B tokens: {middle[k]:.3f} "
                f"({low[k]:.3f} to {high[k]:.3f})"
            )

    mpl.use("Agg")
    fit.plot("small", until=20e9).figure.savefig(home / "small.png", dpi=150)
    fit.to_netcdf(home / "fit.nc")
    again = lossfit.from_netcdf(home / "fit.nc")
    assert np.array_equal(again.predict(at), loss)
    print(f"wrote {home / 'small.png'} and {home / 'fit.nc'}")
    return fit


if __name__ == "__main__":
    main(*sys.argv[1:2])
