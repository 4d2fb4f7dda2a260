"""
The parameters of a law
=======================

Exact posterior draws of a power law plus a line, and the band of its predictions.
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
runs = lossfit.load("llama2")
fit = lossfit.fit(runs, law="power_linear", axis="tokens")
print(fit.summary(prob=0.9).round(4).head(5))
fit.plot()
