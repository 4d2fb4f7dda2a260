"""Chinchilla's law of final losses (Hoffmann et al. 2022), its optimum, published constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import priors
from ._surface_law import Published, SurfaceLaw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FLOPS_PER_PARAM_TOKEN = 6.0

# Exponents of published surfaces lie between 0.2 and 0.6; 90 % of this between 0.13 and 0.94.
EXPONENT = priors.lognormal(0.35, 0.6)

HOFFMANN = Published(
    name="hoffmann",
    law="chinchilla",
    values={
        "E": float(np.exp(0.5267228)),
        "A": float(np.exp(6.0073404)),
        "B": float(np.exp(6.0179186)),
        "alpha": 0.33917084,
        "beta": 0.2849083,
    },
    source="Hoffmann et al. 2022, arXiv 2203.15556, approach 3, unrounded as in its TeX source "
    "(printed as E 1.69, A 406.4, B 410.7, alpha 0.34, beta 0.28)",
)
EPOCH = Published(
    name="epoch",
    law="chinchilla",
    values={
        "E": float(np.exp(0.59711196)),
        "A": float(np.exp(6.17795598)),
        "B": float(np.exp(7.64273236)),
        "alpha": 0.34781303,
        "beta": 0.36585412,
    },
    errors={"E": 0.0257, "A": 124.52, "B": 1293.28, "alpha": 0.0154, "beta": 0.0206},
    source="Besiroglu et al. 2024, arXiv 2404.10102: re-fit of 240 of the points of Hoffmann et "
    "al., figure 4; bootstrap standard errors, one parameter at a time",
)


def loss(
    params: ArrayLike,
    tokens: ArrayLike,
    *,
    E: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
) -> NDArray[np.float64]:
    """``E + A / params^alpha + B / tokens^beta``, broadcasting.

    Hoffmann et al. 2022, arXiv 2203.15556, equation 2.
    """
    n, d = np.asarray(params, float), np.asarray(tokens, float)
    shrinking = np.asarray(A, float) / n ** np.asarray(alpha, float)
    return np.asarray(E, float) + shrinking + np.asarray(B, float) / d ** np.asarray(beta, float)


def log_ratio(values: Mapping[str, Any]) -> Any:
    """Logarithm of ``G = (alpha A / (beta B))^(1 / (alpha + beta))`` (equation 4)."""
    alpha, beta = np.asarray(values["alpha"]), np.asarray(values["beta"])
    ratio = np.log(alpha / beta) + np.log(values["A"]) - np.log(values["B"])
    return ratio / (alpha + beta)


def optimum(
    compute: ArrayLike,  # training FLOP
    # A, B, alpha, beta; numbers or arrays that broadcast with ``compute``
    values: Mapping[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Size and tokens of least loss for ``compute = 6 params tokens``, in closed form.

    Hoffmann et al. 2022, equation 4: ``params = G (C/6)^(beta / (alpha + beta))``.

    Returns
    -------
    params, tokens : ndarray
    """
    alpha, beta = np.asarray(values["alpha"], float), np.asarray(values["beta"], float)
    log_g = log_ratio(values)
    log_c = np.log(np.asarray(compute, float) / FLOPS_PER_PARAM_TOKEN)
    params = np.exp(log_g + beta / (alpha + beta) * log_c)
    return params, np.exp(-log_g + alpha / (alpha + beta) * log_c)


def _evaluate(
    values: Mapping[str, Any], params: ArrayLike, tokens: ArrayLike, unique_tokens: ArrayLike | None
) -> NDArray[np.float64]:
    names = ("E", "A", "B", "alpha", "beta")
    return loss(params, tokens, **{name: values[name] for name in names})


LAW = SurfaceLaw(
    name="chinchilla",
    formula="E + A / params^alpha + B / tokens^beta",
    doc="Two power laws over a floor (Hoffmann et al. 2022, arXiv 2203.15556, equation 2). Every "
    "token counts as new.",
    parameters={
        "E": "loss of an infinite model on infinite data",
        "A": "amplitude of the size term",
        "B": "amplitude of the data term",
        "alpha": "exponent of the size",
        "beta": "exponent of the tokens",
    },
    priors={"alpha": EXPONENT, "beta": EXPONENT},
    evaluate=_evaluate,
)
