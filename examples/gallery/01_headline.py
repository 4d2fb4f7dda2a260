"""
If the 7B had got the 70B's compute
===================================

Llama 2 7B was trained for 184,320 GPU-hours, the 70B for 1,720,320. What loss would the 7B have reached with as many,
and would it have beaten the 70B?
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)  # the print spells the notes out
runs = lossfit.load("llama2")
answer = lossfit.extrapolate(runs, run="llama2-7B", compute_of="llama2-70B")
print(answer)

# %%
# The band is the 90 % interval of the loss curve; the marker is the answer.

answer.plot()
