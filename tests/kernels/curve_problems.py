"""Problems for the kernel of the default forecast, of which everything is random."""

from __future__ import annotations

import numpy as np

from lossfit.kernels.curve_data import Asked, Observed
from lossfit.kernels.curve_forecast import forecast_curves
from lossfit.kernels.curve_law import FEATURES, NUMBERS, CellGrid, HyperPrior, n_marginals
from lossfit.kernels.paths import Paths, Shapes
from tests.kernels.forecast_oracle import Path

UNCHANGED = np.tile([1.0, 0.0, 1.0], (3, 2, 1, 1))


def random_path(rng, end):
    """Plateau, jumps, slopes, down to 0 or not."""
    n = rng.integers(1, 6)
    t = np.concatenate([[0.0], np.sort(rng.uniform(0, end, n))])
    rho = np.concatenate([[1.0], np.sort(rng.uniform(0.02, 1, n))[::-1]])
    if n > 2:
        t[2] = t[1]  # a jump
    return Path(t, rho)


def random_hyper(rng, grid, *, lean=0.3):
    """A hyper-prior of which every number depends on every feature a little."""
    n_kinds, n_tails = 6, int(rng.integers(1, 4))
    logits = grid.alphas.size + grid.sizes.size + grid.noises.size + len(grid.strengths) + n_kinds
    n_rows = logits + len(NUMBERS) + (n_tails - 1) + 1 + 2 * n_tails
    matrix = rng.normal(0, 0.1, (n_rows, 2 * len(FEATURES)))
    at = logits
    # eta, future, growth, drift, response, slow
    matrix[at : at + 6, 0] += [1.0, 0.2, -2.0, -1.5, -1.7, -0.5]
    at += 6 + n_tails - 1
    matrix[at, 0] -= 6.0
    matrix[at + 1 + n_tails :] *= lean
    if lean == 0.0:
        matrix[at + 1 + n_tails :] = 0.0
    return HyperPrior(
        matrix,
        n_kinds,
        n_tails,
        np.array([-0.4, 0.3, 0.15]),
        np.zeros(1),
        UNCHANGED,
    )


def problem(seed, *, n_at=None, lean=0.0, positive=True, multi_power=None, past=False):
    """Everything random: grid, hyper-prior, paths, points, targets."""
    rng = np.random.default_rng(seed)
    end = 10 ** rng.uniform(2, 5)
    n_paths = int(rng.integers(1, 4))
    n_at = int(rng.integers(1, 4)) if n_at is None else n_at
    units = [
        (0, end * rng.uniform(0.01, 0.3), 0.65, 0.0),
        (0, end * rng.uniform(0.01, 0.3), 0.65, 0.0),
        (0, end * 0.05, rng.uniform(0.4, 1), 0.0),
    ]
    if multi_power or (multi_power is None and rng.uniform() < 0.5):
        units.append((1, rng.uniform(0.01, 1), rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.8)))
    if seed % 2:  # the power of a multi-power response
        units = [(*unit, 0.75) for unit in units]
    most_tau = rng.uniform(0.02, 0.2, len(units))
    most_tau[3:] = np.inf
    alphas = rng.uniform(-0.6, 1.5, int(rng.integers(1, 4)))
    alphas[0] *= rng.integers(0, 2)
    n_strength = int(rng.integers(1, 4))
    strengths = np.stack([
        rng.integers(0, 2, n_strength), rng.uniform(-0.2, 1.5, n_strength),
        rng.uniform(0.1, 1, n_strength),
    ], axis=1)  # fmt: skip
    grid = CellGrid(
        rng.uniform(1, 9, int(rng.integers(1, 3))), rng.uniform(0.02, 1, int(rng.integers(1, 3))),
        alphas, np.array(units), most_tau, np.array([0, 2, 3, 4][: len(units)]), strengths,
        int(rng.integers(6, 14)), rng.uniform(0.1, 0.5), rng.uniform(0.5, 3), rng.uniform(0, 3),
        rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.2), rng.uniform(0.5, 4),
    )  # fmt: skip
    n = int(rng.integers(20, 90))
    t = np.sort(rng.uniform(0.02 * end, end, n))
    loss = rng.uniform(0.5, 5) * np.exp(
        -rng.uniform(0.02, 0.5) * np.log(t / end) + rng.normal(0, 10 ** rng.uniform(-3, -1), n)
    )
    if not positive:
        loss -= np.median(loss)
    loss[rng.random(n) < 0.05] *= 1.5  # spikes
    at = t[-1] * np.exp(rng.uniform(0.05, 2.5, n_at))
    if past:
        at[: n_at // 2] = t[-1] * rng.uniform(0.4, 1.0, n_at // 2)
    histories = [random_path(rng, end) for _ in range(n_paths)]
    other = [random_path(rng, 3 * end) for _ in range(n_paths)]
    futures = [other if rng.uniform() < 0.3 else histories for _ in range(n_at)]
    knowledge = int(rng.integers(0, 3))
    return dict(
        grid=grid, hyper=random_hyper(rng, grid, lean=lean), t=t, loss=loss, at=at,
        weight=rng.uniform(0.5, 2, n), warmup=rng.choice([0.0, 0.3 * end]),
        plan=t[-1] * rng.uniform(0.9, 4), knowledge=knowledge, histories=histories, other=other,
        futures=futures, kinds=rng.integers(0, 6, n_paths), log_kinds=rng.normal(0, 1, n_paths),

        like=rng.choice([np.nan, 0.0, 0.6]), step_size=rng.uniform(0.5, 2), floor=0.0,
    )  # fmt: skip


def solve(problems, draws, *, first_key=1, forecast=forecast_curves, **options):
    """The kernel's answer to some problems that share a grid and a hyper-prior."""
    every = [path for p in problems for path in (*p["histories"], *p["other"])]
    number = {id(path): i for i, path in enumerate(every)}
    shapes = Shapes(
        np.concatenate([path.t for path in every]), np.concatenate([path.rho for path in every]),
        np.concatenate([[0], np.cumsum([len(path.t) for path in every])]),
    )  # fmt: skip
    paths = Paths(np.arange(len(every)), np.zeros(len(every)), np.ones(len(every)))

    def joined(name, kind=float):
        return np.concatenate([np.asarray(p[name], kind) for p in problems])

    def offsets(name):
        return np.concatenate([[0], np.cumsum([len(p[name]) for p in problems])])

    def each(name, kind=float):
        return np.array([p.get(name, np.nan) for p in problems], kind)

    n = len(problems)
    observed = Observed(
        joined("t"), joined("loss"), joined("weight"), offsets("t"), each("warmup"),
        each("step_size"), each("floor"), each("noise"), each("slope"),
        np.arange(first_key, first_key + n).astype(np.uint64),
    )  # fmt: skip
    future = [
        np.array([[number[id(q)] for q in row] for row in p["futures"]], np.int64) for p in problems
    ]
    longer = [np.asarray(p.get("longer", 0 * p["at"]), np.int64) for p in problems]
    siblings = [p.get("siblings", np.tile([0.0, 1.0], (len(p["at"]), 1))) for p in problems]
    n_strengths = len(problems[0]["grid"].strengths)
    strengths = [p.get("strengths", np.zeros(n_strengths)) for p in problems]
    asked = Asked(
        joined("at"), offsets("at"), offsets("histories"),
        np.array([number[id(q)] for p in problems for q in p["histories"]]),
        joined("kinds", np.int64), joined("log_kinds"),
        np.concatenate([[0], np.cumsum([f.size for f in future])]),
        np.concatenate([f.ravel() for f in future]), each("plan"), each("knowledge", np.int64),
        each("like"),
        np.concatenate(longer),
        np.concatenate(siblings),
        np.array(strengths, float),
    )  # fmt: skip
    return forecast(
        observed, asked, problems[0]["grid"], problems[0]["hyper"], shapes, paths, draws=draws,
        **options,
    )  # fmt: skip


def held():
    """A rate that never changes."""
    return Path(np.zeros(1), np.ones(1))


def first_row(name, grid, hyper):
    """Row of the hyper-prior's matrix where the numbers of that name begin."""
    at = grid.alphas.size + grid.sizes.size + grid.noises.size + len(grid.strengths)
    at += hyper.n_kinds
    if name in NUMBERS:
        return at + NUMBERS.index(name)
    at += len(NUMBERS) + hyper.n_tails - 1
    return at + {"jitter": 0, "tail_size": 1, "lean": 1 + hyper.n_tails}[name]


def with_hyper(p, **values):
    """The problem with some numbers of its hyper-prior the same for all runs."""
    hyper = p["hyper"]
    matrix = hyper.matrix.copy()
    for name, value in values.items():
        rows = hyper.n_tails if name in ("tail_size", "lean") else 1
        row = first_row(name, p["grid"], hyper)
        matrix[row : row + rows] = 0.0
        matrix[row : row + rows, 0] = value
    return {**p, "hyper": hyper._replace(matrix=matrix)}


def plain_hyper(grid, n_kinds=6):
    """Even weights, eta of 1, nothing but the discrepancy of the past goes on; no tails."""
    n_rows = n_marginals(grid) + n_kinds + len(NUMBERS) + 3
    hyper = HyperPrior(
        np.zeros((n_rows, 2 * len(FEATURES))),
        n_kinds,
        1,
        np.zeros(3),
        np.zeros(1),
        UNCHANGED,
    )
    return with_hyper(
        {"grid": grid, "hyper": hyper}, eta=50, growth=-30, drift=-30, response=-30, slow=-60,
        jitter=-30,
    )["hyper"]  # fmt: skip


def simple(t, loss, at, knowledge=0, grid=None, hyper=None):
    """A run of a rate that never changes."""
    if grid is None:
        grid = problem(0)["grid"]
    path = held()
    return dict(
        grid=grid, hyper=hyper or random_hyper(np.random.default_rng(0), grid), t=t, loss=loss,
        at=np.asarray(at), weight=np.ones(len(t)), warmup=0.0, plan=2 * t[-1],
        knowledge=knowledge, histories=[path], other=[path], futures=[[path]] * len(at),
        kinds=np.zeros(1, int), log_kinds=np.zeros(1), like=np.nan, step_size=1.0, floor=0.0,
    )  # fmt: skip


def one_cell(seed):
    """A run of one cell, whose slope is far above 0, under a rate that falls; one target at 2x."""
    rng = np.random.default_rng(seed)
    grid = CellGrid(
        np.array([1.5]), np.array([0.1]), np.array([0.3]), np.array([[0, 20.0, 0.65, 0.0]]),
        np.array([np.inf]), np.array([0, 1]), np.array([[1, 0.5, 0.3]]), 20, 0.35, 2.0, 2.0, 0.19,
        0.127, 3.0,
    )  # fmt: skip
    t = np.arange(1.0, 401.0)
    loss = 3 * t**-0.3 * np.exp(rng.normal(0, 0.003, 400))
    p = simple(t, loss, [800.0], grid=grid, hyper=plain_hyper(grid))
    path = Path(np.array([0.0, 250.0, 700.0]), np.array([1.0, 1.0, 0.1]))
    return {**p, "histories": [path], "other": [path], "futures": [[path]]}
