"""Draws of the default forecast: what they depend on, their tails, widths and odd input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.kernels import curve_oracle as oracle
from tests.kernels.curve_problems import (
    held,
    one_cell,
    problem,
    random_path,
    simple,
    solve,
    with_hyper,
)


def test_a_target_depends_on_no_other_target():
    p = problem(3, n_at=6, lean=0.3, past=True)
    together = solve([p], 300).draws
    for j in range(6):
        alone = solve([{**p, "at": p["at"][[j]], "futures": [p["futures"][j]]}], 300).draws
        np.testing.assert_array_equal(alone[0], together[j])
    order = np.array([4, 2, 5, 0, 1, 3])
    moved = solve(
        [{**p, "at": p["at"][order], "futures": [p["futures"][j] for j in order]}], 300
    ).draws
    np.testing.assert_array_equal(moved, together[order])


def test_a_run_depends_on_no_other_run():
    first = problem(5)
    problems = [first]
    for seed in range(6):
        p = problem(40 + seed, n_at=seed % 3)
        problems.append({**p, "grid": first["grid"], "hyper": first["hyper"]})
    together = solve(problems, 70, first_key=10, parameters=True)
    again = solve(problems, 70, first_key=10, parameters=True, threads=1)
    for one, other in zip(together, again, strict=True):
        np.testing.assert_array_equal(one, other)
    at = 0
    for i, p in enumerate(problems):
        alone = solve([p], 70, first_key=10 + i, parameters=True)
        n = len(p["at"])
        np.testing.assert_array_equal(alone.draws, together.draws[at : at + n])
        np.testing.assert_array_equal(alone.parameters[0], together.parameters[i])
        assert alone.records[0] == together.records[i]
        at += n
    other = solve([first], 70, first_key=11)
    assert not np.array_equal(other.draws, together.draws[: len(first["at"])])


def test_the_same_schedule_as_another_one_gives_the_same_draws():
    """What would happen under another schedule is answered by the draws that answer what will."""
    p = problem(8, n_at=2)
    own = {**p, "at": np.full(2, p["at"][0]), "futures": [p["histories"], p["other"]]}
    draws = solve([own], 200).draws
    plain = solve([{**own, "at": own["at"][:1], "futures": [p["histories"]]}], 200).draws
    np.testing.assert_array_equal(draws[0], plain[0])
    assert not np.array_equal(draws[1], draws[0])
    # Runs that differ in the schedule only err alike.
    assert np.corrcoef(draws)[0, 1] > 0.5


@pytest.mark.parametrize("seed", [4, 5])
def test_parameters_explain_the_curves(seed):
    """Without discrepancy, changes of the response and noise a draw is the formula."""
    p = with_hyper(problem(seed, n_at=3, multi_power=True), future=-30, drift=-30, response=-30,
                   slow=-60, jitter=-30,
                   tail_size=0)  # fmt: skip
    p["futures"] = [p["histories"]] * 3
    data = oracle.prepared(p)
    answer = solve([p], 40, parameters=True)
    y = oracle.fitted(answer.draws, data)
    kept = dict(zip(oracle.PARAMETERS, answer.parameters[0], strict=True))
    plain = kept["tail"] == 0
    assert (kept["slope"][plain] > -1e-12).all()
    np.testing.assert_allclose(kept["strength"], kept["coming_strength"])
    for i in range(0, 40, 5):
        path = p["histories"][int(kept["hypothesis"][i])]
        alpha, q = kept["alpha"][i], int(kept["response"][i])
        row = p["grid"].responses[q]
        tau = min(row[1], p["grid"].most_tau[q] * p["plan"] / p["step_size"])
        assert (kept["tau"][i], kept["power"][i]) == (tau, row[2])
        unit = (row[0], tau, *row[2:])
        for j, t in enumerate(p["at"]):
            x = np.log(path.lr_time(t) / path.lr_time(data.end))
            phi = x if alpha == 0 else (1 - np.exp(-alpha * x)) / alpha
            d = oracle.response(path, t, unit, p["step_size"])
            d -= oracle.response(path, data.end, unit, p["step_size"])
            expected = kept["level"][i] - kept["slope"][i] * phi - kept["strength"][i] * d
            assert y[j, i] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("size", "lean"), [(0.0, 0.5), (0.4, -0.7), (1.0, 0.0)])
def test_tails_in_two_pieces(size, lean):
    """Of one cell whose slope is known to be positive; the shape is the two-piece normal's."""
    plain = one_cell(0)
    data = oracle.prepared(plain)
    n = 20_000
    usual = oracle.fitted(solve([plain], n).draws[0], data)
    leaning = with_hyper(plain, tail_size=size, lean=lean)
    y = oracle.fitted(solve([leaning], n, first_key=2).draws[0], data)
    middle, sd = usual.mean(), usual.std()
    low, high = np.exp(size + lean) * sd, np.exp(size - lean) * sd
    share = low / (low + high)

    def cdf(z):
        below = 2 * share * stats.norm.cdf(z, middle, low)
        above = share + 2 * (1 - share) * (stats.norm.cdf(z, middle, high) - 0.5)
        return np.where(z < middle, below, above)

    assert stats.kstest(y, cdf).statistic < 1.9 / np.sqrt(n)
    assert stats.kstest(usual, cdf).statistic > 0.05


@pytest.mark.parametrize("shift", [-0.05, 0.07])
def test_widths_are_learned_stretches_about_the_median(shift):
    p = problem(6, n_at=3)
    p["like"], p["knowledge"] = 0.6, 1
    rng = np.random.default_rng(0)
    table = np.array([1.0, 0.0, 1.0]) + rng.uniform(0, 0.3, (3, 2, 4, 3))
    table[..., 1] = shift
    at = np.array([0.1, 0.5, 1.0, 1.6])
    p["siblings"] = np.array([[-0.3, 1.2], [0.2, 0.7], [0.0, 1.0]])
    hyper = p["hyper"]
    narrow = {**p, "hyper": hyper._replace(width_at=at, width=np.ones((3, 2, 4, 3)) * [1, 0, 1])}
    del narrow["siblings"]
    wide = {**p, "hyper": hyper._replace(width_at=at, width=table)}
    data = oracle.prepared(p)
    before = oracle.fitted(solve([narrow], 500).draws, data)
    after = oracle.fitted(solve([wide], 500).draws, data)
    for j in range(3):
        h = np.log(p["at"][j] / data.end)
        low, move, high = (
            0.4 * np.interp(h, at, table[1, 0, :, i]) + 0.6 * np.interp(h, at, table[1, 1, :, i])
            for i in range(3)
        )
        q = np.quantile(before[j], [0.05, 0.5, 0.95])
        off = before[j] - q[1]
        expected = q[1] + np.where(off < 0, low, high) * off
        expected += move * (q[1] - q[0] if move < 0 else q[2] - q[1])
        # Then what siblings say, in half widths of the widened draws.
        more, factor = p["siblings"][j]
        centre = np.median(expected)
        half = np.quantile(expected, 0.95 if more > 0 else 0.05) - centre
        expected = centre + more * abs(half) + factor * (expected - centre)
        np.testing.assert_allclose(after[j], expected, atol=1e-4)


def test_curves_within_the_data_are_the_posterior_given_the_bins():
    """Against one dense regression of bins and targets together."""
    p = one_cell(1)
    data = oracle.prepared(p)
    at = data.end * np.array([0.4, 0.55, 0.551, 0.8, 0.97, 1.0])
    p = {**p, "at": at, "futures": [p["histories"]] * len(at)}
    n = 20_000
    y = np.log(solve([p], n).draws)
    grid = p["grid"]
    t = np.concatenate([data.t, at])
    path = p["histories"][0]
    unit = (0, min(grid.responses[0, 1], grid.most_tau[0] * p["plan"]), grid.responses[0, 2], 0)
    x = np.log([path.lr_time(z) / path.lr_time(data.end) for z in t])
    d = np.array([oracle.response(path, z, unit, 1.0) for z in t])
    d -= oracle.response(path, data.end, unit, 1.0)
    alpha = grid.alphas[0]
    design = np.stack([np.ones_like(d), -(1 - np.exp(-alpha * x)) / alpha, -d], axis=1)
    u = oracle.clock(np.log(data.end / t), grid.doubt)
    prior = np.diag(
        [1e4, (grid.slope_sd * data.slope) ** 2, (grid.strengths[0, 2] * data.slope) ** 2]
    )
    mean = design @ [0, data.slope, grid.strengths[0, 1] * data.slope]
    joint = design @ prior @ design.T
    joint += (grid.sizes[0] * data.slope) ** 2 * np.minimum.outer(u, u)
    m = len(data.t)
    seen = joint[:m, :m] + np.diag(grid.noises[0] * data.noise**2 / data.n)
    gain = np.linalg.solve(seen, joint[:m, m:]).T
    expected = mean[m:] + gain @ (data.y - mean[:m])
    sd = np.sqrt(np.diag(joint[m:, m:] - gain @ joint[:m, m:]))
    np.testing.assert_allclose((y.mean(1) - expected) / sd, 0, atol=5 / n**0.5)
    np.testing.assert_allclose(y.std(1), sd, rtol=0.03)


def test_arrays_that_may_not_be_written_to_are_taken():
    p = problem(2)
    plain = solve([p], 20)
    grid = p["grid"]
    frozen = grid.alphas.copy()
    frozen.flags.writeable = False
    p["grid"] = grid._replace(alphas=frozen)
    np.testing.assert_array_equal(solve([p], 20).draws, plain.draws)


def odd_curves():
    rng = np.random.default_rng(3)
    t = np.arange(1.0, 201.0)
    few = np.array([10.0, 20.0, 30.0])
    return {
        "constant": (t, np.full(200, 2.0)),
        "zero": (t, np.zeros(200)),
        "rising": (t, 1 + 0.01 * t),
        "exploding": (t, np.exp(0.1 * t)),
        "falls by 1e4": (t, 10 * np.exp(-9.2 * t / 200)),
        "falls to 0": (t, np.maximum(1 - t / 100, 0)),
        "mostly 0": (t, np.where(t % 50 == 0, 1.0, 0.0)),
        "negative": (t, -5 - np.log(t)),
        "around 0": (t, rng.normal(0, 1, 200)),
        "huge": (t, 1e12 * t**-0.3),
        "tiny": (t, 1e-12 * t**-0.3),
        "three points": (few, np.array([3.0, 2.5, 2.4])),
        "two points": (few[:2], np.array([3.0, 2.5])),
        "one point": (few[:1], np.array([3.0])),
        "two levels": (t, np.where(t < 150, 8.0, 1.0)),
        "noise of the loss's size": (t, np.exp(rng.normal(0, 1, 200))),
        "repeated times": (np.repeat(t[:50], 4), 3 * np.repeat(t[:50], 4) ** -0.2),
        "a spike at the end": (t, np.where(t < 200, 2.0, 50.0)),
    }


@pytest.mark.parametrize("knowledge", [0, 1, 2])
def test_odd_input_gives_finite_curves_in_range(knowledge):
    names, problems = [], []
    rng = np.random.default_rng(0)
    for name, (t, loss) in odd_curves().items():
        p = simple(t, loss, t[-1] * np.array([0.5, 1.0, 1.01, 2.0, 16.0, 1e6]), knowledge)
        p["histories"] = p["other"] = [random_path(rng, t[-1]), held()][: 1 + knowledge]
        p["futures"] = [p["histories"]] * 6
        p["kinds"] = np.zeros(len(p["histories"]), int)
        p["log_kinds"] = np.zeros(len(p["histories"]))
        names.append(name)
        problems.append(p)
    answer = solve(problems, 64)
    draws = answer.draws.reshape(len(names), 6, 64)
    for name, p, one in zip(names, problems, draws, strict=True):
        assert np.isfinite(one).all(), name
        if (p["loss"] > 0).all():
            assert (one > 0).all(), name
        span = max(np.ptp(p["loss"]), np.abs(p["loss"]).max(), 1e-9)
        assert np.median(one[2:4]) <= p["loss"].max() + span, name
        assert one[2:].max() <= 1e3 * span, name
    for name in answer.records.dtype.names:
        assert np.isfinite(answer.records[name]).all(), name
    assert np.isfinite(answer.shares).all()
    assert np.isfinite(answer.falls).all()


def test_a_longer_plan_gains_less_and_hardly_ever_loses():
    p = problem(12, n_at=2)
    data = oracle.prepared(p)
    before = oracle.fitted(solve([p], 4000).draws, data)
    after = oracle.fitted(solve([{**p, "longer": [0, 1]}], 4000).draws, data)
    np.testing.assert_array_equal(after[0], before[0])
    off, left = before[1] - data.y[-1], after[1] - data.y[-1]
    mean, sd, kept = p["hyper"].longer
    factor = np.log(left / off)
    down = off < 0
    assert down.any()
    assert factor[down].mean() == pytest.approx(mean, abs=5 * sd / down.sum() ** 0.5)
    assert factor[down].std() == pytest.approx(sd, rel=0.1)
    up = off > 0.01
    if up.any():
        assert np.median(factor[up]) == pytest.approx(mean + np.log(kept), abs=0.1)


def test_no_scratch_is_read_before_it_is_written():
    """The same bits whatever the memory held; uncompiled, with memory that is full of numbers."""
    from lossfit.kernels.uncompiled import curve_data, curve_forecast

    first = problem(5, lean=0.3, past=True, n_at=4)
    first["longer"] = [0, 0, 1, 0]
    more = [problem(40 + seed, n_at=seed % 3) for seed in range(5)]
    same = {name: first[name] for name in ("grid", "hyper")}
    problems = [first, *({**p, **same} for p in more)]
    answers = []
    for value in (np.nan, 1e9, -5.0):

        class Full:
            int64, uint64 = np.int64, np.uint64

            @staticmethod
            def empty(shape, dtype=float, value=value):
                return np.full(shape, value if dtype is float else 3, dtype)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(curve_data, "np", Full)
            answers.append(
                solve(problems, 20, parameters=True, forecast=curve_forecast.forecast_curves)
            )
    for other in answers[1:]:
        for one, two in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    compiled = solve(problems, 20, parameters=True)
    np.testing.assert_allclose(compiled.draws, answers[0].draws, rtol=1e-9)
    np.testing.assert_allclose(compiled.marginals, answers[0].marginals, atol=1e-12)
