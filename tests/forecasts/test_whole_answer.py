"""The whole default answer against plain NumPy: from points to quantiles of the loss.

`lossfit.extrapolate` and `tests.oracles`, which is written from the documented formulas and shares
no code with it, each draw so often that what is left of chance is about .005 standard deviations.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import lossfit
from tests.oracles import forecast_draws, forecast_oracle

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
DRAWS = 200_000
CHANCE = 0.02  # standard deviations: a 5 % quantile where the density is small
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NODES = 3000  # the oracle's integrals over the rate then agree to .001 standard deviations
MOST, USUAL = 0.05, 0.02  # standard deviations of the forecast: in all, and in 95 % of the cases
STATES = ("total", "nothing")


@cache
def constants():
    return json.loads((Path(lossfit.__file__).parent / "forecasts/constants.json").read_text())


@pytest.fixture(autouse=True)
def fine(monkeypatch):
    monkeypatch.setattr(forecast_oracle, "NODES", NODES)


def gaps(t, loss, at, **options):
    """The gaps of one run, drawn again 6 times as often where chance may be in them.

    Each run has seeds of its own: with common ones a draw that is off by chance is off in all runs.
    """
    seed = zlib.crc32(np.asarray(loss).tobytes()) // 8
    gap = gaps_of(DRAWS, seed, t, loss, at, **options)
    if np.abs(gap).max() < CHANCE:
        return gap
    again = [gaps_of(2 * DRAWS, seed + k, t, loss, at, **options) for k in (1, 2, 3)]
    return np.mean(again, axis=0)


def gaps_of(n, seed, t, loss, at, *, schedule=None, total=None, warmup=0.0):
    """Mean and quantiles of `extrapolate` less those of the oracle, in its standard deviations."""
    at = np.asarray(at, float)
    options = dict(schedule=schedule, total=total)
    expected = forecast_draws.forecast(
        t, loss, at, constants(), warmup=warmup, n=n, seed=seed, **options
    )
    given = {name: value for name, value in options.items() if value is not None}
    runs = lossfit.Runs.from_arrays("step", t, loss)
    answer = lossfit.extrapolate(runs, at=at, axis="step", draws=n, random_seed=seed, **given)
    draws = np.asarray(answer.draws).reshape(len(at), n)
    found = np.vstack([draws.mean(1), np.quantile(draws, QUANTILES, axis=1)])
    truth = np.vstack([expected.mean(1), np.quantile(expected, QUANTILES, axis=1)])
    return (found - truth) / expected.std(axis=1)


def held(cases, few=False):
    """Check the bars on the largest gap of each case, a run with a target; of a few, all only."""
    largest = np.concatenate([np.abs(gap).max(axis=0) for gap in cases])
    half, usual = np.quantile(largest, [0.5, 0.95])
    print(
        f"{len(largest)} answers: half within {half:.4f} sd, 95 % within {usual:.4f}, all within "
        f"{largest.max():.4f}"
    )
    assert largest.max() <= MOST
    assert half <= USUAL / 2
    assert few or usual <= USUAL


def random_run(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(40, 500))
    t = np.sort(rng.choice(np.arange(1, 40 * n), n, replace=False)) * float(rng.integers(1, 20))
    fall = rng.uniform(0.02, 0.4)
    loss = rng.uniform(1, 4) * (t / t[-1]) ** -fall
    loss *= np.exp(rng.normal(0, 10 ** rng.uniform(-3, -1.3), n))
    if seed % 4 == 3:  # of both signs: it is not fitted on its logarithm
        loss = loss - np.median(loss)
    return t, loss


def of_random_run(seed):
    t, loss = random_run(seed)
    state = ("known", *STATES)[seed % 3]
    plan = float(t[-1] * (1.5 + (seed % 5)))
    at = np.array([t[-1] * 1.2, plan])
    if state == "nothing":
        return gaps(t, loss, at)
    if state == "total":
        return gaps(t, loss, at, total=plan)
    return gaps(t, loss, at, schedule=lossfit.schedules.cosine(1.0, plan, 0, 0.1), total=plan)


def test_random_runs():
    held([of_random_run(seed) for seed in range(12)], few=True)


@pytest.mark.nightly(only="300 random runs")
def test_many_random_runs():
    held([of_random_run(seed) for seed in range(300)])


@cache
def curves(folder):
    from benches.forecast_cases import all_curves

    return all_curves(folder)


def of_curve(curve, state):
    """A development curve cut at half its length, asked up to its planned end."""
    from benches.forecast_cases import case_of

    case = case_of(curve, 0.5) or case_of(curve, 0.8) or case_of(curve, 0.95)
    assert case is not None
    end, plan = case.t[-1], curve.plan
    if state == "nothing":
        return gaps(case.t, case.loss, [1.25 * end, 4 * end])
    return gaps(case.t, case.loss, [(end + plan) / 2, plan], total=plan)


def test_a_sample_of_development_curves(shared):
    """5 % of them."""
    sample = curves(shared / "data/curves")[7::20]
    held([of_curve(curve, STATES[k % 2]) for k, curve in enumerate(sample)], few=True)


@pytest.mark.nightly(only="every development curve")
def test_every_development_curve(shared):
    held([of_curve(curve, s) for curve in curves(shared / "data/curves") for s in STATES])
