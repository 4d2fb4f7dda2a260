"""Arrays that one thread works in, and what a kernel is told of a law and of a run's priors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .columns import MAX_COLUMNS, MAX_FIXED, MAX_NONLINEAR, MAX_VARYING, ORDERS, chebyshev

__all__ = [
    "BLOCK",
    "GUIDE",
    "INNER",
    "LANES",
    "MAX_ROWS",
    "NODES",
    "OUTER",
    "SLACK",
    "STARTS",
    "TILE",
    "WALKERS",
    "Model",
    "RunPrior",
    "Tables",
    "Work",
    "make_tables",
    "make_work",
]

LANES = 32  # parameter values that are evaluated together
TILE = 64  # points that are evaluated together
CHECKS = 4  # lanes that check an interpolation
COARSE = 32  # nodes of a scan that looks for the window of the inner parameter
COARSE_OUTER = 24  # the same for the outer one
NODES = 128  # final nodes for one nonlinear parameter
INNER = 64  # final nodes of the inner of two nonlinear parameters
OUTER = 40  # final nodes of the outer one
BLOCK = 256  # candidate draws that are made together
GUIDE = 128  # entries of the guide table of an inverse distribution function
SLACK = 16  # up to order + SLACK points, compression does not pay
PILOT = 128  # candidates that set the bound of rejection sampling
WALKERS = 2 * LANES  # of the ensemble sampler
STARTS = 2048  # points of the prior box from which the best become walkers
MAX_ROWS = MAX_VARYING + MAX_VARYING * (MAX_VARYING + 1) // 2 + MAX_FIXED * MAX_VARYING + 1
MAX_DRAW = MAX_COLUMNS + 1 + MAX_NONLINEAR
MAX_ORDER = max(ORDERS)
LEAST_ROW = 128  # numbers in a row of `Work.data`, at least: further apart than any vector reaches
MAX_SUMS = 4 * MAX_VARYING + MAX_VARYING * (MAX_VARYING + 1) // 2


# Places in Work.sizes.  Sizes are read from an array because Numba compiles a function anew for
# every constant that it is called with.
SIZE_COARSE = 0
SIZE_OUTER = 1
SIZE_INNER = 2
SIZE_NODES = 3


class Model(NamedTuple):
    """A law, to a kernel; linear parameters are in the order fixed, then varying."""

    n_fixed: int
    n_varying: int
    n_nonlinear: int
    columns: np.ndarray  # (6,) int64, addresses of the columns
    log: np.ndarray  # (4,) int64, 1 where z = log(theta)
    order: np.ndarray  # (p,) int64, position in the law of each linear parameter
    constant: int  # fixed column that is the constant 1, or -1


class RunPrior(NamedTuple):
    """Priors of one run, linear parameters in the kernels' order."""

    nonlinear: np.ndarray  # (d, 5) low, high, kind, first, second
    mean: np.ndarray  # (p,)
    precision: np.ndarray  # (p,) in units of 1 / sigma^2
    lower: np.ndarray  # (p,)
    shape: float  # sigma^2 ~ InverseGamma(shape, shape * scale^2)
    scale: float


class Tables(NamedTuple):
    """Chebyshev nodes and matrices for every number of pseudo-points in `ORDERS`."""

    orders: np.ndarray  # (n_orders,)
    u: np.ndarray  # (n_orders, max order)
    matrix: np.ndarray  # (n_orders, max order, max order)
    lanes: np.ndarray  # (LANES,) Chebyshev nodes of a window on [-1, 1], then CHECKS others
    spread_long: np.ndarray  # (LANES - CHECKS, NODES + CHECKS) interpolation from the former
    spread_short: np.ndarray  # (LANES - CHECKS, INNER + CHECKS)


def make_tables() -> Tables:
    """`Tables`, made once."""
    count = LANES - CHECKS
    nodes, transform = chebyshev(count)
    checks = np.array([-0.83, -0.27, 0.31, 0.77])

    def spread(n: int) -> np.ndarray:
        at = np.concatenate([np.linspace(-1, 1, n), checks])
        return np.ascontiguousarray(transform.T @ np.cos(np.arange(count)[:, None] * np.arccos(at)))

    u = np.zeros((len(ORDERS), MAX_ORDER))
    matrix = np.zeros((len(ORDERS), MAX_ORDER, MAX_ORDER))
    for i, order in enumerate(ORDERS):
        u[i, :order], matrix[i, :order, :order] = chebyshev(order)
    return Tables(
        np.array(ORDERS, np.int64),
        u,
        matrix,
        np.concatenate([nodes, checks]),
        spread(NODES),
        spread(INNER),
    )


class Work(NamedTuple):
    """Scratch of one thread; nothing in it outlives a run."""

    data: np.ndarray  # (7, n_max + 8 or more): log x, weight, weight * y, 2u, T_k, T_k+1, curve
    moments: np.ndarray  # (2, max order)
    points: np.ndarray  # (4, n): x, log x, weight, weighted residual
    fixed: np.ndarray  # (3, n): fixed columns times the weight
    base: np.ndarray  # (40,): constants of a run, see marginal.py
    mean: np.ndarray  # (6,) prior means, centred
    lower: np.ndarray  # (6,) lower bounds, centred
    phi: np.ndarray  # (3, TILE * LANES): varying columns
    z: np.ndarray  # (4, LANES): coordinates of nonlinear parameters
    theta: np.ndarray  # (4, LANES): their values
    sums: np.ndarray  # (MAX_SUMS, LANES)
    rows: np.ndarray  # (MAX_ROWS, LANES): conditional posterior of a lane, see marginal.py
    logp: np.ndarray  # (LANES,): log posterior of a lane, up to a constant of the run
    scan: np.ndarray  # (NODES,): log posterior at evenly spaced nodes
    node: np.ndarray  # (MAX_ROWS, NODES + CHECKS): rows at these nodes
    wide_logp: np.ndarray  # (NODES + CHECKS,)
    density: np.ndarray  # (NODES,)
    cumulative: np.ndarray  # (NODES,)
    guide: np.ndarray  # (GUIDE,) int64
    words: np.ndarray  # (4, BLOCK) uint64, random words
    candidates: np.ndarray  # (11, BLOCK): uniform, gamma variate, kept, normals, spare
    cell: np.ndarray  # (BLOCK,) int64
    value: np.ndarray  # (MAX_ROWS + 8, BLOCK)
    outer: np.ndarray  # (4, OUTER): log evidence, density, cumulative
    inner: np.ndarray  # (OUTER, 3): first node, step and mass
    inner_scan: np.ndarray  # (OUTER, NODES): density
    inner_cumulative: np.ndarray  # (OUTER, NODES)
    drawn: np.ndarray  # (MAX_DRAW, LANES): candidates, see exact.py
    weight: np.ndarray  # (2, LANES): of a candidate, and the level at which it is accepted
    pilot: np.ndarray  # (MAX_DRAW, PILOT): candidates
    pilot_weight: np.ndarray  # (PILOT,)
    joint_mean: np.ndarray  # (6, lanes of the team): see orthant.py
    joint_factor: np.ndarray  # (6, 6, lanes of the team)
    box: np.ndarray  # (2, 4): bounds of the coordinates
    starts: np.ndarray  # (STARTS,): log posteriors
    walker_z: np.ndarray  # (4, WALKERS): coordinates
    walker_logp: np.ndarray  # (WALKERS,): with the estimate of the constraints' probability
    walker_drawn: np.ndarray  # (MAX_DRAW, WALKERS)
    tables: Tables
    sizes: np.ndarray  # (4,) int64: numbers of nodes, see `SIZE_COARSE` and the like
    small: np.ndarray  # (4, 3, 3): see `marginal._solve_lane`
    precisions: np.ndarray  # (4, n_max + 8 or more): see student_t.py
    sweep: np.ndarray  # (MAX_DRAW, 1): parameters of a sweep, as many as the law has


def make_work(n_max, tables):
    """Scratch for runs of at most `n_max` points."""
    n = max(n_max, MAX_ORDER) + SLACK + 8
    # Rows that lie closer than a few vectors are summed one number at a time, for fear that they
    # overlap: a short run alone would then be summed in another order than beside a long one.
    n_data = max(n_max, LEAST_ROW) + 8
    return Work(
        np.empty((7, n_data)),
        np.empty((2, MAX_ORDER)),
        np.empty((4, n)),
        np.empty((MAX_FIXED, n)),
        np.empty(40),
        np.empty(MAX_COLUMNS),
        np.empty(MAX_COLUMNS),
        np.empty((MAX_VARYING, TILE * LANES)),
        np.zeros((MAX_NONLINEAR, LANES)),
        np.zeros((MAX_NONLINEAR, LANES)),
        np.empty((MAX_SUMS, LANES)),
        np.empty((MAX_ROWS, LANES)),
        np.empty(LANES),
        np.empty(NODES),
        np.empty((MAX_ROWS, NODES + CHECKS)),
        np.empty(NODES + CHECKS),
        np.empty(NODES),
        np.empty(NODES),
        np.empty(GUIDE, np.int64),
        np.empty((4, BLOCK), np.uint64),
        np.empty((11, BLOCK)),
        np.empty(BLOCK, np.uint64),
        np.empty((MAX_ROWS + 8, BLOCK)),
        np.empty((4, OUTER)),
        np.empty((OUTER, 3)),
        np.empty((OUTER, NODES)),
        np.empty((OUTER, NODES)),
        np.empty((MAX_DRAW, LANES)),
        np.empty((2, LANES)),
        np.empty((MAX_DRAW, PILOT)),
        np.empty(PILOT),
        np.empty((MAX_COLUMNS, 1)),
        np.empty((MAX_COLUMNS, MAX_COLUMNS, 1)),
        np.empty((2, MAX_NONLINEAR)),
        np.empty(STARTS),
        np.empty((MAX_NONLINEAR, WALKERS)),
        np.empty(WALKERS),
        np.empty((MAX_DRAW, WALKERS)),
        tables,
        np.array([COARSE, COARSE_OUTER, INNER, NODES], np.int64),
        np.empty((4, 3, 3)),
        np.empty((4, n_data)),
        np.empty((MAX_DRAW, 1)),
    )
