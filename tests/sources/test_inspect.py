"""`lossfit inspect`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lossfit
from lossfit._base.sparkline import sparkline
from lossfit.cli.inspect import command
from lossfit.sources.inspecting import noise_of

FILES = Path(__file__).parent / "files"


def run(*words, given=None):
    return CliRunner().invoke(command, [str(word) for word in words], input=given)


def test_what_was_found_and_what_was_dropped():
    done = run(FILES / "main.log", FILES / "wandb_chart.csv")
    assert done.exit_code == 0, done.output
    text = done.stdout
    assert f"{FILES / 'main.log'}: llmc, 130 rows of training losses (loss)" in text
    assert "wandb_chart, 38 rows of training losses (train/loss) of 2 runs (small - v2" in text
    assert "3 runs, 158 points; axes: step" in text
    assert re.search(r"lr known at 100 of 120 points: first \S+, highest \S+, last ", text)
    assert "! unknown_lr (20)" in text
    assert "! restart (10): 1 restart (first back to step 80)" in text
    assert "! other_losses (4): rows of val_loss only" in text
    assert "noise sd 0.02" in text
    assert "lr unknown" in text


def test_json():
    data = json.loads(run(FILES / "trainer_state.json", "--json").stdout)
    assert data["schema"] == "lossfit.inspect/1"
    assert [log["format"] for log in data["logs"]] == ["trainer_state"]
    (one,) = data["runs"]
    assert (one["points"], one["decimals"], one["planned_steps"]) == (30, 4, 1000)
    assert one["axes"] == {"step": [1, 300], "epoch": [0.01, 3]}
    assert one["lr"]["points"] == 30
    assert one["smoothed"] is False
    assert {flag["flag"] for flag in one["flags"]} >= {"run_average", "window_average", "missing"}


def test_validation_losses_and_a_figure(tmp_path):
    figure = tmp_path / "x.png"
    done = run(FILES / "main.log", "--loss", "both", "--plot", figure)
    assert "main/train" in done.stdout
    assert "rows of validation losses (val_loss)" in done.stdout
    assert figure.stat().st_size > 10_000
    assert f"wrote {figure}" in done.stderr


def test_a_bad_file_among_good_ones_is_told_at_the_end(tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("time,accuracy\n1,2\n")
    done = run(FILES / "neox.log", bad)
    assert done.exit_code == 2
    assert "1 run, 40 points" in done.stdout
    assert done.stderr.startswith(f"error: {bad}: there is no column 'loss'")
    done = run(bad)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_standard_input_and_ascii():
    done = run("-", given=(FILES / "main.log").read_text())
    assert "standard input: llmc" in done.stdout
    assert "stdin" in done.stdout


def test_the_noise_of_a_run():
    rng = np.random.default_rng(1)
    step = np.arange(1, 4001)
    frame = {"step": step, "loss": 2 + 5 * step**-0.4 + rng.normal(0, 0.03, len(step))}
    import pandas as pd

    runs = lossfit.Runs.from_frame(pd.DataFrame(frame))
    assert noise_of(runs["run"]) == pytest.approx(0.03, rel=0.06)
    assert noise_of(runs.until({"step": 10})["run"]) is None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("diverged", "diverged at 210 steps"),
        ("tail", "infinite from 210 on (40 rows)"),
        ("sound", ""),
    ],
)
def test_what_broke_is_said_once(tmp_path, kind, words):
    step = np.arange(10.0, 610, 10)
    loss = (2 + 8 * step**-0.5) * np.exp(np.random.default_rng(0).normal(0, 0.01, 60))
    loss[20:] = {"diverged": 6 + 0.01 * loss[20:], "tail": np.nan, "sound": loss[20:]}[kind]
    path = tmp_path / "log.csv"
    path.write_text(
        "step,loss\n" + "".join(f"{t:g},{v}\n" for t, v in zip(step, loss, strict=True))
    )
    text, (one,) = run(path).stdout, json.loads(run(path, "--json").stdout)["runs"]
    assert words in (one["broken"] or "")
    assert (one["broken"] is None) == (kind == "sound")
    assert ("! broken: " in text) == (kind == "diverged")
    assert text.count(str(one["broken"])) == (kind != "sound")


def test_sparkline():
    assert sparkline(np.linspace(8, 1, 8)) == "█▇▆▅▄▃▂▁"
    assert sparkline(np.linspace(8, 1, 8), unicode=False) == "#*+=~-._"
    assert sparkline(np.ones(5)) == "▁" * 5
    assert len(sparkline(np.linspace(3, 2, 1000))) == 32
    assert len(sparkline(np.linspace(3, 2, 1000), width=10)) == 10
    assert sparkline(np.array([-1.7e308, 1.7e308])) == "▁█"


def test_a_first_row_is_no_header(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text("".join(f"{10 * k},2026-01-01 00:00:00,{3 + 1 / k:.4f}\n" for k in range(1, 9)))
    done = run(path)
    assert done.exit_code == 2
    assert "the first line (10, 2026-01-01 00:00:00, 4.0000) holds numbers" in done.stderr
