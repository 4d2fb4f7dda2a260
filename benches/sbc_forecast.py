"""Simulation-based calibration of the default law, of annealing and of multi_power.

    python -m benches.sbc_forecast [--runs 20000] [--law learned]

Curves are drawn from the model itself (parameters from their priors, the discrepancy before and
after the end of the data, noise), and the rank of the truth among the posterior's draws must be
uniform (Talts et al. 2018, arXiv 1804.06788): of the parameters, and of the curve at targets.  The
local slope and the noise, which the library measures, are given.  The default law, ``learned``, has
its shipped cells with the weights that a run of the setting would give them, and evidence in full:
what is learned for the sake of real curves (the power of the evidence, tails, widths) is no part of
a model that curves could be drawn from.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from benches import _report
from lossfit.forecasts.constants import KINDS, N_KINDS, cell_grid, hyper_prior
from lossfit.forecasts.path_book import PathBook
from lossfit.forecasts.rates import MENU, OPEN_MENU
from lossfit.kernels.curve_law import ETA, HyperPrior, rows_of_draws
from lossfit.kernels.forecast_driver import Curves, Hypotheses, forecast_batch
from lossfit.kernels.paths import Paths, Shapes, feature_table
from lossfit.laws import ScheduleLaw, find
from tests.kernels import curve_simulation
from tests.kernels.forecast_oracle import Path

SLOPE, SIGMA, STEPS = 0.1, 0.004, 20_000.0
TARGETS = (1.25, 2.0, 5.0)
DRAWS = 199  # ranks 0 to 199 in 20 cells of 10
CELLS = 20


class Setting(NamedTuple):
    """How much the data can tell: points, where they start, and how far the rate has fallen."""

    points: int
    first: float
    done: float


SETTINGS = {
    "many points, late in a cosine": Setting(38, 0.35, 0.7),
    "few points, before the fall": Setting(12, 0.6, 0.1),
}


def simulate(law: ScheduleLaw, setting: Setting, runs: int, seed: int) -> dict[str, np.ndarray]:
    """P-values of the ranks' uniformity, and the ranks, by quantity."""
    rng = np.random.default_rng(seed)
    grid = law.grid
    total = STEPS / setting.done
    z = np.linspace(0, 1, 200)
    shapes = Shapes(z, 0.1 + 0.45 * (1 + np.cos(np.pi * z)), np.array([0, 200]))
    paths = Paths(np.zeros(1, np.int64), np.zeros(1), np.full(1, total))
    t = STEPS * np.geomspace(setting.first, 1.0, setting.points)
    at = STEPS * np.array(TARGETS)
    x, response = feature_table(
        0, shapes, paths, np.concatenate([t, at]), grid.groups, grid.units, 1.0
    )
    end = len(t) - 1
    strength = law.strength.components(np.full(runs, 3.0), law.unit_weights)
    scale = min(1.0, law.strength.slopes * SLOPE / strength.centre[0])

    def pick(log_weight: np.ndarray) -> np.ndarray:
        return rng.choice(len(log_weight), runs, p=np.exp(log_weight))

    alpha = grid.alphas[pick(grid.log_alpha)]
    kb = grid.kbs[pick(grid.log_kb)] * SLOPE
    unit = pick(np.log(np.asarray(law.unit_weights) / sum(law.unit_weights)))
    part = pick(strength.log_weight[0])
    b = scale * rng.normal(strength.mean[0][part], strength.sd[0][part])
    a = np.full(runs, -1.0)
    while (a <= 0).any():
        again = a <= 0
        a[again] = rng.normal(SLOPE, grid.slope_sd * SLOPE, again.sum())
    phi = (1 - (x / x[end]) ** -alpha[:, None]) / alpha[:, None]
    curve = (
        3.0 - a[:, None] * phi - b[:, None] * (response[:, unit].T - response[end, unit][:, None])
    )
    # The discrepancy: into the past on the clock u (1 + doubt u), into the future on its own.
    u = np.log(x[end] / x[: end + 1])[::-1]
    clock = u * (1 + grid.doubt * u)
    steps = rng.normal(size=(runs, len(t))) * np.sqrt(np.diff(clock, prepend=0.0))
    curve[:, : end + 1] += (kb[:, None] * np.cumsum(steps, axis=1))[:, ::-1]
    h = np.log(x[end + 1 :] / x[end])
    curve[:, end + 1 :] += kb[:, None] * np.cumsum(
        rng.normal(size=(runs, len(at))) * np.sqrt(np.diff(h, prepend=0.0)), axis=1
    )
    late = np.maximum(h - grid.drift_from, 0)  # one target lies there: its variance is enough
    curve[:, end + 1 :] += rng.normal(size=(runs, 1)) * grid.drift * SLOPE * np.sqrt(late**5 / 20)
    fall = b[:, None] * (response[end + 1 :, unit].T - response[end, unit][:, None])
    curve[:, end + 1 :] -= grid.future * rng.normal(size=(runs, 1)) * fall
    noise = SIGMA * math.sqrt(grid.temper)
    y = curve[:, : end + 1] + noise * rng.normal(size=(runs, len(t)))
    full = np.full
    curves = Curves(
        np.tile(t, runs), y.ravel(), np.ones(y.size), np.arange(runs + 1) * len(t),
        np.ones(runs), np.zeros(runs), np.zeros(runs), full(runs, SIGMA), full(runs, SLOPE),
    )  # fmt: skip
    nothing = np.zeros((runs, 1))
    one_path = Hypotheses(nothing.astype(np.int64), np.zeros((runs, len(at), 1), np.int64), nothing)
    found = forecast_batch(
        curves, grid, one_path, strength, shapes, paths, np.tile(at, (runs, 1)),
        rng.integers(0, 2**63, runs).astype(np.uint64), draws=DRAWS, parameters=True,
    )  # fmt: skip
    truth = {"Lc": full(runs, 3.0), "a": a, "B": b}
    ranks = {
        name: (found.parameters[:, k] < truth[name][:, None]).sum(1)
        for k, name in enumerate(("Lc", "a", "B"))
    }
    for j, ratio in enumerate(TARGETS):
        ranks[f"loss at {ratio:g}x"] = (found.draws[:, j] < curve[:, end + 1 + j][:, None]).sum(1)
    return ranks


class Looks(NamedTuple):
    """How a run of the default law looks: what its hyper-prior asks for."""

    points: int
    done: float  # share of the plan
    knowledge: str  # known, total or nothing
    slope: float
    noise: float
    like: float
    rough: float


LOOKS = {
    "text, many points, late in a cosine": Looks(38, 0.6, "known", 0.04, 0.004, 1.0, -2.0),
    "not text, few points, before the fall": Looks(12, 0.1, "known", 0.3, 0.02, 0.0, 0.0),
    "text, the planned end known": Looks(24, 0.4, "total", 0.06, 0.01, 1.0, -1.0),
    "not text, steep, nothing known": Looks(24, 1 / 3, "nothing", 0.6, 0.05, 0.0, -1.0),
}


def setting_of(looks: Looks) -> curve_simulation.Setting:
    """The shipped cells, with the weights of such a run."""
    grid, shipped = cell_grid(), hyper_prior()
    plan = STEPS / looks.done
    f = np.array([
        1.0, math.log(looks.slope / 0.08), 0.5 * math.log(looks.noise / 0.01), looks.like,
        looks.knowledge == "known", looks.rough, 0.5 * math.log(looks.points / 100),
        math.log(plan / STEPS) - 1, looks.knowledge == "nothing",
    ])  # fmt: skip
    theta = shipped.matrix @ np.concatenate([f, looks.like * f])
    numbers, tail, jitter, _, _ = rows_of_draws(grid, shipped)
    theta[numbers + ETA] = 50.0
    matrix = np.zeros((tail + 3, shipped.matrix.shape[1]))
    matrix[:, 0] = [*theta[:tail], theta[jitter], 0.0, 0.0]
    width = np.tile([1.0, 0.0, 1.0], (3, 2, 1, 1))
    hyper = HyperPrior(matrix, N_KINDS, 1, np.zeros(3), np.zeros(1), width)
    if looks.knowledge == "known":
        menu = [("cosine_10", plan)]
    elif looks.knowledge == "total":
        menu = [(name, plan) for name, _ in MENU]
    else:
        menu = [(name, share * STEPS) for name, share in OPEN_MENU]
    paths = []
    for name, end in menu:
        book = PathBook()
        path = int(book.menu(name, np.array([end]))[0])
        made, placed = book.arrays()
        nodes = slice(*made.offsets[placed.shape[path] : placed.shape[path] + 2])
        at = placed.start[path] + made.z[nodes] * placed.stretch[path]
        paths.append(Path(at, made.rho[nodes]))
    t = STEPS * np.geomspace(1.001 * grid.first, 1.0, looks.points)
    kinds = KINDS[looks.knowledge] + np.arange(len(paths))
    return curve_simulation.Setting(
        grid, hyper, tuple(paths), kinds, t, STEPS * np.array([0.6, *TARGETS]), looks.slope,
        looks.noise, plan,
    )  # fmt: skip


def p_value(ranks: np.ndarray) -> float:
    """Chi-square test of uniformity in 20 cells."""
    count, _ = np.histogram(ranks, np.linspace(0, DRAWS + 1, CELLS + 1))
    expected = len(ranks) / CELLS
    return float(chi2.sf(((count - expected) ** 2 / expected).sum(), CELLS - 1))


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("--runs", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--law", choices=("annealing", "multi_power", "learned"))
    options = arguments.parse_args()
    record = _report.start("sbc_forecast")
    failures, rows = [], []
    for label, looks in LOOKS.items() if options.law in (None, "learned") else ():
        ranks = curve_simulation.ranks(setting_of(looks), options.runs, DRAWS, options.seed)
        found = {what: p_value(values) for what, values in ranks.items()}
        words = ", ".join(f"{what} {p:.3f}" for what, p in found.items())
        print(f"learned, {label}, {options.runs:,} curves: p of {words}", flush=True)
        rows.append({"law": "learned", "setting": label, **found})
        if min(found.values()) < 0.01 / len(found):
            failures.append(f"learned, {label}: ranks are not uniform")
    for name in ("annealing", "multi_power") if options.law is None else [options.law]:
        if name == "learned":
            continue
        law = find(name)
        assert isinstance(law, ScheduleLaw)
        for label, setting in SETTINGS.items():
            ranks = simulate(law, setting, options.runs, options.seed)
            found = {what: p_value(values) for what, values in ranks.items()}
            words = ", ".join(f"{what} {p:.3f}" for what, p in found.items())
            print(f"{name}, {label}, {options.runs:,} curves: p of {words}")
            rows.append({"law": name, "setting": label, **found})
            if min(found.values()) < 0.01 / len(found):
                failures.append(f"{name}, {label}: ranks are not uniform")
    record["rows"] = rows
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
