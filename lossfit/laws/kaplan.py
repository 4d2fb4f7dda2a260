"""The law of Kaplan et al. 2020 (arXiv 2001.08361, equation 1.5): no floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._surface_law import SurfaceLaw
from .chinchilla import LAW as CHINCHILLA
from .coupled import LAW as COUPLED

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def _evaluate(
    values: Mapping[str, Any], params: ArrayLike, tokens: ArrayLike, unique_tokens: ArrayLike | None
) -> NDArray[np.float64]:
    return COUPLED.evaluate({**values, "gamma": values["beta"]}, params, tokens, None)


LAW = SurfaceLaw(
    name="kaplan",
    formula="[(A / params^alpha)^(1/beta) + (B / tokens^beta)^(1/beta)]^beta",
    doc="Kaplan et al. 2020, arXiv 2001.08361, equation 1.5: the coupled law without a floor.",
    parameters={**CHINCHILLA.parameters, "E": "the floor, 0 in this law"},
    priors=CHINCHILLA.priors,
    evaluate=_evaluate,
)
