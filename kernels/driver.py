"""CPU driver: batches of ragged runs, spread over threads.

Kernels release the GIL, so plain Python threads run them side by side: no threading layer of
Numba's is needed, calls from several threads or after a fork are safe, and results do not depend on
the number of threads because every run is done by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import MAX_NONLINEAR, Program, call_column
from .compress import compress
from .ensemble import draw_ensemble
from .marginal import set_up
from .maths import kernel
from .posterior import draw_quadrature, residual_autocorrelation
from .student_t import draw_student_t
from .work import Model, RunPrior, Tables, make_tables, make_work

__all__ = [
    "INFO",
    "Batch",
    "PriorTable",
    "Result",
    "compression_orders",
    "fit_batch",
    "predict_batch",
    "prior_arrays",
    "spread",
    "tables",
]

INFO = ("effective_nodes", "bound_share", "acceptance", "rho1", "status")
CHUNK = 64  # runs that a thread takes at once
LEAST_ACCEPTED = 0.05  # share of the ensemble's moves
TUNE = {"ensemble": 500, "student_t": 100}  # sweeps that are discarded

Floats = NDArray[np.float64]


class Batch(NamedTuple):
    """Ragged runs: run r owns ``offsets[r]:offsets[r + 1]``.

    Attributes
    ----------
    x : float64, shape (n_points,)
        Axis values divided by the last one of their run: positive, increasing, ending at 1.
    y : float64, shape (n_points,)
        Losses.
    weight : float64, shape (n_points,)
        Relative precisions: the noise variance of a point is sigma^2 / weight.
    offsets : int64, shape (n_runs + 1,)
    """

    x: Floats
    y: Floats
    weight: Floats
    offsets: NDArray[np.int64]


class PriorTable(NamedTuple):
    """Priors of every run, in scaled units; linear parameters in the law's order.

    Attributes
    ----------
    nonlinear : float64, shape (n_runs, d, 5)
        Lower and upper bound, kind (``priors.KIND_CODES``) and its two numbers.
    mean, sd, lower : float64, shape (n_runs, p)
        Normal(mean, sd * sigma / sigma_scale) cut below at `lower` (0 or -inf).
    sigma : float64, shape (n_runs, 2)
        Shape and scale: sigma^2 ~ InverseGamma(shape, shape * scale^2).
    """

    nonlinear: Floats
    mean: Floats
    sd: Floats
    lower: Floats
    sigma: Floats


class Result(NamedTuple):
    """Draws and diagnostics.

    Attributes
    ----------
    draws : float64, shape (n_runs, d + p + 1, n_draws)
        Nonlinear parameters, linear ones in the law's order, sigma; for the scaled axis.
    info : float64, shape (n_runs, len(INFO))
        Effective number of quadrature nodes, share of draws within 1 % of a bound of a nonlinear
        parameter, probability that the constraints hold by themselves, lag-1 autocorrelation of the
        residuals, and status: 0 fine; 1 the constraints cut off so much that exact draws were
        too rare, and the ensemble sampler drew instead; 2 a sampler did not mix.
    """

    draws: Floats
    info: Floats


@kernel
def _bound_share(n_draws, model, prior, draws):
    """Largest share of draws of a nonlinear parameter within 1 % of its range from a bound."""
    worst = 0.0
    for k in range(model.n_nonlinear):
        low = prior.nonlinear[k, 0]
        high = prior.nonlinear[k, 1]
        if model.log[k] == 1:
            edge0 = low * (high / low) ** 0.01
            edge1 = high * (low / high) ** 0.01
        else:
            edge0 = low + 0.01 * (high - low)
            edge1 = high - 0.01 * (high - low)
        near = 0
        for i in range(n_draws):
            if draws[k, i] < edge0 or draws[k, i] > edge1:
                near += 1
        worst = max(worst, near / n_draws)
    return worst


@kernel
def _fit_range(
    start, stop, x, y, weight, offsets, orders, tables, model, nonlinear, mean, precision, lower,
    sigma, keys, n_draws, draws, info,
):  # fmt: skip
    n_max = np.int64(0)
    for r in range(start, stop):
        n_max = max(n_max, offsets[r + 1] - offsets[r])
    work = make_work(n_max, tables)
    for r in range(start, stop):
        a = offsets[r]
        b = offsets[r + 1]
        prior = RunPrior(nonlinear[r], mean[r], precision[r], lower[r], sigma[r, 0], sigma[r, 1])
        n_points, centre, total, mass = compress(
            x[a:b], y[a:b], weight[a:b], orders[r], tables, work
        )
        filled, effective, share = draw_quadrature(
            n_draws, b - a, keys[r], n_points, centre, total, mass, model, prior, work, draws[r]
        )
        info[r, 0] = effective
        info[r, 1] = _bound_share(filled, model, prior, draws[r])
        info[r, 2] = share
        info[r, 3] = residual_autocorrelation(
            x[a:b], y[a:b], weight[a:b], filled, model, work, draws[r]
        )
        info[r, 4] = 0.0 if filled == n_draws else 1.0  # the driver then has the ensemble draw


@kernel
def _fit_range_ensemble(
    start, stop, x, y, weight, offsets, orders, tables, model, nonlinear, mean, precision, lower,
    sigma, keys, n_draws, tune, chains, draws, info,
):  # fmt: skip
    n_max = np.int64(0)
    for r in range(start, stop):
        n_max = max(n_max, offsets[r + 1] - offsets[r])
    work = make_work(n_max, tables)
    for r in range(start, stop):
        a = offsets[r]
        b = offsets[r + 1]
        prior = RunPrior(nonlinear[r], mean[r], precision[r], lower[r], sigma[r, 0], sigma[r, 1])
        n_points, centre, total, mass = compress(
            x[a:b], y[a:b], weight[a:b], orders[r], tables, work
        )
        set_up(b - a, n_points, centre, total, mass, model, prior, work)
        filled, accepted = draw_ensemble(
            n_draws, tune, chains, keys[r], n_points, model, prior, work, draws[r]
        )
        info[r, 0] = np.nan
        info[r, 1] = _bound_share(filled, model, prior, draws[r])
        info[r, 2] = np.nan
        info[r, 3] = residual_autocorrelation(
            x[a:b], y[a:b], weight[a:b], filled, model, work, draws[r]
        )
        info[r, 4] = 0.0 if filled == chains * n_draws and accepted > LEAST_ACCEPTED else 2.0


@kernel
def _fit_range_student_t(
    start, stop, x, y, weight, offsets, orders, tables, model, nonlinear, mean, precision, lower,
    sigma, keys, n_draws, tune, chains, dof, draws, info,
):  # fmt: skip
    n_max = np.int64(0)
    for r in range(start, stop):
        n_max = max(n_max, offsets[r + 1] - offsets[r])
    work = make_work(n_max, tables)
    for r in range(start, stop):
        a = offsets[r]
        b = offsets[r + 1]
        prior = RunPrior(nonlinear[r], mean[r], precision[r], lower[r], sigma[r, 0], sigma[r, 1])
        filled, effective, share = draw_student_t(
            n_draws, tune, chains, dof, x[a:b], y[a:b], weight[a:b], orders[r], keys[r], tables,
            model, prior, work, draws[r],
        )  # fmt: skip
        info[r, 0] = effective
        info[r, 1] = _bound_share(filled, model, prior, draws[r])
        info[r, 2] = share
        info[r, 3] = residual_autocorrelation(
            x[a:b], y[a:b], weight[a:b], filled, model, work, draws[r]
        )
        if filled < chains * n_draws:
            draws[r] = np.nan
        info[r, 4] = 0.0 if filled == chains * n_draws else 2.0


@kernel
def _predict_range(start, stop, model, draws, at, out):
    """Curves of all draws of some runs at their targets: out[run, target, draw]."""
    d = model.n_nonlinear
    p = model.n_fixed + model.n_varying
    n_draws = draws.shape[2]
    n_at = at.shape[1]
    theta = np.zeros((MAX_NONLINEAR, n_draws))
    column = np.empty((n_at, n_draws))
    log_at = np.empty(n_at)
    for r in range(start, stop):
        for k in range(d):
            theta[k] = draws[r, k]
        for t in range(n_at):
            log_at[t] = np.log(at[r, t])
        out[r] = 0.0
        for k in range(p):
            call_column(model.columns[k], 0, n_at, n_draws, at[r], log_at, theta, n_draws, column)
            c = draws[r, d + model.order[k]]
            for t in range(n_at):
                for i in range(n_draws):
                    out[r, t, i] += c[i] * column[t, i]


@lru_cache(1)
def tables() -> Tables:
    """Chebyshev tables, made once a process."""
    return make_tables()


def compression_orders(program: Program, x: Floats, offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Entry of the tables by which each run is compressed, or -1: int64, shape (n_runs,)."""
    half = 0.5 * np.log(x[offsets[1:] - 1] / x[offsets[:-1]])
    return np.array([program.pseudo_points(h) for h in half], np.int64)


def prior_arrays(program: Program, table: PriorTable) -> tuple[Floats, ...]:
    """A prior table as kernels take it, linear parameters in their order.

    Returns
    -------
    nonlinear : float64, shape (n_runs, d, 5)
    mean, precision, lower : float64, shape (n_runs, p)
        Precisions in units of 1 / sigma^2; bounds of -1e300 for none.
    sigma : float64, shape (n_runs, 2)
    """
    if table.nonlinear.shape[1] != len(program.nonlinear):
        raise ValueError(
            f"the prior table has {table.nonlinear.shape[1]} nonlinear parameters, the law "
            f"{len(program.nonlinear)}"
        )
    order = program.order
    scale = table.sigma[:, 1:2]
    return (
        np.ascontiguousarray(table.nonlinear, np.float64),
        np.ascontiguousarray(table.mean[:, order]),
        np.ascontiguousarray((scale / table.sd)[:, order] ** 2),
        np.ascontiguousarray(np.maximum(table.lower[:, order], -1e300)),
        np.ascontiguousarray(table.sigma, np.float64),
    )


def _model(program: Program) -> Model:
    flags = np.zeros(MAX_NONLINEAR, np.int64)
    flags[: len(program.log)] = program.log
    return Model(
        program.n_fixed,
        program.n_varying,
        len(program.nonlinear),
        program.addresses(),
        flags,
        program.order,
        program.constant,
    )


def _threads(threads: int | None, n_runs: int) -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(threads or available or 1, -(-n_runs // CHUNK)))


def spread(
    task: Callable[[int, int], None],
    n_runs: int,
    threads: int | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Call ``task(start, stop)`` for chunks of runs, on several threads where that pays."""
    chunks = [(i, min(i + CHUNK, n_runs)) for i in range(0, n_runs, CHUNK)]

    def one(chunk: tuple[int, int]) -> None:
        task(*chunk)
        if progress is not None:
            progress(chunk[1] - chunk[0])

    count = _threads(threads, n_runs)
    if count == 1:
        for chunk in chunks:
            one(chunk)
        return
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(one, chunks):
            pass


def fit_batch(
    batch: Batch,
    program: Program,
    table: PriorTable,
    keys: NDArray[np.uint64],
    *,
    draws: int,
    method: str = "quadrature",
    noise: str = "gaussian",
    dof: float = 4.0,
    chains: int = 1,
    tune: int | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Posterior draws of one law for many runs.

    Parameters
    ----------
    batch : Batch
        Data; every run with at least 3 points.
    program : Program
        The law's columns (``law.program``).
    table : PriorTable
        Priors.
    keys : uint64, shape (n_runs,)
        Random-number key of each run: draws depend on nothing else.
    draws : int
        Draws for each run (and chain).
    method : {"quadrature", "ensemble"}
        Exact quadrature for one or two nonlinear parameters, or the affine-invariant ensemble
        sampler for any number.
    noise : {"gaussian", "student_t"}
        Noise distribution; Student's t with `dof` degrees of freedom is sampled by Gibbs sweeps
        over the points' precisions, with the exact conditional posterior in each.
    chains, tune : int
        Chains and discarded sweeps of the two samplers (by default 500 for the ensemble, 100 for
        Gibbs sweeps); quadrature draws independently and has one chain.
    threads : int, optional
        Threads; by default one for each processor this process may use.
    progress : callable, optional
        Called with the number of runs that were finished.

    Returns
    -------
    Result
    """
    x = np.ascontiguousarray(batch.x, np.float64)
    y = np.ascontiguousarray(batch.y, np.float64)
    weight = np.ascontiguousarray(batch.weight, np.float64)
    offsets = np.ascontiguousarray(batch.offsets, np.int64)
    n_runs = offsets.size - 1
    model = _model(program)
    orders = compression_orders(program, x, offsets)
    nonlinear, mean, precision, lower, sigma = prior_arrays(program, table)
    keys = np.ascontiguousarray(keys, np.uint64)
    n_parameters = nonlinear.shape[1] + mean.shape[1] + 1
    if method == "ensemble" and noise == "student_t":
        raise ValueError("the ensemble sampler knows Gaussian noise only")
    if method == "quadrature" and nonlinear.shape[1] > 2:
        raise ValueError("quadrature needs at most two nonlinear parameters")
    exact = method == "quadrature" and noise == "gaussian"
    total_draws = draws if exact else chains * draws
    out = np.empty((n_runs, n_parameters, total_draws))
    info = np.empty((n_runs, len(INFO)))
    common = (
        x, y, weight, offsets, orders, tables(), model, nonlinear, mean, precision, lower, sigma,
        keys,
    )  # fmt: skip

    def task(start: int, stop: int) -> None:
        if exact:
            _fit_range(start, stop, *common, draws, out, info)
        elif method == "ensemble":
            sweeps = TUNE["ensemble"] if tune is None else tune
            _fit_range_ensemble(start, stop, *common, draws, sweeps, chains, out, info)
        else:
            sweeps = TUNE["student_t"] if tune is None else tune
            _fit_range_student_t(start, stop, *common, draws, sweeps, chains, dof, out, info)

    spread(task, n_runs, threads, progress)
    if exact:
        for r in np.flatnonzero(info[:, 4]):
            share = info[r, 2]
            _fit_range_ensemble(r, r + 1, *common, draws, TUNE["ensemble"], 1, out, info)
            info[r, 2] = share
            info[r, 4] = max(1.0, info[r, 4])
    return Result(out, info)


def predict_batch(
    program: Program, draws: Floats, at: Floats, threads: int | None = None
) -> Floats:
    """Curves of posterior draws at scaled axis values.

    Parameters
    ----------
    draws : float64, shape (n_runs, d + p + 1, n_draws)
    at : float64, shape (n_runs, n_at)
        Scaled axis values; NaN gives NaN.

    Returns
    -------
    float64, shape (n_runs, n_at, n_draws)
    """
    draws = np.ascontiguousarray(draws, np.float64)
    at = np.ascontiguousarray(at, np.float64)
    out = np.empty((draws.shape[0], at.shape[1], draws.shape[2]))
    model = _model(program)
    spread(
        lambda start, stop: _predict_range(start, stop, model, draws, at, out),
        draws.shape[0],
        threads,
        None,
    )
    out[np.isnan(at)] = np.nan
    return out
