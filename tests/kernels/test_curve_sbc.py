"""Simulation-based calibration: under its own prior the forecast's ranks are uniform.

Talts et al. 2018, arXiv 1804.06788.  Noise and local slope are given, since the prior is in their
units, and the hyper-prior is the same whatever a run looks like.  With the shipped cells and many
more curves: ``python -m benches.sbc_forecast --law learned``.
"""

from __future__ import annotations

import numpy as np
import pytest

from lossfit.kernels.curve_law import CellGrid
from tests.kernels.curve_problems import plain_hyper, with_hyper
from tests.kernels.curve_simulation import Setting, p_value, ranks
from tests.kernels.forecast_oracle import Path

END = 400.0
N_DRAWS, N_RUNS = 63, 320
PATHS = (
    Path(np.array([0.0, 150.0, 700.0]), np.array([1.0, 1.0, 0.1])),
    Path(np.array([0.0, 300.0, 300.0]), np.array([1.0, 1.0, 0.4])),
)
GRID = CellGrid(
    np.array([1.0, 3.0]), np.array([0.05, 0.3]), np.array([-0.4, 0.0, 0.8]),
    np.array([[0, 15.0, 0.65, 0.0], [0, 60.0, 0.65, 0.0]]), np.array([np.inf, np.inf]),
    np.array([0, 2]), np.array([[1, 0.0, 0.3], [1, 1.5, 0.7]]), 24, 0.3, 1.0, 2.0, 0.19, 0.127, 3.0,
)  # fmt: skip
HYPER = with_hyper(
    {"grid": GRID, "hyper": plain_hyper(GRID)}, growth=-1.0, drift=-1.5, response=-1.0, slow=-0.5,
    jitter=-6.0,
)["hyper"]  # fmt: skip
# Of so few points none is taken for a spike: bends of the discrepancy would be.
SETTING = Setting(
    GRID, HYPER, PATHS, np.zeros(2, int), END * GRID.first ** (1 - np.arange(1, 9) / 8),
    np.array([0.6, 1.3, 3.5]) * END, 0.1, 0.004, 2 * END,
)  # fmt: skip


def test_ranks_are_uniform():
    for name, values in ranks(SETTING, N_RUNS, N_DRAWS).items():
        assert p_value(values, N_DRAWS, 8) > 1e-4, name


@pytest.mark.parametrize(
    ("change", "seen"),
    [({"sizes": 0.25 * GRID.sizes}, "0.6x"), ({"slope_sd": 0.1}, "slope")],
)
def test_a_wrong_prior_is_seen(change, seen):
    found = ranks(SETTING, N_RUNS, N_DRAWS, assumed=(GRID._replace(**change), HYPER))
    assert p_value(found[seen], N_DRAWS, 8) < 1e-6
