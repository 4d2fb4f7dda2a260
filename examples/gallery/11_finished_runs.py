"""
Finished runs of your project
=============================

How strongly a loss responds to the learning rate differs between projects. Finished runs tell, and the answer for a run
that has only begun becomes sharper. Where they can't tell, the answer stays as it is and says `siblings_unused`.
"""

import warnings

import matplotlib.pyplot as plt

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
runs = lossfit.load("llama2")
begun = runs.select(["llama2-70B"]).until(0.4)
finished = runs.select([name for name in runs.names if name != "llama2-70B"])
end = runs["llama2-70B"].end("tokens")

alone = lossfit.extrapolate(begun, at=end, axis="tokens")
sharper = lossfit.extrapolate(begun, at=end, axis="tokens", siblings=finished)

figure, ax = plt.subplots(figsize=(6, 2), layout="constrained")
for row, answer in enumerate([alone, sharper]):
    low, middle, high = answer.frame.loc[0, ["lower", "median", "upper"]]
    ax.plot([low, high], [row, row], color="C0", lw=6, alpha=0.4, solid_capstyle="butt")
    ax.plot(middle, row, "o", color="C0")
ax.axvline(runs["llama2-70B"].loss[-1], color="0.3", ls="--", label="what it came to")
ax.set_yticks([0, 1], ["alone", "with three finished runs"])
ax.set_ylim(1.6, -0.6)
ax.set_xlabel("loss at 2 T tokens (90 % interval)")
ax.legend(loc="best")
