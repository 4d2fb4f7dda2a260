"""What another Python runs to compile the kernels of fits; see `lossfit.engine.compiling`."""

from __future__ import annotations

import warnings

import numpy as np

from ..engine.compiling import compiles_here
from .fitting import fit

__all__ = ["compile_here"]


def compile_here() -> None:
    """A fit of one short run, for the kernels that it compiles."""
    import pandas as pd

    compiles_here()
    step = np.arange(1.0, 41.0)
    frame = pd.DataFrame({"step": step, "loss": 2 + step**-0.5 + 0.01 * np.sin(7 * step)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(frame, "power_linear", draws=10, device="cpu")
