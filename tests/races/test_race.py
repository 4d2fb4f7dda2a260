"""Races: leaders, overtakings, frontiers, and the curves that they are made of."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import solve
from scipy.stats import kstest, norm

import lossfit
from lossfit.forecasts.mixture import curves_of
from lossfit.forecasts.question import Question
from lossfit.races import build as racing
from lossfit.races import frontier, smoothing
from lossfit.races.crossings import RANKS, crossings, interpolated
from lossfit.races.curves import race_curves
from lossfit.races.result import Race
from lossfit.races.together import MARKS, SHARED, draw_order

END = 20_000.0


def two_runs(
    cross: float = 6_000.0, noise: float = 0.003, seed: int = 0, points: int = 150
) -> lossfit.Runs:
    """A small run and one three times as long, of twice the slope, that cross at a place."""
    rng = np.random.default_rng(seed)
    x, loss = [], []
    for size, end, begin in ((0.25, END, 200.0), (0.5, 3 * END, 600.0)):
        t = np.linspace(begin, end, points)
        curve = 2.0 + size * ((t / cross) ** -0.3 - 1)
        x.append(t)
        loss.append(curve + rng.normal(0, noise, points))
    return lossfit.Runs.from_arrays(
        "step", np.concatenate(x), np.concatenate(loss), [0, points, 2 * points],
        ["small", "large"], schedules=lossfit.schedules.constant(1e-3),
    )  # fmt: skip


def quiet_race(runs: Any, **options: Any) -> Race:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        return racing.race(runs, **options)


@pytest.fixture(scope="module")
def llama1() -> Race:
    return quiet_race(lossfit.load("llama1"), axis="gpu_hours")


@pytest.fixture(scope="module")
def llama2() -> Race:
    return quiet_race(lossfit.load("llama2"), axis="gpu_hours")


def row(race: Race, overtaker: str, overtaken: str, rank: int = 1) -> Any:
    table = race.overtakes()
    some = table[
        (table["overtaker"] == overtaker)
        & (table["overtaken"] == overtaken)
        & (table["rank"] == rank)
    ]
    assert len(some) == 1
    return some.iloc[0]


# Crossings


def test_crossings_of_sines_are_where_they_cross() -> None:
    place = np.linspace(0.05, 3.2, 400)
    gap = np.sin(np.pi * place)[None, :, None] * np.ones((1, 1, 2))  # zeros at 1, 2, 3
    found = crossings(gap, place, np.full((1, 400), 0.1))
    # a is ahead where the gap is negative: from 1 to 2, and from 3 on.
    assert_allclose(found.times[0, :2, 0, 0], [1, 3], atol=1e-4)
    assert_allclose(found.times[1, :1, 0, 0], [2], atol=1e-4)
    assert np.isnan(found.times[0, 2]).all()
    assert np.isnan(found.times[1, 1:]).all()
    assert_array_equal(found.counts[:, 0, 0], [2, 1])
    assert found.first[0, 0] == 1
    assert found.last[0, 0] == -1


def test_leads_below_the_margin_are_ties() -> None:
    place = np.linspace(0, 1, 201)
    wiggle = 0.01 * np.sin(40 * place)
    found = crossings(wiggle[None, :, None], place, np.full((1, 201), 0.02))
    assert not found.counts.any()
    assert not found.last.any()
    # A passage through 0 with wiggles is one crossing, dated at the last change of sign.
    gap = (0.5 - place) + 0.05 * np.sin(80 * place)
    found = crossings(gap[None, :, None], place, np.full((1, 201), 0.1))
    assert_array_equal(found.counts[:, 0, 0], [1, 0])
    signs = np.flatnonzero(np.diff(np.sign(gap)))
    assert len(signs) > 1
    assert place[signs[-1]] <= found.times[0, 0, 0, 0] <= place[signs[-1] + 1]


def test_crossings_beyond_the_ranks_are_counted() -> None:
    n = 2 * (RANKS + 2) + 1
    gap = np.where(np.arange(n) % 2, -1.0, 1.0)[None, :, None]
    found = crossings(gap, np.arange(n, dtype=float), np.full((1, n), 0.5))
    assert found.counts[0, 0, 0] == RANKS + 2
    assert_allclose(found.times[0, :, 0, 0], [0.5, 2.5, 4.5][:RANKS])


def test_a_curve_that_is_not_there_does_not_cross() -> None:
    gap = np.array([np.nan, 1, 0.5, -0.5, -1, np.nan])[None, :, None]
    found = crossings(gap, np.arange(6.0), np.full((1, 6), 0.1))
    assert_allclose(found.times[0, 0, 0, 0], 2.5)
    assert found.counts.sum() == 1


def test_interpolated_curves() -> None:
    curves = np.array([[[np.nan], [1.0], [3.0]], [[2.0], [4.0], [0.0]]])
    place = np.array([0.0, 1.0, 2.0])
    got = interpolated(curves, place, np.array([0.5, 1.0, 1.5, 2.5]))[:, :, 0]
    assert_allclose(got, [[np.nan, 1, 2, np.nan], [3, 4, 2, np.nan]])


# Leaders and frontiers


def test_best_merges_as_one() -> None:
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(7, 5, 11))
    curves[2:, 0] = np.nan
    curves[:, 1] = np.nan
    loss, run = frontier.best(curves)
    parts = frontier.merge_best(frontier.best(curves[:3]), frontier.best(curves[3:], first=3))
    assert_array_equal(parts[0], loss)
    assert_array_equal(np.where(np.isinf(loss), -1, parts[1]), run)
    assert (run[1] == -1).all()
    assert (run[0] < 2).all()
    assert_allclose(frontier.leading(run, 7).sum(axis=1), [1, 0, 1, 1, 1])


def test_stopped_runs_overtake_nobody() -> None:
    # c passes a at 2; a would pass b at 4, but it was stopped; b goes on.
    a = [1.0, 1.0, 1.0, 1.0, 0.2, 0.1]
    b = [9.0, 3.5, 1.8, 1.6, 1.4, 1.2]
    c = [9.0, 3.0, 0.5, 2.5, 2.4, 2.3]
    curves = np.array([a, b, c])[:, :, None]
    got = frontier.stopped(curves, np.full(6, 0.05))[:, :, 0]
    assert_array_equal(np.isnan(got[0]), [False, False, True, True, True, True])
    # c led b at 2 and falls behind it at 3.
    assert_array_equal(np.isnan(got[2]), [False, False, False, True, True, True])
    assert_array_equal(np.isnan(got[1]), [False] * 6)


def test_a_run_that_begins_below_overtakes_at_its_first_point() -> None:
    a = [1.0, 1.0, 1.0, 0.5]
    b = [np.nan, np.nan, 0.9, 0.8]
    got = frontier.stopped(np.array([a, b])[:, :, None], np.full(4, 0.05))[:, :, 0]
    assert_array_equal(np.isnan(got), [[False, False, True, True], [True, True, False, False]])


def test_array_api() -> None:
    strict = pytest.importorskip("array_api_strict")
    rng = np.random.default_rng(1)
    curves = rng.normal(size=(3, 20, 8)).cumsum(axis=1)
    curves[1, :4] = np.nan
    place, margin = np.linspace(0, 1, 20), np.full(20, 0.1)
    same = strict.asarray(curves)
    loss, run = frontier.best(curves)
    loss2, run2 = frontier.best(same)
    assert_array_equal(np.asarray(run2), run)
    assert_array_equal(np.asarray(frontier.leading(run2, 3)), frontier.leading(run, 3))
    for one, two in zip(
        frontier.lowest_so_far(loss, run), frontier.lowest_so_far(loss2, run2), strict=True
    ):
        assert_array_equal(np.asarray(two), one)
    got = frontier.stopped(same, strict.asarray(margin))
    assert_array_equal(np.asarray(got), frontier.stopped(curves, margin))
    gap = curves[:1] - curves[2:]
    need = np.tile(margin, (1, 1))
    ours = crossings(gap, place, need)
    theirs = crossings(strict.asarray(gap), strict.asarray(place), strict.asarray(need))
    for one, two in zip(ours, theirs, strict=True):
        assert_array_equal(np.asarray(two), one)
    where = np.array([0.01, 0.5, 0.77])
    assert_array_equal(
        np.asarray(interpolated(same, strict.asarray(place), strict.asarray(where))),
        interpolated(curves, place, where),
    )


def test_races_on_a_device(llama1: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another array library stands for a GPU."""
    from contextlib import nullcontext

    from lossfit.races import overtakings
    from lossfit.races import result as race_result

    strict = pytest.importorskip("array_api_strict")
    put = []

    def asarray(values: Any) -> Any:
        put.append(values.shape)
        return strict.asarray(values)

    for module in (race_result, overtakings):
        monkeypatch.setattr(module, "placed", lambda recipe: nullcontext(asarray))
    again = replace(llama1)
    assert again.overtakes().equals(llama1.overtakes())
    assert put
    assert again.bias().equals(llama1.bias())
    assert len(put) > 3


# The curve inside the data


def test_smoother_is_the_posterior_of_its_model() -> None:
    """Against dense algebra with the covariance of the integrated Wiener process."""
    rng = np.random.default_rng(3)
    t = np.sort(rng.uniform(300, 10_000, 40))
    runs = lossfit.Runs.from_arrays(
        "step", t, 2 + (t / 1e4) ** -0.3 + rng.normal(0, 0.01, 40), names=["r"]
    )
    made = smoothing.smoothers(runs, "step")
    k = int(np.argmin(np.abs(smoothing.LOG_Q - 4)))
    only = np.zeros_like(made.weights)
    only[0, k] = 1.0
    at = np.linspace(400, 9_700, 7)
    draws = made._replace(weights=only).draw(
        at[None], np.array([5], np.uint64), 40_000
    )[0]  # fmt: skip
    both = np.concatenate([t, at])
    start, end = made.start, made.end
    v = smoothing.clock(both[None], start, end)[0]
    m = np.minimum(v[:, None], v)
    wiener = m**2 * (3 * np.maximum(v[:, None], v) - m) / 6
    # The local slope, by finite differences of what the module multiplies the patterns with.
    nodes, patterns = smoothing._wiener()
    own = smoothing._waves(both[None], start, end, made.slope)[0]
    plain = np.stack([np.interp(v, nodes, column) for column in patterns.T], axis=1)
    scale = (own * plain).sum(axis=1) / (plain**2).sum(axis=1)
    covariance = 10.0 ** smoothing.LOG_Q[k] * scale[:, None] * wiener * scale
    columns = smoothing._columns(both[None], end)[0]
    covariance += 1e7 * columns @ columns.T  # flat, in units of sigma
    seen = covariance[:40, :40] + np.eye(40)
    y = runs["r"].loss
    mean = covariance[40:, :40] @ solve(seen, y - y.mean(), assume_a="pos") + y.mean()
    spread = covariance[40:, 40:] - covariance[40:, :40] @ solve(seen, covariance[:40, 40:])
    sigma = np.sqrt(made.squares[0, k] / (made.freedom[0] - 2))
    sd = sigma * np.sqrt(np.diag(spread))
    # 40 patterns stand for the process: what they leave out is small beside the posterior.
    assert (np.abs(draws.mean(axis=1) - mean) < 0.05 * sd).all()
    assert_allclose(draws.std(axis=1), sd, rtol=0.02)


def test_smoother_covers_noisy_curves() -> None:
    rng = np.random.default_rng(0)
    n, points = 300, 120
    t = np.tile(np.linspace(0.02, 1, points) * END, (n, 1))
    alpha, size = rng.uniform(0.1, 0.7, (n, 1)), rng.uniform(0.1, 1, (n, 1))
    bend = rng.normal(0, 0.02, (n, 1))
    truth = 2 + size * (t / END) ** -alpha + bend * np.sin(6 * t / END)
    loss = truth + rng.normal(0, 0.01, truth.shape)
    runs = lossfit.Runs.from_arrays("step", t.ravel(), loss.ravel(), np.arange(n + 1) * points)
    made = smoothing.smoothers(runs, "step")
    which = [3, 30, 60, 90, 117]
    draws = made.draw(t[:, which], np.arange(n, dtype=np.uint64), 400)
    lower, upper = np.quantile(draws, [0.05, 0.95], axis=2)
    held = (lower <= truth[:, which]) & (truth[:, which] <= upper)
    assert 0.86 < held.mean() < 0.95


def test_ends_can_be_given() -> None:
    made = smoothing.smoothers(two_runs(), "step")
    scores = np.tile(norm.ppf((np.arange(500) + 0.5) / 500), (2, 1))
    keys = np.array([1, 2], np.uint64)
    tied = made.draw(made.end[:, None], keys, 500, scores)[:, 0]
    free = made.draw(made.end[:, None], keys, 500)[:, 0]
    for one, two, score in zip(tied, free, scores, strict=True):
        assert np.corrcoef(one, score)[0, 1] > 0.9
        assert kstest((two - one.mean()) / one.std(), "norm").pvalue > 1e-4


# Races


def test_crossing_is_found_inside_the_data() -> None:
    race = quiet_race(two_runs(), axis="step")
    found = row(race, "large", "small")
    assert found["lower"] < 6000 < found["upper"]
    assert found["prob_ever"] > 0.99
    assert found["prob_inside"] == found["prob_ever"]
    assert found["prob_ahead_first"] < 0.01
    assert found["prob_ahead_last"] > 0.9
    lead = race.leader([1000, 5 * END / 4, 2 * END])
    assert lead.loc[1000, "small"] > 0.99
    assert lead.loc[2 * END, "large"] > 0.95


def test_crossing_is_forecast_beyond_the_data() -> None:
    runs = two_runs(cross=30_000.0)
    race = quiet_race(runs, axis="step")
    found = row(race, "large", "small")
    assert found["prob_inside"] < 0.01
    assert found["prob_ever"] > 0.8
    assert found["lower"] < 30_000 < found["upper"]
    assert_allclose(found["prob_inside"] + found["prob_beyond"], found["prob_ever"])
    # Without forecasts there is nothing to be overtaken there.
    table = race.overtakes(forecast=False)
    assert table["prob_ever"].max() < 0.01


def test_probabilities_are_those_of_the_draws(llama2: Race) -> None:
    lead = llama2.leader()
    assert_allclose(lead.sum(axis=1), 1)
    draws = llama2.draws
    filled = draws.fillna(np.inf)
    for g in (10, 100, 200):
        best = filled.isel(at=g).argmin("run")
        for k, name in enumerate(llama2.names):
            assert_allclose(lead.iloc[g][name], float((best == k).mean()))
    front = llama2.frontier()
    lowest = np.minimum.accumulate(filled.min("run").values, axis=0)
    assert_allclose(front["median"], np.median(lowest, axis=1))
    assert (np.diff(front["upper"]) <= 1e-12).all()
    assert (llama2.bias()["lower"] >= 0).all()
    cut = llama2.frontier(truncated=True)
    assert (cut["median"] >= front["median"] - 1e-12).all()
    assert_allclose(llama2.truncated_frontier()["median"], cut["median"])
    assert_allclose(front["truncated_median"], cut["median"])
    assert_allclose(front["bias_upper"], llama2.bias()["upper"])
    # What lies beyond the data is a forecast, unless an earlier loss is still the lowest.
    assert front["beyond"].iloc[-1] < 0.1
    assert llama2.frontier(forecast=False)["beyond"].max() == 0


def test_overtakings_add_up(llama2: Race) -> None:
    table = llama2.overtakes()
    first = table[table["rank"] == 1]
    counts = first[["prob_0", "prob_1", "prob_2", "prob_more"]]
    assert_allclose(counts.sum(axis=1), 1)
    assert_allclose(first["prob_ever"], 1 - first["prob_0"])
    assert_allclose(first["prob_several"], first["prob_2"] + first["prob_more"])
    there = table.dropna(subset=["median"])
    assert (there["lower"] <= there["median"]).all()
    assert (there["median"] <= there["upper"]).all()
    assert set(map(tuple, first[["overtaker", "overtaken"]].values)) == {
        (a, b) for a in llama2.names for b in llama2.names if a != b
    }


def test_llama2_34b_is_passed_and_comes_back(llama2: Race) -> None:
    found = row(llama2, "llama2-70B", "llama2-34B")
    assert found["prob_inside"] > 0.95
    assert found["prob_returns"] > 0.95
    back = row(llama2, "llama2-34B", "llama2-70B")
    assert back["prob_inside"] > 0.95
    assert back["lower"] > found["upper"]


def test_llama1_33b_is_not_passed_within_its_data(llama1: Race) -> None:
    found = row(llama1, "llama1-65B", "llama1-33B")
    assert found["prob_inside"] < 0.05 < found["prob_beyond"]
    assert found["lower"] > llama1.runs["llama1-33B"].end("gpu_hours")


def test_small_models_lead_at_first(llama1: Race) -> None:
    lead = llama1.leader()
    assert lead["llama1-7B"].iloc[0] == 1
    assert lead["llama1-65B"].iloc[-1] > 0.5


def test_runs_exist_from_their_first_point_on(llama1: Race) -> None:
    draws = llama1.draws
    for name in llama1.names:
        run = llama1.runs[name]
        first = run.axis("gpu_hours")[0]
        there = draws.sel(run=name).notnull().all("draw")
        assert_array_equal(there.values, llama1.at >= first * (1 - 1e-9))
        assert_array_equal(
            draws["beyond"].sel(run=name).values, llama1.at > run.end("gpu_hours") * (1 + 1e-9)
        )


def test_beyond_the_data_a_race_is_the_forecast() -> None:
    runs = two_runs()
    race = quiet_race(runs, axis="step")
    at = float(race.at[race.at > 1.5 * END][0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        answer = lossfit.extrapolate(runs, "small", at=at, axis="step").draws.values.ravel()
    mine = race.draws.sel(run="small", at=at).values
    # The same draws in another order, but for what joins them to the data.
    assert_allclose(np.sort(mine), np.sort(answer), rtol=1e-6)


def test_curves_join_at_the_end_of_the_data() -> None:
    race = quiet_race(two_runs(), axis="step")
    place = np.log(race.at)
    k = int(np.searchsorted(race.at, END))
    before, after = race.curves[0, k], race.curves[0, k + 1]
    gap = place[k + 1] - place[k]
    # The same draw on both sides, within what a curve moves in so short a time; a few, of the heavy
    # tails of what lies beyond, have moved by more (1.5 % of the run are half of `curves.TAPER`).
    assert np.quantile(np.abs(after - before), 0.98) < 0.25 * gap + 0.03 * np.sqrt(gap)
    assert np.corrcoef(before, after)[0, 1] > 0.4


@pytest.mark.parametrize("finished", [False, True])
def test_no_draw_jumps_at_the_end_of_the_data(finished) -> None:
    runs = two_runs().select(["small"])
    if finished:  # its schedule is stretched beyond the end
        runs = runs.with_schedule(lossfit.schedules.cosine(1e-3, END, 0))
    question = Question.of(runs, "step", draws=1000)
    at = END * np.array([1 - 1e-6, 1, 1 + 2e-3])
    before, end, after = race_curves(runs, at, question).draws[0]
    assert np.abs(end - before).max() < 1e-5
    # What the forecast allows for at once, of which a fifteenth has come in after .2 % of the run.
    by_law = curves_of(question, runs, at[None, 1:]).curves[0]
    jump = np.abs(by_law[1] - by_law[0]).max()
    assert jump > 1e-3
    assert np.abs(after - end).max() < jump / 14


def test_same_seed_same_race_whatever_the_order() -> None:
    runs = two_runs()
    one = quiet_race(runs, axis="step", draws=200)
    two = quiet_race(runs.select(["large", "small"]), axis="step", draws=200)
    assert_array_equal(one.draws.sel(run="small"), two.draws.sel(run="small"))
    other = quiet_race(runs, axis="step", draws=200, random_seed=1)
    assert not np.array_equal(
        one.draws.sel(run="large").values, other.draws.sel(run="large").values, equal_nan=True
    )


def test_many_runs_keep_those_that_lead() -> None:
    rng = np.random.default_rng(0)
    n, points = 150, 40
    end = np.exp(rng.uniform(np.log(5e3), np.log(5e4), n))
    t = end[:, None] * np.linspace(0.05, 1, points)
    loss = 2 + rng.uniform(0, 0.5, (n, 1)) + 0.3 * (t / 1e4) ** -0.3
    loss += rng.normal(0, 0.003, loss.shape)
    runs = lossfit.Runs.from_arrays("step", t.ravel(), loss.ravel(), np.arange(n + 1) * points)
    race = quiet_race(runs, axis="step", draws=100, points=24)
    assert race.leads.shape == (len(race.at), n)
    assert_allclose(race.leads.sum(axis=1), 1)
    assert len(race.kept) < n
    assert set(np.flatnonzero(race.leads.max(axis=0) > 0)) == set(race.kept)
    # The same as among all of them.
    _, run = frontier.best(race.curves)
    shares = frontier.leading(run, len(race.kept))
    assert_allclose(shares, race.leads[:, race.kept])
    table = race.overtakes()
    assert len(set(table["overtaker"])) == min(len(race.kept), 32)
    lost = next(r for r in range(n) if r not in race.kept)
    with pytest.raises(lossfit.DataError, match="never leads"):
        race.overtakes([race.names[lost], race.names[race.kept[0]]])


def test_leader_at_other_places(llama1: Race) -> None:
    g = 120
    at = [float(llama1.at[g]), float(np.sqrt(llama1.at[g] * llama1.at[g + 1]))]
    lead = llama1.leader(at)
    assert_allclose(lead.iloc[0], llama1.leader().iloc[g])
    assert_allclose(lead.sum(axis=1), 1)
    assert llama1.leader(1000.0).isna().all().all()  # before every run
    data_only = llama1.leader([9e5], forecast=False)
    assert data_only["llama1-65B"].iloc[0] == 1
    with pytest.raises(lossfit.DataError, match="until="):
        llama1.leader(2 * llama1.until)


def test_ties_are_reported() -> None:
    runs = two_runs()
    race = quiet_race(runs, axis="step")
    ties = race.ties([6000.0, 2 * END])
    assert ties.iloc[0] > 0.5 > ties.iloc[1]


def test_text_answers_first(llama1: Race) -> None:
    text = str(llama1)
    lines = text.splitlines()
    assert "llama1-65B leads with probability" in lines[1]
    assert "llama1-65B passes llama1-33B" in text
    assert "forecast" in text
    assert "untested" in text


@pytest.mark.parametrize(
    ("value", "width", "words"),
    [
        (22_334.0, 3_936.0, "22,300"),
        (42.32, 1_037.0, "42"),  # wide intervals of a log axis reach far below their width
        (1_062.0, 1_037.0, "1,100"),
        (0.25, 1e9, "0.25"),
    ],
)
def test_places_have_the_digits_of_their_interval(value: float, width: float, words: str) -> None:
    from lossfit.races.text import _place

    assert _place(value, width, "step") == words


def test_to_dict_is_json(llama1: Race) -> None:
    import json

    plain = llama1.to_dict()
    again = json.loads(json.dumps(plain, allow_nan=False))
    assert again["schema"] == "lossfit.race/1"
    assert len(again["overtakes"]) >= 12


def test_pictures(llama2: Race) -> None:
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    ax = llama2.plot()
    ax.figure.canvas.draw()
    labels = [text.get_text() for text in ax.texts]
    assert set(llama2.names) < set(labels)  # at the ends of the lines, whatever their colours
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "frontier of the data" in legend
    low, high = ax.get_ylim()
    assert low < llama2.frontier()["median"].min()
    assert high > 2
    ax = llama2.plot_leader()
    ax.figure.canvas.draw()
    assert ax.get_ylim() == (0, 1)
    mpl.pyplot.close("all")


def test_command(llama1: Race) -> None:
    from click.testing import CliRunner

    from lossfit.cli.race import command

    got = CliRunner().invoke(command, ["llama1", "--axis", "gpu_hours"])
    assert got.exit_code == 0
    assert got.output.startswith(str(llama1).splitlines()[0])
    got = CliRunner().invoke(command, ["llama1", "--run", "llama1-7B"])
    assert got.exit_code == 2


def test_bad_input() -> None:
    runs = two_runs()
    with pytest.raises(lossfit.DataError, match="at least two runs"):
        racing.race(runs.select(["small"]))
    with pytest.raises(lossfit.DataError, match="before the first point"):
        racing.race(runs, axis="step", until=10.0)
    with pytest.raises(lossfit.DataError, match="one axis value"):
        racing.race(runs, axis="step", until=[1e4, 2e4])  # type: ignore[arg-type]
    with pytest.raises(lossfit.DataError, match="margin"):
        racing.race(runs, axis="step", margin=-1.0)
    with pytest.raises(lossfit.DataError, match="prob"):
        racing.race(runs, axis="step", prob=1.5)
    with pytest.raises(lossfit.DataError, match="gpu_hours"):
        racing.race(runs, axis="gpu_hours")
    with pytest.raises(lossfit.DataError, match="no run 'x'"):
        quiet_race(runs, axis="step").overtakes(["x", "small"])


def test_errors_of_runs_stand_together() -> None:
    """Each run keeps its draws, whatever its company; low ones stand with low ones."""
    rng = np.random.default_rng(0)
    curves = np.cumsum(rng.normal(size=(3, len(MARKS), 2000)), axis=1)
    order = draw_order(curves, list("abc"), 5)
    assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(2000), (3, 1)))
    heights = np.take_along_axis(curves, order[:, None], axis=2).argsort(axis=2).argsort(axis=2)
    together = np.corrcoef(heights.sum(axis=1))
    assert_allclose(together[np.triu_indices(3, 1)], SHARED, atol=0.05)
    assert_array_equal(draw_order(curves[1:2], ["b"], 5)[0], order[1])
    assert (draw_order(curves[1:2], ["b"], 6)[0] != order[1]).any()
    apart = draw_order(curves, list("abc"), 5, shared=0.0)
    heights = np.take_along_axis(curves, apart[:, None], axis=2).argsort(axis=2).argsort(axis=2)
    assert np.abs(np.corrcoef(heights.sum(axis=1))[np.triu_indices(3, 1)]).max() < 0.1


def test_a_race_ties_the_errors_and_changes_no_run() -> None:
    rng = np.random.default_rng(1)
    frames = []
    for name, size in (("a", 0.25), ("b", 0.3)):
        t = np.linspace(END / 50, END, 120)
        loss = 2.0 + size * ((t / END) ** -0.3 - 1) + rng.normal(0, 0.003, len(t))
        frames.append(pd.DataFrame({"run": name, "step": t, "loss": loss}))
    plan = lossfit.schedules.cosine(1e-3, 2 * END, 0)
    runs = lossfit.Runs.from_frame(pd.concat(frames), schedules=plan)
    race = quiet_race(runs, axis="step", until=2 * END)
    a, b = race.curves[:, -1]
    assert np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1] > 0.5
    answer = curves_of(Question.of(runs, "step"), runs, np.full((2, 1), 2 * END)).curves[:, 0]
    assert_allclose(np.sort(race.curves[:, -1], axis=1), np.sort(answer, axis=1), rtol=1e-6)


def test_a_run_that_broke_is_out_of_the_race_where_its_data_end() -> None:
    runs = two_runs(noise=0.01)
    x, loss = (runs["small"].axis("step"), runs["small"].loss.copy())
    loss[120:] += np.linspace(0.2, 3.0, 30)  # diverged
    broken = lossfit.Runs.from_arrays(
        "step", np.concatenate([x, runs["large"].axis("step")]),
        np.concatenate([loss, runs["large"].loss]), [0, 150, 300], ["small", "large"],
        schedules=lossfit.schedules.constant(1e-3),
    )  # fmt: skip
    made = quiet_race(broken)
    assert made.broken["small"][1]
    assert made.flags["small"] == ("broken",)
    beyond = made.at > END * (1 + 1e-9)
    assert np.isnan(made.curves[0][beyond]).all()
    assert np.isfinite(made.curves[0][(made.at >= x[0]) & ~beyond]).all()
    assert_array_equal(made.leads[beyond], np.tile([0.0, 1.0], (beyond.sum(), 1)))
    assert (made.overtakes()["upper"] < END).all()
    assert "no forecast" in str(made)
    healthy = quiet_race(runs)
    assert np.isfinite(healthy.curves[0][healthy.at > END]).all()
