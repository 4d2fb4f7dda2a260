from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from lossfit.kernels.bins import log_bins, memory, noise, slope, without_spikes
from lossfit.kernels.cells import Grid
from lossfit.kernels.forecast_driver import Curves, Hypotheses, ResponsePrior, forecast_batch
from lossfit.kernels.normal import log_normal_cdf, upper_quantile
from lossfit.kernels.order import median
from lossfit.kernels.paths import Paths, Shapes
from tests.kernels.forecast_oracle import Path, cells


def random_path(rng, end):
    """Plateau, jumps, slopes, down to 0 or not."""
    n = rng.integers(1, 6)
    t = np.sort(rng.uniform(0, end, n))
    rho = np.concatenate([[1.0], np.sort(rng.uniform(0.02, 1, n))[::-1]])
    t = np.concatenate([[0.0], t])
    if n > 2:
        t[2] = t[1]  # a jump
    return Path(t, rho)


def problem(seed):
    """Everything random: grid, priors, paths, points."""
    rng = np.random.default_rng(seed)
    end = 10 ** rng.uniform(2, 5)
    n_paths, n_at, n_b = rng.integers(1, 3), rng.integers(1, 4), rng.integers(1, 4)
    log_normal = lambda n: np.log(rng.dirichlet(np.ones(n)))  # noqa: E731
    n_alpha, n_kb = rng.integers(1, 4), rng.integers(1, 3)
    units = [
        (0, end * rng.uniform(0.01, 0.3), 0.65, 0.0),
        (0, end * rng.uniform(0.01, 0.3), 0.65, 0.0),
    ]
    units.append((0, end * 0.05, rng.uniform(0.4, 1), 0.0))
    if rng.uniform() < 0.5:
        units.append((1, rng.uniform(0.01, 1), rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.8)))
    grid = Grid(
        np.sort(rng.uniform(0.05, 1, n_alpha)), log_normal(n_alpha), rng.uniform(0.01, 0.5, n_kb),
        log_normal(n_kb), np.array(units),
        np.array([0, 2, 3, 4][: len(units)]), 12, rng.uniform(1, 3), rng.uniform(1, 4),
        rng.uniform(0, 0.3), rng.uniform(0, 0.3), rng.uniform(0, 0.9),
        rng.uniform(0, 0.5),
        rng.uniform(0, 3),
    )  # fmt: skip
    n = int(rng.integers(6, 40))
    t = np.sort(rng.uniform(0.3 * end, end, n))
    s, sigma = rng.uniform(0.02, 0.3), rng.uniform(0.001, 0.02)
    y = 3 - s * np.log(t / end) + rng.normal(0, sigma, n)
    weight = rng.uniform(0.5, 2, n)
    at = np.sort(t[-1] * rng.uniform(1.05, 4, n_at))
    histories = [random_path(rng, end) for _ in range(n_paths)]
    other = [random_path(rng, at[-1]) for _ in range(n_paths)]
    futures = [other if rng.uniform() < 0.3 else histories for _ in range(n_at)]
    prior = (rng.uniform(0.05, 0.4, n_b), rng.uniform(0.02, 0.2, n_b), log_normal(n_b))
    log_unit = log_normal(len(units))
    most_slopes = rng.uniform(0.5, 3)
    log_path = log_normal(n_paths)
    step_size = rng.uniform(0.5, 2)
    return dict(
        rng=rng, grid=grid, t=t, y=y, weight=weight, s=s, sigma=sigma, at=at, step_size=step_size,
        histories=histories, futures=futures, other=other, prior=prior, log_path=log_path,
        most_slopes=most_slopes, log_unit=log_unit,
    )  # fmt: skip


def solve(p, draws, at=None, key=1, copies=1):
    """The kernel's answer; the run `copies` times."""
    all_paths = [*p["histories"], *p["other"]]
    lengths = [len(path.t) for path in all_paths]
    shapes = Shapes(
        np.concatenate([path.t for path in all_paths]),
        np.concatenate([path.rho for path in all_paths]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )
    count = len(all_paths)
    paths = Paths(np.arange(count), np.zeros(count), np.ones(count))
    h = len(p["histories"])
    at = p["at"] if at is None else at
    which = {id(path): i for i, path in enumerate(all_paths)}
    future = np.array([[which[id(f)] for f in one] for one in p["futures"]])
    if len(at) != len(future):
        future = np.tile(np.arange(h), (len(at), 1))
    n = len(p["t"])

    def times(value):
        return np.tile(np.asarray(value), (copies, *[1] * np.ndim(value)))

    curves = Curves(
        np.tile(p["t"], copies), np.tile(p["y"], copies), np.tile(p["weight"], copies),
        n * np.arange(copies + 1), np.full(copies, p["step_size"]), np.zeros(copies),
        np.zeros(copies), np.full(copies, p["sigma"]), np.full(copies, p["s"]),
    )  # fmt: skip
    return forecast_batch(
        curves, p["grid"], Hypotheses(times(np.arange(h)), times(future), times(p["log_path"])),
        ResponsePrior(
            *(times(one) for one in p["prior"]), np.full(copies, 0.2),
            np.full(copies, p["most_slopes"]), times(p["log_unit"]),
        ), shapes, paths, times(at),
        np.arange(key, key + copies).astype(np.uint64), draws=draws, parameters=True,
    )  # fmt: skip


def bins(p):
    """Centres, means and weights of the bins, the latest first."""
    n = len(p["t"])
    x, y, weight, log_t, mean, count = (np.empty(n) for _ in range(6))
    n = without_spikes(
        n, np.log(p["t"]), p["y"], p["weight"], 0.0, np.empty(2 * n), x, y, weight
    )  # fmt: skip
    n_bins = p["grid"].n_bins
    m = log_bins(n, x, y, weight, n_bins, np.empty(n_bins, np.int64), log_t, mean, count)
    return log_t[:m], mean[:m], count[:m]


def oracle(p):
    log_t, mean, count = bins(p)
    return mean[0], cells(
        p["t"][-1], log_t, mean - mean[0], count, p["sigma"], p["s"], p["grid"], p["log_unit"],
        p["prior"], min(1, p["most_slopes"] * p["s"] / 0.2), p["histories"], p["futures"],
        p["log_path"], p["at"], p["step_size"],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_the_evidence_and_the_forecast_agree_with_dense_algebra(seed):
    p = problem(seed)
    centre, truth = oracle(p)
    draws = 100_000
    found = solve(p, draws)
    assert found.info["log_evidence"][0] == pytest.approx(logsumexp(truth.log_weight), abs=2e-3)
    weight = np.exp(truth.log_weight - logsumexp(truth.log_weight))
    mean = centre + weight @ truth.mean
    var = weight @ (truth.sd**2 + (truth.mean - weight @ truth.mean) ** 2)
    sd = np.sqrt(var)
    np.testing.assert_allclose(found.draws[0].mean(1), mean, atol=5 * sd.max() / draws**0.5)
    np.testing.assert_allclose(found.draws[0].std(1), sd, rtol=0.03)
    per_path = weight.reshape(len(p["histories"]), -1).sum(1)
    np.testing.assert_allclose(found.shares[0], per_path, atol=1e-3)


def test_draws_are_joint_over_targets():
    """The discrepancy of a nearer target is part of that of a farther one."""
    p = problem(5)
    p["futures"] = [p["histories"]] * 3
    at = p["t"][-1] * np.array([1.5, 1.5000001, 3.0])
    draws = solve(p, 20_000, at).draws[0]
    assert np.corrcoef(draws[0], draws[1])[0, 1] > 0.999
    assert np.corrcoef(draws[0], draws[2])[0, 1] > 0.5


def test_targets_within_the_data_follow_the_bins():
    """With little noise and a large discrepancy the curve must go through the bins."""
    p = problem(2)
    p["grid"] = p["grid"]._replace(temper=1.0, kbs=np.full_like(p["grid"].kbs, 2.0))
    p["sigma"] = 1e-4
    log_t, mean, _ = bins(p)
    order = np.argsort(log_t)
    at = np.exp(log_t[order])
    draws = solve(p, 2000, at).draws[0]
    np.testing.assert_allclose(draws.mean(1), mean[order], atol=5e-4)
    assert draws.std(1).max() < 5e-4
    # Between the last bin and the end, and at the end itself, there is some doubt but no jump.
    near = solve(p, 2000, np.array([at[-1], p["t"][-1], p["t"][-1] * 1.0001])).draws[0]
    assert abs(near[1].mean() - near[2].mean()) < 0.1 * near[2].std() + 1e-3


def test_draws_depend_on_the_key_only():
    p = problem(1)
    alone = solve(p, 300, key=7)
    among = solve(p, 300, key=0, copies=20)
    np.testing.assert_array_equal(alone.draws[0], among.draws[7])
    np.testing.assert_array_equal(alone.parameters[0], among.parameters[7])
    assert not np.array_equal(among.draws[0], among.draws[1])


def test_parameters_explain_the_curve():
    """Without discrepancy and future change the draws are the formula of their parameters."""
    p = problem(4)
    k = p["grid"].kbs.size
    p["grid"] = p["grid"]._replace(kbs=np.full(k, 1e-9), drift=0.0, future=0.0, future_unknown=0.0)
    p["futures"] = [p["histories"]] * len(p["at"])
    found = solve(p, 50)
    level, a, b, alpha, tau, power, _size, which = found.parameters[0]
    for i in range(0, 50, 7):
        path = p["histories"][int(which[i])]
        x_end = path.lr_time(p["t"][-1])
        unit = next(u for u in p["grid"].units if u[1] == tau[i] and u[2] == power[i])
        from tests.kernels.forecast_oracle import response

        for j, t in enumerate(p["at"]):
            phi = (1 - (path.lr_time(t) / x_end) ** -alpha[i]) / alpha[i]
            d = response(path, t, unit, p["step_size"]) - response(
                path, p["t"][-1], unit, p["step_size"]
            )
            expected = level[i] - a[i] * phi - b[i] * d
            assert found.draws[0, j, i] == pytest.approx(expected, abs=2e-4)
    assert (a > 0).all()


def test_noise_is_blind_to_trends_and_corrected_for_smoothing():
    rng = np.random.default_rng(0)
    n, sigma = 4000, 0.02
    t = np.arange(1, n + 1) / n
    white = rng.normal(0, sigma, n)
    y = 3 - 0.5 * np.log(t) + white
    ones, scratch = np.ones(n), np.empty(n)
    assert memory(n, y) == 0.0
    assert noise(n, y, ones, 0.0, 0.0, scratch) == pytest.approx(sigma, rel=0.06)
    for phi in (0.7, 0.9):
        smooth = np.empty(n)
        state = 0.0
        for i in range(n):
            state = phi * state + (1 - phi) * white[i]
            smooth[i] = state
        y = 3 - 0.5 * np.log(t) + smooth
        found = memory(n, y)
        assert found == pytest.approx(phi, abs=0.05)
        stationary = sigma * np.sqrt((1 - phi) / (1 + phi))
        assert noise(n, y, ones, found, 0.0, scratch) == pytest.approx(stationary, rel=0.25)


def test_spikes_are_left_out():
    rng = np.random.default_rng(2)
    n = 200
    t = np.arange(1.0, n + 1)
    y = 3 - 1e-4 * t + rng.normal(0, 0.01, n)
    odd = [2, 50, 51, 120, 197]  # at the very ends a jump may be real
    y[odd] += [0.5, 0.3, -0.4, 0.2, 0.6]
    out = [np.empty(n) for _ in range(3)]
    weight = rng.uniform(1, 2, n)
    m = without_spikes(n, t, y, weight, 0.0, np.empty(2 * n), *out)
    np.testing.assert_array_equal(out[0][:m], np.delete(t, odd))
    np.testing.assert_array_equal(out[1][:m], np.delete(y, odd))
    np.testing.assert_array_equal(out[2][:m], np.delete(weight, odd))
    assert without_spikes(9, t, y, weight, 0.0, np.empty(2 * n), *out) == 9


def test_median_bins_and_slope():
    rng = np.random.default_rng(1)
    for n in (1, 2, 3, 10, 101):
        values = rng.normal(size=n).round(1)  # ties too
        assert median(n, values.copy()) == np.median(values)
    n = 300
    t = np.sort(rng.uniform(100, 1000, n))
    y = 3 - 0.1 * np.log(t)
    weight = rng.uniform(0.5, 2, n)
    log_t, mean, count = np.empty(40), np.empty(40), np.empty(40)
    m = log_bins(n, np.log(t), y, weight, 40, np.empty(40, np.int64), log_t, mean, count)
    assert 35 <= m <= 40
    assert (np.diff(log_t[:m]) < 0).all()
    assert count[:m].sum() == pytest.approx(weight.sum())
    np.testing.assert_allclose(mean[:m], 3 - 0.1 * log_t[:m], atol=1e-12)
    assert slope(m, log_t, mean, count, np.log(t[-1]), 0.0) == pytest.approx(0.1)


def test_normal_tails():
    from scipy.special import log_ndtr
    from scipy.stats import norm

    for z in (-60.0, -31.0, -8.0, -1.0, 0.0, 3.0, 9.0):
        assert log_normal_cdf(z) == pytest.approx(log_ndtr(z), rel=1e-4, abs=1e-12)
    for tail in (1e-12, 1e-4, 0.02, 0.3, 0.5, 0.7, 0.999):
        assert upper_quantile(tail) == pytest.approx(norm.isf(tail), abs=1e-8)
