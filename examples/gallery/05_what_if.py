"""
Another learning-rate schedule
==============================

Llama 2 7B under a cosine that ends at 1 T tokens, and under a constant rate.
"""

import warnings

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
seven = lossfit.load("llama2").select(["llama2-7B"])
short = lossfit.schedules.cosine(peak=3e-4, total=250_000, warmup=2000)  # ends at 1 T tokens
answer = lossfit.what_if(seven, schedules={"short": short, "constant": "constant"}, at=1e12)
print(answer)
answer.plot()
