"""
What to spend a budget on
=========================

A published surface of final losses, a budget in FLOPs: how large a model, how many tokens, what loss?
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
plan = lossfit.plan("chinchilla", compute=5.88e23)
print(plan)
plan.plot()
