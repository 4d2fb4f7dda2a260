"""Each kernel is compiled once: whatever is asked, its arguments have the same types.

An entry point refuses others (`lossfit.kernels.arguments`), so the questions need only be answered.
"""

from __future__ import annotations

import subprocess
import sys

QUESTIONS = """
import warnings
import numpy as np, lossfit
from lossfit.kernels import warmup
warnings.simplefilter("ignore")
for step in warmup.STEPS.values():
    step()
runs = lossfit.load("llama2")
lossfit.extrapolate(runs, "llama2-7B", at=4e12, draws=20)
lossfit.extrapolate(runs, at=[3e12, 4e12], draws=20, laws=["annealing", "multi_power", "power"])
lossfit.extrapolate(runs, at=3e12, total=4e12, draws=20)
for law in ("power", "power_linear", "power_offset"):
    fit = lossfit.fit(runs, law, draws=20)
fit.predict([1e12, 2e12])
lossfit.fit(runs, "power", draws=5, chains=1, tune=2, noise="student_t")
lossfit.fit(runs, "broken_power", draws=4, chains=1, tune=4)
lossfit.what_if(runs.select(["llama2-7B"]), schedules={"constant": "constant"}, at=1e12, draws=100)
lossfit.race(runs, axis="gpu_hours", draws=50)
print("once")
"""


def test_one_signature_an_entry_point(root):
    run = subprocess.run(
        [sys.executable, "-c", QUESTIONS], cwd=root, check=False, capture_output=True, text=True
    )
    assert run.stdout == "once\n", run.stderr[-3000:]
