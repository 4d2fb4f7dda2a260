"""
When will it reach a loss?
==========================

Every answer is a set of curves, so it knows when they come to a loss, and how likely that is within the horizon.
"""

import warnings

import matplotlib.pyplot as plt

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
runs = lossfit.load("llama1").select(["llama1-13B"]).until(0.5)
answer = lossfit.extrapolate(runs, at=1e12, axis="tokens", total=1e12)
when = answer.time_to([1.85, 1.8, 1.75, 1.7])
print(when)

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(when["loss"], when["prob_reached"], "o-")
ax.invert_xaxis()
ax.set_xlabel("loss")
ax.set_ylabel("P(reached by 1 T tokens)")
