"""
Power law, line, flat end
=========================

Does the curve have the three phases, or is it the schedule?
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
found = lossfit.phases(lossfit.load("llama2").select(["llama2-7B", "llama2-70B"]))
print(found)
found.plot()
