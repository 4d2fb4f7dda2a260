"""Phases: break points, P(a phase exists), and what the schedule explains."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import cho_factor, cho_solve
from scipy.special import gammaln
from scipy.stats import norm

import lossfit
from lossfit.phase_models import build as phasing
from lossfit.phase_models import models as phase_models
from lossfit.phase_models.result import Phases

STEPS = 500_000


def power(u: Any, slope: float, alpha: float) -> Any:
    return slope * np.expm1(-alpha * np.log(u)) / alpha


def three_phases(u: Any, first: float, second: float, slope: float = 0.12) -> Any:
    """A power law, a line of its slope from `first` on, of half of that from `second` on."""
    alpha = 0.35
    line = -slope * first ** (-alpha - 1)
    straight = power(first, slope, alpha) + line * (u - first)
    curve = 2 + np.where(u <= first, power(u, slope, alpha), straight)
    return curve - 0.6 * line * np.maximum(u - second, 0)


def run_of(curve: Any, u: Any, noise: float, seed: int, schedule: Any = None) -> lossfit.Runs:
    rng = np.random.default_rng(seed)
    known = schedule if schedule is not None else lossfit.schedules.constant(1e-3)
    return lossfit.Runs.from_arrays(
        "step", u * STEPS, curve + rng.normal(0, noise, u.size), names=["r"], schedules=known
    )


def quiet(runs: Any, **options: Any) -> Phases:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        return phasing.phases(runs, **options)


U = np.linspace(0.02, 1, 140)


def cosine_curve(u: Any) -> tuple[Any, Any]:
    """A power law in LR time with the response to a cosine, and that cosine."""
    schedule = lossfit.schedules.cosine(3e-4, STEPS, final_ratio=0.1)
    fine = np.linspace(0, 1, 5001)
    rho = schedule(fine * STEPS) / 3e-4
    x = np.concatenate([[0], np.cumsum((rho[1:] + rho[:-1]) / 2)])
    response = np.interp(u, fine, 1 - rho**0.6)
    return 2 + power(np.interp(u, fine, x / x[-1]), 0.12, 0.35) - 0.18 * response, schedule


@pytest.fixture(scope="module")
def broken() -> Phases:
    return quiet(run_of(three_phases(U, 0.25, 0.8), U, 0.003, 0), axis="step")


def test_break_points_are_found(broken: Phases) -> None:
    one = broken["r"]
    assert one.prob_linear > 0.95
    assert one.prob_tip > 0.95
    frame = broken.frame.set_index("phase")
    assert frame.loc["linear", "share_lower"] < 0.25 < frame.loc["linear", "share_upper"]
    assert frame.loc["tip", "share_lower"] < 0.8 < frame.loc["tip", "share_upper"]
    assert frame.loc["linear", "share_upper"] - frame.loc["linear", "share_lower"] < 0.25
    assert_allclose(frame["median"], frame["share_median"] * STEPS)
    # Slopes are in loss per step; the tip has 0.4 of the line's.
    line = -0.12 * 0.25**-1.35 / STEPS
    assert_allclose(frame.loc["linear", "slope"], line, rtol=0.1)
    assert_allclose(frame.loc["tip", "slope"], 0.4 * line, rtol=0.25)


def test_intervals_of_break_points_hold() -> None:
    rng = np.random.default_rng(1)
    held = []
    for i in range(8):
        first, second = rng.uniform(0.15, 0.45), rng.uniform(0.65, 0.9)
        made = quiet(run_of(three_phases(U, first, second), U, 0.004, i), axis="step", draws=400)
        frame = made.frame
        for truth, (_, row) in zip((first, second), frame.iterrows(), strict=True):
            held.append(row["share_lower"] <= truth <= row["share_upper"])
    assert np.mean(held) > 0.75  # of 16, at 90 %


def test_a_power_law_has_no_phases() -> None:
    probs = []
    for seed in range(3):
        one = quiet(run_of(2 + power(U, 0.12, 0.35), U, 0.003, seed), axis="step")["r"]
        probs.append((one.prob_linear, one.prob_tip))
    assert np.mean(probs) < 0.2


def test_correlated_errors_make_no_phase() -> None:
    probs = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        error = np.zeros(U.size)
        for i in range(1, U.size):
            error[i] = 0.9 * error[i - 1] + rng.normal(0, 0.003 * np.sqrt(1 - 0.81))
        curve = 2 + power(U, 0.12, 0.35) + error
        one = quiet(run_of(curve, U, 0.001, seed), axis="step")["r"]
        probs.append(max(one.prob_linear, one.prob_tip))
    assert np.mean(probs) < 0.6


def test_the_schedule_explains_what_it_made() -> None:
    curve, schedule = cosine_curve(U)
    made = quiet(run_of(curve, U, 0.002, 0, schedule), axis="step")
    assert made.flags["r"] == ("schedule_explains",)
    assert made.frame["schedule_explains"].all()
    assert made["r"].gain > 3
    with pytest.warns(lossfit.LossfitWarning, match="schedule_explains"):
        phasing.phases(run_of(curve, U, 0.002, 0, schedule), axis="step")


def test_the_schedule_does_not_explain_breaks(broken: Phases) -> None:
    assert broken.flags["r"] == ()
    assert broken["r"].gain < -3


def test_unknown_schedule_is_said() -> None:
    runs = lossfit.Runs.from_arrays("step", U * STEPS, three_phases(U, 0.25, 0.8), names=["r"])
    made = quiet(runs, axis="step")
    assert made.flags["r"] == ("schedule_unknown",)
    assert np.isnan(made.frame["schedule_gain"]).all()
    given = quiet(runs, axis="step", schedule=lossfit.schedules.constant(1e-3))
    assert "schedule_unknown" not in given.flags["r"]


def log_density_t(gap: Any, scale: Any) -> float:
    """A multivariate t with two degrees of freedom: the noise's prior counts one variance."""
    n, df = gap.size, 2 * phase_models.NOISE_POINTS
    factor = cho_factor(scale, lower=True)
    square = gap @ cho_solve(factor, gap)
    log_det = 2 * np.log(np.diag(factor[0])).sum()
    return float(
        gammaln((df + n) / 2) - gammaln(df / 2) - 0.5 * n * np.log(df * np.pi) - 0.5 * log_det
        - 0.5 * (df + n) * np.log1p(square / df)
    )  # fmt: skip


def test_evidence_is_that_of_a_multivariate_t() -> None:
    """One cell of every model against scipy's density of the data."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0.05, 1, 25))
    t[-1] = 1.0
    y = rng.normal(0, 0.1, 25)
    weight = rng.uniform(0.5, 2, 25)
    response = rng.normal(0, 1, (25, 6)).cumsum(axis=0) * 0.1
    curve = phase_models.Curve(
        t, y, weight, rng.uniform(0, 1, 25).cumsum() / 25, 0.13, 0.04, t**0.9, response, 0.15
    )
    made = phase_models.evidence(curve)
    everything = made.parts.columns
    assert set(made.by_model) == {*phase_models.MODELS, "schedule"}
    for name, grid in made.by_model.items():
        cell = int(rng.integers(len(grid.log_weight)))
        which, mean, sd, positive = phase_models.terms(
            name, curve, grid.alpha[[cell]], grid.first[[cell]], grid.second[[cell]]
        )
        size, length, share = phase_models.ERRORS[grid.error[cell]]
        gap = np.abs(curve.clock[:, None] - curve.clock)
        covariance = np.diag(1 / weight) + size * np.exp(-gap / length)
        x = everything[:, which[0]]
        # The flat prior of the level is that of a precision of 1e-8 in units of the noise.
        prior = np.where(sd > 0, sd**2 / curve.noise**2, 1e8)
        covariance = covariance + x @ np.diag(prior) @ x.T
        density = log_density_t(y - x @ mean, curve.noise**2 * covariance)
        n_cells = len(grid.log_weight) / len(phase_models.ERRORS)
        total = sum(w for *_, w in phase_models.ERRORS)
        expected = density + np.log(share / total) - np.log(n_cells)
        got = grid.log_weight[cell]
        if positive:  # P(the last coefficient is positive), a factor between 0 and 2
            assert got < expected + np.log(2) + 1e-3
            beta, lower, _, shape, scale = phase_models.posterior(
                curve, made.parts, grid.error[[cell]], which, mean, sd
            )
            spread = np.sqrt(scale / shape) / lower[:, -1, -1]
            expected += np.log(2 * norm.cdf(beta[0, -1] / spread[0]))
        assert_allclose(got, expected, atol=2e-3)


def test_draws_are_those_of_the_models(broken: Phases) -> None:
    draws = broken.draws
    names, counts = np.unique(draws["model"].values, return_counts=True)
    weights = dict(zip(phase_models.MODELS, broken["r"].weights, strict=True))
    for name, count in zip(names, counts, strict=True):
        assert abs(count / 1000 - weights[str(name)]) < 0.06
    with_line = np.char.find(draws["model"].values.astype(str), "linear") >= 0
    assert_array_equal(np.isfinite(draws["handover"].values), with_line)
    # Curves go through the data.
    one = broken["r"]
    middle = np.median(one.curves, axis=1)
    truth = three_phases(one.places / one.end, 0.25, 0.8)
    assert np.abs(middle - truth).max() < 0.006


def test_same_seed_same_answer() -> None:
    runs = lossfit.load("llama2").select(["llama2-7B", "llama2-13B"])
    both, alone = quiet(runs), quiet(runs.select(["llama2-13B"]))
    assert_array_equal(both["llama2-13B"].handover, alone["llama2-13B"].handover)
    assert_array_equal(both["llama2-13B"].curves, alone["llama2-13B"].curves)
    one = quiet(runs["llama2-13B"], axis="gpu_hours")  # a Run
    share = one.frame["share_median"].to_numpy()
    assert_allclose(share, alone.frame["share_median"], atol=0.03)


def test_text_json_and_picture(broken: Phases) -> None:
    text = str(broken)
    assert "r: a linear phase: yes; a flat end: yes" in text
    assert "P(exists)" in text
    plain = json.loads(json.dumps(broken.to_dict(), allow_nan=False))
    assert plain["schema"] == "lossfit.phases/1"
    assert len(plain["models"]) == 5
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    ax = broken.plot()
    ax.figure.canvas.draw()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "power law" in labels
    assert any(label.startswith("tip: P(exists)") for label in labels)
    mpl.pyplot.close("all")


def test_command() -> None:
    from click.testing import CliRunner

    from lossfit.cli.phases import command

    got = CliRunner().invoke(command, ["llama2", "--run", "llama2-7B"])
    assert got.exit_code == 0
    assert "llama2-7B: a linear phase" in got.output
    assert CliRunner().invoke(command, ["llama2", "--run", "x"]).exit_code == 2


def test_bad_input() -> None:
    u = np.linspace(0.1, 1, 8)
    with pytest.raises(lossfit.DataError, match="run 'r' has 8 points"):
        phasing.phases(run_of(2 + power(u, 0.1, 0.3), u, 0.001, 0), axis="step")
    runs = run_of(three_phases(U, 0.25, 0.8), U, 0.003, 0)
    with pytest.raises(lossfit.DataError, match="start"):
        phasing.phases(runs, start=0.9)
    with pytest.raises(lossfit.DataError, match="no run 'x'"):
        quiet(runs, axis="step", draws=20)["x"]


def test_a_schedule_that_is_not_the_run_s_own_is_refused() -> None:
    """... whether its rate was logged or it has a schedule; one that agrees changes nothing."""
    curve, plan = cosine_curve(U)
    scheduled = run_of(curve, U, 0.002, 0, plan)
    step = scheduled["r"].axis("step")
    frame = scheduled.frame.drop(columns="spike").assign(lr=plan(step))
    logged = lossfit.Runs.from_frame(frame)
    for runs, what in ((scheduled, "a schedule"), (logged, "a logged learning rate")):
        with pytest.raises(lossfit.DataError, match=rf"has {what}, from which .* differs by"):
            phasing.phases(runs, axis="step", schedule=lossfit.schedules.constant(1e-3))
        alone, told = (quiet(runs, axis="step", **more) for more in ({}, {"schedule": plan}))
        assert told["r"].gain == alone["r"].gain
    plain = lossfit.Runs.from_frame(frame.drop(columns="lr"))
    with pytest.raises(lossfit.DataError, match=r"ends at .* before its data"):
        phasing.phases(plain, schedule=lossfit.schedules.cosine(1e-3, step[-1] / 2))
