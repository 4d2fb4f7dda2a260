"""CPU driver of fits: batches of ragged runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import MAX_NONLINEAR, Program, call_column, own_program
from .compress import compress
from .ensemble import draw_ensemble
from .entries import entry
from .marginal import set_up
from .maths import kernel
from .posterior import draw_quadrature, residual_autocorrelation
from .records import (
    ACCEPTANCE,
    BOUND_SHARE,
    EFFECTIVE_NODES,
    FIT,
    RHO1,
    STATUS,
    as_records,
    writable,
)
from .spreading import available_threads, spread
from .student_t import draw_student_t
from .work import Model, RunPrior, Tables, make_tables, make_work

__all__ = [
    "LEAST_ACCEPTED",
    "Batch",
    "PriorTable",
    "Result",
    "RunPriors",
    "Sampling",
    "available_threads",
    "compression_orders",
    "fit_batch",
    "predict_batch",
    "prior_arrays",
    "spread",
    "tables",
]

LEAST_ACCEPTED = 0.05  # share of the ensemble's moves
TUNE = {"ensemble": 500, "student_t": 100}  # sweeps that are discarded
# Methods of `Sampling`
QUADRATURE = 0
ENSEMBLE = 1
STUDENT_T = 2
# Values of `records.STATUS`
FINE = 0.0
TOO_RARE = 1.0  # the constraints cut off too much for exact draws: the ensemble sampler draws
UNMIXED = 2.0

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
    info : structured array, shape (n_runs,)
        Fields of `records.FIT`: effective number of quadrature nodes, share of draws within 1 % of
        a bound of a nonlinear parameter, probability that the constraints hold by themselves,
        lag-1 autocorrelation of the residuals, and status: 0 fine; 1 the constraints cut off so
        much that exact draws were too rare, and the ensemble sampler drew instead; 2 a sampler did
        not mix.
    """

    draws: Floats
    info: NDArray[np.void]


class RunPriors(NamedTuple):
    """Priors of every run as kernels take them, linear parameters in their order.

    Attributes
    ----------
    nonlinear : float64, shape (n_runs, d, 5)
    mean, precision, lower : float64, shape (n_runs, p)
        Precisions in units of 1 / sigma^2; bounds of -1e300 for none.
    sigma : float64, shape (n_runs, 2)
    """

    nonlinear: Floats
    mean: Floats
    precision: Floats
    lower: Floats
    sigma: Floats


class Sampling(NamedTuple):
    """How draws are made.

    Attributes
    ----------
    method : int
        `QUADRATURE`, `ENSEMBLE` or `STUDENT_T`.
    draws, tune, chains : int
        Draws and discarded sweeps of each chain, and chains.
    dof : float
        Degrees of freedom of Student's t.
    """

    method: int
    draws: int
    tune: int
    chains: int
    dof: float


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
def _draw_run(x, y, weight, order, key, tables, model, prior, sampling, work, out):
    """Draws of one run; gives how many, effective nodes, share of the constraints, and a status."""
    wanted = sampling.chains * sampling.draws
    if sampling.method == STUDENT_T:
        filled, effective, share = draw_student_t(
            sampling.draws, sampling.tune, sampling.chains, sampling.dof, x, y, weight, order, key,
            tables, model, prior, work, out,
        )  # fmt: skip
        return filled, effective, share, FINE if filled == wanted else UNMIXED
    n_points, centre, total, mass = compress(x, y, weight, order, tables, work)
    if sampling.method == ENSEMBLE:
        set_up(x.size, n_points, centre, total, mass, model, prior, work)
        filled, accepted = draw_ensemble(
            sampling.draws, sampling.tune, sampling.chains, key, n_points, model, prior, work, out
        )
        mixed = filled == wanted and accepted > LEAST_ACCEPTED
        return filled, np.nan, np.nan, FINE if mixed else UNMIXED
    filled, effective, share = draw_quadrature(
        wanted, x.size, key, n_points, centre, total, mass, model, prior, work, out
    )
    return filled, effective, share, FINE if filled == wanted else TOO_RARE


@entry
def _fit_range(
    start, stop, x, y, weight, offsets, orders, tables, model, priors, keys, sampling, work, draws,
    info,
):  # fmt: skip
    """Fit some runs: draws[run, parameter, draw] and info[run, `records.FIT`]."""
    for r in range(start, stop):
        a = offsets[r]
        b = offsets[r + 1]
        prior = RunPrior(
            priors.nonlinear[r], priors.mean[r], priors.precision[r], priors.lower[r],
            priors.sigma[r, 0], priors.sigma[r, 1],
        )  # fmt: skip
        filled, effective, share, status = _draw_run(
            x[a:b], y[a:b], weight[a:b], orders[r], keys[r], tables, model, prior, sampling, work,
            draws[r],
        )  # fmt: skip
        info[r, EFFECTIVE_NODES] = effective
        info[r, BOUND_SHARE] = _bound_share(filled, model, prior, draws[r])
        info[r, ACCEPTANCE] = share
        info[r, RHO1] = residual_autocorrelation(
            x[a:b], y[a:b], weight[a:b], filled, model, work, draws[r]
        )
        info[r, STATUS] = status
        if sampling.method == STUDENT_T and status != FINE:
            draws[r] = np.nan


@entry
def _predict_range(start, stop, model, draws, at, theta, log_at, column, out):
    """Curves of all draws of some runs at their targets: out[run, target, draw].

    `theta`, `log_at` and `column` are scratch; rows of `theta` without a parameter are 0.
    """
    d = model.n_nonlinear
    p = model.n_fixed + model.n_varying
    n_draws = draws.shape[2]
    n_at = at.shape[1]
    for r in range(start, stop):
        for k in range(d):
            for i in range(n_draws):
                theta[k, i] = draws[r, k, i]
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
    return program.orders(half)


def prior_arrays(program: Program, table: PriorTable) -> RunPriors:
    """A prior table as kernels take it."""
    if table.nonlinear.shape[1] != len(program.nonlinear):
        raise ValueError(
            f"the prior table has {table.nonlinear.shape[1]} nonlinear parameters, the law "
            f"{len(program.nonlinear)}"
        )
    order = program.order
    scale = table.sigma[:, 1:2]
    return RunPriors(
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
        program.code(),
        flags,
        program.order,
        program.constant,
    )


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
    if method == "ensemble" and noise == "student_t":
        raise ValueError("the ensemble sampler knows Gaussian noise only")
    if method == "quadrature" and len(program.nonlinear) > 2:
        raise ValueError("quadrature needs at most two nonlinear parameters")
    program = own_program(program)
    x = writable(batch.x)
    offsets = writable(batch.offsets, np.int64)
    n_runs = offsets.size - 1
    priors = prior_arrays(program, table)
    exact = method == "quadrature" and noise == "gaussian"
    ensemble = Sampling(ENSEMBLE, draws, TUNE["ensemble"] if tune is None else tune, chains, dof)
    sampling = ensemble
    if exact:
        sampling = Sampling(QUADRATURE, draws, 0, 1, dof)
    elif method == "quadrature":
        sweeps = TUNE["student_t"] if tune is None else tune
        sampling = Sampling(STUDENT_T, draws, sweeps, chains, dof)
    n_parameters = priors.nonlinear.shape[1] + priors.mean.shape[1] + 1
    out = np.empty((n_runs, n_parameters, sampling.chains * draws))
    info = np.empty((n_runs, len(FIT)))
    common = (
        x, writable(batch.y), writable(batch.weight), offsets,
        compression_orders(program, x, offsets), tables(), _model(program), priors,
        writable(keys, np.uint64),
    )  # fmt: skip

    def task(start: int, stop: int) -> None:
        longest = int(np.diff(offsets[start : stop + 1]).max(initial=0))
        _fit_range(start, stop, *common, sampling, make_work(longest, tables()), out, info)

    spread(task, n_runs, threads, progress)
    if exact:
        rescue = Sampling(ENSEMBLE, draws, TUNE["ensemble"], 1, dof)
        for r in np.flatnonzero(info[:, STATUS]):
            share = info[r, ACCEPTANCE]
            work = make_work(int(offsets[r + 1] - offsets[r]), tables())
            _fit_range(int(r), int(r) + 1, *common, rescue, work, out, info)
            info[r, ACCEPTANCE] = share
            info[r, STATUS] = max(TOO_RARE, info[r, STATUS])
    return Result(out, as_records(info, FIT))


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
    program = own_program(program)
    draws = writable(draws)
    at = writable(at)
    n_at, n_draws = at.shape[1], draws.shape[2]
    out = np.empty((draws.shape[0], n_at, n_draws))
    model = _model(program)

    def task(start: int, stop: int) -> None:
        theta, column = np.zeros((MAX_NONLINEAR, n_draws)), np.empty((n_at, n_draws))
        _predict_range(start, stop, model, draws, at, theta, np.empty(n_at), column, out)

    spread(task, draws.shape[0], threads, None)
    out[np.isnan(at)] = np.nan
    return out
