"""
A model that was never trained
==============================

Whole curves of three sizes say what the curve of a fourth will be.
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
runs = lossfit.load("llama2")
ladder = lossfit.fit_ladder(runs.select(["llama2-7B", "llama2-13B", "llama2-34B"]))
print(ladder.extrapolate(params=7e10, at=[1e12, 2e12], run="70B"))
ladder.plot()
