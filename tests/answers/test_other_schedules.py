"""Other schedules of a run by itself: the draws of `extrapolate`, moved by its response alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import lossfit
from lossfit import LossfitWarning, schedules
from lossfit.answers.what_ifs import OWN
from lossfit.forecasts.response_draws import in_order
from lossfit.forecasts.responses import Rate
from tests.answers.test_what_if import PLANS, TOTAL, simulated

OTHERS = {"linear": PLANS["linear"], "constant": PLANS["constant"], "short": PLANS["short"]}


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return function(*args, **options)


def rows_of(answer, schedule, run=None):
    return [
        i
        for i, row in enumerate(answer.rows)
        if row.schedule == schedule and run in (None, row.run)
    ]


@pytest.fixture(scope="module")
def runs():
    return simulated(("cosine", "wsd", "linear"), 5, end=0.6 * TOTAL)


@pytest.mark.parametrize("seed", range(4))
def test_the_own_schedule_is_extrapolate_to_the_draw(runs, seed):
    """Whatever the options, places within the data, beyond them and beyond the schedule."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0.1, 2.5, 4)) * TOTAL
    names = list(rng.permutation(runs.names)[: rng.integers(1, 4)])
    options = {
        "draws": int(rng.integers(20, 300)),
        "random_seed": int(rng.integers(1000)),
        "domain": str(rng.choice(["auto", "text", "other"])),
        "window": ["auto", (0.1, 1.0)][seed % 2],
    }
    if seed > 1:
        options["siblings"] = simulated(("constant", "linear", "cosine"), 9)
    asked = list(rng.permutation(list(OTHERS))[: rng.integers(1, 3)])
    answer = quietly(
        lossfit.what_if, runs, names, schedules={n: OTHERS[n] for n in asked}, at=at, **options
    )
    real = quietly(lossfit.extrapolate, runs, names, at=at, **options)
    for name in names:
        own = real.draws.sel(run=name).to_numpy()
        np.testing.assert_array_equal(answer.curves[rows_of(answer, OWN, name)], own)
        for schedule in (OWN, *asked):
            np.testing.assert_array_equal(answer.own[rows_of(answer, schedule, name)], own)
        np.testing.assert_array_equal(answer.curve(name, OWN, at), own)


def test_it_is_extrapolate_with_calibration_too():
    many = {f"run {i}": simulated(("cosine",), 20 + i) for i in range(10)}
    import pandas as pd

    finished = lossfit.Runs.from_frame(
        pd.concat([one.frame.assign(run=name)[["run", "step", "loss"]]
                   for name, one in many.items()]),
        schedules=dict.fromkeys(many, PLANS["cosine"]),
    )  # fmt: skip
    begun = simulated(("cosine",), 3, end=0.5 * TOTAL)
    options = {"at": [0.8 * TOTAL, TOTAL], "calibrate_on": finished, "draws": 200}
    answer = quietly(lossfit.what_if, begun, schedules={"to 0": OTHERS["linear"]}, **options)
    real = quietly(lossfit.extrapolate, begun, **options)
    assert answer.calibration.factor == real.calibration.factor != 1
    np.testing.assert_array_equal(answer.own[:2], real.draws[0].to_numpy())
    assert "calibrated" in answer.frame["notes"].iloc[2]
    assert "Calibrated:" in str(answer)
    # Calibration moves the own schedule's draws; another schedule's keep their ratio to them.
    plain = quietly(
        lossfit.what_if, begun, schedules={"to 0": OTHERS["linear"]}, at=options["at"], draws=200
    )
    ratio, same = answer.curves / answer.own, plain.curves / plain.own
    np.testing.assert_allclose(ratio, same, rtol=1e-12)
    assert np.abs(answer.own - plain.own).max() > 1e-4


def test_no_schedule_depends_on_the_others_asked(runs):
    at = [0.5 * TOTAL, TOTAL]
    options = {"at": at, "draws": 100}
    every = quietly(lossfit.what_if, runs, "wsd", schedules=OTHERS, **options)
    for name, plan in OTHERS.items():
        alone = quietly(lossfit.what_if, runs, "wsd", schedules={name: plan}, at=at[1], draws=100)
        np.testing.assert_array_equal(
            alone.curves[rows_of(alone, name)], every.curves[rows_of(every, name)[1:]]
        )


def test_a_difference_is_the_response_and_nothing_else(runs):
    """The logarithm of the loss moves by the law's a phi + B D, by hand for annealing draws."""
    at = np.array([0.4, 0.6, 0.9]) * TOTAL
    answer = quietly(
        lossfit.what_if, runs, "cosine", schedules={"linear": PLANS["linear"]}, at=at, draws=400
    )
    laws = answer._engines["cosine"].laws
    moved = np.log(answer.curves[rows_of(answer, "linear")] / answer.own[:3])
    grid = np.linspace(0, TOTAL, 400_001)
    paths = {name: PLANS[name](grid) / 3e-4 for name in ("cosine", "linear")}
    for rho in paths.values():
        rho[grid <= 500] = 1.0
    area = {name: np.concatenate([[0], np.cumsum(0.5 * (rho[1:] + rho[:-1]) * np.diff(grid))])
            for name, rho in paths.items()}  # fmt: skip
    middle = 0.5 * (grid[1:] + grid[:-1])
    slow = np.flatnonzero(laws.units[laws.unit, 0] == 0)[:12]
    assert len(slow) == 12
    for i in slow:
        _, tau, power, _, _ = laws.units[laws.unit[i]]
        alpha = laws.shapes[laws.shape[i], 0]
        _, a, b = laws.beta[i]
        for j, t in enumerate(at):
            y = {}
            for name, rho in paths.items():
                before = middle < t
                drop = -np.diff(rho**power)[before]
                response = (drop * -np.expm1(-(t - middle[before]) / tau)).sum()
                x = np.interp(t, grid, area[name]) / laws.reference
                y[name] = -a * (1 - x**-alpha) / alpha - b * response
            assert moved[j, i] == pytest.approx(y["linear"] - y["cosine"], abs=2e-5)


def test_a_rate_that_was_logged_without_a_form_is_compared_with_its_continuations():
    """Each draw has the continuation that its own forecast has."""
    step = np.arange(200.0, 12_001, 100)
    rate = np.where(step < 5000, 3e-4, np.where(step < 8000, 1.5e-4, 2.2e-4))
    rng = np.random.default_rng(2)
    loss = 2 + 3 * step**-0.25 - 200 * (3e-4 - rate) + 0.002 * rng.standard_normal(len(step))
    import pandas as pd

    frame = pd.DataFrame({"run": "a", "step": step, "loss": loss, "lr": rate})
    runs = lossfit.Runs.from_frame(frame)
    at = [8000.0, 16_000.0]
    options = {"at": at, "draws": 150}
    answer = quietly(lossfit.what_if, runs, schedules={"c": schedules.constant(3e-4)}, **options)
    real = quietly(lossfit.extrapolate, runs, **options)
    assert "no_plan" in real.frame["notes"].iloc[1]
    np.testing.assert_array_equal(answer.own[:2], real.draws[0].to_numpy())
    assert np.isfinite(answer.curves).all()


def test_losses_that_are_not_positive():
    runs = simulated(("cosine",), 6, end=0.7 * TOTAL)
    frame = runs.frame[["run", "step", "loss"]].copy()
    frame["loss"] -= 3.5
    low = lossfit.Runs.from_frame(frame, schedules={"cosine": PLANS["cosine"]})
    assert low["cosine"].loss.min() < 0 < low["cosine"].loss.max()
    answer = quietly(lossfit.what_if, low, schedules=OTHERS, at=0.6 * TOTAL, draws=300)
    assert not answer._engines["cosine"].laws.log
    gap = answer.frame.set_index("schedule")["difference"]
    assert 0 < gap["constant"] < 0.2
    assert np.isfinite(answer.curves).all()


def test_strong_responses_go_with_strong_ones(runs):
    """The draws are put in the forecast's order, each exactly once."""
    answer = quietly(lossfit.what_if, runs, "cosine", schedules=OTHERS, draws=200)
    laws = answer._engines["cosine"].laws
    rng = np.random.default_rng(0)
    strength = rng.normal(size=200)
    flat = Rate(np.array([0.0]), np.array([1.0]))
    ordered = in_order(laws, flat, 100.0, 200.0, strength)
    assert (np.diff(ordered.beta[np.argsort(strength), 2]) >= 0).all()
    np.testing.assert_array_equal(np.sort(ordered.beta, axis=0), np.sort(laws.beta, axis=0))
    # The schedule still to come decides where there is one.
    step = np.linspace(0, TOTAL, 200)
    falls = Rate(step, np.linspace(1, 0, 200))
    ordered = in_order(laws, falls, 0.6 * TOTAL, TOTAL, strength)
    response = ordered.columns(falls, np.array([0.6 * TOTAL, TOTAL]))[1]
    wins = ordered.beta[:, 2] * (response[1] - response[0])[ordered.unit]
    assert (np.diff(wins[np.argsort(strength)]) >= -1e-15).all()
