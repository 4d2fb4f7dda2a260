"""
What knowing the schedule is worth
==================================

The same run, cut at a half of its cosine schedule, asked for its end in three states of knowledge.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
total = 20_000
plan = lossfit.schedules.cosine(peak=3e-4, total=total, warmup=200, final_ratio=0.1)
step = np.arange(200, total // 2 + 1, 100)
rng = np.random.default_rng(2)
fall = 0.12 * (1 - plan(step) / 3e-4)  # what a lower rate wins
loss = 2.9 + 0.8 * (step / total) ** -0.25 - fall + rng.normal(0, 0.01, step.size)
runs = lossfit.Runs.from_arrays("step", step, loss)

known = lossfit.extrapolate(runs.with_schedule(plan), at=total, axis="step")
planned = lossfit.extrapolate(runs, at=total, axis="step", total=total)
blind = lossfit.extrapolate(runs, at=total, axis="step")

figure, ax = plt.subplots(figsize=(6, 2.5), layout="constrained")
for row, answer in enumerate([known, planned, blind]):
    low, middle, high = answer.frame.loc[0, ["lower", "median", "upper"]]
    ax.plot([low, high], [row, row], color="C0", lw=6, alpha=0.4, solid_capstyle="butt")
    ax.plot(middle, row, "o", color="C0")
ax.set_yticks(range(3), ["schedule known", "total known", "nothing known"])
ax.set_ylim(2.6, -0.6)
ax.set_xlabel("loss at step 20,000 (90 % interval)")
