"""A logged learning rate is recognised: where its schedule ends, and how far down it goes."""

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import schedules
from lossfit.runs.logged_rate import rate_of
from lossfit.runs.rate_forms import Followed, forms_of

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


def recognised(t, rate, total=np.nan):
    return forms_of([rate_of(t, rate)], np.array([total]))[0].form


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


def held_then(u, shape, decay=0.3):
    return shape(np.clip((u - 1 + decay) / decay, 0, 1))


def half_wave(u):
    return (1 + np.cos(np.pi * u)) / 2


DECAYS = {
    "inverse sqrt": (lambda u: np.sqrt(0.02 / np.maximum(u, 0.02)), None),
    "exponential": (lambda u: 0.1**u, None),
    "square": (lambda u: (1 - u) ** 2, None),
    "root": (lambda u: np.sqrt(1 - u), None),
    "rex": (lambda u: (1 - u) / (1 - u / 2), None),
    "step": (lambda u: np.where(u < 0.3, 1, 0.1), None),
    "one cycle": (
        lambda u: np.where(u < 0.3, half_wave(1 - u / 0.3), half_wave(u / 0.7 - 3 / 7)),
        1,
    ),
    "cooldown": (lambda u: held_then(u, lambda v: 1 - v), 1),
    "1 - sqrt": (lambda u: held_then(u, lambda v: 1 - np.sqrt(v)), 1),
    "cosine cooldown": (lambda u: held_then(u, half_wave), 1),
    "square cooldown": (lambda u: held_then(u, lambda v: (1 - v) ** 2), None),
}


@pytest.mark.parametrize("digits", [4, 17])
@pytest.mark.parametrize("name", DECAYS)
def test_a_rate_is_continued_as_it_goes_on_or_not_at_all(name, digits):
    shape, end = DECAYS[name]
    t = np.arange(50.0, 20_001.0, 50.0)
    rate = rounded(3e-4 * shape(t / 20_000), digits)
    for share in (0.4, 0.6, 0.8, 0.9):
        n = int(share * len(t))
        form = recognised(t[:n], rate[:n])
        if form is not None:
            assert end is not None, (share, str(form))
            assert form.total == pytest.approx(20_000, rel=0.02)
            assert form(t[n:]) == pytest.approx(rate[n:] / rate[:n].max(), abs=0.01)
    assert (form is None) == (end is None)


def test_a_rate_has_the_same_form_whoever_is_asked_beside_it():
    logs = [rate_of(t[:: 1 + 9 * (i % 3)], rate[:: 1 + 9 * (i % 3)])
            for i, (t, rate, *_) in enumerate(cases(30))]  # fmt: skip
    ends = np.array([np.nan, 25_000.0, 400_000.0] * 10)
    together = forms_of(logs, ends)
    assert together == [
        forms_of([log], np.array([end]))[0] for log, end in zip(logs, ends, strict=True)
    ]
    assert together[::-1] == forms_of(logs[::-1], ends[::-1])


def test_a_run_may_stop_before_its_schedule_ends():
    t = np.arange(50.0, 8001.0, 50.0)
    rate = 3e-4 * cosine_rate(t, 20_000.0, 0.0, 500.0, "after")
    longer = forms_of([rate_of(t, rate)], np.array([12_000.0]))[0]
    assert longer.elsewhere
    assert longer.form.total == pytest.approx(20_000, rel=1e-3)
    shorter = forms_of([rate_of(t, rate)], np.array([30_000.0]))[0]
    assert shorter == Followed(None, True)


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
