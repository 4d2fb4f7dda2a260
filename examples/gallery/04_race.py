"""
Who leads at equal compute
==========================

Runs against each other on GPU-hours: who leads where, who overtakes whom, and when.
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours")
print(race)
race.plot()
