"""The learned constants: their form, what they say at home, and a small frozen record.

Forecasts are those of the plain oracle (`tests/oracles`), so that these tests hold the constants
and the formulas to the record, whatever computes them for users.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lossfit
from tests.oracles import forecast_draws, forecast_oracle

CUTS = (0.3, 0.5, 0.8)
LLAMA_BATCH = 4e6  # tokens a step: the delays of the response are in steps
# As measured when this was frozen (20 of 24, .0087 of the loss), and some room for the second.
HELD, CRPS = 0.83, 0.0096


@pytest.fixture(scope="module")
def constants(root: Path):
    return json.loads((root / "lossfit/forecasts/constants.json").read_text())


def scaled(draws: np.ndarray, truth: float) -> tuple[bool, float]:
    """Whether the 90 % interval holds the truth, and the CRPS over the loss."""
    x = np.sort(draws)
    n = len(x)
    crps = np.abs(x - truth).mean() - ((2 * np.arange(n) - n + 1) * x).sum() / n**2
    return bool(x[int(0.05 * n)] <= truth <= x[int(0.95 * n)]), float(crps / truth)


def test_the_table_has_the_form_that_the_oracle_reads(constants):
    rows = {k: tuple(v) for k, v in constants["rows"].items()}
    assert rows == forecast_oracle.ROWS
    assert tuple(constants["features"]) == forecast_oracle.NAMES
    table = np.array(constants["table"])
    assert table.shape == (sum(n for _, n in rows.values()), 2 * len(constants["features"]))
    assert np.isfinite(table).all()
    for width in constants["width"].values():
        assert np.shape(width) == (2, len(constants["width_at"]), 3)
        assert (np.array(width)[..., [0, 2]] > 0.3).all()
        assert (np.array(width)[..., [0, 2]] < 4).all()


def test_the_built_in_curves(constants):
    """LLaMA 1 and 2, cut at 30, 50 and 80 % and asked for their end."""
    runs = lossfit.load("llama")
    held, crps = [], []
    for name in runs.names:
        run = runs[name]
        t, loss = run.axis("tokens") / LLAMA_BATCH, run.loss
        plan = lossfit.schedules.cosine(1.0, t[-1], 2000, 0.1)
        for cut in CUTS:
            n = int((t <= cut * t[-1]).sum())
            d = forecast_draws.forecast(
                t[:n], loss[:n], [t[-1]], constants, plan, t[-1], 2000, n=500
            )
            h, c = scaled(d[0], float(loss[t > 0.98 * t[-1]].mean()))
            held.append(h)
            crps.append(c)
    assert np.mean(held) >= HELD
    assert np.mean(crps) <= CRPS


# What two iterations make of the built-in curves; measured when this was frozen.
LEARNED = {"eta": 0.1687, "grow": -0.0711, "response": -0.4661, "kb": 0.1048, "alpha": 0.0532}
SCORE = (9.570, 11.074)


@pytest.mark.slow
def test_learning_gives_what_it_gave():
    """A small frozen version of ``benches.learn_forecast``: LLaMA 1 and 2 as two sources."""
    from benches import learn_forecast as bench
    from benches.forecast_cases import Curve, case_of

    runs = lossfit.load("llama")
    cases = []
    for name in runs.names:
        run = runs[name]
        t, loss = run.axis("tokens") / LLAMA_BATCH, run.loss
        plan = lossfit.schedules.cosine(1.0, t[-1], 2000, 0.1)
        source = name.partition("-")[0]
        curve = Curve(source, "corpus", "lm_pretrain", name, t, loss, 2000.0, plan, float(t[-1]))
        cases += [case for cut in (0.3, 0.6) if (case := case_of(curve, cut)) is not None]
    problems = bench.all_problems(cases)
    ready = [bench.prepared(p) for p in problems]
    votes = bench.votes_of(problems, cases)
    before, gradient = bench.log_score(bench.start(), problems, ready, votes)
    table = bench.learn(problems, cases, bench.start(), 2)
    after, _ = bench.log_score(table, problems, ready, votes)
    assert (before, after) == pytest.approx(SCORE, abs=0.01)
    changed = table - bench.start()
    found = {k: float(changed[bench.ROWS[k][0], 0]) for k in LEARNED}
    assert found == pytest.approx(LEARNED, abs=0.02)
    # The gradient is the score's.
    row = bench.ROWS["grow"][0]
    step = np.zeros_like(table)
    step[row, 0] = 0.02
    up, down = (
        bench.log_score(bench.start() + s * step, problems, ready, votes, False)[0] for s in (1, -1)
    )
    assert gradient[row, 0] == pytest.approx((up - down) / 0.04, rel=0.02)


def test_the_file_is_what_the_bench_writes(constants, root: Path):
    from benches.learn_forecast import text_of

    text = (root / "lossfit/forecasts/constants.json").read_text()
    assert text == text_of(constants)


def curve(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    t = 10.0 * np.arange(1, n + 1)
    noise = np.random.default_rng(seed).normal(0, 0.02, n)
    return t, (2.6 + 20 * t**-0.5) * np.exp(noise)


@pytest.mark.parametrize("mode", ["known", "total", "nothing"])
def test_a_target_does_not_depend_on_the_others(constants, mode):
    t, loss = curve()
    total = {"total": 6000.0}
    known = {"schedule": lossfit.schedules.linear(1.0, 6000), **total}
    options = {"known": known, "total": total, "nothing": {}}[mode]
    one = forecast_draws.forecast(t, loss, [4500.0], constants, **options)
    many = forecast_draws.forecast(t, loss, [3300.0, 4500.0, 6000.0], constants, **options)
    np.testing.assert_allclose(one[0], many[1], rtol=1e-6)


def test_draws_have_the_marginals_that_the_constants_were_learned_on(constants):
    """Curves drawn jointly against the mixture of cells, in closed form."""
    from scipy.special import ndtr

    t, loss = curve()
    d = forecast_oracle.prepare(t, loss)
    f = forecast_oracle.features(d, 6000, False, False)
    H = forecast_oracle.hyper(constants["table"], f)
    at = np.array([3750.0, 6000.0])
    p = forecast_oracle.cells(d, at, forecast_oracle.menu(6000.0), 6000.0)
    w = forecast_oracle.weights(p["logz"], H, "total")
    m, v, vB = forecast_oracle.moments(p)
    hs = np.log(at / d["tc"])
    y = forecast_draws.curves(d, p, w, H, hs, 40_000, np.random.default_rng(1))
    prob, size, lean = forecast_draws.tails(H)
    for j, h in enumerate(hs):
        q = np.quantile(y[j], [0.05, 0.25, 0.5, 0.75, 0.95])
        s = np.sqrt(forecast_draws.variances(H, d, h, v[j], vB[j]))
        cdf = np.zeros(5)
        for k in range(3):
            lo, up = lean[k], 1 / lean[k]
            z = (q[:, None] - m[j].ravel()) / (s.ravel() * size[k])
            below = 2 * lo / (lo + up) * ndtr(z / lo)
            above = (lo + up * (2 * ndtr(z / up) - 1)) / (lo + up)
            cdf += prob[k] * (np.where(z < 0, below, above) * w.ravel()).sum(1)
        np.testing.assert_allclose(cdf, [0.05, 0.25, 0.5, 0.75, 0.95], atol=0.008)


def test_a_loss_stays_positive_and_a_unit_does_not_matter(constants):
    t = np.arange(1.0, 201.0)
    loss = 3e3 * t**-1.5 * np.exp(np.random.default_rng(3).normal(0, 0.1, 200))
    d = forecast_draws.forecast(t, loss, [400.0, 3200.0], constants)
    assert (d > 0).all()
    scaled_draws = forecast_draws.forecast(1e6 * t, 1e-3 * loss, [4e8, 3.2e9], constants)
    # (steps enter the response's delay: not in a plan whose rate is unknown and long past)
    np.testing.assert_allclose(np.median(scaled_draws, 1), 1e-3 * np.median(d, 1), rtol=0.1)


def test_a_longer_plan_gains_less_than_the_cells_say(constants):
    t, loss = curve()
    plan, future = (lossfit.schedules.linear(1.0, end, 0, 0.1) for end in (3000, 9000))
    options = {"schedule": plan, "total": 3000.0, "future": future}
    plain = forecast_draws.forecast(t, loss, [9000.0], constants, **options)
    longer = forecast_draws.forecast(t, loss, [9000.0], constants, **options, finished=True)
    own = loss[-20:].mean()
    assert np.median(plain) < np.median(longer) < own
    assert (longer > own).mean() < 0.1


@pytest.mark.shared
@pytest.mark.nightly(only="reads every public curve")
def test_one_cut_run_of_every_public_source(constants, shared):
    """Cut at 30 %, the plan's end known: a small frozen version of the bench's table."""
    from benches.forecast_cases import make_cases
    from benches.forecast_tables import scores

    folder = shared / "data/curves"
    if not folder.is_dir():
        pytest.skip("shared/data/curves is not there")
    one = {case.curve.source: case for case in reversed(make_cases(folder, (0.3,)))}
    assert len(one) >= 50
    rows = []
    for case in one.values():
        curve, at = case.curve, [t.at for t in case.targets]
        warmup = min(curve.warmup, 0.7 * case.t[-1])
        options = {"total": curve.plan, "warmup": warmup, "n": 400}
        y = forecast_draws.forecast(case.t, case.loss, at, constants, curve.schedule, **options)
        rng = np.random.default_rng(1)
        for draws, target in zip(y, case.targets, strict=True):
            noisy = draws + target.noise * rng.standard_normal(draws.size)
            row = scores(noisy, target.observed)
            rows.append((curve.source, row["c90"], row["c50"]))
    by_source = {s: np.mean([r[1:] for r in rows if r[0] == s], 0) for s in one}
    held90, held50 = np.mean(list(by_source.values()), 0)
    assert 0.82 <= held90 <= 0.97
    assert 0.38 <= held50 <= 0.64
