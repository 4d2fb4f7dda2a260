"""The first line of an answer about a run that broke, and what is not printed below it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.runs.broken import broken_runs, left_out

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def curve(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(name))
    t = np.arange(10.0, 2010.0, 10.0)
    loss = (2.6 + 12 * t**-0.4) * np.exp(rng.normal(0, 0.01, len(t)))
    return t, loss


def runs_of(**losses: np.ndarray) -> lossfit.Runs:
    t, _ = curve("")
    frames = [pd.DataFrame({"run": k, "step": t, "loss": v}) for k, v in losses.items()]
    return lossfit.Runs.from_frame(pd.concat(frames))


def diverged() -> np.ndarray:
    t, loss = curve("d")
    return np.where(t > 1200, loss + 2 * (1 - np.exp(-(t - 1200) / 100)), loss)


def zeros() -> np.ndarray:
    t, loss = curve("z")
    return np.where(t > 1500, 0.0, loss)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "words", "hopeless"),
    [
        ("diverged", "diverged at 710 steps", True),
        ("scale_jump", "the loss is multiplied by", True),
        ("zeros_after_nan", "the loss is logged as 0 from 710 steps on", True),
        ("fall_after_plateau", "fell suddenly after a plateau", False),
        ("data_order_waves", None, False),
    ],
)
def test_the_first_line_of_the_reported_cases(
    case: str, words: str | None, hopeless: bool, shared: Path
) -> None:
    runs = lossfit.load(shared / "cases" / case)
    answer = lossfit.extrapolate(runs, at="2x", draws=200)
    lines = str(answer).splitlines()
    if words is None:
        assert not answer.broken
        assert not lines[0].startswith("!")
        return
    assert words in lines[0]
    assert lines[0].startswith(f"! {runs.names[0]}: ")
    assert lines[0].endswith("no forecast") == hopeless
    assert ("90 % interval" in str(answer)) != hopeless
    assert ("Record" in str(answer)) != hopeless
    assert all("broken" in flags for flags in answer.frame["notes"])


def test_no_number_is_printed_for_a_run_without_a_forecast() -> None:
    """Of a run whose losses end in zeros the plain scale would print losses below 0."""
    alone = lossfit.extrapolate(runs_of(z=zeros()), at="2x", draws=200)
    assert "the loss is logged as 0" in str(alone).splitlines()[0]
    assert not any(word in str(alone) for word in ("loss there", "Law learned", "Record"))
    assert [line.split()[1] for line in str(alone).splitlines() if "  ! " in line] == ["broken:"]
    _, healthy = curve("h")
    several = lossfit.extrapolate(runs_of(z=zeros(), d=diverged(), h=healthy), at="2x", draws=200)
    rows = {line.split()[0]: line for line in str(several).splitlines() if " 2x " in f"{line} "}
    assert rows["z"].endswith("no forecast")
    assert rows["d"].endswith("no forecast")
    assert " to " in rows["h"]
    assert "Law learned" in str(several)
    assert [line[:10] for line in several.records] == ["Record: on"]  # of the healthy run alone


def test_one_wild_negative_point_is_a_spike() -> None:
    """Thousands of positive losses stay on the logarithm."""
    t, loss = curve("n")
    wild = loss.copy()
    wild[120] = -4.0
    at = float(2 * t[-1])
    kept = np.arange(len(t)) != 120
    frame = pd.DataFrame({"run": "n", "step": t, "loss": loss})[kept]
    without = lossfit.extrapolate(lossfit.Runs.from_frame(frame), at=at, draws=500)
    other = lossfit.extrapolate(runs_of(n=wild), at=at, draws=500)
    assert "spike" in other.frame["notes"].iloc[0]
    assert "spike" not in without.frame["notes"].iloc[0]
    np.testing.assert_allclose(other.draws, without.draws)
    assert float(other.draws.min()) > 0
    # Losses that are negative in earnest are kept on their own scale.
    negative = lossfit.extrapolate(runs_of(n=loss - 4), at=at, draws=500)
    assert "spike" not in negative.frame["notes"].iloc[0]
    assert float(negative.draws.max()) < 0


def test_races_and_other_schedules_name_broken_runs_first() -> None:
    t, loss = curve("w")
    runs = runs_of(broke=diverged(), well=loss)
    assert str(lossfit.race(runs, axis="step", until=2 * t[-1], draws=100)).startswith("! broke:")
    plan = lossfit.schedules.constant(1e-3)
    answer = lossfit.what_if(runs.with_schedule(plan), schedules=["wsd"], draws=100)
    first, _, below = str(answer).partition("\n")
    assert first.startswith("! broke: diverged")
    assert "no forecast" in below.partition("well under")[0]
    assert answer.meanings["far"]
    well = answer.frame[answer.frame["run"] == "well"]
    told = dict(re.findall(r"! (\w+) \((\d+) of 4 rows\)", str(answer)))
    assert told
    for flag, count in told.items():
        assert int(count) == sum(flag in notes for notes in well["notes"])
    alone = lossfit.what_if(
        runs.select(["broke"]).with_schedule(plan), schedules=["wsd"], draws=100
    )
    assert len(str(alone).splitlines()) == 3  # nothing of what a fall of the rate would win


def restarted() -> np.ndarray:
    t, loss = curve("r")
    return loss * np.where(t > 1500, np.exp(0.6 * np.exp(-(t - 1500) / 900)), 1.0)


@pytest.mark.parametrize(
    "kind", ["extrapolate", "by_law", "what_if", "best_tail", "race", "phases"]
)
def test_frames_and_json_say_what_broke_beside_the_numbers(kind: str) -> None:
    t, loss = curve("w")
    plan = lossfit.schedules.cosine(1e-3, 4000)
    runs = runs_of(broke=diverged(), again=restarted(), well=loss).with_schedule(plan)
    options = {"axis": "step", "draws": 100}
    if kind in ("extrapolate", "by_law"):
        made = lossfit.extrapolate(runs, at=2 * t[-1], **options)
    elif kind == "what_if":
        made = lossfit.what_if(runs, schedules=["wsd"], **options)
    elif kind == "best_tail":
        tails = [
            lossfit.best_tail(runs, 4000, run=name, segments=4, **options) for name in runs.names
        ]
        frame = pd.concat([tail.frame for tail in tails])
        plain = {"rows": [row for tail in tails for row in tail.to_dict()["rows"]]}
        plain["broken"] = {k: v for tail in tails for k, v in tail.to_dict()["broken"].items()}
    elif kind == "race":
        made = lossfit.race(runs, until=2 * t[-1], **options)
    else:
        made = lossfit.phases(runs, **options)
    if kind != "best_tail":
        frame, plain = made.by_law if kind == "by_law" else made.frame, made.to_dict()
    broken = dict(zip(frame["run"], frame["broken"], strict=True))
    assert broken["broke"].startswith("diverged at 1,2")
    assert broken["again"].startswith("jumped up by a factor of 1.78 at 1,510")
    assert broken["well"] is None
    assert (frame.groupby("run", sort=False)["broken"].nunique(dropna=False) == 1).all()
    words = {name: words for name, words in broken.items() if words}
    if kind == "race":
        assert {row["run"]: row["broken"] for row in plain["runs"]} == broken
    else:
        rows = plain[{"phases": "phases", "by_law": "by_law"}.get(kind, "rows")]
        assert {row["run"]: row["broken"] for row in rows} == broken
        assert plain["broken"] == words
    if kind == "extrapolate":
        arrivals = made.time_to(2.5)
        assert dict(zip(arrivals["run"], arrivals["broken"], strict=True)) == broken
    noted = {run for run, notes in zip(frame["run"], frame["notes"], strict=True)
             if "broken" in notes}  # fmt: skip
    assert noted == {"race": {"again"}, "by_law": set()}.get(kind, set(words))


def test_each_of_many_runs_is_looked_at() -> None:
    """... however many they are."""
    t, _ = curve("w")
    rng = np.random.default_rng(0)
    sound = {
        f"run {i}": (2.6 + 12 * t**-0.4) * np.exp(rng.normal(0, 0.01, len(t))) for i in range(300)
    }
    runs = runs_of(**sound, broke=diverged())
    answer = lossfit.extrapolate(runs, at=2 * t[-1], draws=20, laws="power")
    assert list(answer.broken) == ["broke"]
    assert answer.broken["broke"][1]


def test_a_run_whose_meta_says_so_is_taken_for_sound() -> None:
    t, loss = curve("w")
    frame = pd.concat(
        [pd.DataFrame({"run": k, "step": t, "loss": v}) for k, v in
         {"broke": diverged(), "well": loss}.items()]
    )  # fmt: skip
    runs = lossfit.Runs.from_frame(frame, meta={"broke": {"broken": False}})
    assert not lossfit.extrapolate(runs, at=2 * t[-1], draws=20, laws="power").broken


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_tails_and_phases_of_broken_runs_say_so_first() -> None:
    _, loss = curve("w")
    runs = runs_of(broke=diverged(), well=loss)
    plan = lossfit.schedules.cosine(1e-3, 4000)
    options = {"total": 4000, "axis": "step", "segments": 4, "draws": 100}
    tail = lossfit.best_tail(runs.with_schedule(plan), run="broke", **options)
    assert str(tail).splitlines()[0].startswith("! broke: diverged")
    assert str(tail).splitlines()[-1].startswith("  no forecast")
    assert set(tail.frame["notes"]) == {("broken",)}
    tail = lossfit.best_tail(runs.with_schedule(plan), run="well", **options)
    assert "!" not in str(tail).splitlines()[0]
    assert "broken" not in tail.flags
    phases = lossfit.phases(runs, axis="step", draws=100)
    assert set(phases.broken) == {"broke"}
    first, second = str(phases).splitlines()[:2]
    assert first.startswith("! broke: diverged")
    assert second.startswith("Phases of 2 runs")


def test_a_rate_without_a_peak_is_a_share_of_it() -> None:
    _, loss = curve("w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"total": 4000, "axis": "step", "segments": 4, "draws": 100}
        word = lossfit.best_tail(runs_of(well=loss), own="cosine@4k", **options)
        plan = lossfit.schedules.cosine(1e-3, 4000)
        known = lossfit.best_tail(runs_of(well=loss).with_schedule(plan), **options)
    assert "of the peak" in str(word).splitlines()[1]
    assert "of the peak" not in str(known)


@pytest.mark.parametrize(
    ("words", "forecast", "lesson"),
    [
        ("diverged", False, False),
        ("falls as at a start", False, False),
        ("the loss rises since", True, False),
        ("over-fitting", True, True),
    ],
)
def test_what_a_break_costs(words: str, forecast: bool, lesson: bool) -> None:
    """Whether the run has a forecast, and whether others learn from it."""
    t, loss = curve("k")
    name = "k/val" if words == "over-fitting" else "k"
    if words == "diverged":
        loss = diverged()
    elif words == "falls as at a start":
        t = t + 50_000
    else:
        loss = loss * np.maximum(t / 1000, 1) ** 0.4
    runs = lossfit.Runs.from_frame(pd.DataFrame({"run": name, "step": t, "loss": loss}))
    said, hopeless = broken_runs(runs, [name], "step")[name]
    assert words in said
    assert (hopeless, name in left_out(runs, "step")) == (not forecast, not lesson)
