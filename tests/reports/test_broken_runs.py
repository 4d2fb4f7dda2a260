"""Runs without a forecast: no number of theirs is the answer of a page or of a picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

mpl.use("Agg")

import lossfit
from lossfit.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
T = np.arange(10.0, 2010.0, 10.0)


def runs(*names: str) -> lossfit.Runs:
    """A run that went well, and one that fell lower and then began to repeat its last loss."""
    rng = np.random.default_rng(0)
    loss = (2.6 + 12 * T**-0.4) * np.exp(rng.normal(0, 0.01, T.size))
    frozen = np.where(T > 1500, 2.5, 0.8 * loss)
    losses = {"well": loss, "stuck": frozen}
    frames = [pd.DataFrame({"run": n, "step": T, "loss": losses[n]}) for n in names]
    return lossfit.Runs.from_frame(pd.concat(frames))


def page_of(path: Path, *names: str, most_phases: int = 0) -> tuple[str, dict[str, Any]]:
    options = {"draws": 100, "beside": [], "most_phases": most_phases, "target": 2.0}
    lossfit.report(runs(*names), path, **options)
    page = path.read_text(encoding="utf-8")
    data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return page.split("<script")[0] + page.partition("</head>")[2], json.loads(data)


def words(html: str) -> str:
    html = re.sub(r"<(script|style|svg)\b.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_phases_of_a_run_that_broke_are_words(tmp_path: Path) -> None:
    page, data = page_of(tmp_path / "page.html", "stuck", "well", most_phases=2)
    table = page.split('<table class="phases')[1].split("</table>")[0]
    of_rows = [words(f"<tr{row}").strip() for row in table.split("<tr")[1:]]
    rows = {row.split()[0]: row for row in of_rows}
    broke = "the loss is the same to the last digit from 1,510 steps on"
    assert rows["stuck"] == f"stuck {broke}"
    assert re.search(r" [01]\.\d\d ", rows["well"])
    place = [run["n"] for run in data["runs"]].index("well")
    assert [one["i"] for one in data["phases"]] == [place]
    assert "stuck: no phases" in words(page)


def test_a_page_of_several_runs(tmp_path: Path) -> None:
    page, data = page_of(tmp_path / "page.html", "stuck", "well")
    text = words(page)
    assert "! stuck: the loss is the same to the last digit from 1,510 steps on" in text
    headline = words(page.split('id="headline"')[1].split("</p>")[0])
    assert "the lowest of 1: well at 4,000 steps" in headline
    assert data["runs"][data["focus"]]["n"] == "well"
    by_name = {run["n"]: run for run in data["runs"]}
    assert by_name["stuck"]["no"].startswith("the loss is the same")
    assert "t" not in by_name["stuck"]
    assert "no" not in by_name["well"]
    assert by_name["well"]["t"]
    row = text.split("from to flags")[1].split("well")[0]
    assert "no forecast" in row
    assert "no_plan" not in row
    assert text.split("looked at up to")[1].split()[0] == "well"  # not when stuck would reach it
    assert '<p class="question">Race of 2 runs on steps' in page


def test_a_page_of_a_run_alone(tmp_path: Path) -> None:
    page, data = page_of(tmp_path / "page.html", "stuck")
    assert "No forecast" in words(page.split('id="headline"')[1].split("</p>")[0])
    assert "Law learned" not in words(page)
    assert "t" not in data["runs"][0]


def test_a_picture_ends_with_the_data() -> None:
    answer = lossfit.extrapolate(runs("stuck", "well"), at="2x", draws=100)
    ax = lossfit.plotting.plot_answer(answer, run="stuck")
    assert ax.get_title(loc="left").startswith("stuck: the loss is the same")
    assert max(np.max(line.get_xdata()) for line in ax.get_lines()) <= T[-1]
    ax = lossfit.plotting.plot_answer(answer, run="well")
    assert "no forecast" not in ax.get_title(loc="left")
    assert max(np.max(line.get_xdata()) for line in ax.get_lines()) == 2 * T[-1]


def test_no_time_to_a_loss(tmp_path: Path) -> None:
    runs("stuck", "well").frame.to_csv(tmp_path / "runs.csv", index=False)
    command = ["extrapolate", str(tmp_path / "runs.csv"), "--at", "2x", "--target", "2.9"]
    done = CliRunner().invoke(main, command)
    assert "well reaches 2.9" in done.stdout
    assert "stuck reaches" not in done.stdout
