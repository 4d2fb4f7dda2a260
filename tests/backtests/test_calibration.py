"""Frozen backtests of the law `annealing`: they fail when its record on real curves gets worse.

That of the default law is tests/forecasts/test_learned_constants.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit.forecasts import record

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def test_the_built_in_curves():
    """LLaMA 1 and 2, read from the papers' figures: 8 runs, 52 forecasts."""
    check = lossfit.backtest(lossfit.load("llama"), axis="tokens", laws="annealing", draws=2000)
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
    check = lossfit.backtest(runs, group=group, axis="step", laws="annealing", **options)
    table = check.summary()
    assert (table["crps"].to_numpy() < np.array(crps)).all()
    assert table["cover90"].between(0.85, 0.96).all()
    # What an answer says of its record is what was measured.
    np.testing.assert_allclose(table["cover90"], record.RECORDS[key].coverage, atol=0.02)
    assert check.frame["run"].nunique() == record.RUNS
    assert check.frame["group"].nunique() == record.SOURCES


def test_the_record_in_words():
    said = record.by_name_sentence
    assert "public runs of text" in said("annealing", 1.3, False)
    assert "held the truth in 94 %" in said("annealing", 1.3, False)
    assert "never checked at this horizon" in said("annealing", 9.0, False)
    assert "never checked for a plan stretched beyond its end" in said("annealing", 1.3, True)
    assert said("annealing", 0.9, False) == said("cubic", 2.0, False) == ""
    assert np.isnan(record.record_of("power", 5.0))
    assert record.record_of("power", 2.2) == record.RECORDS["power"].coverage[1]


@pytest.mark.shared
@pytest.mark.parametrize(("size", "most"), [("25M", 0.0038), ("100M", 0.0033)])
def test_the_multi_power_benchmark_through_extrapolate(shared, size, most):
    """Three schedules of a model are fitted together, six others predicted."""
    import pandas as pd

    file = shared / "data/curves/multipowerlaw_25m_100m.csv"
    if not file.is_file():
        pytest.skip("shared/data/curves is not there")
    frame = pd.read_csv(file)[["run", "step", "loss", "lr"]]
    frame = frame[frame["run"].str.startswith(f"mpl{size}-")]
    names = list(dict.fromkeys(frame["run"]))
    fitted = [n for n in names if n.endswith(("-cosine_24000", "-constant_24000", "-wsdcon_9"))]
    runs = lossfit.Runs.from_frame(frame[frame["run"].isin(fitted)])
    misses, r2, covered = [], [], []
    for name in set(names) - set(fitted):
        rows = frame[frame["run"] == name]
        plan = lossfit.schedules.from_points(rows["step"], rows["lr"])
        rows = rows[rows["step"] >= runs[fitted[0]].axis("step")[0]]
        at, loss = rows["step"].to_numpy(float), rows["loss"].to_numpy()
        answer = lossfit.extrapolate(
            runs, fitted[0], at=at, axis="step", schedule={fitted[0]: plan}, share=True
        )
        draws = answer.draws.values[0]
        noise = np.random.default_rng(0).normal(0, answer.mixed.sigma[0, 0], draws.shape)
        lower, upper = np.quantile(draws + noise, [0.05, 0.95], axis=1)
        error = draws.mean(1) - loss
        misses.append(np.abs(error).mean())
        r2.append(1 - (error**2).sum() / ((loss - loss.mean()) ** 2).sum())
        covered.append(((lower < loss) & (loss < upper)).mean())
    assert len(misses) == 6
    assert np.mean(misses) < most
    assert np.mean(r2) > 0.998
    assert 0.85 < np.mean(covered) < 0.98
