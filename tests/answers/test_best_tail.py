"""The schedule that the law would choose: `lossfit.best_tail`."""

from __future__ import annotations

import itertools
import warnings

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from benches import what_if as bench
from lossfit import DataError, LossfitWarning, load, schedules
from lossfit.answers.search import Problem, knots_between, search, tail_rate
from lossfit.answers.tails import BEST, best_tail
from lossfit.answers.what_ifs import what_if
from lossfit.forecasts.law_draws import LawDraws
from lossfit.forecasts.responses import Rate
from tests.answers.test_what_if import PLANS, TOTAL, simulated


def problem(
    segments: int, units: list[tuple[float, ...]], seed: int = 0, log: bool = False
) -> Problem:
    rng = np.random.default_rng(seed)
    n = 40
    laws = LawDraws(
        20_000.0,
        np.array([[0.4, -0.03], [0.6, 0.0]]),
        np.array(units),
        rng.integers(0, 2, n),
        rng.integers(0, len(units), n),
        np.column_stack([rng.normal(3, 0.01, n), rng.uniform(0.05, 0.2, n),
                         rng.uniform(0.1, 0.2, n)]),
        log,
    )  # fmt: skip
    u = np.linspace(0, 1, 200)
    before = Rate(2000 + u * 60_000, 0.1 + 0.45 * (1 + np.cos(np.pi * u)))
    return Problem(laws, before, knots_between(20_000.0, 30_000.0, segments))


SLOW = [(0.0, 100.0, 0.5, 0.0, 1.0), (0.0, 1000.0, 0.8, 0.0, 1.0)]
FAST = [(1.0, 0.1, 0.5, 0.64, 0.8), (1.0, 0.03, 0.6, 0.5, 1.0)]


@pytest.fixture(scope="module")
def found():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return best_tail(simulated(("cosine", "constant")), TOTAL, run="constant", share=True,
                         start=0.4 * TOTAL)  # fmt: skip


@pytest.mark.parametrize("units", [SLOW, FAST, SLOW + FAST])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("log", [False, True])
def test_value_and_gradient(units, seed, log):
    """The value is the law's own on the same rate; the gradient that of differences."""
    one = problem(7, units, seed, log)
    rng = np.random.default_rng(seed)
    rho = np.sort(rng.uniform(0.01, one.rate_before, 8))[::-1]
    v = np.sqrt(rho)
    value, gradient = one.value(v)
    rate = tail_rate(one.before, 20_000.0, one.fine, one.spread @ rho)
    by_law = one.laws.expected(rate, 30_000.0)
    scale = by_law if log else 1.0
    assert value == pytest.approx(by_law, abs=3e-4 * scale)  # it cuts slopes into pieces of .02
    steps = 1e-5 * np.eye(8)
    numeric = [(one.value(v + d)[0] - one.value(v - d)[0]) / 2e-5 for d in steps]
    np.testing.assert_allclose(gradient, numeric, atol=1e-7 * scale)


@pytest.mark.parametrize("units", [SLOW, FAST])
def test_many_segments_give_the_laws_own_value(units):
    one = problem(48, units)
    rho = one.rate_before * np.linspace(1, 0, 49)
    rate = tail_rate(one.before, 20_000.0, one.fine, one.spread @ rho)
    by_law = one.laws.curves(*one.laws.columns(rate, np.array([30_000.0]))).mean()
    assert one.value(np.sqrt(rho))[0] == pytest.approx(by_law, abs=2e-5)


@pytest.mark.parametrize("units", [SLOW, FAST, SLOW + FAST])
def test_no_grid_point_is_better(units):
    """Brute force over all non-increasing tails of four knots on a grid."""
    one = problem(3, units)
    top = one.rate_before
    best = search(one, 0.0, top, [np.full(4, top), np.linspace(top, 0.0, 4)])
    assert (np.diff(best.rho) <= 1e-12).all()
    levels = np.linspace(0, top, 13)[::-1]
    values = {
        tail: one.value(np.sqrt(np.array(tail)))[0]
        for tail in itertools.combinations_with_replacement(levels, 4)
    }
    least = min(values.values())
    assert best.value <= least + 1e-9
    assert least - best.value < 0.01  # and the grid comes near it
    near = min(values, key=values.get)
    assert np.abs(np.array(near) - best.rho).max() < 0.25 * top


def test_bounds_hold():
    one = problem(10, SLOW + FAST)
    best = search(one, 0.2, 0.6, [np.full(11, 0.6), np.linspace(0.6, 0.2, 11)])
    assert best.rho.min() >= 0.2 - 1e-9
    assert best.rho.max() <= 0.6 + 1e-9
    wider = search(one, 0.0, one.rate_before, [np.full(11, 0.6), np.linspace(0.6, 0.2, 11)])
    assert wider.value < best.value


def test_no_usual_tail_is_better(found):
    table = found.frame.set_index("schedule")
    assert list(table.index) == [BEST, "cosine", "cosine to floor", "linear", "wsd", "1-sqrt"]
    assert (table["expected"] >= table.loc[BEST, "expected"] - 1e-6).all()
    draws = found.curves.shape[1]
    error = np.std(found.curves - found.curves[0], axis=1) / np.sqrt(draws)
    assert (table["gain"].to_numpy() >= -3 * error - 1e-6).all()
    assert (table["gain_lower"] <= table["gain"]).all()
    assert (table["gain"] <= table["gain_upper"]).all()
    # What was minimised is the mean of the draws, but for the discrepancy's Monte Carlo error.
    spread = found.curves.std(axis=1) / np.sqrt(draws)
    assert (np.abs(table["mean"] - table["expected"]) < 5 * spread + 0.003).all()


def test_the_tail_is_good_under_the_truth(found):
    """The simulated world is known: the chosen schedule does what it promises."""
    from tests.answers.test_what_if import truth

    end = np.array([float(TOTAL)])
    real = truth(found.schedule, end)[0]
    start = 0.4 * TOTAL
    linear = schedules.from_points([500, start, TOTAL], [3e-4, 3e-4, 1e-9])
    held = schedules.constant(3e-4, 500)
    assert real < truth(linear, end)[0] + 0.002
    assert real < truth(held, end)[0] - 0.05
    row = found.frame.iloc[0]
    assert row["lower"] - 0.01 <= real <= row["upper"] + 0.01


def test_the_schedule_can_be_used_anywhere(found):
    own = PLANS["constant"]
    at = np.array([100.0, 500.0, 4000.0, 7900.0])
    np.testing.assert_allclose(found.schedule(at), own(at), rtol=1e-6)
    np.testing.assert_allclose(found.schedule(found.at), found.lr, atol=3e-4 * 1e-3)
    lr = found.schedule(np.linspace(8000, TOTAL, 500))
    assert (np.diff(lr) <= 1e-15).all()
    runs = simulated(("cosine", "constant"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        answer = what_if(runs, "constant", schedules={"best": found.schedule}, share=True)
    row = answer.frame.set_index("schedule").loc["best"]
    assert row["at"] == pytest.approx(TOTAL)
    assert row["median"] == pytest.approx(found.frame["median"].iloc[0], abs=2e-3)


def test_where_it_leaves_the_data(found):
    assert "rate_below_data" in found.flags
    assert found.seen[0] == pytest.approx(3e-5, rel=0.05)
    assert 0 < found.below < 1
    assert found.within is not None
    assert found.within.lr.min() >= found.seen[0] * (1 - 1e-9)
    assert found.within.expected[0] > found.expected[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", LossfitWarning)
        kept = best_tail(simulated(("cosine", "constant")), TOTAL, run="constant", share=True,
                         start=0.4 * TOTAL, floor=3.1e-5)  # fmt: skip
    assert kept.flags == ()
    assert kept.lr.min() >= 3.1e-5 * (1 - 1e-9)
    assert kept.within is None


def test_one_run_is_said_to_be_little():
    with pytest.warns(LossfitWarning, match="one_run"):
        found = best_tail(simulated(("cosine",)), draws=200)
    assert found.start == pytest.approx(500)
    assert found.total == TOTAL


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_tail_that_rests_at_nothing_says_so():
    """The tail of one run under a cosine ends early: nothing is trained at a rate of 0."""
    one = best_tail(load("llama2"), run="llama2-7B", draws=200)
    resting = np.interp(np.linspace(one.start, one.total, 1000), one.at, one.lr) < 0.01 * one.lr[0]
    assert ("idle" in one.flags) == (resting.mean() > 0.05)
    assert "idle" in one.flags
    assert "nothing is trained" in str(one)
    assert "idle" not in best_tail(load("llama2"), run="llama2-7B", draws=200, floor=3e-5).flags


def test_going_on_starts_where_the_data_end():
    runs = simulated(("constant",), end=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        found = best_tail(runs, 15_000, draws=200)
    assert found.start == 10_000
    assert "response_unsure" in found.flags


def test_text_and_plot(found):
    text = str(found)
    assert "the best tail from 8,000 steps to 20,000 steps" in text
    assert "the best saves" in text
    assert "the lowest learning rate in the data" in text
    ax = found.plot()
    assert [line.get_label() for line in ax.lines][:6] == list(found.names)
    mpl.pyplot.close("all")
    assert found.gain("wsd")[0] == pytest.approx(
        found.frame.set_index("schedule").loc["wsd", "gain"]
    )
    assert len(found.tail) == 49


def test_same_seed_same_tail():
    runs = simulated(("cosine", "constant"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        options = {"share": True, "run": "cosine", "draws": 200, "segments": 12}
        a, b = best_tail(runs, **options), best_tail(runs, **options)
    np.testing.assert_array_equal(a.lr, b.lr)
    np.testing.assert_array_equal(a.curves, b.curves)


@pytest.mark.shared
def test_on_the_multi_power_curves_the_decay_comes_late(shared):
    """As Luo et al. 2025 found by their law: held long, then down, like WSD but better."""
    runs = bench.multipower(shared / "data" / "curves", "100M")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        found = best_tail(runs, 24_000, run="cosine_24000", share=True)
    at = np.linspace(found.start, 24_000, 1000)
    lr = np.interp(at, found.at, found.lr)
    half = at[lr < 1.5e-4][0]
    assert 0.7 * 24_000 < half < 0.97 * 24_000
    assert found.gain("cosine")[1] > 0.02
    assert found.gain("wsd")[1] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 3e4}, "must begin before it ends"),
        ({"total": -1}, "positive"),
        ({"floor": -1.0}, "floor must be a learning rate of 0 or more"),
        ({"floor": 1.0}, "free to move"),
        ({"peak": "high"}, "peak must be a learning rate"),
        ({"segments": 1}, "segments"),
        ({"segments": 500}, "128 at most"),
        ({"run": "none"}, "none"),
    ],
)
def test_bad_questions(options, words):
    with pytest.raises(DataError, match=words):
        best_tail(simulated(("cosine",)), **options)
