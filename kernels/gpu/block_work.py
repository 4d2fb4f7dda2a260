"""Which arrays of `work.Work` a block of each kernel has, for laws with one varying column.

Most lie in shared memory, of which there is little: no kernel has all of them.  ``tile`` and
``staging`` are the GPU's own.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

__all__ = ["EnsembleWork", "ExactWork", "FitWork", "SingleWork"]

_RUN = ("points", "fixed", "base", "mean", "lower", "z", "theta", "rows", "logp")
_NODES = ("scan", "node", "wide_logp", "density", "cumulative")
_DATA = ("tile", "moments", "staging", "tables")
_FIT = (*_RUN, *_NODES, *_DATA, "sizes")
_JOINT = ("joint_mean", "joint_factor")


def _work(name: str, *fields: str) -> Any:
    return namedtuple(name, fields)


FitWork = _work("FitWork", *_FIT)

# With what `single` needs besides: the varying column at the reference, what the fixed columns
# leave of it, the fixed columns, the weighted residuals of the fixed columns without a reference,
# the reference (REF_SIZE,), what rounding may do to the log posterior of a lane, the arrays in
# float64, and the run's data.
SingleWork = _work(
    "SingleWork", *_FIT, "phi0", "rest", "columns", "raw", "reference", "rounding", "exact",
    "x", "y", "w", "order",
)  # fmt: skip

ExactWork = _work(
    "ExactWork", *_FIT, "outer", "inner", "inner_scan", "inner_cumulative", "drawn", "weight",
    "pilot", "pilot_weight", *_JOINT,
)  # fmt: skip

EnsembleWork = _work(
    "EnsembleWork", *_RUN, *_DATA, "drawn", "weight", *_JOINT, "box", "starts", "walker_z",
    "walker_logp", "walker_drawn",
)  # fmt: skip
