"""Random batches on which kernels are compared with the CPU: all arguments random, runs ragged.

Tests, `kernel_trials` and so ``lossfit bench --verify`` take the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.cells import Grid
from ..kernels.columns import Program
from ..kernels.driver import Batch, PriorTable
from ..kernels.forecast_driver import Curves, Hypotheses, ResponsePrior
from ..kernels.paths import ANNEALING, MULTI_POWER, Paths, Shapes
from ..laws import get

Fits = tuple[Batch, Program, PriorTable, NDArray[np.uint64]]
LOGNORMAL = 2.0  # a kind of prior, as a number of a table
BENT_PRIORS = (
    (0.02, 3.0, LOGNORMAL, 0.5, 0.8),
    (0.01, 3.0, LOGNORMAL, 0.4, 1.0),
    (0.1, 10.0, LOGNORMAL, 1.0, 0.7),
)  # of the parameters of broken_power; the first is that of power, too


def _batch(xs: Sequence[Any], ys: Sequence[Any], weight: NDArray[np.float64]) -> Batch:
    offsets = np.concatenate([[0], np.cumsum([len(x) for x in xs])])
    return Batch(np.concatenate(xs), np.concatenate(ys), weight, offsets)


def fit_problem(
    law: str,  # with one nonlinear parameter
    lengths: Sequence[int],  # points of the runs
    seed: int,
    sd: float = 0.01,  # of the noise, within a factor of 2
    slope: float = 0.1,  # of a falling line, where the law has one
) -> Fits:
    """Power laws with noise, and random priors.

    Returns
    -------
    Batch, Program, PriorTable, keys
        As `driver.fit_batch` takes them.
    """
    rng = np.random.default_rng(seed)
    program = get(law).program
    xs, ys = [], []
    for n in lengths:
        x = np.sort(rng.uniform(0.02, 1.0, n))
        x /= x[-1]
        noise = rng.normal(0.0, sd * rng.uniform(0.5, 2.0), n)
        xs.append(x)
        ys.append(rng.uniform(1, 3) + rng.uniform(0.3, 1) * x ** -rng.uniform(0.15, 0.6) + noise)
        if "linear" in law:
            ys[-1] -= slope * x
    n_runs, p = len(lengths), program.n_linear
    batch = _batch(xs, ys, rng.uniform(0.5, 2.0, sum(lengths)))
    kind = rng.integers(0, 3, n_runs)
    nonlinear = np.tile([[[0.02, 3.0, 0.0, 0.4, 0.6]]], (n_runs, 1, 1))
    nonlinear[:, 0, 2] = kind
    table = PriorTable(
        nonlinear,
        rng.uniform(0.0, 1.0, (n_runs, p)),
        rng.uniform(2.0, 10.0, (n_runs, p)),
        np.where(rng.random((n_runs, p)) < 0.7, 0.0, -np.inf),
        np.column_stack([rng.uniform(0.5, 3.0, n_runs), rng.uniform(0.5, 2.0, n_runs) * sd]),
    )
    return batch, program, table, rng.integers(0, 2**63, n_runs).astype(np.uint64)


def cut_curves(
    law: str,
    lengths: Sequence[int],  # points of the runs
    seed: int,
) -> Fits:
    """Curves whose constraints leave a small part of their posteriors: for exact draws.

    Returns
    -------
    Batch, Program, PriorTable, keys
        As `driver.fit_batch` takes them.
    """
    rng = np.random.default_rng([9, seed])
    program = get(law).program
    xs, ys = [], []
    for n in lengths:
        x = np.sort(rng.uniform(0.05, 1.0, n))
        x /= x[-1]
        y = rng.uniform(0.0, 2.0) + rng.uniform(0.2, 1.0) * x ** -rng.uniform(0.2, 0.6)
        y += 0.9 * x - 1.9 if "linear" in law else -1.9  # beyond what the constraints reach
        xs.append(x)
        ys.append(y + rng.normal(0.0, 0.02, n))
    n_runs, p = len(lengths), program.n_linear
    nonlinear = np.tile([BENT_PRIORS[0]], (len(program.nonlinear), 1))
    if len(nonlinear) > 1:
        nonlinear[1] = [0.0, 0.3, 0.0, 0.0, 0.0]  # a flat prior of an offset
    table = PriorTable(
        np.tile(nonlinear, (n_runs, 1, 1)),
        np.zeros((n_runs, p)),
        np.tile([3.0, 3.0, 1.5][:p], (n_runs, 1)),
        np.zeros((n_runs, p)),
        np.tile([1.0, 0.02], (n_runs, 1)),
    )
    keys = np.arange(2**40, 2**40 + n_runs, dtype=np.uint64)
    return _batch(xs, ys, rng.uniform(0.5, 2.0, sum(lengths))), program, table, keys


def bent_curves(
    law: str,  # "power" or "broken_power"
    lengths: Sequence[int],  # points of the runs
    seed: int,
) -> Fits:
    """Curves with a bend; the constraints cut some of them: for the ensemble sampler.

    Returns
    -------
    Batch, Program, PriorTable, keys
        As `driver.fit_batch` takes them.
    """
    rng = np.random.default_rng([10, seed])
    program = get(law).program
    xs, ys = [], []
    for n in lengths:
        x = np.sort(rng.uniform(0.03, 1.0, n))
        x /= x[-1]
        y = 0.4 * x ** -rng.uniform(0.2, 0.4) * (1 + (x / 0.3) ** 4) ** -0.05
        xs.append(x)
        ys.append(rng.uniform(-0.1, 1.5) + y + 0.02 * rng.normal(size=n))
    n_runs, p = len(lengths), program.n_linear
    batch = _batch(xs, ys, rng.uniform(0.5, 2.0, sum(lengths)))
    table = PriorTable(
        np.tile(BENT_PRIORS[: len(program.nonlinear)], (n_runs, 1, 1)),
        np.zeros((n_runs, p)),
        np.full((n_runs, p), 3.0),
        np.zeros((n_runs, p)),
        np.tile([1.0, 0.02], (n_runs, 1)),
    )
    return batch, program, table, np.arange(2**40, 2**40 + n_runs, dtype=np.uint64)


def random_grid(rng: np.random.Generator, multi_power: bool) -> Grid:
    """A grid of the sizes of the library's laws, of random numbers."""

    def log_weights(n: int) -> NDArray[np.float64]:
        return np.log(rng.dirichlet(np.ones(n)))

    tau = rng.uniform(0.01, 0.3, 6)
    units = [(ANNEALING, tau[i], (0.5, 0.8)[i // 3], 0.0) for i in range(6)]
    groups = [0, 3, 6]
    if multi_power:
        units[3:] = [(MULTI_POWER, 10 * c, 0.6, 0.5) for c in tau[3:5]] + [
            (MULTI_POWER, 3, 0.4, 0.7)
        ]
        groups = [0, 3, 5, 6]
    return Grid(
        np.sort(rng.uniform(0.05, 1, 3)), log_weights(3), rng.uniform(0.01, 0.3, 3), log_weights(3),
        np.array(units), np.array(groups), 40, rng.uniform(1, 3), rng.uniform(1, 4),
        rng.uniform(0, 0.3), rng.uniform(0, 0.3), rng.uniform(0, 0.9), rng.uniform(0, 0.5),
        rng.uniform(0, 3),
    )  # fmt: skip


def _random_shape(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Plateau, jumps, slopes, down to 0 or not; in units of the run."""
    n = rng.integers(1, 6)
    z = np.concatenate([[0.0], np.sort(rng.uniform(0, 2, n))])
    if n > 2:
        z[2] = z[1]  # a jump
    rho = np.concatenate([[1.0], np.sort(rng.uniform(0.0, 1, n))[::-1]])
    rho[-1] *= rng.integers(0, 2)
    return z, rho


def random_shapes(rng: np.random.Generator) -> Shapes:
    """Four random schedules."""
    drawn = [_random_shape(rng) for _ in range(4)]
    z, rho = (np.concatenate(part) for part in zip(*drawn, strict=True))
    return Shapes(z, rho, np.concatenate([[0], np.cumsum([len(shape) for shape, _ in drawn])]))


def forecast_problem(
    seed: int,
    lengths: Sequence[int],  # points of the runs
    *,
    # n_at, n_paths: targets, and hypotheses about the schedule, of each run
    n_at: int = 3,
    n_paths: int = 1,
    multi_power: bool = False,  # whether some responses are those of the multi-power law
    past: bool = False,  # whether some targets lie within the data
    gaps: bool = False,  # whether some targets are NaN; takes two runs or more
    unit: float = 1.0,  # losses are of its size
) -> tuple[Any, ...]:
    """Everything random, also the schedules.

    Returns
    -------
    tuple
        The arguments of `forecast_driver.forecast_batch`.
    """
    rng = np.random.default_rng(seed)
    n_runs = len(lengths)
    end = 10 ** rng.uniform(2, 5, n_runs)
    grid = random_grid(rng, multi_power)
    t, y = [], []
    slope = rng.uniform(0.02, 0.3, n_runs)
    for r, n in enumerate(lengths):
        t.append(np.sort(rng.uniform(0.3, 1, n)) * end[r])
        noise = rng.normal(0, 10 ** rng.uniform(-4, -2), n)
        y.append(3 - slope[r] * np.log(t[r] / end[r]) + noise)
        y[r][rng.random(n) < 0.03] += 0.4  # spikes
    offsets = np.concatenate([[0], np.cumsum(lengths)])

    def known(values: Any) -> Any:
        """Of some runs; of the others it is to be found."""
        return np.where(rng.random(n_runs) < 0.3, values, np.nan)

    curves = Curves(
        np.concatenate(t), unit * np.concatenate(y), rng.uniform(0.5, 2, offsets[-1]), offsets,
        end * rng.uniform(0.5, 2, n_runs), known(rng.uniform(0, 0.5, n_runs)),
        unit * rng.uniform(0, 1e-3, n_runs), unit * known(0.01), unit * known(slope),
    )  # fmt: skip
    shapes = random_shapes(rng)
    n_known = 2 * n_runs * n_paths
    owner = np.repeat(np.arange(n_runs), 2 * n_paths)
    paths = Paths(
        rng.integers(0, 4, n_known), rng.uniform(-0.05, 0.3, n_known) * end[owner],
        rng.uniform(0.5, 1.5, n_known) * end[owner],
    )  # fmt: skip
    own = np.arange(n_known).reshape(n_runs, 2, n_paths)
    history = own[:, 0].copy()
    future = np.repeat(history[:, None], n_at, axis=1)
    other = rng.random((n_runs, n_at)) < 0.3
    future[other] = np.repeat(own[:, 1][:, None], n_at, axis=1)[other]
    history[rng.random(n_runs) < 0.5, 1:] = -1
    at = np.sort(rng.uniform(0.35 if past else 1.01, 4, (n_runs, n_at)), axis=1)
    at *= np.array([times[-1] for times in t])[:, None]
    if past:
        at[0, 0] = t[0][-1]  # at the end itself
        at[0] = np.sort(at[0])
    if gaps:
        at[:, -1] = np.nan
        at[1] = np.nan
    log_b = np.log(rng.dirichlet(np.ones(3), n_runs))
    log_b[::3, 2] = -1e300  # left out
    prior = ResponsePrior(
        unit * rng.uniform(0.05, 0.4, (n_runs, 3)), unit * rng.uniform(0.02, 0.2, (n_runs, 3)),
        log_b, unit * rng.uniform(0.1, 0.3, n_runs),
        np.where(rng.random(n_runs) < 0.5, np.inf, 2.0), np.log(rng.dirichlet(np.ones(6), n_runs)),
    )  # fmt: skip
    hypotheses = Hypotheses(history, future, np.log(rng.dirichlet(np.ones(n_paths), n_runs)))
    keys = rng.integers(0, 2**63, n_runs).astype(np.uint64)
    return curves, grid, hypotheses, prior, shapes, paths, at, keys
