"""
What the tail of a schedule should look like
============================================

The learning rate of least expected final loss from here on, and what it wins over the usual tails.
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
seven = lossfit.load("llama2").select(["llama2-7B"])
tail = lossfit.best_tail(seven)
print(tail)
tail.plot()
