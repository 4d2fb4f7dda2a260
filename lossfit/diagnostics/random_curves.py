"""Random questions to the default law, on which its kernels are compared with the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.curve_data import Asked, Observed
from ..kernels.curve_law import FEATURES, NUMBERS, CellGrid, HyperPrior, n_marginals
from ..kernels.paths import ANNEALING, MULTI_POWER, Paths
from .random_batches import random_shapes

N_KINDS, N_TAILS = 4, 3
# Of eta, future, growth, drift, response and slow.
NUMBER_MEANS = (1.0, 0.2, -2.0, -1.5, -1.7, -0.5)
JITTER_MEAN = -6.0


def _cells(rng: np.random.Generator, multi_power: bool) -> CellGrid:
    """Two noise factors, two sizes, three exponents, three or four responses and components."""
    units = [[ANNEALING, tau, p, 0.0] for tau, p in ((15.0, 0.65), (80.0, 0.65), (30.0, 0.3))]
    groups = [0, 2, 3]
    if multi_power:
        units.append([MULTI_POWER, rng.uniform(0.01, 0.1), 0.6, 0.5])
        groups.append(4)
        units = [[*unit, 0.75] for unit in units]  # the power of a multi-power response
    most_tau = rng.uniform(0.02, 0.2, len(units))
    most_tau[3:] = np.inf
    strengths = np.stack([
        np.array([0.0, 1.0, 1.0]), rng.uniform(-0.2, 1.5, 3), rng.uniform(0.1, 1.0, 3),
    ], axis=1)  # fmt: skip
    return CellGrid(
        np.array([1.0, rng.uniform(2, 9)]), rng.uniform(0.02, 1, 2),
        np.array([0.0, rng.uniform(-0.6, 0), rng.uniform(0, 1.5)]), np.array(units), most_tau,
        np.array(groups), strengths, int(rng.integers(20, 45)), rng.uniform(0.1, 0.5),
        rng.uniform(0.5, 3), rng.uniform(0, 3), 0.19, 0.13, 3.0,
    )  # fmt: skip


def _prior(rng: np.random.Generator, grid: CellGrid) -> HyperPrior:
    """Every number depends on every feature a little; widths that differ."""
    first = n_marginals(grid) + N_KINDS
    n_rows = first + len(NUMBERS) + (N_TAILS - 1) + 1 + 2 * N_TAILS
    matrix = rng.normal(0, 0.1, (n_rows, 2 * len(FEATURES)))
    matrix[first : first + len(NUMBERS), 0] += NUMBER_MEANS
    matrix[first + len(NUMBERS) + N_TAILS - 1, 0] += JITTER_MEAN
    width = rng.uniform(0.7, 1.5, (3, 2, 4, 3))
    width[..., 1] = rng.uniform(-0.3, 0.3, (3, 2, 4))
    return HyperPrior(
        matrix, N_KINDS, N_TAILS, np.array([-0.4, 0.3, 0.15]), np.array([0.1, 0.5, 1.0, 2.0]), width
    )


def _loss(rng: np.random.Generator, relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """A falling loss with noise and spikes; of some runs it is not positive everywhere."""
    noise = rng.normal(0, 10 ** rng.uniform(-4, -1.5), len(relative))
    loss = 3 - rng.uniform(0.02, 0.5) * np.log(relative) + noise
    loss[rng.random(len(loss)) < 0.03] += 0.4
    return loss - np.median(loss) if rng.random() < 0.3 else loss


def curve_problem(
    seed: int,
    lengths: Sequence[int],  # points of the runs
    *,
    # the most targets (a run may have none), and hypotheses about the schedule, of a run
    n_at: int = 4,
    n_paths: int = 3,
    multi_power: bool = True,  # whether a response is that of the multi-power law
) -> tuple[Any, ...]:
    """Everything random: cells, hyper-prior, schedules, runs, targets and what is known of them.

    Gives the arguments of `curve_forecast.forecast_curves`.
    """
    rng = np.random.default_rng(seed)
    n = len(lengths)
    grid = _cells(rng, multi_power)
    end = 10 ** rng.uniform(2, 5, n)
    relative = [np.sort(rng.uniform(0.02, 1, length)) for length in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])

    def measured(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """NaN for most."""
        return np.where(rng.random(n) < 0.2, values, np.nan)

    observed = Observed(
        np.concatenate([x * e for x, e in zip(relative, end, strict=True)]),
        np.concatenate([_loss(rng, x) for x in relative]),
        rng.uniform(0.5, 2, offsets[-1]), offsets, rng.choice([0.0, 0.2], n) * end,
        end * rng.uniform(0.5, 2, n) / 1000, rng.uniform(0, 1e-3, n),
        measured(rng.uniform(1e-3, 0.1, n)), measured(rng.uniform(0.01, 0.3, n)),
        rng.integers(0, 2**63, n).astype(np.uint64),
    )  # fmt: skip

    # Of each hypothesis a path, and another one that some targets are led to by.
    paths_of = rng.integers(1, n_paths + 1, n)
    hypotheses = np.concatenate([[0], np.cumsum(paths_of)])
    n_known = int(hypotheses[-1])
    owner = np.repeat(np.arange(n), paths_of)
    unit = np.tile(end[owner], 2)
    paths = Paths(
        rng.integers(0, 4, 2 * n_known),
        rng.uniform(-0.05, 0.3, 2 * n_known) * unit,
        rng.uniform(0.5, 1.5, 2 * n_known) * unit,
    )
    targets_of = rng.integers(0 if n > 2 else n_at, n_at + 1, n)
    targets = np.concatenate([[0], np.cumsum(targets_of)])
    n_targets = int(targets[-1])
    last = np.array([x[-1] for x in relative]) * end
    at = rng.choice([0.7, 1.3], n_targets) * np.repeat(last, targets_of)
    at *= np.exp(rng.uniform(-0.2, 0.9, n_targets))
    at[:1] = last[:1] if targets_of[0] else at[:1]  # at the end itself
    future = [
        h + n_known * (rng.random() < 0.3)
        for r in range(n)
        for _ in range(targets_of[r])
        for h in range(hypotheses[r], hypotheses[r + 1])
    ]
    asked = Asked(
        at=at,
        targets=targets,
        hypotheses=hypotheses,
        history=np.arange(n_known),
        kind=rng.integers(0, N_KINDS, n_known),
        log_weight=rng.normal(0, 1, n_known),
        futures=np.concatenate([[0], np.cumsum(paths_of * targets_of)]),
        future=np.array(future, np.int64),
        plan=last * rng.uniform(0.9, 4, n),
        knowledge=rng.integers(0, 3, n),
        like=rng.choice([np.nan, 0.0, 0.6], n),
        longer=rng.integers(0, 2, n_targets),
        siblings=np.stack([rng.uniform(-0.3, 0.3, n_targets), rng.uniform(0.5, 2, n_targets)], 1),
        strengths=rng.choice([0.0, 0.7], (n, 1)) * rng.random((n, 3)),
    )
    return observed, asked, grid, _prior(rng, grid), random_shapes(rng), paths
