from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
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
    from lossfit._base.units import amount_of as number

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
    assert data["diagnostics"][0]["notes"] == list(back.flags[0])


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
    from lossfit._base.sparkline import sparkline

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
        (["extrapolate", "llama2"], "at the end of the plan: give --at (where else to look)"),
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
    assert "a.xyz: write one of .png, .pdf" in done.stderr


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
    command = [sys.executable, "-m", "lossfit", "extrapolate"]
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


def commands():
    """Every command by name."""
    context = click.Context(main)
    return {name: main.get_command(context, name) for name in main.list_commands(context)}


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_is_as_written_and_has_an_example(name):
    done = run(name, "--help")
    assert done.exit_code == 0
    assert "\\b" not in done.stdout
    assert f"\n  lossfit {name}" in done.stdout
    assert {"-q, --quiet", "-v, --verbose"} <= set(re.findall(r"-\w, --\w+", done.stdout))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["extrapolat", "x"], "Did you mean 'extrapolate'?"),
        (["bestail", "x"], "Did you mean 'best-tail'?"),
        (["extrapolate", "x", "--targt", "2"], "--target"),
    ],
)
def test_a_slip_is_met_with_what_was_meant(words, hint):
    done = run(*words)
    assert done.exit_code == 2
    assert hint in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["extrapolate", "llama2", "--at", "2x", "--plot", "no/folder/a.png"],
        ["race", "llama2", "--plot-leader", "no/folder/a.png"],
        ["report", "llama2", "--out", "no/folder/a.html"],
        ["fit", "llama2", "--out", "no/folder/a.nc"],
        ["best-tail", "llama2", "--out", "no/folder/a.csv"],
        ["priors", "llama2", "--out", "no/folder/a.nc"],
        ["surface", "chinchilla", "--out", "no/folder/a.nc"],
        ["bench", "--page", "no/folder/a.md"],
    ],
)
def test_a_missing_folder_is_said_before_anything_is_computed(words, monkeypatch):
    monkeypatch.setattr("lossfit.sources.load", None)  # nothing is even read
    done = run(*words)
    assert done.exit_code == 2
    assert "there is no folder no/folder; make it first" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["extrapolate", "llama2", "--at", "2x", "--prob", "7"], "error: --prob must be"),
        (["extrapolate", "llama2", "--at", "2x", "--draws", "0"], "--draws must be"),
        (["fit", "llama2", "--device", "tpu"], "error: --device must be"),
        (["extrapolate", "llama2", "--at", "2x", "--schedule", "zigzag"], "no schedule is called"),
        (["what-if", "llama2", "--schedule", "none.csv"], "there is no file 'none.csv'"),
    ],
)
def test_errors_name_options_not_arguments(words, said):
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_words_of_the_library_become_options():
    from lossfit.cli.voice import in_options

    with click.Context(commands()["extrapolate"]):
        assert in_options("total= or siblings= would") == "--total or --siblings would"
        assert in_options("share=True with runs") == "--share with runs"
        assert in_options("ask again with prob=0.5.") == "ask again with --prob 0.5."
        assert in_options("give it with Runs.with_schedule(...)") == "give it with --schedule"
        assert in_options("error: laws must be") == "error: --law must be"
        assert in_options("a run of lr=3e-4, at 2x") == "a run of lr=3e-4, at 2x"
    assert in_options("total=") == "total="  # outside of a command
    with click.Context(commands()["what-if"]):  # an option that stands there already is said once
        assert in_options("with own= (--own), such as own='wsd'") == "with --own, such as --own wsd"
        said = "choose with loss='train/box loss' (--loss on the command line)"
        assert in_options(said) == "choose with --loss 'train/box loss'"
        assert in_options("its size (--params is another)") == "its size (--params is another)"


def readme_commands():
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"^\|.*`lossfit ([^`]+)` ?[|,]", page, re.MULTILINE)))


@pytest.mark.parametrize("line", readme_commands())
def test_the_commands_of_the_readme_are_whole(line):
    """Every option there is, and has its value: the table is what a reader copies first."""
    name, *words = shlex.split(line)
    command = commands()[name]
    command.make_context(name, list(words), parent=click.Context(main))
    if name in ("what-if", "best-tail"):  # whose learning rate a log may not tell
        assert "--own" in words


def test_a_tail_is_for_one_run(log):
    done = run("best-tail", log, "--own", "cosine@2k", "--segments", 4, "--draws", 50)
    assert done.exit_code == 2
    assert "a tail is for one run, and there are 2: name it with --run run0" in done.stderr


def test_final_losses_of_several_tables_and_no_logs(tmp_path):
    rows = [(n, 20 * n, 2 + 400 * n**-0.34) for n in np.geomspace(1e8, 1e9, 6)]
    table = pd.DataFrame(rows, columns=["params", "tokens", "loss"])
    table[:2].to_csv(tmp_path / "a.csv", index=False)
    table[2:].to_csv(tmp_path / "b.csv", index=False)
    words = ["plan", "chinchilla", "--compute", "1e20", "--draws", 100, "--json"]
    done = run(*words, "--runs", tmp_path / "a.csv", "--runs", tmp_path / "b.csv")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["runs"]["rows"]) == 6
    step = np.arange(1, 31)
    curve = pd.DataFrame({"step": step, "tokens": step * 1e6, "loss": 3 + 1 / step, "params": 1e8})
    curve.to_csv(tmp_path / "log.csv", index=False)
    for more in (["plan", tmp_path / "log.csv", "--compute", "1e20"],
                 [*words, "--runs", tmp_path / "log.csv"]):  # fmt: skip
        done = run(*more)
        assert done.exit_code == 2
        assert "log.csv is the log of a run" in done.stderr


def test_when_a_loss_is_reached_is_as_sure_as_the_draws(log):
    done = run("extrapolate", log, "-r", "run0", "--at", "2x", "--draws", 50, "--target", 0.1)
    assert "P(within 2M tokens) below 0.02" in done.stdout


def test_quiet_and_verbose(log):
    words = ("extrapolate", log, "--at", "2x", "--draws", 100, "--json", "--law", "power")
    plain, quiet, loud = run(*words), run(*words, "-q"), run(*words, "-v")
    assert plain.exit_code == 0, plain.stderr
    assert quiet.stdout == plain.stdout == loud.stdout
    assert quiet.stderr == ""
    assert "2 runs" in loud.stderr
    assert re.search(r"answered after \d+\.\d s", loud.stderr)


def test_colours_are_for_terminals(monkeypatch):
    from lossfit.cli import common, voice

    assert voice.coloured("error: x", "error") == "\x1b[31merror: x\x1b[0m"
    assert "\x1b" not in run("extrapolate", "nosuch", "--at", "2x").stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert voice.colours() is False
    shown = []
    monkeypatch.setattr(common.click, "echo", lambda text, **how: shown.append(how["color"]))
    common.show_text("! far: x")
    assert shown == [False]


def test_a_schedule_in_a_word_or_a_file(log, tmp_path):
    from lossfit.runs.schedule_words import schedules_of, shape_of

    runs = lossfit.load(log)
    assert schedules_of(None, runs) is None
    plans = schedules_of("wsd@2k", runs, ["run0"])
    assert (plans["run0"].kind, plans["run0"].total) == ("wsd", 2000)
    with pytest.raises(lossfit.DataError, match="needs an end: cosine@20k"):
        schedules_of("cosine", runs)
    path = tmp_path / "plan.csv"
    path.write_text("step,lr\n0,1e-3\n500,1e-3\n2000,0\n")
    assert schedules_of(str(path), runs)["run1"](1250) == pytest.approx(5e-4)
    path.write_text("when,lr\n0,1e-3\n")
    with pytest.raises(lossfit.DataError, match="columns step"):
        schedules_of(str(path), runs)
    assert shape_of("1-sqrt", 100.0, "tokens").total == 100
    done = run("extrapolate", log, "--at", "1.5x", "--schedule", "linear@1500", "--draws", 100)
    assert done.exit_code == 0, done.stderr
    assert "schedule: linear" in done.stdout


def test_surface_predicts_and_priors_tell_why(tmp_path):
    done = run("surface", "chinchilla", "--predict", "7B,1T", "--json")
    assert done.exit_code == 0, done.stderr
    row = json.loads(done.stdout)["predictions"][0]
    assert row["lower"] < row["median"] < row["upper"]
    done = run("surface", "chinchilla", "--predict", "7B")
    assert "write PARAMS,TOKENS" in done.stderr
    done = run("priors", "llama2", "--out", tmp_path / "priors.nc")
    assert done.exit_code == 0, done.stderr
    assert isinstance(lossfit.from_netcdf(tmp_path / "priors.nc"), lossfit.Priors)
    assert "Priors" in done.stdout


def test_best_tail_writes_its_schedule(tmp_path):
    step = np.arange(20.0, 601.0, 20.0)
    table = pd.DataFrame({"step": step, "loss": 2 + 3 * (step / 20) ** -0.5, "lr": 1e-3})
    table.to_csv(tmp_path / "run.csv", index=False)
    out = tmp_path / "tail.csv"
    done = run(
        "best-tail", tmp_path / "run.csv", "--total", "1k", "--segments", 12, "--draws", 100,
        "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    tail = pd.read_csv(out)
    assert list(tail.columns) == ["step", "lr"]
    assert tail["step"].iloc[-1] == 1000
