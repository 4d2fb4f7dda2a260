"""A logged learning rate is recognised: where its schedule ends, and how far down it goes."""

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import schedules
from lossfit.runs.logged_rate import form_of, form_to, warmed, warmup_of

CONVENTIONS = ("after", "multiplied", "capped")


def cosine_rate(t, total, last, warmup, convention):
    """A cosine counted from the warm-up's end, or from 0 with the warm-up laid over it."""
    start = warmup if convention == "after" else 0
    z = np.clip((t - start) / (total - start), 0, 1)
    main = last + (1 - last) * (1 + np.cos(np.pi * z)) / 2
    ramp = np.minimum(t / warmup, 1.0)
    if convention == "after":
        return np.where(t < warmup, ramp, main)
    return ramp * main if convention == "multiplied" else np.minimum(main, ramp)


def rounded(rate, digits):
    return np.array([float(f"{value:.{digits - 1}e}") for value in rate])


def recognised(t, rate, total=None):
    frame = pd.DataFrame({"step": t, "loss": 2 + t**-0.3, "lr": rate})
    run = next(iter(lossfit.Runs.from_frame(frame)))
    t, rho = warmed(t, rate)
    warmup = warmup_of(run, "step")
    return form_of(t, rho, warmup) if total is None else form_to(t, rho, warmup, total)


def cases(n=60):
    """Logs of parts of runs: (points, rate, total, last, digits) and the convention."""
    rng = np.random.default_rng(7)
    for i in range(n):
        total = float(rng.choice([1000, 20_000, 300_000]))
        last, warmup = rng.choice([0, 0.1, 0.3]), total * rng.choice([0.01, 0.02, 0.05])
        points, digits = int(rng.choice([100, 300, 1500])), int(rng.choice([4, 5, 7]))
        end = total * rng.uniform(0.3, 0.9)
        t = np.unique(np.ceil(np.linspace(end / points, end, points)))
        convention = CONVENTIONS[i % 3]
        rate = rounded(3e-4 * cosine_rate(t, total, last, warmup, convention), digits)
        yield t, rate, total, last, convention


def test_a_cosine_s_end_is_recognised_wherever_it_is_counted_from():
    errors = {convention: [] for convention in CONVENTIONS}
    for t, rate, total, last, convention in cases():
        form = recognised(t, rate)
        assert form.kind == "cosine"
        if rate[-1] < 0.7 * rate.max():
            errors[convention].append(abs(form.total / total - 1))
            assert abs(form.final_ratio - last) < 0.05
    for error in errors.values():
        assert len(error) >= 10
        assert max(error) < 0.03
        assert np.median(error) < 0.003


def test_a_thinned_log_of_round_numbers_is_recognised_nearly_as_well():
    for convention in CONVENTIONS:
        t = np.arange(400.0, 10_001.0, 400.0)
        rate = rounded(3e-4 * cosine_rate(t, 20_000.0, 0.1, 600.0, convention), 3)
        assert recognised(t, rate).total == pytest.approx(20_000, rel=0.06)


@pytest.mark.parametrize("make", [schedules.cosine, schedules.linear])
def test_a_planned_end_is_met_by_a_warm_up_laid_over(make):
    t = np.arange(50.0, 8001.0, 50.0)
    rate = np.minimum(t / 1000, 1.0) * make(3e-4, 20_000, 0, 0.1)(t)
    form = recognised(t, rate, 20_000.0)
    assert form.kind == make(1.0, 2.0).kind
    assert form(8000.0) == pytest.approx(rate[-1] / rate.max(), abs=2e-3)
    assert form.final_ratio == pytest.approx(0.1, abs=0.01)


def test_other_decays_are_no_cosines():
    t = np.arange(50.0, 10_001.0, 50.0)
    for rate in (np.sqrt(200 / np.maximum(t, 200)), 0.1 ** (t / 10_000), np.where(t < 900, 1, 0.1)):
        assert recognised(t, 3e-4 * np.minimum(t / 200, 1) * rate) is None


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_the_answer_says_which_end_was_recognised():
    t = np.arange(27.0, 8001.0, 27.0)
    loss = 2.5 + 8 * t**-0.35 + np.random.default_rng(0).normal(0, 0.01, len(t))
    rate = 3e-4 * cosine_rate(t, 20_000.0, 0.1, 200.0, "multiplied")
    runs = lossfit.Runs.from_frame(pd.DataFrame({"step": t, "loss": loss, "lr": rate}))
    answer = lossfit.extrapolate(runs, at=19_000, draws=200)
    words = "cosine to 20,000 steps, down to 10 % of its peak (from the logged rate)"
    (shares,) = answer.to_dict()["schedules"].values()
    assert list(shares) == [words]
    assert f"schedule: {words}.\n" in str(answer)
    longer = lossfit.extrapolate(runs, at=22_000, draws=200)
    assert f"schedule: {words}, stretched to the target.\n" in str(longer)
    told = lossfit.extrapolate(runs.with_schedule(schedules.cosine(3e-4, 20_000, 200)), at=19_000)
    assert "from the logged rate" not in str(told)
