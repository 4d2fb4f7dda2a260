"""
Very many runs
==============

``fit_to`` streams runs into a store on disk in bounded memory, and goes on after a crash.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lossfit

rng = np.random.default_rng(0)
x = np.linspace(1, 1000, 50)
alpha = rng.uniform(0.2, 0.6, 200)
loss = 2 + (x[None] / 1000) ** -alpha[:, None] + rng.normal(0, 0.01, (200, 50))
runs = lossfit.Runs.from_arrays("step", np.tile(x, 200), loss.ravel(), np.arange(201) * 50)
store = Path(tempfile.mkdtemp()) / "sweep.zarr"
result = lossfit.fit_to(store, runs, law="power", keep="summary")
print(result)

mean = result.open()["mean"].sel(parameter="alpha")
figure, ax = plt.subplots(figsize=(4, 4), layout="constrained")
ax.plot([0.2, 0.6], [0.2, 0.6], color="0.6")
ax.plot(alpha, mean, ".")
ax.set_xlabel("true exponent")
ax.set_ylabel("posterior mean")
