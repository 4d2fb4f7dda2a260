"""Small parts of the forecasts by hand: menus, levels, what the prior alone says, siblings' B."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.forecasts import question, rates
from lossfit.forecasts.forecasting import _levels, _prior_only
from lossfit.forecasts.learning import Priors, strength_from
from lossfit.forecasts.path_book import PathBook
from lossfit.runs.known import for_runs
from lossfit.runs.rate_falls import LoggedRate
from lossfit.runs.rate_forms import forms_of
from tests.curves import power_runs


class Book:
    """Notes what is asked of the menu."""

    def __init__(self):
        self.asked = []

    def menu(self, name, totals):
        self.asked += [(name, total) for total in totals]
        return np.arange(len(self.asked) - len(totals), len(self.asked))


@pytest.mark.parametrize("total", [None, 5000.0])
def test_the_menu_has_the_weights_and_the_end_that_it_says(total):
    book = Book()
    plan = rates.Plan(None, None if total is None else {"run0": total})
    runs = power_runs(1)
    (group,) = rates.groups_of(book, runs, "step", np.array([1000.0]), np.array([[4000.0]]), plan)
    by_form, ends = {}, set()
    for past, weight in zip(group.past[0], group.weights, strict=True):
        name, end = book.asked[past]
        ends.add(end)
        by_form[name] = by_form.get(name, 0.0) + weight
    assert ends == ({4000.0, 1.4 * 4000.0} if total is None else {5000.0})
    menu = dict(rates.MENU)
    sums = {name: weight / sum(by_form.values()) for name, weight in by_form.items()}
    assert sums == pytest.approx({name: w / sum(menu.values()) for name, w in menu.items()})


@pytest.mark.parametrize("plan", ["nothing", "total", "totals", "schedule", "schedules", "logged"])
@pytest.mark.parametrize("fixed", [True, False])
def test_the_paths_of_a_run_are_the_same_alone_and_among_others(plan, fixed):
    """Runs of different lengths, one with a schedule of its own in tokens."""
    rng = np.random.default_rng(3)
    x = [np.arange(1, n + 1) * 10.0 for n in (50, 70, 90, 80)]
    frames = [
        pd.DataFrame(
            {"run": f"run{i}", "step": t, "loss": 2 + t**-0.3 + rng.normal(0, 0.01, len(t))}
        )
        for i, t in enumerate(x)
    ]
    if plan == "logged":
        for i, falls in ((1, 1e-6), (3, 0.0)):
            frames[i]["lr"] = 1e-3 - falls * frames[i]["step"] ** 1.1 / 10
    runs = lossfit.Runs.from_frame(pd.concat(frames), tokens_per_step={"run2": 7.0, "run0": 3.0})
    runs = runs.with_schedule(
        {
            "run2": lossfit.schedules.wsd(1.0, 6000, 300, axis="tokens"),
            "run0": lossfit.schedules.from_points([1, 300, 400], [1, 2, 1]),
        }
    )
    line = lossfit.schedules.linear(1.0, 1000, 20)
    given = {
        "total": rates.Plan(None, 800.0),
        "totals": rates.Plan(None, {"run1": 900.0, "run2": 950.0}),
        "schedule": rates.Plan(line),
        "schedules": rates.Plan({"run1": line, "run2": lossfit.schedules.two_stage(2, 1, 600)}),
    }.get(plan, rates.Plan())
    ends = np.array([t[-1] for t in x])
    at = ends[:, None] * np.array([0.5, 1.1, 1.9, np.nan])
    at[2, 2] = np.nan

    def told(runs, rows, plan):
        book = PathBook()
        out = {}
        for group in rates.groups_of(book, runs, "step", ends[rows], at[rows], plan, fixed):
            shapes, paths = book.arrays()

            def path(number, shapes=shapes, paths=paths):
                span = slice(*shapes.offsets[paths.shape[number] + np.arange(2)])
                start, stretch = paths.start[number], paths.stretch[number]
                return shapes.z[span].tolist(), shapes.rho[span].tolist(), start, stretch

            for k, r in enumerate(group.rows):
                flags = {
                    n: np.broadcast_to(w, (len(group.rows), 4))[k] for n, w in group.flags.items()
                }
                out[runs.names[r]] = repr(
                    (
                        [path(p) for p in group.past[k]],
                        [path(p) for p in group.coming[k].ravel()],
                        (group.weights, group.labels, flags, group.end[k], group.menu),
                    )
                )
        return out

    together = told(runs, np.arange(4), given)
    assert len(together) == 4
    for r, name in enumerate(runs.names):
        alone = rates.Plan(*(for_runs(each, [name]) for each in given))
        assert together[name] == told(runs.select([name]), np.array([r]), alone)[name]


def test_a_level_is_the_mean_of_the_last_fortieth():
    first, second = np.arange(200.0), np.r_[np.zeros(70), 3.0, 5.0]
    levels = _levels(np.concatenate([first, second]), np.array([0, 200, 272]))
    np.testing.assert_allclose(levels, [np.mean([195, 196, 197, 198, 199]), 5.0])


@pytest.mark.parametrize(("share", "expected"), [(0.9, True), (0.8, False), (0.7, False)])
def test_b_comes_from_the_prior_alone_where_its_sd_is_85_percent_of_the_prior_s(share, expected):
    one = np.ones((1, 1))
    strength = SimpleNamespace(log_weight=0 * one, mean=one, sd=0.5 * one)
    info = {"b_mean": np.ones(1), "b_sd": np.array([share * 0.5])}
    found = _prior_only(SimpleNamespace(info=info), strength, np.array([[0.01]]), one)
    assert found.tolist() == [[expected]]


def test_what_siblings_say_of_b_knows_that_slopes_err():
    """Runs that fall steeply are known less well: the shipped value counts for more."""
    b, sd = np.full(4, 0.02), np.full(4, 0.001)
    steep = strength_from(b, sd, np.full(4, 1.0), shipped=0.2)
    flat = strength_from(b, sd, np.full(4, 1e-6), shipped=0.2)
    assert flat.mean < 0.04
    assert steep.mean > 1.5 * flat.mean


@pytest.mark.parametrize("models", [None, {"run0": "m", "run1": "m", "run2": "n", "run3": "n"}])
def test_a_run_never_learns_from_itself_nor_from_one_it_is_fitted_with(monkeypatch, models):
    names = ("run0", "run1", "run2", "run3")
    priors = object.__new__(Priors)
    object.__setattr__(priors, "names", names)
    monkeypatch.setattr(question, "_only", lambda all_of_them, kept: kept)
    asked = replace(question.Question.of(power_runs(4), "step"), priors=priors, models=models)
    assert asked.learned("run0") == (names[1:] if models is None else names[2:])
    assert asked.learned("another") is priors if models is None else True


def wave(t, total):
    return (1 + np.cos(np.pi * t / total)) / 2


@pytest.mark.parametrize("total", [np.nan, 1500.0])
def test_a_logged_rate_follows_a_form_within_one_percent_of_noise(total):
    t = np.linspace(10, 1000, 200)
    noise = np.random.default_rng(0).normal(0, 1, len(t))

    def form(rho):
        return forms_of([LoggedRate(t, rho / rho.max(), 0.0)], np.array([total]))[0].form

    assert form(wave(t, 1500.0) + 0.004 * noise).kind == "cosine"
    assert form(wave(t, 1500.0) + 0.04 * noise) is None
    assert form(wave(t, 1500.0) + 0.004 * np.sin(t / 50)) is None  # no noise is so smooth
