"""
A law of your own
=================

A scalar function and its parameters; it runs on every method.
"""

import math
import warnings

import lossfit
from lossfit import priors

warnings.simplefilter("ignore", lossfit.LossfitWarning)


def stretched(x, tau, gamma):  # x is the axis over the end of the window
    return math.exp(-((x / tau) ** gamma))


law = lossfit.Law(
    name="stretched",
    formula="E + A exp(-(x/tau)^gamma)",
    linear=(
        lossfit.Linear("E", "final loss", priors.normal(0, 2, relative=True)),
        lossfit.Linear("A", "amplitude", priors.normal(0, 2, relative=True)),
    ),
    columns=(lossfit.laws.constant, stretched),
    nonlinear=(
        lossfit.Nonlinear("tau", "time scale", 0.01, 10, priors.lognormal(0.3, 1)),
        lossfit.Nonlinear("gamma", "stretching", 0.2, 2, priors.lognormal(0.7, 0.5)),
    ),
)
fit = lossfit.fit(lossfit.load("llama2"), law=law, axis="tokens", draws=400)
print(fit.summary().round(4).head(6))
fit.plot()
