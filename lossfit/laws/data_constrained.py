"""The law of repeated data (Muennighoff et al. 2023), its published constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from . import priors
from ._surface_law import Published, SurfaceLaw
from .chinchilla import LAW as CHINCHILLA
from .chinchilla import log_ratio

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MUENNIGHOFF = Published(
    name="muennighoff",
    law="data_constrained",
    values={
        "E": float(np.exp(0.6254804)),
        "A": float(np.exp(6.255414)),
        "B": float(np.exp(7.3049974)),
        "alpha": 0.3526596,
        "beta": 0.3526596,
        "R_D": 15.387756,
        "R_N": 5.309743,
    },
    source="Muennighoff et al. 2023, arXiv 2305.16264, constants of the authors' code",
)
# The paper states no errors for its decay constants.  A factor of 2 either way (one sd) is what we
# take: they rest on one corpus, one architecture and at most some hundreds of repeated runs.
REPEATS = {
    "R_D": priors.lognormal(MUENNIGHOFF.values["R_D"], float(np.log(2.0))),
    "R_N": priors.lognormal(MUENNIGHOFF.values["R_N"], float(np.log(2.0))),
}
REPEATED_PARAMETERS = {
    "R_D": "repeats after which another epoch is worth 1/e of fresh tokens",
    "R_N": "the same for parameters beyond what the unique tokens suit",
}


def effective_tokens(
    tokens: ArrayLike, unique_tokens: ArrayLike, R_D: ArrayLike
) -> NDArray[np.float64]:
    """Unique tokens that so many partly repeated tokens are worth.

    ``U + U R_D (1 - exp(-R / R_D))`` with ``R = max(tokens / U - 1, 0)`` repeats; U is
    ``min(unique_tokens, tokens)``, since tokens that were not seen teach nothing.
    Muennighoff et al. 2023, arXiv 2305.16264, equation 5.
    """
    d = np.asarray(tokens, float)
    unique = np.minimum(np.asarray(unique_tokens, float), d)
    return _worth(d, unique, R_D)


def effective_params(
    params: ArrayLike, unique_tokens: ArrayLike, values: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Parameters that a model is worth that is larger than its unique data suit.

    As `effective_tokens`, with the compute-optimal size for the unique tokens, ``G (U G)^(beta /
    alpha)``, in place of U (section 3 and appendix of the paper).
    """
    n = np.asarray(params, float)
    log_g = log_ratio(values)
    ratio = np.asarray(values["beta"], float) / np.asarray(values["alpha"], float)
    suited = np.exp(log_g + ratio * (np.log(np.asarray(unique_tokens, float)) + log_g))
    return _worth(n, np.minimum(n, suited), values["R_N"])


def known(unique_tokens: ArrayLike | None) -> ArrayLike:
    """How many tokens are unique, which the law cannot do without."""
    if unique_tokens is None:
        raise DataError(
            "the data-constrained law needs to know how many tokens are unique: unique_tokens="
        )
    return unique_tokens


def _worth(
    amount: NDArray[np.float64], unique: NDArray[np.float64], decay: ArrayLike
) -> NDArray[np.float64]:
    scale = np.asarray(decay, float)
    repeats = np.maximum(amount / unique - 1.0, 0.0)
    return np.asarray(unique + unique * scale * (1.0 - np.exp(-repeats / scale)))


def loss(
    # params, tokens, unique_tokens: where ``unique_tokens`` exceeds ``tokens``, nothing is
    # repeated, and the loss is that of Chinchilla's law up to the size that suits ``unique_tokens``
    params: ArrayLike,
    tokens: ArrayLike,
    unique_tokens: ArrayLike,
    values: Mapping[str, Any],  # E, A, B, alpha, beta, R_D, R_N; numbers or arrays that broadcast
) -> NDArray[np.float64]:
    """Loss of a model of that size after that many tokens, of which some are unique."""
    n = effective_params(params, unique_tokens, values)
    d = effective_tokens(tokens, unique_tokens, values["R_D"])
    shrinking = np.asarray(values["A"], float) / n ** np.asarray(values["alpha"], float)
    data = np.asarray(values["B"], float) / d ** np.asarray(values["beta"], float)
    return np.asarray(np.asarray(values["E"], float) + shrinking + data)


def _evaluate(
    values: Mapping[str, Any], params: ArrayLike, tokens: ArrayLike, unique_tokens: ArrayLike | None
) -> NDArray[np.float64]:
    return loss(params, tokens, known(unique_tokens), values)


LAW = SurfaceLaw(
    name="data_constrained",
    formula="E + A / N'^alpha + B / D'^beta, D' = U (1 + R_D (1 - exp(-(D/U - 1)/R_D))), N' alike",
    doc="Chinchilla's law with tokens and parameters that lose value as data are repeated "
    "(Muennighoff et al. 2023, arXiv 2305.16264).",
    parameters={**CHINCHILLA.parameters, **REPEATED_PARAMETERS},
    priors={**CHINCHILLA.priors, **REPEATS},
    evaluate=_evaluate,
    repeats=True,
)
