from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from lossfit.cli.ladder import command
from lossfit.laws import coupled

TRUTH = {"E": 1.7, "A": 300.0, "B": 1500.0, "alpha": 0.32, "beta": 0.35, "gamma": 0.7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs at a constant rate, and a larger one that has begun."""
    out = tmp_path_factory.mktemp("ladder")
    rng = np.random.default_rng(0)
    for name, params, end in (
        ("a", 5e7, 2e10), ("b", 1.5e8, 2e10), ("c", 5e8, 2e10), ("big", 1.5e9, 3e9),
    ):  # fmt: skip
        tokens = np.linspace(0.03, 1, 40) * end
        loss = coupled.LAW.evaluate(TRUTH, params, tokens, None)
        loss = loss * (1 + 0.001 * rng.standard_normal(40))
        frame = pd.DataFrame({"step": tokens / 1e6, "tokens": tokens, "loss": loss, "lr": 1e-3})
        frame.assign(params=params).to_csv(out / f"{name}.csv", index=False)
    return out


def ask(folder: Path, *words: str) -> object:
    files = [str(folder / f"{name}.csv") for name in "abc"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(command, [*files, *words])


def test_an_unseen_size(folder: Path) -> None:
    answer = ask(
        folder, "--params", "1.5B", "--at", "2e10", "--schedule", "constant", "--target", "2.3",
        "--json",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    plain = json.loads(answer.stdout)
    row = plain["rows"][0]
    truth = float(coupled.LAW.evaluate(TRUTH, 1.5e9, 2e10, None))
    assert row["lower"] < truth < row["upper"]
    assert plain["time_to"][0]["loss"] == 2.3


def test_a_begun_run(folder: Path) -> None:
    big = str(folder / "big.csv")
    answer = ask(folder, "--params", "1.5B", "--begun", big, "--at", "2e10", "--target", "2.4")
    assert answer.exit_code == 0, answer.output
    assert "reaches 2.4 at" in answer.stdout
    answer = ask(folder, "--params", "1.5B", "--begun", big, "--at", "2e10", "--target", "0.1")
    assert "reaches 0.1 beyond 20B tokens; P(within 20B tokens) below 0.001" in answer.stdout


def test_runs_without_sizes(folder: Path) -> None:
    bare = pd.read_csv(folder / "a.csv").drop(columns="params")
    bare.to_csv(folder / "bare.csv", index=False)
    answer = ask(folder, str(folder / "bare.csv"), "--params", "1.5B", "--at", "2e10")
    assert answer.exit_code == 2
    assert "give --size bare=100M" in answer.stderr


def test_bad_questions(folder: Path) -> None:
    for words, message in (
        (["--at", "2T"], "needs --params"),
        (["--params", "1B"], "needs --at"),
        (["--params", "1B", "--at", "2e10", "--schedule", "step@2T"], "no schedule is called"),
        (["--size", "a"], "write RUN=N"),
        (["--size", "a=10x"], "10x"),
    ):
        answer = ask(folder, *words)
        assert answer.exit_code == 2
        assert message in answer.stderr


def test_sizes_of_several_runs_in_one_word(folder: Path) -> None:
    for name in "ab":
        bare = pd.read_csv(folder / f"{name}.csv").drop(columns="params")
        bare.to_csv(folder / f"bare_{name}.csv", index=False)
    files = [str(folder / f"bare_{name}.csv") for name in "ab"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        words = [*files, "--size", "bare_a=50M,bare_b=150M", "--params", "1B", "--at", "2e10"]
        answer = CliRunner().invoke(command, words)
    assert answer.exit_code == 0, answer.output
    answer = CliRunner().invoke(command, [*files, "--size", "50M"])
    assert answer.exit_code == 2
    assert "write RUN=N, such as small=100M" in answer.output
