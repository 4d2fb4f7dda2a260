"""
A run that breaks
=================

A run that diverges has no forecast. The first line of the answer says so, and where it broke.
"""

import warnings

import numpy as np

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
rng = np.random.default_rng(3)
step = np.arange(10, 3_001, 10)
loss = 3.0 + 4.0 * step**-0.35 + rng.normal(0, 0.01, step.size)
late = step > 2_400
loss[late] += 0.004 * (step[late] - 2_400)  # it climbs and does not come back
runs = lossfit.Runs.from_arrays("step", step, loss)
answer = lossfit.extrapolate(runs, at=6_000, axis="step")
print(answer)
answer.plot()
