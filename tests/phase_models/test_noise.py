"""The noise of a run is learned from the run: its prior is worth two points."""

from __future__ import annotations

import numpy as np
import pytest

from lossfit.phase_models import models


@pytest.mark.parametrize("wrong", [0.1, 1.0, 10.0])
def test_a_rough_guess_of_the_noise_hardly_matters(wrong):
    rng = np.random.default_rng(0)
    n, sd = 60, 0.01
    t = np.linspace(0.05, 1, n)
    columns = np.stack([np.ones(n), t], axis=1)
    y = columns @ [2.0, -0.5] + rng.normal(0, sd, n)
    every = np.column_stack([columns, y])
    parts = models.Parts(columns, (every.T @ every)[None], np.zeros(1), n)
    nothing = np.zeros(n)
    curve = models.Curve(t, y, np.ones(n), nothing, 0.1, wrong * sd, None, None, 1.0)
    zero = np.zeros(1, int)
    *_, shape, scale = models.posterior(
        curve, parts, zero, np.array([[0, 1]]), np.zeros(2), np.full(2, 1e3 * sd * wrong)
    )
    found = np.sqrt(scale[0] / shape)
    # 60 points against two: a variance that is 100 times too large adds 100 / 30 of its own.
    assert 0.8 < found / sd < {0.1: 1.2, 1.0: 1.2, 10.0: 2.4}[wrong]
