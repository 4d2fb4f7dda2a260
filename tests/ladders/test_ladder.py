from __future__ import annotations

import json
import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

import lossfit
from benches.sbc_ladder import ranks
from benches.surface import p_values
from lossfit import DataError, LossfitWarning, Runs, schedules
from lossfit.ladders import Ladder, fit_ladder
from lossfit.ladders.clock import LOG_TAUS, POWERS, Clock
from lossfit.ladders.core import grow_together
from lossfit.ladders.discrepancy import covariances, noise, overlap, pieces
from lossfit.ladders.law import log_prior, push, terms
from lossfit.ladders.notes import notes_of
from lossfit.ladders.pooling import ends_share, pooled, precision_share, sharpened
from lossfit.ladders.reading import Reading, _density
from lossfit.ladders.rows import target_rows, thinned
from lossfit.ladders.rungs import rungs_of

mpl.use("Agg")

BATCH = 5e5
SIZES = (5e7, 1.2e8, 3e8, 7e8)
TRUTH = {"E": 1.7, "A": 300.0, "B": 1500.0, "alpha": 0.32, "beta": 0.35, "gamma": 0.7}


def curve(params: float, tokens: np.ndarray, end: float) -> np.ndarray:
    """Losses of the law under a cosine to 10 % at ``end``, with a response of tau 400."""
    plan = schedules.cosine(1.0, end, 0.01 * end, axis="tokens")
    fine = np.linspace(0, end, 3000)
    clock = Clock.of(fine, plan(fine), end, BATCH)
    x, q = clock.at(tokens)
    k = int(np.abs(LOG_TAUS - np.log(400)).argmin())
    above = lossfit.laws.coupled.LAW.evaluate(TRUTH, params, x, None)
    return above - 0.08 * (params / 2e8) ** 0.05 * q[k, 2]


def frame_of(params: float, seed: int, end: float = 2e10, level: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    tokens = np.linspace(0.02, 1, 50) * end
    loss = curve(params, tokens, end) * (1 + 0.001 * rng.standard_normal(50)) + level
    name = f"{params / 1e6:.0f}M"
    return pd.DataFrame({"run": name, "tokens": tokens, "loss": loss, "params": params})


def runs_of(frames: list[pd.DataFrame], end: float = 2e10) -> Runs:
    return Runs.from_frame(
        pd.concat(frames),
        tokens_per_step=BATCH,
        schedules=schedules.cosine(1.0, end, 0.01 * end, axis="tokens"),
    )


def quiet(runs: Runs, **options: object) -> Ladder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return fit_ladder(runs, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runs() -> Runs:
    return runs_of([frame_of(n, k) for k, n in enumerate(SIZES)])


@pytest.fixture(scope="module")
def ladder(runs: Runs) -> Ladder:
    return quiet(runs)


@pytest.fixture(scope="module")
def reading(ladder: Ladder) -> Reading:
    return ladder.readings.whole


# The mathematics


def test_clock_of_a_drop() -> None:
    """The response to one drop of the rate is 1 - exp(-steps / tau) of rho^p."""
    t = np.array([0.0, 500.0, 500.001, 1000.0])
    clock = Clock.of(t, np.array([1.0, 1.0, 0.25, 0.25]), 1000.0, 1.0)
    x, q = clock.at(np.array([400.0, 900.0]))
    np.testing.assert_allclose(x, [400, 500 + 0.25 * 400], rtol=1e-3)
    assert np.abs(q[..., 0]).max() < 1e-9
    expected = (1 - np.exp(-400 / np.exp(LOG_TAUS)))[:, None] * (1 - 0.25**POWERS)
    np.testing.assert_allclose(q[..., 1], expected, rtol=6e-3)
    assert clock.kind == "gradual"


def test_gradients_of_the_law_and_its_prior(reading: Reading) -> None:
    rows = reading.placed.rows
    n, x = rows.n - reading.centre[0], rows.x - reading.centre[1]
    theta = reading.theta[5]
    weight = np.random.default_rng(0).normal(size=len(n))

    def total(one: np.ndarray) -> float:
        return float(terms(one, n, x, rows.q).mean @ weight + log_prior(one)[0])

    found = push(theta, n, x, terms(theta, n, x, rows.q), weight) + log_prior(theta)[1]
    np.testing.assert_allclose(found, approx_fprime(theta, total, 1e-6)[:10], rtol=1e-3, atol=2e-3)


def test_density_is_the_dense_one(reading: Reading) -> None:
    """One eigendecomposition against multivariate normal densities at other scales."""
    placed, rows = reading.placed, reading.placed.rows
    n, x = rows.n - reading.centre[0], rows.x - reading.centre[1]
    q = rows.q
    density = _density(reading.y, n, x, q, reading.whiten, reading.values)
    k1, k2 = covariances(pieces(placed, placed), reading.scales)
    k2 = k2 + noise(placed, reading.scales) + 1e-12 * np.eye(len(n))
    values, expected = [], []
    for theta in reading.theta[:3]:
        phi = lossfit.laws.coupled.fold(theta)
        values.append(float(density(phi[None])[0][0]))
        cov = np.exp(2 * theta[11]) * k1 + np.exp(2 * theta[10]) * k2
        mean = terms(theta, n, x, q).mean
        log = multivariate_normal(mean, cov).logpdf(reading.y) + log_prior(theta)[0] + theta[5]
        far = (theta[11] - np.log(0.03)) / 0.5
        expected.append(log - 0.5 * (theta[10] / 0.3) ** 2 - 0.5 * far**2)
    np.testing.assert_allclose(np.diff(values), np.diff(expected), atol=1e-5)


def test_ranks_of_the_truth_are_uniform() -> None:
    """Small ladders drawn from the priors; `python -m benches.sbc_ladder` draws more."""
    for name, found in ranks(5, 3, 5, chains=10).items():
        assert min(p_values(found)) > 1e-3, name


def test_curves_have_the_moments_of_dense_algebra(reading: Reading, ladder: Ladder) -> None:
    rung = ladder.curve(2e9, end=3e10).rung
    rows = target_rows(rung, np.array([5e9, 3e10]), 4)
    target = reading.place(rows, np.array(rows.x.max()))
    theta = np.tile(reading.theta[7], (4000, 1))
    draws = reading._missed(target, theta, np.random.default_rng(0))
    s2, k2 = np.exp(2 * theta[0, 10]), np.exp(2 * theta[0, 11])

    def both(a: object, b: object) -> np.ndarray:
        one, two = covariances(pieces(a, b), reading.scales)  # type: ignore[arg-type]
        return k2 * one + s2 * two

    inside = both(reading.placed, reading.placed) + s2 * noise(reading.placed, reading.scales)
    across = both(target, reading.placed)
    r = reading.placed.rows
    n, x = r.n - reading.centre[0], r.x - reading.centre[1]
    residual = reading.y - terms(theta[0], n, x, r.q).mean
    expected = across @ np.linalg.solve(inside, residual)
    spread = both(target, target) - across @ np.linalg.solve(inside, across.T)
    sd = np.sqrt(np.diag(spread))
    assert (np.abs(draws.mean(axis=0) - expected) < 5 * sd / np.sqrt(4000)).all()
    np.testing.assert_allclose(np.cov(draws.T), spread, rtol=0.1, atol=0.02 * sd.max() ** 2)


def test_shared_noise_is_a_covariance(runs: Runs) -> None:
    rows = thinned(rungs_of(runs, "tokens").rungs)
    shared = overlap(rows)
    np.testing.assert_allclose(np.diag(shared), 1.0)
    assert np.linalg.eigvalsh(shared).min() > -1e-9
    same = (rows.run[:, None] != rows.run[None]) & (shared > 0.99)
    assert same.any()  # runs of one length see the same steps


def test_pooling_keeps_order_and_averages_quantiles() -> None:
    rng = np.random.default_rng(0)
    curves = rng.normal(2.0, 0.1, (3, 400)).cumsum(axis=0)
    end = rng.normal(5.0, 0.05, 400)
    out = pooled(curves, end, 0.25)
    np.testing.assert_allclose(
        np.sort(out[-1]), 0.75 * np.sort(curves[-1]) + 0.25 * np.sort(end), rtol=1e-12
    )
    np.testing.assert_allclose(out[-1] - out[0], curves[-1] - curves[0], rtol=1e-9)
    np.testing.assert_array_equal(np.argsort(out[-1]), np.argsort(curves[-1]))
    assert precision_share(rng.normal(0, 2, 9999), rng.normal(0, 1, 9999)) == pytest.approx(
        0.8, abs=0.03
    )


def test_ends_of_few_sizes_count_for_little() -> None:
    rng = np.random.default_rng(0)
    curves, ends = rng.normal(0, 2, 9999), rng.normal(0, 1, 9999)
    shares = [ends_share(curves, ends, sizes) for sizes in (2, 3, 30)]
    assert shares == sorted(shares)
    assert shares[1] == pytest.approx(0.5 * precision_share(curves, ends))
    assert shares[2] > 0.9 * precision_share(curves, ends)


@pytest.mark.parametrize(("ratio", "share"), [(0.5, 0.69), (6.0, 0.69), (12.0, 1.0), (40.0, 1.0)])
def test_the_middle_half_is_narrower_near_the_ladder(ratio: float, share: float) -> None:
    draws = np.random.default_rng(0).standard_t(4, (2, 4000)) ** 3 + 5.0  # askew and heavy
    out = sharpened(draws, ratio)
    before, after = (np.quantile(v, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1) for v in (draws, out))
    np.testing.assert_allclose(after[[0, 2, 4]], before[[0, 2, 4]], rtol=1e-3)
    np.testing.assert_allclose(
        after[[1, 3]] - after[2], share * (before[[1, 3]] - before[2]), rtol=0.02
    )
    np.testing.assert_array_equal(np.argsort(out), np.argsort(draws))
    outer = (draws < before[0][:, None]) | (draws > before[4][:, None])
    np.testing.assert_array_equal(out[outer], draws[outer])


def test_readings_are_pooled_as_stated(ladder: Ladder) -> None:
    """Curves and ends by the share for four sizes, then the middle half; ends alone alike."""
    readings = ladder.readings
    assert readings.sizes == len(SIZES)
    rung = ladder.curve(2.1e9, end=2e10).rung
    at = np.array([1e10, 2e10])
    rng = np.random.default_rng(7)
    whole = readings.whole.curves(rung, at, rng, 500)
    assert readings.ends is not None
    end = readings.ends.curves(rung, at[-1:], rng, 500)[0]
    both = pooled(whole, end, ends_share(whole[-1], end, 4))
    np.testing.assert_array_equal(readings.curves(rung, at, 7, 500), sharpened(both, 3.0))
    found = np.quantile(readings.ends_of([rung], 7, 4000)[0], [0.25, 0.75])
    expected = np.quantile(readings.curves(rung, at[-1:], 7, 4000)[0], [0.25, 0.75])
    np.testing.assert_allclose(found, expected, rtol=3e-3)


# Answers


def test_an_unseen_size_is_held(ladder: Ladder) -> None:
    answer = ladder.extrapolate(2e9, [5e9, 2e10], run="2B", random_seed=1)
    truth = curve(2e9, np.array([5e9, 2e10]), 2e10)
    frame = answer.frame
    assert (frame["lower"] < truth).all()
    assert (truth < frame["upper"]).all()
    assert frame["horizon_ratio"].isna().all()
    assert list(frame["run"]) == ["2B", "2B"]
    assert answer.draws.dims == ("run", "at", "draw")
    assert answer.quantile(0.5)[0.5].to_numpy() == pytest.approx(frame["median"].to_numpy())
    again = ladder.extrapolate(2e9, [5e9, 2e10], run="2B", random_seed=1)
    np.testing.assert_array_equal(answer.draws.to_numpy(), again.draws.to_numpy())
    below = answer.prob_below("700M")
    assert below[0] < 0.05
    assert below[1] > 0.95
    assert answer.prob_below(float(frame["median"].iloc[1]), at=2e10) == pytest.approx(0.5, abs=0.1)
    assert "never trained" in str(answer)
    plain = json.loads(json.dumps(answer.to_dict()))
    assert plain["schema"] == "lossfit.ladder_answer/1"
    assert len(plain["rows"]) == 2


def test_time_to_a_loss_of_an_unseen_size(ladder: Ladder) -> None:
    answer = ladder.extrapolate(2e9, 2e10, run="2B")
    target = float(curve(2e9, np.array([1e10]), 2e10)[0])
    found = answer.time_to([target, 0.5]).set_index("loss")
    row = found.loc[target]
    assert row["lower"] < 1e10 < row["upper"]
    assert found.loc[0.5, "prob_reached"] == 0
    assert np.isinf(found.loc[0.5, "median"])
    flops = answer.time_to(target, axis="flops")
    assert flops["median"].iloc[0] == pytest.approx(6 * 2e9 * row["median"])
    with pytest.raises(DataError, match="never trained"):
        answer.time_to(target, axis="gpu_hours")


def test_a_schedule_matters(ladder: Ladder) -> None:
    """A late decay wins what the cosines of the ladder show that lowering the rate wins."""
    flat = ladder.curve(2e9, schedules.constant(1.0, axis="tokens"), end=2e10)
    late = ladder.curve(2e9, schedules.wsd(1.0, 2e10, 2e8, 0.2, 0.1, axis="tokens"))
    at = np.array([2e10])
    found = [np.median(one.draw(at, 400, 0)) for one in (flat, late)]
    assert found[0] - found[1] > 0.02


def test_far_sizes_get_no_verdict(ladder: Ladder) -> None:
    with pytest.warns(LossfitWarning, match="far"):
        answer = ladder.extrapolate(1e10, 2e10)
    assert answer.names == ("10B",)
    assert "far" in answer.frame["notes"].iloc[0]
    assert np.isnan(answer.prob_below("700M"))


def test_a_begun_run_is_sharper_and_tracked(ladder: Ladder, runs: Runs) -> None:
    begun = runs_of([frame_of(2e9, 9)]).until({"tokens": 4e9})
    fitted, rung = ladder.begun(begun["2000M"], 2e10)
    at = np.array([2e10])
    sister = fitted.curves(rung, at, 0, 600)[0]
    unseen = ladder.curve(2e9, end=2e10).draw(at, 600, 0)[0]
    assert sister.std() < 0.7 * unseen.std()
    low, high = np.quantile(sister, [0.01, 0.99])
    assert low < curve(2e9, at, 2e10)[0] < high
    assert ladder.begun(begun["2000M"], 2e10)[0] is fitted
    table = ladder.track(begun)
    assert not table["outside"].any()
    assert table["quantile"].between(0.01, 0.99).all()
    with pytest.raises(DataError, match="one of the ladder's"):
        ladder.track(runs["700M"])


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_begun_run_says_where_the_sampler_did_not_settle(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = runs_of([frame_of(2e9, 9)]).until({"tokens": 4e9})

    def notes() -> list[str]:
        answer = lossfit.extrapolate(begun, at=2e10, axis="tokens", ladder=ladder, draws=100)
        return list(answer.frame["notes"][0])

    before = set(ladder._begun)
    notes()
    for rhat, said in ((1.05, False), (1.3, True)):
        for key in set(ladder._begun) - before or set(ladder._begun):
            fitted = ladder._begun[key]
            other = replace(fitted, whole=replace(fitted.whole, rhat=rhat))
            monkeypatch.setitem(ladder._begun, key, other)
        assert ("ladder_not_converged" in notes()) is said


def test_frontier_grows_with_the_budget(ladder: Ladder) -> None:
    table = ladder.frontier([3e18, 3e19], draws=200)
    assert table["params"].is_monotonic_increasing
    assert (np.diff(table["loss"]) < 0).all()
    np.testing.assert_allclose(6 * table["params"] * table["tokens"], table["compute"], rtol=0.2)
    with pytest.raises(DataError, match="too small"):
        ladder.frontier(1e15)


def test_text_and_pictures(ladder: Ladder) -> None:
    from matplotlib import pyplot as plt

    assert "Ladder of 4 runs: 50M to 700M parameters" in str(ladder)
    assert len(ladder.plot().lines) >= 8
    ax = ladder.extrapolate(2e9, 2e10).plot()
    assert ax.collections
    plt.close("all")


def test_a_plan_of_a_ladder(ladder: Ladder) -> None:
    surface = ladder.surface(draws=200)
    at = np.array([(2e9, 2e10), (3e8, 2e10)])
    found = surface.losses(*at.T)
    alone = ladder.curve(2e9, end=2e10).draw(np.array([2e10]), 400, 3)[0]
    assert abs(np.median(found[:, 0]) - np.median(alone)) < 0.5 * alone.std()
    assert 0.6 < found[:, 0].std() / alone.std() < 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        allocation = lossfit.plan(ladder, compute=2e20, params=1e9, draws=200)
    table = ladder.frontier(2e20, draws=200)
    best = float(np.median(allocation.params))
    assert table["params_lower"].iloc[0] / 2 < best < 2 * table["params_upper"].iloc[0]
    assert allocation.choice is not None


def test_an_unseen_size_races_a_seen_one(ladder: Ladder, runs: Runs) -> None:
    unseen = ladder.curve(2e9, end=2e10, run="2B")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        race = lossfit.race([unseen, runs["300M"]], axis="flops", draws=200)
    assert race.runs.names == ("2B", "300M")
    end = 6 * 2e9 * 2e10
    assert race.at[-1] == pytest.approx(end)
    drawn = race.draws[0, -1]
    expected = unseen.draw(np.array([end]), 200, 0, "flops")[0]
    assert drawn.mean() == pytest.approx(expected.mean(), abs=0.5 * expected.std())
    with pytest.raises(DataError, match="needs its axis"):
        lossfit.race([unseen, runs["300M"]])
    with pytest.raises(DataError, match="takes runs and curves"):
        lossfit.race([unseen, 5], axis="flops")


# What is said of ladders


def test_a_run_off_the_others_is_named() -> None:
    """By scales that it had no part in: else it hides behind the scatter that it makes itself."""
    frames = [frame_of(n, k, level=0.25 if n == 1.2e8 else 0.0) for k, n in enumerate(SIZES)]
    frames += [frame_of(1.3e8, 8), frame_of(2e8, 9)]
    with pytest.warns(LossfitWarning, match=r"rung_off: 120M \(\+[0-9.]+ sd\) lies off"):
        off = fit_ladder(runs_of(frames))
    assert "levels_differ" in off.flags
    assert (np.abs(np.delete(off.readings.whole.off, 1)) < 3).all()


def test_healthy_ladders_have_no_run_off(ladder: Ladder) -> None:
    assert np.abs(ladder.readings.whole.off).max() < 3
    assert not {"rung_off", "few", "narrow", "together", "levels_differ"} & set(ladder.flags)


def test_two_sizes_are_wide_and_one_is_refused(ladder: Ladder, runs: Runs) -> None:
    with pytest.warns(LossfitWarning, match="narrow: 2 sizes over 2.33x.*; few: 2 runs"):
        two = fit_ladder(runs.select(["300M", "700M"]))
    width = [
        np.ptp(np.quantile(one.curve(2e9, end=2e10).draw(np.array([2e10]), 500, 0), [0.05, 0.95]))
        for one in (two, ladder)
    ]
    assert width[0] > 1.1 * width[1]
    with pytest.raises(DataError, match="at least two sizes"):
        fit_ladder(runs.select(["700M"]))
    with pytest.raises(DataError, match=r"target 40,000 tokens lies before the first point of"):
        two.extrapolate(2e9, at=[4e4, 2e10])  # steps, on tokens


def test_growing_ladders_are_told(runs: Runs, ladder: Ladder) -> None:
    rungs = rungs_of(runs, "tokens").rungs
    assert not grow_together(rungs)
    frames = [frame_of(n, k, end=30 * n) for k, n in enumerate(SIZES)]
    plans = {
        f"{n / 1e6:.0f}M": schedules.cosine(1.0, 30 * n, 0.3 * n, axis="tokens") for n in SIZES
    }
    grown = Runs.from_frame(pd.concat(frames), tokens_per_step=BATCH, schedules=plans)
    known = rungs_of(grown, "tokens")
    assert grow_together(known.rungs)
    assert "together" in notes_of(known, ladder.readings)


def test_bad_ladders(runs: Runs) -> None:
    plain = pd.concat([frame_of(n, k) for k, n in enumerate(SIZES)])
    with pytest.raises(DataError, match="has no params"):
        fit_ladder(Runs.from_frame(plain.drop(columns="params")))
    half = Runs.from_frame(
        plain, schedules={"700M": schedules.constant(1.0, axis="tokens")}, tokens_per_step=BATCH
    )
    with pytest.raises(DataError, match=r"run '50M': its learning rate is not known"):
        fit_ladder(half)
    with pytest.raises(DataError, match="tokens or steps"):
        fit_ladder(runs, axis="flops")
