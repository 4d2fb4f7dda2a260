"""Posterior draws of Chinchilla's law by adaptive quadrature over its two exponents.

Given (alpha, beta, nu) the law is linear in E, A, B; with noise on the logarithm they and sigma
are integrated out by Laplace's method.  That collapsed density is tabulated on a lattice over (log
alpha, log beta), laid along the axes of the posterior at its mode and grown from there cell by cell
until nothing above exp(-12) of the maximum is left out, for each of nine values of nu.  Draws come
from the lattice, uniform within a cell, then E, A, B, sigma from a Student-t about their
conditional mode.  Importance weights against the exact posterior correct what Laplace's method and
the cells leave, and say how much that was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from .._base.ragged import Floats, Ints
from .target import GAUSSIAN, NU_EDGES, Target, middle

COARSE = 9  # nodes a side of the first look
COARSE_SPREADS = 2.5  # prior sds that it covers either way
FALL = 12.0  # log density below the maximum at which the lattice ends
STEP = 0.5  # of a cell, in posterior sds
REACH = 96  # cells from the mode to the farthest edge of the lattice
FEWEST = 40.0  # effective cells of the posterior
NEGLIGIBLE = 1e-5  # share of the posterior below which a value of nu is left out
DOF = 7.0  # of the proposals of E, A, B, sigma
PER_DRAW = 4  # proposals made for a draw
MOST_ROUNDS = 4  # of proposals, while too few are effective


@dataclass(frozen=True, eq=False)
class Sampled:
    """Equally weighted draws and how they were found."""

    # logs, u, log_nu: shape (draws, k), (draws, 4), (draws,): coordinates, as in `Target`
    logs: Floats
    u: Floats
    log_nu: Floats
    method: str  # {"quadrature", "ensemble"}
    cells: float  # effective number of lattice cells of the posterior (exponential of the entropy)
    ess: float  # effective number of proposals (quadrature) or of draws (ensemble)
    efficiency: float  # effective share of the proposals; NaN for an ensemble
    log_evidence: float  # log marginal likelihood of the table; NaN for an ensemble
    chains: int = 1  # chains that the draws make up, one after the other
    rhat: float = float("nan")  # how far the chains differ (1: not at all); NaN for quadrature


@dataclass(frozen=True, eq=False)
class Lattice:
    """Cells of the collapsed posterior at one value of nu."""

    centre: Floats  # shape (2,)
    basis: Floats  # shape (2, 2): a cell's two edges, as columns, in (log alpha, log beta)
    index: Ints  # shape (cells, 2)
    u: Floats  # shape (cells, 4): conditional modes
    log_mass: Floats  # shape (cells,): log density at the node times the cell's area

    def at(self, index: Floats) -> Floats:
        """(log alpha, log beta) at lattice coordinates."""
        return np.asarray(self.centre + index @ self.basis.T)


def by_quadrature(target: Target, draws: int, rng: np.random.Generator) -> Sampled:
    """Draw from the posterior of Chinchilla's law; see the module."""
    nodes, widths = _nu_nodes(target)
    logs, u = _modes(target, np.full(1, 4.0 if target.noise == "student_t" else GAUSSIAN))
    lattices: list[Lattice] = []
    kept: list[int] = []
    found = [_polish(target, logs, u, np.full(len(logs), nu)) for nu in nodes]
    rough = np.array([_laplace(target, *one, nu) for one, nu in zip(found, nodes, strict=True)])
    rough += np.log(widths)
    share = np.exp(rough - logsumexp(rough))
    for k in np.flatnonzero(share > NEGLIGIBLE):
        kept.append(int(k))
        lattices.append(_lattice(target, *found[k], float(nodes[k])))
    masses = [one.log_mass + np.log(widths[k]) for one, k in zip(lattices, kept, strict=True)]
    everything = np.concatenate(masses)
    total = logsumexp(everything)
    p = np.exp(everything - total)
    # Cells of different nu lie on top of each other: what counts is how many a single nu has.
    cells = min(
        _perplexity(np.exp(m - logsumexp(m))) for m in masses if logsumexp(m) - total > np.log(0.05)
    )
    owner = np.repeat(np.arange(len(kept)), [len(m) for m in masses])
    rows: list[_Proposals] = []
    for _ in range(MOST_ROUNDS):
        rows.append(_propose(target, lattices, nodes[kept], p, owner, PER_DRAW * draws, rng))
        weight = np.concatenate([one.log_weight for one in rows])
        w = np.exp(weight - weight.max())
        ess = float(w.sum() ** 2 / (w * w).sum())
        if ess > 1.5 * draws:
            break
    chosen = _systematic(w / w.sum(), draws, rng)
    return Sampled(
        logs=np.concatenate([one.logs for one in rows])[chosen],
        u=np.concatenate([one.u for one in rows])[chosen],
        log_nu=np.concatenate([one.log_nu for one in rows])[chosen],
        method="quadrature",
        cells=cells,
        ess=ess,
        efficiency=ess / len(weight),
        log_evidence=float(logsumexp(weight) - np.log(len(weight))) - float(
            len(target.log_y) * np.log(target.level) + target.log_y.sum()
        ),
    )  # fmt: skip


def _nu_nodes(target: Target) -> tuple[Floats, Floats]:
    """Values of nu and the widths of their cells in log nu."""
    if target.noise == "gaussian":
        return np.array([GAUSSIAN]), np.ones(1)
    edges = np.log(NU_EDGES)
    return np.exp(0.5 * (edges[1:] + edges[:-1])), np.diff(edges)


def _settle(
    target: Target, logs: Floats, u: Floats, nu: Floats, rounds: int
) -> tuple[Floats, Floats]:
    """Conditional modes of (e, a, b, sigma) by Fisher scoring, and the curvature there."""
    u = u.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(rounds):
            gradient, curvature = target.shape_at(logs, u, nu)
            step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
            u += np.clip(np.nan_to_num(step), -1.0, 1.0)
            np.clip(u, -30, 10, out=u)
    _, curvature = target.shape_at(logs, u, nu)
    return u, curvature


def _collapsed(
    target: Target, logs: Floats, u: Floats, nu: Floats, rounds: int
) -> tuple[Floats, Floats]:
    """Conditional modes and the log density with (e, a, b, sigma) integrated out."""
    u, curvature = _settle(target, logs, u, nu, rounds)
    value = target.log_posterior(logs, u, np.log(nu))
    sign, log_det = np.linalg.slogdet(curvature)
    out = value + 2 * np.log(2 * np.pi) - 0.5 * log_det
    return u, np.where(sign > 0, out, -np.inf)


def _modes(target: Target, nu: Floats) -> tuple[Floats, Floats]:
    """Starting points: the best nodes of a coarse grid over the prior."""
    sides = []
    for name in target.nonlinear[:2]:
        centre, spread = middle(target.priors[name])
        sides.append(centre + spread * np.linspace(-COARSE_SPREADS, COARSE_SPREADS, COARSE))
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    start = np.log([0.6, 0.2, 0.2, 0.02])
    wide = np.full(len(grid), nu[0])
    u, value = _collapsed(target, grid, np.tile(start, (len(grid), 1)), wide, 25)
    best = np.argsort(-value)[:6]
    return grid[best], u[best]


def _polish(target: Target, logs: Floats, u: Floats, nu: Floats) -> tuple[Floats, Floats]:
    """Joint modes by damped Fisher scoring; the best first."""
    x = np.concatenate([logs, u], axis=1)
    log_nu = np.log(nu)
    value = target.log_posterior(x[:, :2], x[:, 2:], log_nu)
    damping = np.full(len(x), 1e-3)
    diagonal = np.arange(6)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(60):
            gradient, curvature = target.shape_at(x[:, :2], x[:, 2:], nu, joint=True)
            curvature[:, diagonal, diagonal] *= 1 + damping[:, None]
            step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
            trial = x + np.clip(np.nan_to_num(step), -1.0, 1.0)
            new = target.log_posterior(trial[:, :2], trial[:, 2:], log_nu)
            better = new > value
            gain = np.where(better, new - value, 0.0)
            x[better], value[better] = trial[better], new[better]
            damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-6, 1e6)
            if (gain < 1e-7).all() and not (damping < 1e5).any():
                break
            if better.any() and gain.max() < 1e-6:
                break
    order = np.argsort(-value)
    return x[order, :2], x[order, 2:]


def _laplace(target: Target, logs: Floats, u: Floats, nu: float) -> float:
    """Log evidence at one nu by Laplace's method at the best mode."""
    best, at = logs[:1], u[:1]
    _, curvature = target.shape_at(best, at, np.array([nu]), joint=True)
    value = target.log_posterior(best, at, np.log([nu]))
    return float(value[0] + 3 * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(curvature)[1][0])


def _lattice(target: Target, logs: Floats, u: Floats, nu: float) -> Lattice:
    """The lattice at one nu, refined until enough cells matter."""
    _, curvature = target.shape_at(logs[:1], u[:1], np.array([nu]), joint=True)
    covariance = np.linalg.inv(curvature[0])[:2, :2]
    axes = np.linalg.cholesky(covariance)
    step = STEP
    for _ in range(4):
        lattice = _grown(target, logs, u, nu, step * axes)
        weight = np.exp(lattice.log_mass - logsumexp(lattice.log_mass))
        if _perplexity(weight) >= FEWEST:
            break
        step /= 2
    return lattice


def _grown(target: Target, logs: Floats, u: Floats, nu: float, basis: Floats) -> Lattice:
    """Grow a lattice from the modes to where the density has fallen by `FALL`."""
    side = 2 * REACH + 1
    seen = np.zeros((side, side), bool)
    inverse = np.linalg.inv(basis)
    starts = np.rint((logs - logs[0]) @ inverse.T).astype(np.int64)
    inside = (np.abs(starts) < REACH).all(axis=1)
    index, first = np.unique(starts[inside], axis=0, return_index=True)
    warm = u[inside][first]
    seen[tuple((index + REACH).T)] = True
    all_index, all_u, all_value = [], [], []
    highest = -np.inf
    around = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    rounds = 12
    while len(index):
        at = logs[0] + index @ basis.T
        now, value = _collapsed(target, at, warm, np.full(len(at), nu), rounds)
        rounds = 5
        all_index.append(index)
        all_u.append(now)
        all_value.append(value)
        highest = max(highest, float(value.max()))
        alive = value > highest - FALL
        spread = (index[alive][:, None] + around).reshape(-1, 2)
        parents = np.repeat(now[alive], len(around), axis=0)
        inside = (np.abs(spread) <= REACH).all(axis=1)
        spread, parents = spread[inside], parents[inside]
        new = ~seen[tuple((spread + REACH).T)]
        index, first = np.unique(spread[new], axis=0, return_index=True)
        warm = parents[new][first]
        seen[tuple((index + REACH).T)] = True
    value = np.concatenate(all_value)
    keep = value > highest - FALL
    area = np.log(abs(np.linalg.det(basis)))
    return Lattice(
        logs[0], basis, np.concatenate(all_index)[keep], np.concatenate(all_u)[keep],
        value[keep] + area,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Proposals:
    logs: Floats
    u: Floats
    log_nu: Floats
    log_weight: Floats


def _propose(
    target: Target,
    lattices: list[Lattice],
    nu_nodes: Floats,
    p: Floats,
    owner: Ints,
    count: int,
    rng: np.random.Generator,
) -> _Proposals:
    """Proposals from the lattices and their importance weights."""
    # A little of the mass is spread evenly, so that no cell's weight can be far off.
    mixed = 0.98 * p + 0.02 / len(p)
    cell = _systematic(mixed, count, rng)
    offsets = np.concatenate([[0], np.cumsum([len(one.index) for one in lattices])])
    logs, warm = np.empty((count, 2)), np.empty((count, 4))
    log_q = np.log(mixed[cell])
    for k, one in enumerate(lattices):
        mine = owner[cell] == k
        local = cell[mine] - offsets[k]
        jitter = rng.uniform(-0.5, 0.5, (len(local), 2))
        logs[mine] = one.at(one.index[local] + jitter)
        warm[mine] = one.u[local]
        log_q[mine] -= np.log(abs(np.linalg.det(one.basis)))
    if target.noise == "student_t":
        edges = np.log(NU_EDGES)
        width = edges[1] - edges[0]
        log_nu = np.log(nu_nodes)[owner[cell]] + width * rng.uniform(-0.5, 0.5, count)
        log_q -= np.log(width)
    else:
        log_nu = np.full(count, np.log(GAUSSIAN))
    mode, curvature = _settle(target, logs, warm, np.exp(log_nu), 3)
    root = np.linalg.cholesky(curvature)
    z = rng.standard_normal((count, 4))
    chi = rng.chisquare(DOF, count) / DOF
    t = z / np.sqrt(chi)[:, None]
    # With curvature = root root', root'^-1 t has covariance curvature^-1.
    u = mode + np.linalg.solve(root.transpose(0, 2, 1), t[:, :, None])[:, :, 0]
    log_q += gammaln((DOF + 4) / 2) - gammaln(DOF / 2) - 2 * np.log(np.pi * DOF)
    log_q += np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    log_q -= 0.5 * (DOF + 4) * np.log1p((t * t).sum(axis=1) / DOF)
    with np.errstate(over="ignore", invalid="ignore"):
        log_p = target.log_posterior(logs, u, log_nu)
    return _Proposals(logs, u, log_nu, log_p - log_q)


def _systematic(weights: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Positions drawn in proportion to weights with one random number, in random order."""
    edges = np.cumsum(weights)
    points = (np.arange(count) + rng.uniform()) / count * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, points), len(weights) - 1)
    return np.asarray(rng.permutation(chosen))


def _perplexity(p: Floats) -> float:
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))
