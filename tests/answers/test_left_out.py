"""What is learned from runs is learned from those that did not break, and the others are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, LossfitWarning, Runs

T = np.arange(10.0, 1010.0, 10.0)
COSINE = lossfit.schedules.cosine(1e-3, 1000)
BROKEN = {"e": "diverged at 6", "f": "jumped up by a factor of 1.77"}
KEPT = "over-fitting: the validation loss rises since"
quiet = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def loss_of(name: str) -> np.ndarray:
    size = 3.0 ** (ord(name[0]) - ord("a"))
    rng = np.random.default_rng(ord(name[0]))
    loss = (2.0 + 8 * T**-0.4 * size**-0.15) * np.exp(rng.normal(0, 0.004, len(T)))
    loss -= 0.2 * (1 - COSINE(T) / COSINE.peak)
    if name == "e":
        loss = np.where(T > 600, loss + 2 * (1 - np.exp(-(T - 600) / 50)), loss)
    elif name == "f":
        loss *= np.where(T > 750, np.exp(0.6 * np.exp(-(T - 750) / 450)), 1.0)
    elif name.endswith("val"):
        loss *= np.where(T > 500, (T / 500) ** 0.4, 1.0)
    return loss


def runs(*names: str, **options: Any) -> Runs:
    frame = pd.concat(
        pd.DataFrame({"run": name, "step": T, "tokens": 1e5 * T, "loss": loss_of(name)})
        for name in names
    )
    params = {name: 1e7 * 3.0 ** (ord(name[0]) - ord("a")) for name in names}
    return Runs.from_frame(frame, params=params, schedules=COSINE, **options)


SOUND, ALL = ("a", "b", "c", "d"), ("a", "e", "b", "f", "c", "d")
BEGUN = runs("x").until(0.5)
OPTIONS: dict[str, Any] = {"axis": "step", "draws": 50}
MANY = [f"{letter}{i}" for letter in "abcd" for i in range(3)]


def same_model(names: tuple[str, ...]) -> Runs:
    """Runs of one size, as far as they say."""
    schedules = dict.fromkeys(names, COSINE)
    return Runs.from_frame(runs(*names).frame.drop(columns="params")).with_schedule(schedules)


USES: dict[str, Callable[[tuple[str, ...]], Any]] = {
    "learn_priors": lambda names: lossfit.learn_priors(runs(*names), axis="step"),
    "backtest": lambda names: lossfit.backtest(runs(*names), siblings="others", **OPTIONS),
    "siblings": lambda names: lossfit.extrapolate(
        BEGUN, at=900, siblings=runs(*names), **OPTIONS
    ),
    "calibrate_on": lambda names: lossfit.extrapolate(
        BEGUN, at=900, laws="power", calibrate_on=runs(*MANY, *names), **OPTIONS
    ),
    "what_if": lambda names: lossfit.what_if(
        BEGUN, schedules=["wsd"], siblings=runs(*names), **OPTIONS
    ),
    "best_tail": lambda names: lossfit.best_tail(
        BEGUN, 1000, segments=4, siblings=runs(*names), **OPTIONS
    ),
    "share": lambda names: lossfit.extrapolate(
        same_model(names), run="a", at=2000, share=True, **OPTIONS
    ),
    "race": lambda names: lossfit.race(
        runs("x", "y").until(0.5), siblings=runs(*names), until=900, **OPTIONS
    ),
    "fit_ladder": lambda names: lossfit.fit_ladder(runs(*names)),
    "fit_surface": lambda names: lossfit.fit_surface(runs(*names), draws=100),
    "plan": lambda names: lossfit.plan("chinchilla", compute=1e18, runs=runs(*names), draws=100),
}  # fmt: skip


def numbers(made: Any) -> pd.DataFrame:
    frame = made.frame.drop(columns=["notes", "broken"], errors="ignore")
    if "run" in frame:
        frame = frame[~frame["run"].isin(list(BROKEN))]
    return frame.reset_index(drop=True)


@quiet
@pytest.mark.parametrize("use", list(USES))
def test_the_numbers_are_those_without_the_broken_runs_which_are_named(use: str) -> None:
    made, without = USES[use](ALL), USES[use](SOUND)
    named = dict(BROKEN) if use != "backtest" else {"e": BROKEN["e"]}
    if use == "backtest":  # an outcome counts unless the run does not go on as it went
        assert set(made.frame["run"]) == {*SOUND, "f"}
        assert set(made.skipped["run"]) == {"e"}
        assert made.skipped["reason"].iloc[0].startswith(f"broken: {BROKEN['e']}")
        of_f = made.frame[made.frame["run"] == "f"]["broken"]
        assert all(words.startswith(BROKEN["f"]) for words in of_f)
        assert f"! f: {of_f.iloc[0]}: it counts, though broken" in str(made)
    pd.testing.assert_frame_equal(numbers(made), numbers(without), rtol=1e-9)
    text = str(made)
    assert not any(words in str(without) for words in named.values())
    for name, words in named.items():
        assert f"{name} ({words}" in text or f"! {name}: {words}" in text, text
    if hasattr(made, "notes"):
        told = made.notes["broken_left_out"]
    elif use in ("learn_priors", "backtest"):
        told = " ".join(f"{name} ({words}" for name, words in made.left_out.items())
    else:
        told = made.meanings["broken_left_out"]
        assert all("broken_left_out" in notes for notes in made.frame["notes"] if notes)
        assert "broken_left_out (" in made.warning
        left_out = made.to_dict()["left_out"]
        assert {name: words.startswith(named[name]) for name, words in left_out.items()} == (
            dict.fromkeys(named, True)
        )
    assert all(f"{name} ({words}" in told for name, words in named.items())


@quiet
def test_a_run_that_is_said_to_be_sound_is_kept() -> None:
    kept = runs(*ALL, meta={"f": {"broken": False}})
    assert set(lossfit.learn_priors(kept, axis="step").left_out) == {"e"}
    ladder = lossfit.fit_ladder(kept)
    assert set(ladder.runs.names) == {*SOUND, "f"}
    told = "broken_left_out: 1 broken run was left out: e (diverged"
    for made in (ladder, ladder.extrapolate(params=3e9, at=2e8)):
        assert told in str(made)


def test_what_cannot_be_fitted_without_them_says_why() -> None:
    with pytest.raises(DataError, match=r"no run is left: 2 broken runs were left out: e \(div"):
        lossfit.fit_ladder(runs("e", "f"))
    with pytest.raises(DataError, match=r"at least two sizes.*left out: e \(diverged"):
        lossfit.fit_ladder(runs("a", "e"))
    with pytest.raises(DataError, match=r"at least 3 finished runs, got 2.*left out: e \(div"):
        lossfit.fit_surface(runs("a", "e", "b"))
    with pytest.raises(DataError, match=r"gives a forecast: 1 broken run was left out.*keeps one"):
        lossfit.backtest(runs("e"), **OPTIONS)


@quiet
def test_what_says_something_though_it_broke_is_kept_and_named() -> None:
    kept = lossfit.fit_ladder(runs("a", "b", "c/val"))
    assert kept.notes["broken"].startswith(f"kept, though broken: c/val ({KEPT}")
    assert set(kept.runs.names) == {"a", "b", "c/val"}


@quiet
def test_fits_name_them() -> None:
    with pytest.warns(LossfitWarning, match=r"broken \(e, f\): the run broke"):
        fit = lossfit.fit(runs(*ALL), **OPTIONS)
    words = {name: row["broken"] for name, row in fit.diagnostics.iterrows()}
    assert words == dict(zip(fit.frame["run"], fit.frame["broken"], strict=True))
    for name, what in words.items():
        assert (what or "").startswith(BROKEN.get(name, ""))
        assert ("broken" in fit.diagnostics.loc[name, "notes"]) == (name in BROKEN)
        assert (what is None) == (name not in BROKEN)
    assert str(fit).splitlines()[0] == f"! e: {words['e']}: no law describes that"
    assert fit.to_dict()["broken"] == {name: words[name] for name in BROKEN}
    plain = lossfit.fit(runs(*SOUND), **OPTIONS)
    np.testing.assert_array_equal(fit.select(list(SOUND)).draws, plain.draws)
    # Of a fit that keeps a summary only they are told where it is looked at.
    few = lossfit.fit(runs(*ALL), axis="step", draws=0)
    assert set(few.broken) == set(BROKEN)


@quiet
def test_sweeps_name_them(tmp_path: Any) -> None:
    made = lossfit.fit_to(tmp_path / "fits.zarr", runs(*ALL), axis="step", draws=50)
    assert made.flags["broken"] == 2
    notes = made.frame.groupby("run")["notes"].first()
    assert {name for name, flags in notes.items() if "broken" in flags.split(",")} == set(BROKEN)
