"""The kernel, with the learned constants, draws what the plain oracle of the constants draws."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path as File

import numpy as np
import pytest

import lossfit
from lossfit.forecasts.constants import cell_grid, hyper_prior
from tests.kernels.curve_problems import simple, solve
from tests.kernels.forecast_oracle import Path
from tests.oracles import forecast_draws, forecast_oracle

DRAWS = 6000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
KINDS = {"known": [0], "total": [1, 2, 3, 4, 5], "nothing": [6, 7, 8, 9, 10]}


@cache
def constants():
    return json.loads((File(lossfit.__file__).parent / "forecasts/constants.json").read_text())


def path_of(schedule, end):
    """The relative rate of a schedule between many nodes."""
    t = np.unique(np.concatenate([np.linspace(0, end, 3000), np.geomspace(1e-4 * end, end, 300)]))
    return Path(t, forecast_oracle.relative_rate(schedule, t, end))


def cosine(end):
    return lambda t: 0.1 + 0.9 * (1 + np.cos(np.pi * np.clip(np.asarray(t) / end, 0, 1))) / 2


def curve(seed, positive):
    rng = np.random.default_rng(seed)
    t = np.unique(np.sort(rng.uniform(1, 1e4, int(rng.integers(60, 400)))))
    noise = rng.normal(0, 10 ** rng.uniform(-2.5, -1.2), len(t))
    loss = rng.uniform(1, 4) * np.exp(-rng.uniform(0.03, 0.4) * np.log(t / t[-1]) + noise)
    return t, loss if positive else loss - np.median(loss)


@pytest.mark.parametrize("mode", ["known", "total", "nothing", "longer"])
@pytest.mark.parametrize("positive", [True, False])
def test_draws_are_those_of_the_oracle(mode, positive):
    t, loss = curve(len(mode), positive)
    at = t[-1] * np.array([1.05, 1.25, 2.0, 4.0, 16.0])
    plan = {"known": 2.3 * t[-1], "total": 1.6 * t[-1], "nothing": None, "longer": t[-1]}[mode]
    given, future = None, None
    if mode in ("known", "longer"):
        given = cosine(plan)
    if mode == "longer":
        future = cosine(at[-1])
    options = dict(schedule=given, total=plan, future=future, finished=mode == "longer")
    expected = forecast_draws.forecast(t, loss, at, constants(), n=DRAWS, seed=1, **options)
    known, schedules, end = forecast_draws.situation({"tc": t[-1]}, given, plan)
    histories = [path_of(schedule, 1.001 * at[-1]) for schedule in schedules]
    ahead = histories if future is None else [path_of(future, 1.001 * at[-1])]
    p = simple(t, loss, at, list(KINDS).index(known), grid=cell_grid(False), hyper=hyper_prior())
    p |= dict(
        histories=histories, other=ahead, futures=[ahead] * len(at), plan=end,
        kinds=np.array(KINDS[known]), log_kinds=np.zeros(len(histories)),
        longer=np.full(len(at), int(mode == "longer")),
    )  # fmt: skip
    draws = solve([p], DRAWS).draws
    for mine, theirs in zip(draws, expected, strict=True):
        q, truth = np.quantile(mine, QUANTILES), np.quantile(theirs, QUANTILES)
        # In standard errors of the quantiles' probabilities.
        ranks = np.searchsorted(np.sort(theirs), q) / DRAWS
        spread = np.sqrt(2 * np.array(QUANTILES) * (1 - np.array(QUANTILES)) / DRAWS)
        assert (np.abs(ranks - QUANTILES) / spread).max() < 4.5, (q, truth)
