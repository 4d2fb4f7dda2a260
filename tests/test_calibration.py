"""Frozen backtests: they fail when coverage or CRPS on real curves get worse."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit import record

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def test_the_built_in_curves():
    """LLaMA 1 and 2, read from the papers' figures: 8 runs, 52 forecasts."""
    check = lossfit.backtest(lossfit.load("llama"), axis="tokens", draws=2000)
    table = check.summary()
    # As measured when this was frozen, and some room.
    assert (table["crps"].to_numpy() < np.array([0.0024, 0.0102, 0.0109])).all()
    assert (table["cover90"] >= 0.75).all()
    naive = lossfit.backtest(lossfit.load("llama"), axis="tokens", laws="power_linear").summary()
    assert (table["crps"] < naive["crps"]).all()
    assert (naive["cover90"].iloc[1:] < 0.6).all()


@pytest.fixture(scope="module")
def curves(shared):
    from benches import curves

    folder = shared / "data/curves"
    if not folder.is_dir():
        pytest.skip("shared/data/curves is not there")
    return curves.load(folder)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("key", "options", "crps"),
    [
        ("annealing", {}, (0.0075, 0.0153, 0.0167)),
        ("annealing, siblings", {"siblings": "others"}, (0.0074, 0.0147, 0.0151)),
        ("annealing, menu", {"schedules": "masked"}, (0.0110, 0.0212, 0.0284)),
        ("annealing, no plan", {"schedules": "none"}, (0.0114, 0.0228, 0.0285)),
    ],
)
def test_the_development_set(curves, key, options, crps):
    runs, group = curves
    check = lossfit.backtest(runs, group=group, axis="step", **options)
    table = check.summary()
    assert (table["crps"].to_numpy() < np.array(crps)).all()
    assert table["cover90"].between(0.85, 0.96).all()
    # What an answer says of its record is what was measured.
    np.testing.assert_allclose(table["cover90"], record.RECORDS[key].coverage, atol=0.02)
    assert check.frame["run"].nunique() == record.RUNS
    assert check.frame["group"].nunique() == record.SOURCES


def test_the_record_in_words():
    assert "held the truth in 94 %" in record.sentence("annealing", 1.3)
    assert "none at this horizon" in record.sentence("annealing", 9.0)
    assert record.sentence("annealing", 0.9) == ""
    assert record.sentence("cubic", 2.0) == ""
    assert np.isnan(record.record_of("power", 5.0))
    assert record.record_of("power", 2.2) == record.RECORDS["power"].coverage[1]
