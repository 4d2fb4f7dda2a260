"""What a surface's law misses, as two unknown functions of size and of tokens: draws of both.

    L(N, D) = law + S(N, D) [ g_N(log N) + g_D(log D) ]

g_N and g_D are Brownian motions (and a smooth part) away from the largest size and token count of
the table, where they are 0; S is the reducible loss of a usual table.  A draw of the surface is a
draw of the law and of both functions, so it is one surface everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .._base.blas import one_blas_thread
from .._base.packing import given
from .._base.ragged import Floats
from ..laws.coupled import reducible
from .brownian import brownian

SMOOTH = 0.5  # variance of the integrated part
NU = 4.0  # degrees of freedom of a run's noise
LAST = (
    0.002  # a draw's last factor is exp(LAST rho t4): rho are e-folds of compute beyond the table
)
OUTWARD = 16.0  # e-folds beyond the table at which the functions end
INSIDE_NODES, OUTSIDE_NODES = 48, 40
FLOPS_PER_PARAM_TOKEN = 6.0
#: Coordinates of the law of a usual table in units of its median loss: the priors' medians, and
#: 30 % of the loss reducible at its centre (pilot fits of tables of each of six sources: 29 to 37).
USUAL = np.log([0.7, *[0.3 * 0.5 ** float(np.exp(-0.5))] * 2, 0.35, 0.35, float(np.exp(-0.5))])


class Correction(Protocol):
    """What is added to a law's losses, draw by draw: `Missed`, or a ladder's."""

    def applied(self, loss: Floats, params: ArrayLike, tokens: ArrayLike) -> Floats:
        """Losses of the law (draws, ...) with it."""
        ...


class Paths(Protocol):
    """Draws of g at nodes."""

    @property
    def nodes(self) -> tuple[Floats, Floats]:
        """Nodes of log params and of log tokens."""
        ...

    @property
    def values(self) -> tuple[Floats, Floats]:
        """g_N and g_D there, shape (draws, nodes) each."""
        ...


def kernel(u: Floats, v: Floats) -> Floats:
    """Covariance of g for kappa = 1 at distances from the table's largest value."""
    return brownian(u, v, SMOOTH)


def usual(n: Floats, d: Floats) -> Floats:
    """S over the level, at log params and log tokens less the centre of the table's."""
    return reducible(USUAL, n, d).loss


def nodes_over(low: float, high: float) -> Floats:
    """Nodes over a range and far beyond it on both sides."""
    inside = np.linspace(low, high, INSIDE_NODES) if high > low else np.array([low])
    outside = np.geomspace(0.05, OUTWARD, OUTSIDE_NODES)
    return np.concatenate([low - outside[::-1], inside, high + outside])


def places(
    shape: tuple[int, ...],  # (draws, ...): of losses
    # params, tokens: broadcast to that or, without the axis of draws, to its other axes
    params: ArrayLike,
    tokens: ArrayLike,
) -> tuple[Floats, Floats]:
    """Log params and log tokens in the shape (k,), or (draws, k) where draws have their own."""
    n, d = (np.log(np.asarray(v, float)) for v in np.broadcast_arrays(params, tokens))
    each = n.ndim == len(shape)
    flat = (shape[0], -1) if each else (-1,)
    place, other = (np.broadcast_to(v, shape if each else shape[1:]) for v in (n, d))
    return place.reshape(flat), other.reshape(flat)


def root_of(covariance: Floats) -> Floats:
    """R with R R' = covariance, which may have rounding errors below 0."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


@dataclass(frozen=True, eq=False)
class Missed:
    """Draws of what the law misses."""

    paths: Paths
    centre: tuple[float, float]  # of log params and log tokens of the table
    level: float  # its median loss
    log_compute: float  # logarithm of the table's largest training FLOP
    last: Floats  # shape (draws,): Student-t numbers of the last factor

    def applied(self, loss: Floats, params: ArrayLike, tokens: ArrayLike) -> Floats:
        """Losses of the law (draws, ...) with what it misses; see `places`."""
        shape = loss.shape
        place, other = places(shape, params, tokens)
        size = self.level * usual(place - self.centre[0], other - self.centre[1])
        sizes, budgets = self.paths.nodes
        g_n, g_d = self.paths.values
        missed = size * (along(sizes, g_n, place) + along(budgets, g_d, other))
        beyond = place + other + np.log(FLOPS_PER_PARAM_TOKEN) - self.log_compute
        factor = np.exp(LAST * np.maximum(beyond, 0.0) * self.last[:, None])
        return np.asarray(((loss.reshape(shape[0], -1) + missed) * factor).reshape(shape))


def errors(
    noise: str, values: Mapping[str, Floats], shape: tuple[int, ...], rng: np.random.Generator
) -> Floats:
    """Noise of log loss of runs about a surface, shape (draws, runs)."""
    if noise == "student_t":
        z = rng.standard_t(values.get("nu", np.full(shape[0], NU))[:, None], shape)
    else:
        z = rng.standard_normal(shape)
    return np.asarray(values["sigma"][:, None] * z)


def error_sd(noise: str, values: Mapping[str, Floats]) -> Floats:
    """Its standard deviation, shape (draws,), of Student-t noise as if by `NU` degrees at least."""
    if noise != "student_t":
        return values["sigma"]
    nu = np.maximum(values.get("nu", NU), NU)
    return np.asarray(values["sigma"] * np.sqrt(nu / (nu - 2)))


def along(nodes: Floats, values: Floats, at: Floats) -> Floats:
    """Straight lines between the nodes of every draw's function, shape (draws, k).

    ``at`` has shape (k,), or (draws, k) for places of each draw's own.
    """
    place = np.clip(np.interp(at, nodes, np.arange(len(nodes))), 0, len(nodes) - 1)
    below = np.minimum(place.astype(np.int64), max(len(nodes) - 2, 0))
    part = place - below
    if at.ndim == 1:
        return np.asarray((1 - part) * values[:, below] + part * values[:, below + 1])
    row = np.arange(len(values))[:, None]
    return np.asarray((1 - part) * values[row, below] + part * values[row, below + 1])


@dataclass(frozen=True, eq=False)
class AtRows:
    """Two functions that are conditioned on rows, drawn when they are asked for."""

    # sizes, budgets: shape (k,): log params and log tokens of the rows
    sizes: Floats
    budgets: Floats

    def __getstate__(self) -> dict[str, Any]:
        return given(self)

    @cached_property
    def nodes(self) -> tuple[Floats, Floats]:
        """Nodes of log params and of log tokens."""
        n, d = self.sizes, self.budgets
        return nodes_over(n.min(), n.max()), nodes_over(d.min(), d.max())


@dataclass(frozen=True, eq=False)
class Conditioned(AtRows):
    """g given the rows of a table (Matheron's rule)."""

    # size, noise: shape (k,): S and the noise for sigma = 1 at the rows, over the level
    size: Floats
    noise: Floats
    residual: Floats  # shape (draws, k): rows less the law of every draw, over the level
    # sigma, kappa: shape (draws,)
    sigma: Floats
    kappa: Floats
    # shape (k, k): U / noise: the eigenvectors of the discrepancy's covariance over that of the
    # noise
    turn: Floats
    eigenvalues: Floats  # shape (k,)
    seed: int

    @cached_property
    @one_blas_thread()
    def values(self) -> tuple[Floats, Floats]:
        """g_N and g_D at the nodes."""
        rng = np.random.default_rng(self.seed)
        draws = len(self.sigma)
        prior, across = [], []
        for rows, nodes in zip((self.sizes, self.budgets), self.nodes, strict=True):
            both = np.concatenate([nodes, rows]) - rows.max()
            covariance = kernel(both, both)
            prior.append(rng.standard_normal((draws, len(both))) @ root_of(covariance).T)
            across.append(covariance[: len(nodes), len(nodes) :] * self.size)
        k = len(self.sizes)
        at_rows = sum(path[:, -k:] for path in prior) * self.kappa[:, None] * self.size
        error = rng.standard_normal((draws, k)) * self.sigma[:, None] * self.noise
        k2 = self.kappa[:, None] ** 2
        spread = self.sigma[:, None] ** 2 + k2 * self.eigenvalues
        pull = (self.residual - at_rows - error) @ self.turn / spread
        out = [
            self.kappa[:, None] * path[:, :-k] + k2 * (pull @ (block @ self.turn).T)
            for path, block in zip(prior, across, strict=True)
        ]
        return out[0], out[1]


@dataclass(frozen=True, eq=False)
class Outside:
    """g from a summary: known at knots within a table's range, Brownian from its edges outwards."""

    # sizes, budgets: lowest and highest log params and log tokens
    sizes: tuple[float, float]
    budgets: tuple[float, float]
    # shape (draws, KNOTS): g_N and g_D at places even from the lowest to just below the highest,
    # where g is 0
    knots: tuple[Floats, Floats]
    kappa: Floats  # shape (draws,)
    seed: int

    def __getstate__(self) -> dict[str, Any]:
        return given(self)

    @cached_property
    def nodes(self) -> tuple[Floats, Floats]:
        """Nodes of log params and of log tokens."""
        return nodes_over(*self.sizes), nodes_over(*self.budgets)

    @cached_property
    @one_blas_thread()
    def values(self) -> tuple[Floats, Floats]:
        """g_N and g_D at the nodes."""
        rng = np.random.default_rng(self.seed)
        out = []
        for (low, high), nodes, knots in zip(
            (self.sizes, self.budgets), self.nodes, self.knots, strict=True
        ):
            outwards = np.minimum(nodes - low, 0) + np.maximum(nodes - high, 0)
            root = root_of(kernel(outwards, outwards))
            normal = rng.standard_normal((len(self.kappa), len(nodes)))
            whole = np.column_stack([knots, np.zeros(len(knots))])
            places = np.linspace(low, high, whole.shape[1])
            inside = along(places, whole, np.clip(nodes, low, high))
            out.append(inside + self.kappa[:, None] * (normal @ root.T))
        return out[0], out[1]
