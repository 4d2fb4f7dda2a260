"""
Would it have held?
===================

``backtest`` cuts finished runs early, forecasts the rest, and counts how often the intervals held.
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
check = lossfit.backtest(lossfit.load("llama"), axis="tokens")
print(check)
check.plot()
