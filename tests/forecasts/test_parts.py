"""Small parts of the forecasts by hand: menus, levels, what the prior alone says, siblings' B."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lossfit.forecasts import question, rates
from lossfit.forecasts.forecasting import _levels, _prior_only
from lossfit.forecasts.learning import Priors, strength_from
from lossfit.runs.logged_rate import form_of, form_to
from tests.curves import power_runs


class Book:
    """Notes what is asked of the menu."""

    def __init__(self):
        self.asked = []

    def menu(self, name, warmup, total):
        self.asked.append((name, warmup, total))
        return len(self.asked) - 1


@pytest.mark.parametrize("total", [None, 5000.0])
def test_the_menu_has_the_weights_and_the_warmup_that_it_says(monkeypatch, total):
    monkeypatch.setattr(rates, "warmup_of", lambda run, axis: 70.0)
    book = Book()
    plan = rates.Plan(None, None if total is None else {"run0": total})
    made = rates.hypotheses_of(
        book, power_runs(1)["run0"], "step", 1000.0, np.array([4000.0]), plan
    )
    assert {warmup for _, warmup, _ in book.asked} == {70.0}
    by_form = {}
    for past, _, weight in made.hypotheses:
        name = book.asked[past][0]
        by_form[name] = by_form.get(name, 0.0) + weight
    menu = dict(rates.MENU)
    sums = {name: weight / sum(by_form.values()) for name, weight in by_form.items()}
    assert sums == pytest.approx({name: w / sum(menu.values()) for name, w in menu.items()})


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


@pytest.mark.parametrize("form", [lambda t, rho: form_of(t, rho, 0.0),
                                  lambda t, rho: form_to(t, rho, 0.0, 1500.0)])  # fmt: skip
def test_a_logged_rate_follows_a_form_within_one_percent(form):
    t = np.linspace(10, 1000, 200)
    rho = wave(t, 1500.0)
    assert form(t, rho + 0.004 * np.sin(t)).kind == "cosine"
    assert form(t, rho + 0.04 * np.sin(t)) is None
