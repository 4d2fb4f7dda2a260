"""Slow, independent answers that the kernels are held against: plain numpy and scipy.

Nothing here calls `lossfit.kernels`: columns come from the law's one-line formula, linear algebra
is QR on the data augmented with the priors, and the constrained posterior comes from a stratified
importance sample.  No law is known by name: random problems follow its declarations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from lossfit import laws
from lossfit.fits.prior_table import prior_table
from lossfit.laws import Law
from lossfit.laws.priors import lognormal
from tests.laws import formulas

Floats = NDArray[np.float64]

UNIFORM, NORMAL, LOGNORMAL = 0.0, 1.0, 2.0  # priors.KIND_CODES, as numbers of a table


EXACT = tuple(name for name in laws.NAMES if len(laws.get(name).nonlinear) <= 2)
"""Laws that are fitted by quadrature."""


def columns(law: str, x: Floats, theta: Floats) -> Floats:
    """Columns of a registered law at theta (d, n_sets), by its formula; shape (n_sets, n, p)."""
    return formulas.columns(laws.get(law), x, theta)


def random_nonlinear(
    rng: np.random.Generator, law: Law, size: int, start: float, share: float = 1.0
) -> Floats:
    """Nonlinear parameters anywhere within their bounds (or that share of them about the middle).

    Parameters
    ----------
    start : float
        First axis value; the last is 1.

    Returns
    -------
    ndarray, shape (d, size)
    """
    out = []
    for p in law.nonlinear:
        unit = start if p.unit == "start" else 1.0
        low, high = (np.log(p.low), np.log(p.high)) if p.log else (p.low * unit, p.high * unit)
        middle, half = 0.5 * (low + high), 0.5 * share * (high - low)
        value = rng.uniform(middle - half, middle + half, size)
        out.append(np.exp(value) if p.log else value)
    return np.array(out)


@dataclass(frozen=True)
class Problem:
    """One run with its priors, as `lossfit.kernels.driver` takes them.

    Attributes
    ----------
    law : str
        A registered law, or any name where `columns` is given.
    x, y, weight : ndarray, shape (n,)
    nonlinear : ndarray, shape (d, 5)
        Low, high, kind and the prior's two numbers.
    mean, sd, lower : ndarray, shape (p,)
    sigma : ndarray, shape (2,)
    log : tuple of bool
        Which nonlinear parameters are gridded in the logarithm.
    columns : callable
        ``f(x, theta) -> (n_sets, n, p)``.
    """

    law: str
    x: Floats
    y: Floats
    weight: Floats
    nonlinear: Floats
    mean: Floats
    sd: Floats
    lower: Floats
    sigma: Floats
    log: tuple[bool, ...] = (True, False)
    columns: Callable[[Floats, Floats], Floats] | None = field(default=None, repr=False)

    @property
    def n_nonlinear(self) -> int:
        return len(self.nonlinear)

    def design(self, theta: Floats) -> Floats:
        """Columns at parameter sets theta (d, n_sets), shape (n_sets, n, p)."""
        if self.columns is not None:
            return self.columns(self.x, theta)
        return columns(self.law, self.x, theta)

    def arguments(self) -> tuple[object, ...]:
        """Batch, program and prior table of this run alone, for
        `lossfit.kernels.driver.fit_batch`."""
        return arguments([self])


def arguments(problems: list[Problem]) -> tuple[object, ...]:
    """Batch, program and prior table of several runs of one law."""
    from lossfit.kernels.driver import Batch, PriorTable

    sizes = [p.x.size for p in problems]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    batch = Batch(
        *(np.concatenate([getattr(p, name) for p in problems]) for name in ("x", "y", "weight")),
        offsets,
    )
    names = ("nonlinear", "mean", "sd", "lower", "sigma")
    table = PriorTable(*(np.array([getattr(p, name) for p in problems]) for name in names))
    return batch, laws.get(problems[0].law).program, table


def log_prior(problem: Problem, z: Floats) -> Floats:
    """Log prior density of coordinates z (d, n_sets) with respect to z, up to a constant."""
    out = np.zeros(z.shape[1])
    for k, (_low, _high, kind, first, second) in enumerate(problem.nonlinear):
        value = np.exp(z[k]) if problem.log[k] else z[k]
        if kind == NORMAL:
            out -= 0.5 * ((value - first) / second) ** 2
        elif kind == LOGNORMAL:
            with np.errstate(divide="ignore", invalid="ignore"):
                density = -0.5 * (np.log(value / first) / second) ** 2 - np.log(value)
            out += np.where(value > 0, density, -np.inf)
        if problem.log[k]:
            out += z[k]
    return out


def values(problem: Problem, z: Floats) -> Floats:
    """Parameters from coordinates."""
    return np.array([np.exp(z[k]) if problem.log[k] else z[k] for k in range(len(z))])


def conditional(problem: Problem, z: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Conjugate regression at each coordinate, by QR of the augmented system.

    Returns
    -------
    logp : ndarray, shape (n_sets,)
        Log collapsed posterior without the constraints, with respect to z.
    mean : ndarray, shape (n_sets, p)
    inverse : ndarray, shape (n_sets, p, p)
        Upper triangular U with covariance sigma^2 U U'.
    q : ndarray, shape (n_sets,)
        Penalised residual sum of squares plus 2 b.
    """
    root = np.sqrt(problem.weight)
    precision = (problem.sigma[1] / problem.sd) ** 2
    p = problem.mean.size
    y = np.concatenate([problem.y * root, np.sqrt(precision) * problem.mean])
    parts = []
    for some in np.array_split(z, max(1, z.shape[1] // 2048), axis=1):
        design = problem.design(values(problem, some)) * root[:, None]
        prior = np.broadcast_to(np.diag(np.sqrt(precision)), (some.shape[1], p, p))
        augmented = np.concatenate([design, prior], axis=1)
        factor, upper = np.linalg.qr(augmented)
        inverse = np.linalg.inv(upper)
        projected = np.einsum("sij,i->sj", factor, y)
        mean = np.einsum("sij,sj->si", inverse, projected)
        rest = y - np.einsum("sij,sj->si", augmented, mean)
        q = np.sum(rest**2, axis=1) + 2 * problem.sigma[0] * problem.sigma[1] ** 2
        log_det = np.log(np.abs(np.diagonal(upper, axis1=1, axis2=2))).sum(axis=1)
        nu = problem.y.size + 2 * problem.sigma[0]
        logp = -log_det - 0.5 * nu * np.log(q) + log_prior(problem, some)
        parts.append((logp, mean, inverse, q))
    # type: ignore[return-value]
    return tuple(np.concatenate(one) for one in zip(*parts, strict=True))


@dataclass(frozen=True)
class Weighted:
    """A weighted sample.

    Attributes
    ----------
    values : ndarray, shape (n_parameters, n)
        Nonlinear parameters, linear ones, sigma.
    weight : ndarray, shape (n,)
        They sum to 1.
    """

    values: Floats
    weight: Floats

    @property
    def effective(self) -> float:
        """Effective number (a lower bound: the sample is stratified)."""
        return float(1 / np.sum(self.weight**2))

    def mean(self) -> Floats:
        return np.asarray(self.values @ self.weight)

    def sd(self) -> Floats:
        deviation = self.values - self.mean()[:, None]
        return np.asarray(np.sqrt(deviation**2 @ self.weight))

    def quantiles(self, probabilities: Floats) -> Floats:
        """Shape (n_parameters, n_probabilities)."""
        out = []
        for row in self.values:
            order = np.argsort(row)
            cumulative = np.cumsum(self.weight[order])
            out.append(np.interp(probabilities, cumulative, row[order]))
        return np.array(out)


def _constrained(
    rng: np.random.Generator, mean: Floats, factor: Floats, sigma: Floats, lower: Floats
) -> tuple[Floats, Floats]:
    """Normals beyond their bounds one after the other; values (n, p) and log weights (GHK)."""
    n, p = mean.shape
    noise = np.empty((n, p))
    values_ = np.empty((n, p))
    log_weight = np.zeros(n)
    for k in range(p):
        centre = mean[:, k] + sigma * np.einsum("nj,nj->n", factor[:, k, :k], noise[:, :k])
        spread = sigma * factor[:, k, k]
        bound = (lower[:, k] - centre) / spread  # -inf where there is none
        log_weight += log_ndtr(-bound)
        u = rng.uniform(size=n)
        # Beyond 38 sd the probability underflows; such points weigh nothing.
        noise[:, k] = np.clip(-ndtri(ndtr(-bound) * u), bound, np.maximum(bound, 0) + 40)
        values_[:, k] = centre + spread * noise[:, k]
    return values_, log_weight


@dataclass(frozen=True)
class _Nodes:
    """Conjugate regressions at nodes of the nonlinear coordinates.

    Coefficients are in a node's own order, the tightest constraint first: weights then vary least.
    """

    z: Floats
    order: NDArray[np.int64]
    lower: Floats
    logp: Floats
    mean: Floats
    factor: Floats
    q: Floats


def _nodes(
    problem: Problem,
    rng: np.random.Generator,
    box: list[tuple[float, float]],
    strata: tuple[int, ...],
    counts: NDArray[np.int64] | None = None,
) -> _Nodes:
    """Random nodes in every cell of the box: one, or `counts` of them (each weighs less then)."""
    d = problem.n_nonlinear
    index = np.indices(strata[:d]).reshape(d, -1)
    if counts is not None:
        index = np.repeat(index, counts, axis=1)
    z = np.empty(index.shape)
    for k in range(d):
        low, high = box[k]
        z[k] = low + (high - low) * (index[k] + rng.uniform(size=z.shape[1])) / strata[k]
    logp, mean, inverse, q = conditional(problem, z)
    if counts is not None:
        logp = logp - np.log(np.repeat(counts, counts))
    cov = np.einsum("sik,sjk->sij", inverse, inverse)
    order = np.argsort(
        (mean - problem.lower) / np.sqrt(np.diagonal(cov, axis1=1, axis2=2)), axis=1, kind="stable"
    )
    cov = np.take_along_axis(cov, order[:, :, None], axis=1)
    cov = np.take_along_axis(cov, order[:, None, :], axis=2)
    mean = np.take_along_axis(mean, order, axis=1)
    return _Nodes(z, order, problem.lower[order], logp, mean, np.linalg.cholesky(cov), q)


def _draw(
    problem: Problem,
    rng: np.random.Generator,
    nodes: _Nodes,
    window: tuple[float, float],
    cells: int,
    counts: NDArray[np.int64],
) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """``counts[node * cells + cell]`` points in each cell of log sigma of each node.

    Returns the shift of log sigma from its conditional scale, all parameters, log weights, and the
    cell.
    """
    nu = problem.y.size + 2 * problem.sigma[0]
    flat = np.repeat(np.arange(counts.size), counts)
    node, cell = np.divmod(flat, cells)
    low, high = window
    shift = low + (high - low) * (cell + rng.uniform(size=cell.size)) / cells
    sigma = np.sqrt(nodes.q[node] / nu) * np.exp(shift)
    # q^(-nu/2) is in logp; sigma^-nu exp(-q / (2 sigma^2)) relative to it depends on the shift
    # only.
    log_weight = nodes.logp[node] - nu * shift - 0.5 * nu * np.exp(-2 * shift)
    log_weight -= np.log(counts[flat])
    drawn, orthant = _constrained(
        rng, nodes.mean[node], nodes.factor[node], sigma, nodes.lower[node]
    )
    linear = np.empty_like(drawn)
    np.put_along_axis(linear, nodes.order[node], drawn, axis=1)
    everything = np.concatenate([values(problem, nodes.z)[:, node], linear.T, sigma[None]])
    return shift, everything, log_weight + orthant, flat


def posterior(
    problem: Problem,
    seed: int = 0,
    *,
    size: int = 800_000,
    n_nodes: int = 12_000,
    strata: tuple[int, ...] | None = None,
    drop: float = 20.0,
) -> Weighted:
    """The exact posterior as a weighted sample of about `size` points.

    A box that holds the mass is found by repeated coarse samples.  It is cut into cells with one
    random node each; a pilot estimates the mass of every cell and value of log sigma, the sample is
    spread in proportion, and coefficients are drawn under their constraints one after the other,
    with weights that make up for it.  Nothing is interpolated.
    """
    rng = np.random.default_rng(seed)
    d = problem.n_nonlinear
    nu = problem.y.size + 2 * problem.sigma[0]
    box = [
        (float(np.log(low)), float(np.log(high))) if problem.log[k] else (float(low), float(high))
        for k, (low, high, *_rest) in enumerate(problem.nonlinear)
    ]
    # Constraints that cut deep move sigma up, never far down.
    box.append((float(np.log(8 / (8 + np.sqrt(nu)))) - 1.0, 5.0))
    coarse = (800, 60) if d == 1 else (90, 90, 20)
    for _ in range(8):
        nodes = _nodes(problem, rng, box, coarse)
        cells = coarse[d]
        counts = np.full(nodes.z.shape[1] * cells, 2)
        shift, everything, log_weight, flat = _draw(problem, rng, nodes, box[d], cells, counts)
        top = log_weight.max()
        inside = log_weight > top - drop
        coordinates = [*nodes.z[:, flat // cells], shift]
        new = []
        for k, (low, high) in enumerate(box):
            margin = 1.5 * (high - low) / coarse[k]
            a = max(low, float(coordinates[k][inside].min()) - margin)
            b = min(high, float(coordinates[k][inside].max()) + margin)
            new.append((a, b))
        kept = min((b - a) / (d - c) for (a, b), (c, d) in zip(new, box, strict=True))
        box = new
        if kept > 0.7:
            break
    strata = strata or ((1000, 60) if d == 1 else (110, 110, 16))
    cells = strata[d]
    # A narrow ridge fills few cells: nodes go where the mass is.
    nodes = _nodes(problem, rng, box, strata)
    pilot = np.full(nodes.z.shape[1] * cells, 1)
    log_weight = _draw(problem, rng, nodes, box[d], cells, pilot)[2]
    mass = np.exp(log_weight - log_weight.max()).reshape(-1, cells).sum(axis=1)
    counts = 1 + (n_nodes * mass / mass.sum()).astype(np.int64)
    nodes = _nodes(problem, rng, box, strata, counts)
    repeats = 4
    pilot = np.full(nodes.z.shape[1] * cells, repeats)
    _shift, _everything, log_weight, _flat = _draw(problem, rng, nodes, box[d], cells, pilot)
    mass = np.exp(log_weight - log_weight.max()).reshape(-1, cells, repeats).mean(axis=2)
    mass += 0.5 * (np.roll(mass, 1, axis=1) + np.roll(mass, -1, axis=1))
    # Points in every cell, also where the pilot found nothing: it may have been unlucky.
    counts = 1 + (size * mass.ravel() / mass.sum()).astype(np.int64)
    _shift, everything, log_weight, _flat = _draw(problem, rng, nodes, box[d], cells, counts)
    weight = np.exp(log_weight - log_weight.max())
    return Weighted(everything, weight / weight.sum())


PROBABILITIES = np.array([0.05, 0.5, 0.95])


@dataclass(frozen=True)
class Deviation:
    """How far draws are from the exact posterior, for each parameter.

    Attributes
    ----------
    mean, quantile : ndarray, shape (n_parameters,)
        In posterior standard deviations; the worst of the 5, 50 and 95 % quantiles.
    sd : ndarray, shape (n_parameters,)
        Relative error of the standard deviation.
    """

    mean: Floats
    sd: Floats
    quantile: Floats

    def within(self, mean: float = 0.02, sd: float = 0.02, quantile: float = 0.03) -> bool:
        """Whether the bars are met."""
        return bool(
            np.abs(self.mean).max() <= mean
            and np.abs(self.sd).max() <= sd
            and np.abs(self.quantile).max() <= quantile
        )

    def __str__(self) -> str:
        rows = [f"{k} {np.round(getattr(self, k), 4).tolist()}" for k in ("mean", "sd", "quantile")]
        return "; ".join(rows)


def deviation(draws: Floats, exact: Weighted) -> Deviation:
    """Deviation of draws (n_parameters, n_draws) from an exact sample."""
    sd = exact.sd()
    gap = np.quantile(draws, PROBABILITIES, axis=1).T - exact.quantiles(PROBABILITIES)
    worst = gap[np.arange(len(gap)), np.abs(gap).argmax(axis=1)]
    return Deviation(
        (draws.mean(axis=1) - exact.mean()) / sd, draws.std(axis=1) / sd - 1, worst / sd
    )


def _random_truth(
    rng: np.random.Generator, law: Law, start: float
) -> tuple[list[float], list[float]]:
    """Nonlinear and linear parameters about the law's typical ones.

    Linear parameters whose column is free of nonlinear ones may lie at their bound or beyond it;
    the others are positive, of any size.
    """
    nonlinear = []
    for p in law.nonlinear:
        if p.unit == "start":
            nonlinear.append(float(rng.uniform(0.6 * p.low, 0.4 * p.high) * start))
        else:
            value = law.typical[p.name]
            value = value * np.exp(rng.normal(0, 0.5)) if p.log else value + rng.normal(0, 0.5)
            nonlinear.append(float(np.clip(value, p.low, p.high)))
    linear = []
    for p, free in zip(law.linear, law.fixed, strict=True):
        if free:
            factor = rng.choice([1.0, 1.0, 0.03, -0.2])
        else:
            factor = np.exp(rng.uniform(np.log(0.07), np.log(1.7)))
        linear.append(float(law.typical[p.name] * factor))
    return nonlinear, linear


def nonlinear_rows(law: Law, start: float) -> Floats:
    """Bounds and priors of the nonlinear parameters as the kernels take them, shape (d, 5)."""
    one = np.ones(1)
    table = prior_table(law, one, one, start * one, one)
    return np.array(table.nonlinear[0])


def _varied_priors(rng: np.random.Generator, law: Law) -> Law:
    """The law with other medians and spreads of its log-normal priors."""
    varied = {
        p.name: lognormal(
            p.prior.first * rng.uniform(0.6, 1.6),
            p.prior.second * rng.uniform(0.4, 1.0),
            relative=p.prior.relative,
        )
        for p in law.nonlinear
        if p.prior.kind == "lognormal"
    }
    return law.with_priors(varied)


def random_problem(rng: np.random.Generator, law: str, n: int | None = None) -> Problem:
    """A run with random axis, weights, truth, noise and priors; truths may lie beyond the
    bounds."""
    declared = laws.get(law)
    n = n or int(rng.choice([5, 8, 14, 20, 40, 100, 300]))
    start = float(np.exp(rng.uniform(np.log(0.01), np.log(0.3))))
    x = np.linspace(start, 1, n) if rng.random() < 0.5 else np.geomspace(start, 1, n)
    weight = np.ones(n) if rng.random() < 0.5 else rng.uniform(0.3, 3, n)
    nonlinear, linear = _random_truth(rng, declared, start)
    noise = float(np.exp(rng.uniform(np.log(0.002), np.log(0.03))))
    y = columns(law, x, np.array(nonlinear)[:, None])[0] @ np.array(linear)
    y += noise * rng.normal(size=n) / np.sqrt(weight)
    # The loss's size, by which relative priors are scaled.
    level = 1.5
    p = len(linear)
    sd = level * np.array([each.prior.second for each in declared.linear])
    sd *= np.exp(rng.normal(0, 0.5, p))
    mean = np.zeros(p) if rng.random() < 0.5 else rng.normal(0, 0.3, p) * sd
    lower = np.array([0.0 if each.positive else -np.inf for each in declared.linear])
    sigma = np.array([rng.uniform(0.5, 2.0), noise * np.exp(rng.normal(0, 0.3))])
    rows = nonlinear_rows(_varied_priors(rng, declared), start)
    log = tuple(each.log for each in declared.nonlinear)
    return Problem(law, x, y, weight, rows, mean, sd, lower, sigma, log)
