"""A surface whose size and data terms are coupled: Chinchilla's law, Kaplan's, and between them.

    L(N, D) = E + [(A N^-alpha)^(1/gamma) + (B D^-beta)^(1/gamma)]^gamma

With gamma = 1 it is Chinchilla's law (Hoffmann et al. 2022), with E = 0 and gamma = beta that of
Kaplan et al. 2020 (arXiv 2001.08361, equation 1.5).  The larger gamma, the less one of the terms
matters while the other is large: most public tables have it well below 1.

The functions are for samplers: coordinates theta are log E, log A, log B, log alpha, log beta, log
gamma (and any more), with A and B the terms at the rows' centre, all in units of a typical loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, log_expit

from . import priors
from ._surface_law import SurfaceLaw
from .chinchilla import LAW as CHINCHILLA
from .data_constrained import REPEATED_PARAMETERS, effective_params, effective_tokens, known

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

GAMMA = priors.lognormal(float(np.exp(-0.5)), 0.4)


class Reducible(NamedTuple):
    """The reducible loss, and what its gradient needs; arrays of one shape."""

    loss: Floats
    size: Floats  # share of the size term in the sum (of powers 1 / gamma)
    bend: Floats  # derivative of log loss by log gamma


def reducible(theta: Floats, n: Floats, x: Floats) -> Reducible:
    """The reducible loss at rows.

    Parameters
    ----------
    theta : ndarray, shape (..., 6 or more)
    n, x : ndarray, shape (..., k)
        Centred log params and log tokens; broadcast with theta's leading axes.
    """
    gamma = np.exp(theta[..., 5:6])
    a = (theta[..., 1:2] - np.exp(theta[..., 3:4]) * n) / gamma
    b = (theta[..., 2:3] - np.exp(theta[..., 4:5]) * x) / gamma
    gap = a - b
    size = expit(gap)
    total = b - log_expit(-gap)
    bend = gamma * (total - size * a - (1 - size) * b)
    return Reducible(np.exp(gamma * total), size, bend)


def push(theta: Floats, n: Floats, x: Floats, at: Reducible, weight: Floats) -> Floats:
    """Sum over rows of ``weight`` times the gradient of E + the reducible loss, shape (..., 6)."""
    r = weight * at.loss
    by_size = r * at.size
    by_data = r - by_size
    return np.stack(
        [
            np.exp(theta[..., 0]) * weight.sum(axis=-1),
            by_size.sum(axis=-1),
            by_data.sum(axis=-1),
            -np.exp(theta[..., 3]) * (by_size * n).sum(axis=-1),
            -np.exp(theta[..., 4]) * (by_data * x).sum(axis=-1),
            (r * at.bend).sum(axis=-1),
        ],
        axis=-1,
    )


def unfold(phi: Floats) -> Floats:
    """Coordinates theta from those in which the posterior is tame.

    Rows tell the loss and its two slopes at their centre far better than what these are made of.
    So a sampler moves in the log of the loss there, the logit of the floor's share in it, the logit
    of the size term's share in the sum, and the logarithms of both slopes; from log gamma on the
    coordinates are the same.
    """
    theta = phi.copy()
    floor, rest = log_expit(phi[..., 1]), log_expit(-phi[..., 1])
    size, data = log_expit(phi[..., 2]), log_expit(-phi[..., 2])
    gamma = np.exp(phi[..., 5])
    above = phi[..., 0] + rest
    theta[..., 0] = phi[..., 0] + floor
    theta[..., 1] = above + gamma * size
    theta[..., 2] = above + gamma * data
    theta[..., 3] = phi[..., 3] - above - size
    theta[..., 4] = phi[..., 4] - above - data
    return theta


def fold(theta: Floats) -> Floats:
    """The inverse of `unfold`."""
    phi = theta.copy()
    gamma = np.exp(theta[..., 5])
    a, b = theta[..., 1] / gamma, theta[..., 2] / gamma
    above = gamma * np.logaddexp(a, b)
    phi[..., 0] = np.logaddexp(theta[..., 0], above)
    phi[..., 1] = theta[..., 0] - above
    phi[..., 2] = a - b
    phi[..., 3] = theta[..., 3] + above + log_expit(a - b)
    phi[..., 4] = theta[..., 4] + above + log_expit(b - a)
    return phi


def pull(phi: Floats, gradient: Floats) -> Floats:
    """A gradient by theta as one by phi, that of the Jacobian (its log is log gamma) added."""
    out = gradient.copy()
    floor, size = expit(phi[..., 1]), expit(phi[..., 2])
    gamma = np.exp(phi[..., 5])
    e, a, b, alpha, beta = (gradient[..., k] for k in range(5))
    out[..., 0] = e + a + b - alpha - beta
    out[..., 1] = e * (1 - floor) + (alpha + beta - a - b) * floor
    out[..., 2] = (gamma * a - alpha) * (1 - size) - (gamma * b - beta) * size
    powers = a * log_expit(phi[..., 2]) + b * log_expit(-phi[..., 2])
    out[..., 5] = gradient[..., 5] + gamma * powers + 1
    return out


def _evaluate(
    values: Mapping[str, Any], params: ArrayLike, tokens: ArrayLike, unique_tokens: ArrayLike | None
) -> NDArray[np.float64]:
    n, d = np.log(np.asarray(params, float)), np.log(np.asarray(tokens, float))
    gamma = np.asarray(values["gamma"], float)
    a = (np.log(values["A"]) - np.asarray(values["alpha"], float) * n) / gamma
    b = (np.log(values["B"]) - np.asarray(values["beta"], float) * d) / gamma
    return np.asarray(values["E"], float) + np.exp(gamma * np.logaddexp(a, b))


def inner(values: Mapping[str, Any]) -> dict[str, Any]:
    """A, B, alpha, beta of the sum inside: Chinchilla's law has its optimum where this one has."""
    gamma = np.asarray(values.get("gamma", 1.0), float)
    return {
        "A": np.exp(np.log(values["A"]) / gamma),
        "B": np.exp(np.log(values["B"]) / gamma),
        "alpha": values["alpha"] / gamma,
        "beta": values["beta"] / gamma,
    }


def _repeated(
    values: Mapping[str, Any], params: ArrayLike, tokens: ArrayLike, unique_tokens: ArrayLike | None
) -> NDArray[np.float64]:
    unique = known(unique_tokens)
    n = effective_params(params, unique, {**inner(values), "R_N": values["R_N"]})
    d = effective_tokens(tokens, unique, values["R_D"])
    return _evaluate(values, n, d, None)


LAW = SurfaceLaw(
    name="coupled",
    formula="E + [(A / params^alpha)^(1/gamma) + (B / tokens^beta)^(1/gamma)]^gamma",
    doc="Two power laws over a floor that are coupled by gamma: 1 is Chinchilla's law.  Every "
    "token counts as new.",
    parameters={**CHINCHILLA.parameters, "gamma": "coupling of the two terms; 1 adds them"},
    priors={**CHINCHILLA.priors, "gamma": GAMMA},
    evaluate=_evaluate,
)

REPEATED = SurfaceLaw(
    name="coupled_repeated",
    formula="E + [(A / N'^alpha)^(1/gamma) + (B / D'^beta)^(1/gamma)]^gamma, N' and D' as in "
    "data_constrained",
    doc="The coupled law of what repeated tokens and too many parameters are worth "
    "(Muennighoff et al. 2023, arXiv 2305.16264).",
    parameters={**LAW.parameters, **REPEATED_PARAMETERS},
    priors=LAW.priors,
    evaluate=_repeated,
    repeats=True,
)
