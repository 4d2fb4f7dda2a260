"""A small simulation-based calibration; `benches/sbc.py` is the large one."""

from __future__ import annotations

import numpy as np
import pytest

from benches.sbc import method_of, p_values, ranks, simulate
from lossfit import laws
from tests.kernels.oracles import EXACT

CASES = [(law, setting) for law in EXACT for setting in ("informative", "at_zero")]
SAMPLED = [law for law in laws.NAMES if method_of(law) == "ensemble"]


@pytest.mark.parametrize(("law", "setting"), CASES)
def test_ranks_are_uniform(law, setting):
    rng = np.random.default_rng(8)
    size = 4000 if len(laws.get(law).nonlinear) == 1 else 1500
    simulation = simulate(law, size, 30, setting, "gaussian", rng)
    rank, status = ranks(law, simulation, "gaussian", 1)
    assert not status.any()
    p, _counts = p_values(rank)
    assert p.min() > 1e-4, dict(zip((*laws.get(law).parameters, "sigma"), p, strict=True))


@pytest.mark.parametrize("law", SAMPLED)
def test_ensemble_ranks_are_uniform(law):
    simulation = simulate(law, 128, 30, "informative", "gaussian", np.random.default_rng(4))
    rank, status = ranks(law, simulation, "gaussian", 1)
    assert not status.any()
    assert p_values(rank)[0].min() > 1e-4


# With an offset a fit takes seconds: `python -m benches.sbc --noise student_t`.
@pytest.mark.parametrize(
    ("law", "setting"), [("power", "informative"), ("power_linear", "at_zero")]
)
def test_student_t_ranks_are_uniform(law, setting):
    simulation = simulate(law, 200, 30, setting, "student_t", np.random.default_rng(2))
    rank, status = ranks(law, simulation, "student_t", 1)
    assert not status.any()
    assert p_values(rank)[0].min() > 1e-4


def test_a_wrong_posterior_is_found():
    simulation = simulate("power", 2000, 30, "informative", "gaussian", np.random.default_rng(3))
    table = simulation.table._replace(sd=simulation.table.sd * 0.7)
    wrong = type(simulation)(simulation.truth, simulation.batch, table)
    assert p_values(ranks("power", wrong, "gaussian", 1)[0])[0].min() < 1e-6
