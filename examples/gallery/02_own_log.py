"""
A log of your own
=================

Anything with a step and a loss is read: what a trainer printed, JSON lines, a CSV. The learning rate is in this log, so
the answer knows that it is constant; otherwise say ``total=``, the step at which the run is planned to end.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np

import lossfit

warnings.simplefilter("ignore", lossfit.LossfitWarning)
rng = np.random.default_rng(1)
step = np.arange(50, 8_001, 50)
loss = 2.7 + 1.1 * (step / 8_000) ** -0.3 + rng.normal(0, 0.02, step.size)
lines = [f"step {s} | loss {y:.4f} | lr 6.00e-04" for s, y in zip(step, loss, strict=True)]
log = Path(tempfile.mkdtemp()) / "train.log"
log.write_text("\n".join(lines))

runs = lossfit.load(log)
answer = lossfit.extrapolate(runs, at=[12_000, 20_000], axis="step")
print(answer)
answer.plot()
