"""What is known of each run by name: ``--total``, ``--schedule`` and ``--own`` as dicts."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

import lossfit
from lossfit._base.units import amount_of
from lossfit.cli.main import main
from lossfit.cli.options import by_run
from tests.curves import power_runs


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "runs.csv"
    power_runs(3).frame.drop(columns="spike").to_csv(path, index=False)  # 1,000 steps
    return path


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], None),
        (["2k"], 2000.0),
        (["1,500"], 1500.0),
        (["a=2k"], {"a": 2000.0}),
        (["a=2k,b=1.5k"], {"a": 2000.0, "b": 1500.0}),
        (["a=2k", "b=1,500"], {"a": 2000.0, "b": 1500.0}),
        (["lr 3e-4, big=2k"], {"lr 3e-4, big": 2000.0}),
        (["lr=3e-4=2k , b = 1k"], {"lr=3e-4": 2000.0, "b": 1000.0}),
    ],
)
def test_values_by_name(words, value):
    assert by_run(amount_of)(None, None, tuple(words)) == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["2k", "3k"], "one for all runs, or RUN=VALUE for each"),
        (["2k", "a=3k"], "one for all runs, or RUN=VALUE for each"),
        (["a=2k,a=3k"], "'a' is named twice"),
        (["a="], "write RUN=VALUE; got 'a='"),
        (["=2k"], "write RUN=VALUE; got '=2k'"),
        (["a=soon"], "'soon' is no axis value"),
    ],
)
def test_words_that_say_nothing_are_refused(words, said):
    with pytest.raises(click.BadParameter, match=said):
        by_run(amount_of)(None, None, tuple(words))


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path):
    path = tmp_path / "lr=3e-4.csv"
    path.write_text("step,lr\n0,3e-4\n1000,0\n")
    assert by_run()(None, None, (str(path),)) == str(path)
    assert by_run()(None, None, ("a=cosine@2k",)) == {"a": "cosine@2k"}


def rows(*words):
    done = run(*words, "--draws", 100, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["rows"]


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_extrapolate_takes_what_the_function_takes(log):
    total, plan = {"run0": 2000.0, "run2": 1500.0}, {"run1": "cosine@1600"}
    answer = lossfit.extrapolate(
        lossfit.load(log), at=1400, total=total, schedule=plan, draws=100
    )  # fmt: skip
    said = rows(
        "extrapolate", log, "--at", 1400, "--total", "run0=2k,run2=1.5k",
        "--schedule", "run1=cosine@1600",
    )  # fmt: skip
    assert [row["median"] for row in said] == answer.frame["median"].tolist()
    again = rows(
        "extrapolate", log, "--at", 1400, "--total", "run0=2k", "--total", "run2=1,500",
        "--schedule", "run1=cosine@1600",
    )  # fmt: skip
    assert [row["median"] for row in again] == [row["median"] for row in said]
    notes = ["schedule_unknown" in row["notes"] for row in said]
    assert notes == [True, False, True]


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
@pytest.mark.parametrize("command", ["extrapolate", "race", "report", "watch"])
def test_every_command_with_a_total_takes_it_by_name(log, tmp_path, command):
    options = {
        "extrapolate": ["--at", 1400],
        "race": ["--until", 1400],
        "report": ["--at", 1400, "--out", tmp_path / "page.html"],
        "watch": ["--at", 1400, "--once"],
    }[command]
    if command != "watch":  # which may meet the run later
        done = run(command, log, *options, "--draws", 100, "--total", "run0=2k,run1=3k,run3=2k")
        assert done.exit_code == 2
        assert "names run 'run3', which is not there" in done.stderr
    done = run(command, log, *options, "--draws", 100, "--total", "run0=2k,run1=300")
    assert done.exit_code == 2
    assert "ends before the data of run 'run1'" in done.stderr
    done = run(command, log, *options, "--draws", 100, "--schedule", "run0=cosine@2k", "--total",
               "run1=3k")  # fmt: skip
    assert done.exit_code == 0, done.output


def test_what_is_for_one_run_is_not_by_name(log):
    done = run("best-tail", log, "--total", "run0=2k")
    assert done.exit_code == 2
    assert "is no axis value" in done.stderr
    done = run("phases", log, "--schedule", "run0=cosine@2k,run5=cosine@2k")
    assert "there is no run 'run5'" in done.stderr
