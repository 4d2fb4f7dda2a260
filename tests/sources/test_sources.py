from __future__ import annotations

import io
import json
import sys

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, Runs

CSV = "run,step,loss\na,1,5.5\na,2,4.25\nb,1,5.1\na,3,4.0\nb,2,4.4\nb,3,4.3\n"


def written(path, text: str, encoding: str = "utf-8"):
    path.write_text(text, encoding=encoding, newline="")
    return path


def expected() -> Runs:
    return Runs.from_frame(pd.read_csv(io.StringIO(CSV)))


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_as_text(tmp_path, separator, encoding, newline):
    text = CSV.replace(",", separator).replace("\n", newline)
    assert lossfit.load(written(tmp_path / "x.csv", text, encoding)) == expected()


def test_blank_lines_quotes_and_spaces(tmp_path):
    text = "\n" + CSV.replace("a,2,4.25", '"a", 2 ,"4.25"\n\n') + "\n\n"
    assert lossfit.load(written(tmp_path / "x.csv", text)) == expected()


def test_the_line_of_a_bad_cell_is_named(tmp_path):
    text = "\n" + CSV.replace("b,2,4.4", "\nb,2,oops")
    path = written(tmp_path / "log.csv", text)
    with pytest.raises(DataError) as error:
        lossfit.load(path)
    assert text.split("\n")[7] == "b,2,oops"
    assert f"run 'b', line 8 of {path}" in str(error.value)
    assert "'oops' is not a number" in str(error.value)


def test_run_names_stay_as_they_are_written(tmp_path):
    text = CSV.replace("a,", "007,").replace("b,", "None,")
    assert lossfit.load(written(tmp_path / "x.csv", text)).names == ("007", "None")


def test_json_lines_and_arrays(tmp_path):
    rows = pd.read_csv(io.StringIO(CSV)).to_dict("records")
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    assert lossfit.load(written(tmp_path / "x.jsonl", lines)) == expected()
    assert lossfit.load(written(tmp_path / "x.json", json.dumps(rows, indent=1))) == expected()
    sparse = (
        lines + '{"step": 4, "eval_loss": 1.0, "run": "a"}\n{"step": 5, "loss": NaN, "run": "a"}'
    )
    runs = lossfit.load(written(tmp_path / "y.jsonl", sparse))
    assert {f.flag: f.count for f in runs["a"].flags}["missing"] == 1
    assert {f.flag: f.count for f in runs["a"].flags}.get("other_losses") is None
    assert "rows of eval_loss" in runs.flags.set_index("flag")["detail"]["other_losses"]
    assert "eval_loss" in runs.flags["detail"][0]


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    pd.read_csv(io.StringIO(CSV)).to_parquet(tmp_path / "x.parquet")
    assert lossfit.load(tmp_path / "x.parquet") == expected()
    (tmp_path / "y.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"y\.parquet is not a Parquet file"):
        lossfit.load(tmp_path / "y.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'lossfit\[parquet\]'"):
        lossfit.load(tmp_path / "x.parquet")


def test_standard_input_and_open_files(monkeypatch):
    assert lossfit.load(io.StringIO(CSV)) == expected()
    assert lossfit.load(io.BytesIO(CSV.encode())) == expected()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CSV.encode())))
    assert lossfit.load("-") == expected()
    assert lossfit.load(io.StringIO(CSV.replace("run,", "epoch,"))).names == ("run",)


def test_a_file_without_run_names_is_called_by_its_name(tmp_path):
    text = "step,loss\n1,3\n2,2\n3,1\n"
    paths = [written(tmp_path / name, text) for name in ("small.csv", "large.csv")]
    assert lossfit.load(paths[0]).names == ("small",)
    assert lossfit.load(paths, params={"small": 1e6}).names == ("small", "large")
    assert lossfit.load(paths, params={"small": 1e6})["small"].params == 1e6
    assert lossfit.load(["llama1", *map(str, paths)]).names[-2:] == ("small", "large")
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "log.csv", text)
    both = lossfit.load([tmp_path / "x" / "log.csv", tmp_path / "y" / "log.csv"])
    assert both.names == ("x/log", "y/log")


def test_logs_with_different_columns_join(tmp_path):
    a = written(tmp_path / "a.csv", "step,loss,lr\n1,3,.1\n2,2,.1\n3,1,.1\n")
    b = written(tmp_path / "b.csv", "tokens,loss,params\n10,3,5\n20,2,5\n30,x,5\n40,1,5\n")
    with pytest.raises(DataError, match=r"run 'b', line 4 of .*b\.csv"):
        lossfit.load([a, b])
    b.write_text(b.read_text().replace("x", ""))
    runs = lossfit.load([a, b])
    assert runs["a"] == lossfit.load(a)["a"]
    assert runs["b"] == lossfit.load(b)["b"]
    assert runs["b"].params == 5
    assert runs["b"].lr is None


@pytest.mark.parametrize(
    ("header", "axis"),
    [
        ("train/loss,_step", "step"),
        ("train_loss,iter", "step"),
        ("Loss/train,global_step", "step"),
        ("LOSS,Tokens", "tokens"),
        ("lm loss,consumed tokens", "tokens"),
        ("training_loss,FLOP", "flops"),
    ],
)
def test_usual_names_are_understood_and_told(tmp_path, header, axis):
    path = written(tmp_path / "x.csv", f"{header},val/loss\n3,10,9\n2,20,9\n1,30,9\n")
    runs = lossfit.load(path)
    assert runs.axes == (axis,)
    np.testing.assert_array_equal(runs["x"].loss, [3, 2, 1])
    told = runs.flags.set_index("flag")["detail"]
    assert told["ignored_columns"] == "val/loss"
    assert f"{header.split(',')[0]} -> loss" in told["renamed_columns"]


def test_the_user_may_name_columns(tmp_path):
    path = written(tmp_path / "x.csv", "step,loss,val/loss\n1,3,9\n2,2,8\n3,1,7\n")
    runs = lossfit.load(path, columns={"loss": "val/loss"})
    np.testing.assert_array_equal(runs["x"].loss, [9, 8, 7])
    with pytest.raises(DataError, match="columns= names 'vol/loss', which is not there; did you"):
        lossfit.load(path, columns={"loss": "vol/loss"})
    assert lossfit.load(path, columns={"loss": "Val Loss"}) == runs
    with pytest.raises(DataError, match="got 'losses'"):
        lossfit.load(path, columns={"losses": "val/loss"})


def test_a_format_may_be_forced(tmp_path):
    path = written(tmp_path / "x.log", CSV)
    assert lossfit.load(path, format="delimited") == expected()
    with pytest.raises(DataError, match="not valid JSON"):
        lossfit.load(path, format="jsonl")
    with pytest.raises(DataError, match="no log format is called 'xml'"):
        lossfit.load(path, format="xml")


def test_keywords_reach_the_logs(tmp_path):
    path = written(tmp_path / "x.csv", CSV)
    runs = lossfit.load(path, params=1e9, tokens_per_step=1e6, gpu_hours={"a": 3.0})
    assert runs.axes == ("tokens", "step", "flops")
    assert runs["a"].has("gpu_hours")
    with pytest.raises(DataError, match="knows its own params"):
        lossfit.load("llama2", params=1e9)


def test_keras_history_in_one_line(tmp_path):
    path = tmp_path / "history.json"
    history = {
        "loss": [3 - i / 20 for i in range(20)],
        "accuracy": [i / 20 for i in range(20)],  # rises, and is no axis
        "val_loss": [3.1 - i / 20 for i in range(20)],
    }
    for end in ("", "\n"):
        path.write_text(json.dumps(history) + end)
        run = lossfit.load(path)["history"]
        assert run.axes == ("record",)
        assert run.loss.tolist() == history["loss"]


def test_one_line_of_json_is_a_row(tmp_path):
    path = tmp_path / "begun.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n')
    with pytest.raises(DataError, match="1 usable point"):
        lossfit.load(path)


def test_steps_in_thousands(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n" + "".join(f"{i / 2:g}k,{3 - i / 20}\n" for i in range(1, 20)))
    np.testing.assert_allclose(lossfit.load(path)["log"].axis("step"), 500 * np.arange(1, 20))
    path.write_text(path.read_text().replace(",2.", ",2k."))
    with pytest.raises(DataError, match=r"loss '2k.95' is not a number"):
        lossfit.load(path)


@pytest.mark.parametrize("column", ["val/acc1", "f1"])
def test_an_accuracy_is_no_loss(tmp_path, column):
    """It rises: its forecast would be that of a run that diverged."""
    path = tmp_path / "log.csv"
    rise = 1 - np.arange(1, 31) ** -0.5
    pd.DataFrame({"epoch": np.arange(1, 31), column: rise}).to_csv(path, index=False)
    with pytest.raises(DataError, match=f"the column '{column}' reads like an accuracy, and rises"):
        lossfit.load(path, loss=column)
    pd.DataFrame({"epoch": np.arange(1, 31), column: 1 - rise}).to_csv(path, index=False)
    assert len(next(iter(lossfit.load(path, columns={"loss": column})))) == 30
