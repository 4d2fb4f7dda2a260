from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lossfit
from lossfit.cli.main import main
from tests.curves import power_runs


def run(*words, given=None):
    return CliRunner().invoke(main, [str(word) for word in words], input=given)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "runs.csv"
    frame = power_runs(2, tokens_per_step=1000, slope=0.2).frame
    frame.drop(columns="spike").to_csv(path, index=False)
    return path


def test_the_headline(tmp_path):
    figure = tmp_path / "answer.png"
    done = run(
        "extrapolate", "llama2", "--run", "llama2-7B", "--compute-of", "llama2-70B",
        "--plot", figure,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "llama2-7B with the compute of llama2-70B: 1,720,320 GPU-hours" in done.stdout
    assert "P(llama2-7B below llama2-70B)" in done.stdout
    assert f"wrote {figure}" in done.stderr
    assert "note:" not in done.stderr
    assert figure.stat().st_size > 10_000


def test_json_is_all_that_stdout_has():
    done = run(
        "extrapolate", "llama2", "--run", "llama2-7B", "--at", "4T,2.5x", "--json", "--prob", 0.8
    )
    data = json.loads(done.stdout)
    assert data["schema"] == "lossfit.answer/1"
    assert [row["at"] for row in data["rows"]] == [4e12, 5e12]
    assert data["question"]["prob"] == 0.8
    assert "note: extrapolation:" in done.stderr


def test_options_reach_the_library(log):
    done = run(
        "extrapolate", log, "-r", "run1", "--at", "3e6", "--axis", "tokens", "--law", "power",
        "--window", "0.5,0.9", "--seed", 3, "--draws", 50, "--json",
    )  # fmt: skip
    with pytest.warns(lossfit.LossfitWarning):
        answer = lossfit.extrapolate(
            lossfit.load(log), "run1", at=3e6, axis="tokens", laws="power", window=(0.5, 0.9),
            random_seed=3, draws=50,
        )  # fmt: skip
    assert json.loads(done.stdout)["rows"] == answer.to_dict()["rows"]


@pytest.mark.parametrize(
    ("word", "value"), [("4e12", 4e12), ("4T", 4e12), ("1.5B", 1.5e9), ("500k", 5e5), ("7", 7)]
)
def test_numbers_with_suffixes(word, value):
    from lossfit.cli.common import number

    assert number(word) == pytest.approx(value)


def test_standard_input():
    lines = ["step,loss", *(f"{s},{2 + s**-0.5:.5f}" for s in range(1, 60))]
    done = run("extrapolate", "-", "--at", "2x", "--json", given="\n".join(lines))
    assert json.loads(done.stdout)["rows"][0]["at"] == 118
    done = run("inspect", "-", given="\n".join(lines))
    assert "1 run, 59 points" in done.stdout


def test_fit_prints_and_saves(log, tmp_path):
    out = tmp_path / "fit.nc"
    done = run("fit", log, "--law", "power", "--axis", "step", "--out", out, "--draws", 100)
    assert done.exit_code == 0, done.output
    assert "power (E + A x^-alpha) on step: 100 exact draws" in done.stdout
    assert "run1: 47 points, 313 to 1,000 steps" in done.stdout
    back = lossfit.from_netcdf(out)
    assert back.draws.shape == (2, 4, 100)
    done = run(
        "fit", log, "--law", "power", "--axis", "step", "--draws", 100, "--json", "-r", "run0"
    )
    data = json.loads(done.stdout)
    assert data["schema"] == "lossfit.fit_summary/1"
    row = data["summary"][0]
    assert (row["run"], row["parameter"], row["rhat"]) == ("run0", "alpha", None)
    assert row["mean"] == pytest.approx(back.summary()["mean"].loc[("run0", "alpha")])
    assert data["diagnostics"][0]["flags"] == list(back.flags[0])


def test_inspect_tells_what_cleaning_did():
    lines = ["step,loss", *(f"{s},{2 + s**-0.5:.5f}" for s in range(0, 40)[1:]), "39,2.1", "41,nan"]
    done = run("inspect", "-", given="\n".join(lines))
    assert "! duplicate_step (1)" in done.stdout
    assert "! missing (1)" in done.stdout
    assert "█" in done.stdout or "#" in done.stdout
    data = json.loads(run("inspect", "llama", "--json").stdout)
    assert data["schema"] == "lossfit.inspect/1"
    assert len(data["runs"]) == 8
    assert data["runs"][0]["axes"]["tokens"] == [3e10, 1e12]


def test_sparkline():
    from lossfit.cli.fit_text import sparkline

    assert sparkline(np.linspace(8, 1, 8)) == "█▇▆▅▄▃▂▁"
    assert sparkline(np.linspace(8, 1, 8), unicode=False) == "#*+=~-._"
    assert sparkline(np.ones(5)) == "▁" * 5
    assert len(sparkline(np.linspace(3, 2, 1000))) == 32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extrapolate", "nosuch", "--at", "1e12"], "there is no collection and no file 'nosuch'"),
        (["extrapolate", "llama2", "--at", "soon"], "'soon' is no axis value"),
        (["extrapolate", "llama2", "--at", ","], "--at is empty"),
        (["extrapolate", "llama2"], "give one of --at and --compute-of"),
        (["extrapolate", "llama2", "--at", "1", "--compute-of", "llama2-7B"], "give one of"),
        (["extrapolate", "llama2", "--at", "2x", "--run", "llama3"], "llama3"),
        (["extrapolate", "llama2", "--at", "2x", "--law", "line"], "no law is called 'line'"),
        (["extrapolate", "llama2", "--at", "2x", "--axis", "miles"], "miles"),
        (["extrapolate", "llama2", "--at", "2x", "--window", "1,2,3"], "--window is auto"),
        (["extrapolate", "llama2", "--at", "2x", "--prob", "95"], "prob must be"),
        (["fit", "llama2", "--device", "tpu"], "device must be 'auto', 'cpu'"),
        (["extrapolate", "llama2", "--at", "2x", "--dtype", "half"], "dtype must be 'auto'"),
        (["backtest", "llama2", "--device", "cpu", "--dtype", "float32"], "the CPU computes in"),
        (["fit", "llama2", "--method", "guess"], "no method is called 'guess'"),
        (["fit"], "Missing argument"),
        (["inspect", "nosuch.csv"], "nosuch.csv"),
        (["nothing"], "No such command"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message):
    done = run(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if "Usage" not in done.stderr:
        assert len(done.stderr.strip().splitlines()) == 1


def test_figures_of_no_known_kind_are_refused(tmp_path):
    done = run(
        "extrapolate", "llama2", "-r", "llama2-7B", "--at", "2x", "--plot", tmp_path / "a.xyz"
    )
    assert done.exit_code == 2
    assert "cannot write the figure" in done.stderr


def test_version_and_help():
    assert lossfit.__version__ in run("--version").stdout
    for words in (["--help"], ["extrapolate", "--help"], ["fit", "-h"], ["inspect", "--help"]):
        done = run(*words)
        assert done.exit_code == 0
        assert "Usage" in done.stdout


def test_help_is_quick():
    code = (
        "import sys; from lossfit.cli.main import main; "
        "heavy = {'numba', 'pandas', 'xarray', 'arviz'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_is_a_command_too():
    command = [sys.executable, "-m", "lossfit", "extrapolate", "llama2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Usage: lossfit extrapolate" in done.stderr


def test_an_answer_needs_neither_arviz_nor_matplotlib():
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); import lossfit; "
        "print(lossfit.extrapolate(lossfit.load('llama2'), at=4e12)); "
        "assert not {'arviz', 'matplotlib', 'emcee'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)


def test_no_text_of_a_log_controls_the_terminal(tmp_path):
    """Everything that commands print goes through `printable`, and nothing else echoes."""
    rows = [f"\x1b]0;owned\x07red\x1b[31m,{10 * k},{3 + 9 / k:.5f}" for k in range(1, 41)]
    path = tmp_path / "a\x1b[2Jb.csv"
    path.write_text("run,step,loss\x1b[31m\n".replace("\x1b[31m", "") + "\n".join(rows) + "\n")
    bad = tmp_path / "c\x1b[2Jd.csv"
    bad.write_text("colour\x1b[31m,speed\n1,2\n")
    for arguments in (
        ["inspect", str(path)],
        ["inspect", str(path), "--json"],
        ["inspect", str(bad)],
    ):
        done = CliRunner().invoke(main, arguments)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\x07" not in done.stdout + done.stderr
    assert "\\x1b[2J" in done.stderr
    for file in Path(lossfit.__file__).parent.joinpath("cli").glob("*.py"):
        if file.name != "common.py":
            assert "click.echo" not in file.read_text(), file.name
