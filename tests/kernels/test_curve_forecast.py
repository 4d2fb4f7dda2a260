from __future__ import annotations

import numpy as np
import pytest
from lossfit.kernels.uncompiled.curve_cells import log_phi
from lossfit.kernels.uncompiled.ranks import RANK_BINS, neighbours, quantile
from scipy.special import log_ndtr, logsumexp

from lossfit.kernels.curve_law import FEATURES
from tests.kernels import curve_oracle as oracle
from tests.kernels.curve_problems import problem, solve


def cells_of(p, data):
    f = oracle.features(data, p["plan"], p["knowledge"], p["like"])
    return f, oracle.cells(
        data, p["grid"], p["hyper"], f, p["histories"], p["futures"], p["kinds"], p["log_kinds"],
        p["plan"], p["at"], p["step_size"],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_evidence_and_forecasts_agree_with_dense_algebra(seed):
    p = problem(seed, positive=seed % 3 > 0)
    data = oracle.prepared(p)
    f, truth = cells_of(p, data)
    draws = 10_000
    answer = solve([p], draws)
    record = answer.records[0]
    for name in (
        "level",
        "noise",
        "trend",
        "trend_error",
        "own_error",
        "slope",
        "last",
        "top",
        "points",
    ):
        assert record[name] == pytest.approx(getattr(data, name), rel=1e-9, abs=1e-12), name
    assert [record[f"feature_{name}"] for name in FEATURES] == pytest.approx(f[: len(FEATURES)])
    assert record["log_evidence"] == pytest.approx(logsumexp(truth.log_weight), abs=1e-3)
    weight = np.exp(truth.log_weight - logsumexp(truth.log_weight))
    per_path = [weight[truth.hypothesis == h].sum() for h in range(len(p["histories"]))]
    np.testing.assert_allclose(answer.shares, per_path, atol=1e-4)
    sizes = [
        len(p["grid"].alphas),
        len(p["grid"].sizes),
        len(p["grid"].noises),
        len(p["grid"].strengths),
    ]
    marginals = [np.bincount(truth.place[:, i], weight, size) for i, size in enumerate(sizes)]
    np.testing.assert_allclose(answer.marginals[0], np.concatenate(marginals), atol=1e-4)
    h = oracle.numbers(p["hyper"].matrix @ f, p["grid"], p["hyper"])
    tail = np.exp(np.concatenate([[0], h["tail"]]))
    widen = (tail * np.exp(2 * h["tail_size"])).sum() / tail.sum()
    mean = weight @ truth.mean
    off = truth.mean - mean
    covariance = np.einsum("c,cij->ij", weight, widen * truth.covariance)
    covariance += np.einsum("c,ci,cj->ij", weight, off, off)
    sd = np.sqrt(np.diag(covariance))
    y = oracle.fitted(answer.draws, data)
    kurtosis = (((y - y.mean(1, keepdims=True)) / y.std(1, keepdims=True)) ** 4).mean(1).max()
    error = np.sqrt(kurtosis / draws)
    np.testing.assert_allclose((y.mean(1) - mean) / sd, 0, atol=5 / draws**0.5)
    np.testing.assert_allclose(np.cov(y).reshape(covariance.shape) / np.outer(sd, sd),
                               covariance / np.outer(sd, sd), atol=5 * error)  # fmt: skip
    unit = data.level if data.positive else data.scale
    b_mean = weight @ truth.b_mean
    b_sd = np.sqrt(weight @ (truth.b_var + (truth.b_mean - b_mean) ** 2))
    assert record["strength_mean"] == pytest.approx(unit * b_mean, abs=5 * unit * b_sd / 100)
    assert record["strength_sd"] == pytest.approx(unit * b_sd, rel=0.05)


def test_order_statistics():
    rng = np.random.default_rng(0)
    counts = np.empty(RANK_BINS, np.int64)
    for n in (1, 2, 3, 12, 13, 80, 601):
        for values in (
            rng.normal(size=n), np.round(rng.normal(size=n), 1), np.zeros(n),
            np.exp(40 * rng.normal(size=n)), np.full(n, 1e300) * rng.choice([-1, 1], n),
        ):  # fmt: skip
            work = np.empty(n)
            ordered = np.sort(values)
            for k in {0, n // 3, n // 2, n - 1}:
                pair = neighbours(n, values, k, work, counts)
                assert pair == (ordered[k], ordered[min(k + 1, n - 1)])
            with np.errstate(over="ignore"):
                for q in (0.05, 0.5, 0.95):
                    found = quantile(n, values, q, work, counts)
                    assert found == pytest.approx(np.quantile(values, q), rel=1e-12, abs=1e-300)


def test_log_of_the_normal_distribution_function():
    z = np.concatenate([-np.geomspace(1e-9, 1e4, 500), [0.0], np.geomspace(1e-9, 38, 500)])
    values = np.array([log_phi(x) for x in z])
    np.testing.assert_allclose(values, log_ndtr(z), rtol=1e-9, atol=1e-10)


def test_what_finished_runs_show_of_b_counts_beside_the_prior():
    """Probabilities p of the prior's normals become (p + m) / (1 + sum of m); no more changes."""
    p = problem(3)
    f, _ = cells_of(p, oracle.prepared(p))
    n = len(p["grid"].strengths)
    first = len(p["grid"].alphas) + len(p["grid"].sizes) + len(p["grid"].noises)
    logits = (p["hyper"].matrix @ f)[first : first + n]
    prior = np.exp(logits - logsumexp(logits))
    counts = np.random.default_rng(0).uniform(0, 2, n)
    before, after = solve([p, {**p, "strengths": counts}], 50).marginals[:, -n:]
    expected = before * (prior + counts) / (1 + counts.sum()) / prior
    np.testing.assert_allclose(after, expected / expected.sum(), rtol=1e-6)
    assert np.abs(after - before).max() > 0.01
    # As many runs as show nothing else but the prior change nothing.
    same = solve([p, {**p, "strengths": 7 * prior}], 50)
    np.testing.assert_allclose(same.marginals[1], same.marginals[0], rtol=1e-6)
