"""Each log format: what is read, what is told apart, what is said.

The expected numbers are counted in the files by other means than the readers: plain string methods
and the json and csv modules.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError
from lossfit.sources import READERS, survey

FILES = Path(__file__).parent / "files"


def lines(name: str) -> list[str]:
    return (FILES / name).read_text().splitlines()


def flags(runs: lossfit.Runs, run: str | None = None) -> dict[str, int]:
    """Counts of the flags of the whole collection and of one run."""
    frame = runs.flags
    frame = frame[frame["run"].isna() | (frame["run"] == (run or runs.names[0]))]
    return dict(zip(frame["flag"], frame["count"], strict=True))


def table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((FILES / name).read_text())))


FORMATS = {
    "main.log": "llmc",
    "python_family.log": "llmc",
    "nanogpt.txt": "nanogpt",
    "modded.txt": "modded_nanogpt",
    "megatron.log": "megatron",
    "megatron_old.log": "megatron",
    "neox.log": "megatron",
    "nemo.log": "megatron",
    "trainer_state.json": "trainer_state",
    "metrics.csv": "lightning",
    "wandb_chart.csv": "wandb_chart",
    "wandb_grouped.csv": "wandb_chart",
    "wandb_history.csv": "wandb_history",
    "run-exp1-tag-loss_train.csv": "tensorboard_csv",
    "train.jsonl": "jsonl",
}


@pytest.mark.filterwarnings("ignore:reading. sampled_history")
@pytest.mark.parametrize(("name", "format"), FORMATS.items())
def test_formats_are_recognized_by_content(tmp_path, name, format):
    runs, (log,) = survey(FILES / name)
    assert log.format == format
    assert runs == lossfit.load(FILES / name, format=format)
    assert format in READERS
    # By content alone: another name, compressed, with Windows' line ends, as UTF-16.
    other = tmp_path / ("metrics.csv" if format == "lightning" else "other.bin.gz")
    data = (FILES / name).read_bytes()
    other.write_bytes(gzip.compress(data) if other.suffix == ".gz" else data)
    assert survey(other)[1][0].format == format
    for changed in (data.replace(b"\n", b"\r\n"), data.decode().encode("utf-16")):
        path = tmp_path / name
        path.write_bytes(changed)
        assert lossfit.load(path) == runs


def test_llmc():
    steps = [line for line in lines("main.log") if " trl:" in line]
    last = {int(s.split()[0][2:]): s for s in steps}  # the later of a step logged twice
    runs = lossfit.load(FILES / "main.log")
    run = runs["main"]
    assert len(run) == len(last) == 120
    np.testing.assert_array_equal(run.axis("step"), sorted(last))
    value = [float(last[step].split("trl:")[1].split()[0]) for step in sorted(last)]
    np.testing.assert_array_equal(run.loss, value)
    rate = [float(last[step].split("lr:")[1].split()[0]) for step in sorted(last)]
    np.testing.assert_array_equal(run.lr, [r or np.nan for r in rate])
    assert np.isnan(run.lr[-1])
    assert not (run.lr == 0).any()
    found = flags(runs)
    assert found["unknown_lr"] == sum("lr:0.000000" in s for s in steps)
    assert found["restart"] == 10
    assert found["rounded"] == 120
    assert found["other_losses"] == sum(" tel:" in line for line in lines("main.log"))
    assert found["other_lines"] == sum(" eval:" in line for line in lines("main.log"))
    assert "missing" not in found
    assert run.decimals == 4


def test_llmc_of_the_python_scripts():
    run = lossfit.load(FILES / "python_family.log")["python_family"]
    assert len(run) == sum("trl" in line for line in lines("python_family.log"))
    assert run.lr is None
    assert run.decimals is None


def test_nanogpt():
    runs = lossfit.load(FILES / "nanogpt.txt")
    run = runs["nanogpt"]
    points = [line for line in lines("nanogpt.txt") if line.startswith("iter ")]
    np.testing.assert_array_equal(run.loss, [float(p.split()[3].rstrip(",")) for p in points])
    assert run.tokens_per_step == 491_520
    assert run.end("tokens") == run.end("step") * 491_520
    assert flags(runs)["single_batch"] == len(points)
    steps = [line for line in lines("nanogpt.txt") if line.startswith("step ")]
    held_out = lossfit.load(FILES / "nanogpt.txt", loss="val")
    np.testing.assert_array_equal(held_out["nanogpt"].loss, [float(s.split()[-1]) for s in steps])
    assert "single_batch" not in flags(held_out)
    estimate = lossfit.load(FILES / "nanogpt.txt", loss="estimated train loss")["nanogpt"]
    assert estimate.loss[0] == float(steps[0].split()[4].rstrip(","))
    assert lossfit.load(FILES / "nanogpt.txt", tokens_per_step=7)["nanogpt"].tokens_per_step == 7


def test_nanogpt_evaluations_only(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("".join(f"step {s}: train loss {9 - s}.5, val loss 9.6\n" for s in range(5)))
    np.testing.assert_array_equal(lossfit.load(path)["log"].loss, [9.5, 8.5, 7.5, 6.5, 5.5])


def test_modded_nanogpt_starts_with_its_source():
    text = lines("modded.txt")
    assert text[0] == "import os"
    runs = lossfit.load(FILES / "modded.txt", loss="both")
    assert runs.names == ("modded/train", "modded/val")
    points = [line for line in text if " train_loss:" in line]
    run = runs["modded/train"]
    np.testing.assert_array_equal(run.loss, [float(p.split(":")[2].split()[0]) for p in points])
    evaluations = [line for line in text if "/60 val_loss:" in line]
    assert len(runs["modded/val"]) == len(evaluations) == 7
    assert run.meta["planned_steps"] == 60
    found = flags(runs, "modded/train")
    assert found["other_lines"] == len(text) - len(points) - len(evaluations)
    assert found["other_losses"] == 7


def test_megatron_both_forms():
    text = lines("megatron.log")
    points = [line for line in text if " lm loss: " in line and "validation" not in line]
    runs = lossfit.load(FILES / "megatron.log")
    run = runs["megatron"]
    np.testing.assert_array_equal(
        run.loss, [float(p.split("lm loss: ")[1].split()[0]) for p in points]
    )
    np.testing.assert_array_equal(
        run.lr, [float(p.split("learning rate: ")[1].split()[0]) for p in points]
    )
    found = flags(runs)
    assert found["missing"] == 1  # all steps of the first line were skipped
    assert found["window_average"] == 60
    assert run.meta["planned_steps"] == 1000
    held_out = lossfit.load(FILES / "megatron.log", loss="val")["megatron"]
    np.testing.assert_array_equal(held_out.axis("step"), [200, 400, 600])
    assert not (held_out.weight != 1).any()
    old = lossfit.load(FILES / "megatron_old.log")["megatron_old"]
    assert old.axes == ("tokens", "step")
    assert old.end("tokens") == 3000 * 4194304
    assert len(old) == len(lines("megatron_old.log"))
    np.testing.assert_array_equal(old.lr, np.full(30, 1.875e-6))


def test_neox_and_nemo():
    neox = lossfit.load(FILES / "neox.log")["neox"]
    assert len(neox) == len(lines("neox.log"))
    assert neox.loss[0] == float(lines("neox.log")[0].split("lm_loss: ")[1].split()[0])
    nemo = lossfit.load(FILES / "nemo.log")
    assert len(nemo["nemo"]) == 50
    assert nemo["nemo"].meta["planned_steps"] == 1000
    assert "window_average" not in flags(nemo)


def test_megatron_validation_lines_of_other_versions(tmp_path):
    text = (FILES / "neox.log").read_text()
    text += (
        "validation results at iteration 100 | lm_loss value: 5.5E+00 | lm_loss_ppl value: 2E2 |\n"
        " validation loss at iteration 200 on validation set | lm loss value: 4.5E+00 | \n"
        " validation loss at iteration 200 on test set | lm loss value: 9.9E+00 | \n"
        " test loss at iteration 300 | lm loss value: 9.9E+00 | \n"
        " validation loss at the end of training for val data | lm loss value: 9.9E+00 | \n"
        " validation loss at iteration 300 | lm loss value: 3.5E+00 | lm loss PPL: 3.3E+01 | \n"
    )
    (tmp_path / "log.txt").write_text(text)
    run = lossfit.load(tmp_path / "log.txt", loss="val")["log"]
    np.testing.assert_array_equal(run.axis("step"), [100, 200, 300])
    np.testing.assert_array_equal(run.loss, [5.5, 4.5, 3.5])
    line = (  # as it stands in a real log, with losses in the place of one
        " [2025-04-13 23:41:12] iteration      {}/    1000 | consumed samples:          800 | "
        "elapsed time per iteration (ms): 430.0 | learning rate: 1.342E-04 | global batch size:    "
        " 4 | lm loss: 7.{}99415E+00 | loss scale: 16384.0 | grad norm: 2.918 | number of skipped "
        "iterations:   0 | number of nan iterations:   0 |\n"
    )
    (tmp_path / "log.txt").write_text("".join(line.format(200 * k, 9 - k) for k in range(1, 6)))
    run = lossfit.load(tmp_path / "log.txt")["log"]
    np.testing.assert_allclose(run.loss, [7.899415, 7.799415, 7.699415, 7.599415, 7.499415])
    np.testing.assert_array_equal(run.lr, np.full(5, 1.342e-4))


def test_forms_of_forks(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text(
        "0: Training epoch 0, iteration 98/99 | lr: 1e-06 | global_step: 98 | "
        "reduced_train_loss: 3.1 | val_loss: 3.3\n"
        "0: Training epoch 0, iteration 99/99 | lr: 2e-06 | global_step: 99 | "
        "reduced_train_loss: 3.0 | val_loss: 3.3\n"
        "(pid=4) Training epoch 1, iteration 0/99 | lr: 3e-06 | global_step: 100 | "
        "reduced_train_loss: 2.9 | val_loss: 3.3\n"
        "(pid=4) Training epoch 1, iteration 1/99 | lr: 4e-06 | global_step: 101 | "
        "reduced_train_loss: 2.8 | val_loss: 3.2\n"
    )
    run = lossfit.load(path)["log"]
    np.testing.assert_array_equal(run.axis("step"), [98, 99, 100, 101])
    np.testing.assert_array_equal(run.lr, [1e-6, 2e-6, 3e-6, 4e-6])
    assert "planned_steps" not in run.meta
    with pytest.raises(DataError, match="2 usable points"):  # two evaluations, of four lines
        lossfit.load(path, loss="val")
    path.write_text(
        "".join(
            f"[lrdn3321:3]: [2025-03-31 05:5{k}:07] iteration       {k}0/  242204 | elapsed time "
            f"per iteration (ms): 2701.3/2712.7 | throughput per GPU (TFLOP/s/GPU): 134.0 | "
            f"learning rate: 8.000000E-06 | lm loss: {9 - k}.25E+00 | grad norm: 1.5 |\n"
            "time (ms) | forward-compute: 53.79 | forward-recv: 38.38\n"
            for k in range(1, 5)
        )
    )
    run = lossfit.load(path)["log"]
    np.testing.assert_array_equal(run.loss, [8.25, 7.25, 6.25, 5.25])
    path.write_text(
        "iter 1: loss 10.8160, grad_norm 2.0590, lr 0.00e+00, time 1155.0ms\n"
        "     iter 2: loss 10.5924, grad_norm 2.0571, lr 6.00e-05, time 104.3ms\n"
        "iter 3: loss 9.5\nstep 3: val loss 10.7667\n"
    )
    run = lossfit.load(path)["log"]
    np.testing.assert_array_equal(run.loss, [10.816, 10.5924, 9.5])
    np.testing.assert_array_equal(run.lr, [0, 6e-5, np.nan])
    path.write_text(
        "".join(
            f"step:{k}/20 train_loss:{9 - k}.0 train_time:0.1s step_avg:nanms lr:1e-3\n"
            for k in range(1, 5)
        )
    )
    run = lossfit.load(path)["log"]
    np.testing.assert_array_equal(run.loss, [8, 7, 6, 5])
    assert (run.lr == 1e-3).all()


def test_trainer_state():
    history = json.loads((FILES / "trainer_state.json").read_text())["log_history"]
    train = [entry for entry in history if "loss" in entry]
    runs = lossfit.load(FILES / "trainer_state.json")
    run = runs["trainer_state"]
    kept = [entry for entry in train if entry["loss"] == entry["loss"]]
    np.testing.assert_array_equal(run.loss, [entry["loss"] for entry in kept])
    np.testing.assert_array_equal(run.lr, [entry["learning_rate"] for entry in kept])
    assert 4.0321 not in run.loss  # the mean of the whole run, at the last step
    found = flags(runs)
    assert found["run_average"] == 1
    assert found["stepless"] == 1
    assert found["missing"] == len(train) - len(kept) == 1
    assert found["window_average"] == len(train)
    assert run.meta["planned_steps"] == 1000
    # The first entry is of one step, the second of nine, the others of ten each.
    count = run.weight / run.weight[2] * 10
    np.testing.assert_allclose(count[:3], [1, 9, 10])
    with pytest.raises(DataError, match=r"'eval_g0_loss', 'eval_g1_loss'\): say which with loss="):
        lossfit.load(FILES / "trainer_state.json", loss="val")
    one = lossfit.load(FILES / "trainer_state.json", loss="eval_g1_loss")["trainer_state"]
    wanted = [entry["eval_g1_loss"] for entry in history if "eval_g1_loss" in entry]
    np.testing.assert_array_equal(one.loss, wanted)
    np.testing.assert_array_equal(one.axis("step"), [100, 200, 300])
    assert (one.weight == 1).all()


def test_lightning_is_sparse():
    rows = table("metrics.csv")
    train = [row for row in rows if row["train_loss_step"]]
    runs = lossfit.load(FILES / "metrics.csv")
    run = runs["metrics"]
    np.testing.assert_array_equal(run.loss, [float(row["train_loss_step"]) for row in train])
    rates = {row["step"]: float(row["lr-AdamW"]) for row in rows if row["lr-AdamW"]}
    np.testing.assert_array_equal(run.lr, [rates[row["step"]] for row in train])
    held_out = lossfit.load(FILES / "metrics.csv", loss="val")["metrics"]
    np.testing.assert_array_equal(
        held_out.loss, [float(row["val_loss"]) for row in rows if row["val_loss"]]
    )
    assert "missing" not in flags(runs)
    means = lossfit.load(FILES / "metrics.csv", loss="train_loss_epoch")["metrics"]
    assert len(means) == 3


def test_lightning_with_means_of_epochs_only(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train_loss_epoch\n0,9,3\n1,19,2\n2,29,1.5\n")
    runs = lossfit.load(path)
    np.testing.assert_array_equal(runs["metrics"].loss, [3, 2, 1.5])
    assert flags(runs)["window_average"] == 3


def test_wandb_chart():
    rows = table("wandb_chart.csv")
    runs = lossfit.load(FILES / "wandb_chart.csv")
    assert runs.names == ("small - v2", "large")
    for run in runs:
        mine = [row for row in rows if row[f"{run.name} - train/loss"]]
        np.testing.assert_array_equal(run.axis("step"), [float(row["Step"]) for row in mine])
        value = [float(row[f"{run.name} - train/loss"]) for row in mine]
        np.testing.assert_array_equal(run.loss, value)
        assert {flag.flag for flag in run.flags} == {"zero_axis"}
    assert len(runs["large"]) == 13


def test_wandb_chart_grouped_and_against_time():
    rows = table("wandb_grouped.csv")
    runs = lossfit.load(FILES / "wandb_grouped.csv")
    assert runs.names == ("a", "b")
    assert runs.axes == ("step",)
    np.testing.assert_array_equal(
        runs["b"].axis("step"), [float(row["Group: b - _step"]) for row in rows]
    )
    assert flags(runs, "a")["group_mean"] == len(rows)
    assert flags(runs)["validation"] == 2 * len(rows)


@pytest.mark.filterwarnings("ignore:reading. sampled_history")
def test_wandb_chart_in_other_forms(tmp_path):
    path = tmp_path / "chart.csv"
    header = '"Relative Time (Process)","a - train/loss","a - train/loss__MIN"\n'
    path.write_text(header + '"1","3","3"\n"2","2","2"\n"3","1","1"\n')
    with pytest.raises(
        DataError, match=r"x axis is 'Relative Time .*export the chart against Step"
    ):
        lossfit.load(path)
    path.write_text('"Step","a - train/accuracy"\n"1","3"\n"2","2"\n"3","1"\n')
    with pytest.raises(DataError, match="shows 'train/accuracy' and no loss"):
        lossfit.load(path)
    path.write_text('"train/global_step","a - train/loss","b - train/loss"\n1,3,4\n2,2,\n3,1,\n')
    runs = lossfit.load(path)
    assert runs.names == ("a",)
    assert flags(runs)["short_run"] == 1
    rows = "".join(f'"{step}","{9 - step / 1e3}"\n' for step in range(1, 1501))
    path.write_text('"Step","a - train/loss"\n' + rows)
    assert flags(lossfit.load(path))["sampled_history"] == 1500


@pytest.mark.filterwarnings("ignore:reading. sampled_history")
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_wandb_history(tmp_path, ending):
    frame = pd.read_csv(FILES / "wandb_history.csv")
    path = tmp_path / f"history{ending}"
    if ending == ".csv":
        frame.to_csv(path)  # with the index, as pandas writes it by default
    elif ending == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    runs, (log,) = survey(path)
    assert log.format == "wandb_history"
    run = runs["history"]
    np.testing.assert_allclose(run.loss, frame["train/loss"].dropna())
    assert len(run.lr) == 250
    assert flags(runs)["sampled_history"] == 500
    assert not run.has("gpu_hours")  # _runtime does not say how many GPUs there were
    frame = frame.head(499)
    frame.to_csv(tmp_path / "short.csv")
    assert "sampled_history" not in flags(lossfit.load(tmp_path / "short.csv"))


def test_a_sampled_history_warns_when_read_and_in_answers():
    with pytest.warns(
        lossfit.LossfitWarning, match=r"sampled_history \(wandb_history\): exactly 500"
    ):
        runs = lossfit.load(FILES / "wandb_history.csv")
    with pytest.warns(lossfit.LossfitWarning, match="sampled_history"):
        lossfit.fit(runs, law="power", draws=20)


def test_smoothed_exports_are_found_and_corrected(tmp_path):
    """A page's smoothing is an exponential moving average of what was logged."""
    rng = np.random.default_rng(3)
    step = np.arange(1, 801)
    noisy = 2.5 + 8 * step**-0.4 + rng.normal(0, 0.05, len(step))
    smooth = pd.Series(noisy).ewm(alpha=0.2, adjust=False).mean()
    path = tmp_path / "chart.csv"
    for values, found in ((noisy, False), (smooth, True)):
        frame = pd.DataFrame({"Step": step, "a - train/loss": values})
        frame.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC)
        runs = lossfit.load(path)
        assert ("smoothed" in flags(runs)) == found
        runs = runs.with_schedule(lossfit.schedules.constant(1e-3))
        answer = lossfit.extrapolate(runs, at=1000, laws="annealing", draws=100)
        assert ("smoothed_noise" in answer.frame["notes"][0]) == found


def test_wandb_table_of_runs_is_refused():
    with pytest.raises(DataError, match=r"table of runs, a row a run.*export the chart"):
        lossfit.load(FILES / "wandb_runs.csv")


def test_tensorboard_csv(tmp_path):
    runs = lossfit.load(FILES / "run-exp1-tag-loss_train.csv")
    assert len(runs[runs.names[0]]) == 40
    assert "validation" not in flags(runs)
    held_out = lossfit.load(FILES / "run-exp1-tag-loss_val.csv")
    assert flags(held_out)["validation"] == 8
    path = tmp_path / "run-a-tag-lr.csv"
    shutil.copy(FILES / "run-exp1-tag-loss_val.csv", path)
    with pytest.raises(DataError, match="its tag is 'lr', which is no loss"):
        lossfit.load(path)


def test_jsonl_with_rows_of_two_kinds():
    entries = [json.loads(line) for line in lines("train.jsonl")]
    both = lossfit.load(FILES / "train.jsonl", loss="both")
    for name, key in (("train/train", "loss"), ("train/val", "val_loss")):
        np.testing.assert_array_equal(both[name].loss, [e[key] for e in entries if key in e])
    assert both["train/val"].lr[0] == 1e-3  # of the row of the same step


def test_validation_losses_only_are_read_with_a_flag(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("step,eval_loss\n1,3\n2,2\n3,1\n")
    assert flags(lossfit.load(path))["validation"] == 3
    path.write_text(
        "_step,eval/c4-validation/CrossEntropyLoss,eval/pile-val/CrossEntropyLoss\n1,3,2\n"
    )
    with pytest.raises(DataError, match=r"2 columns of validation losses .*say which with loss="):
        lossfit.load(path)
    path.write_text("step,val/box_loss\n1,3\n2,2\n3,1\n")
    with pytest.raises(DataError, match="one of the component losses of validation"):
        lossfit.load(path)
    with pytest.raises(
        DataError, match=r"loss= names 'val/bx_loss', .*did you mean 'val/box_loss'"
    ):
        lossfit.load(path, loss="val/bx_loss")
    assert len(lossfit.load(path, loss="val/box_loss")["x"]) == 3


def test_a_last_line_that_is_still_being_written(tmp_path):
    whole = (FILES / "main.log").read_text().rstrip("\n")
    cases = {
        "s:121 trl:3.2": 120,
        "s:121 trl:3.2345": 120,  # without the rate that the others have
        "s:121 trl:3.2345 lr:0.000001 norm:0.2": 120,
        "s:121 trl:3.2345 lr:0.000001 norm:0.23": 121,
        "s:121 t": 120,
        "s:12": 120,
    }
    for ending, count in cases.items():
        path = tmp_path / "main.log"
        path.write_text(f"{whole}\n{ending}")
        runs = lossfit.load(path)
        assert len(runs["main"]) == count, ending
        assert ("cut_line" in flags(runs)) == (count == 120), ending
    text = (FILES / "train.jsonl").read_text() + '{"step": 41, "lo'
    (tmp_path / "train.jsonl").write_text(text)
    runs = lossfit.load(tmp_path / "train.jsonl")
    assert (len(runs["train"]), flags(runs)["cut_line"]) == (40, 1)
    (tmp_path / "train.jsonl").write_text(text + "\n")
    with pytest.warns(lossfit.LossfitWarning, match="line 45 of .*not valid JSON"):
        runs = lossfit.load(tmp_path / "train.jsonl")
    assert (len(runs["train"]), flags(runs)["damaged_lines"]) == (40, 1)


@pytest.mark.filterwarnings("ignore:reading. damaged_lines")
def test_damaged_lines_are_counted(tmp_path):
    text = lines("main.log")
    text[40] = text[40][:9]
    text[60] = "s:45 trl:3.x lr:0.000001 norm:1.00"
    (tmp_path / "main.log").write_text("\n".join(text) + "\n")
    runs = lossfit.load(tmp_path / "main.log")
    assert flags(runs)["damaged_lines"] == 2
    detail = runs.flags.set_index("flag")["detail"]["damaged_lines"]
    assert detail == f"first: line 41 of {tmp_path / 'main.log'}"


def test_folders(tmp_path):
    for name, log in (("b", "main.log"), ("c", "metrics.csv")):
        (tmp_path / name).mkdir()
        shutil.copy(FILES / log, tmp_path / name / log)
        (tmp_path / name / "notes.txt").write_text("nothing")
    for step in (90, 100):
        folder = tmp_path / "a" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        text = (FILES / "trainer_state.json").read_text()
        (folder / "trainer_state.json").write_text(text.replace("1000", str(step)))
    runs = lossfit.load(tmp_path)
    assert runs.names == ("a", "b", "c")
    assert runs["a"].meta["planned_steps"] == 100
    assert lossfit.load(tmp_path / "b").names == ("b",)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("neox.log", "train.jsonl"):
        shutil.copy(FILES / name, plain / name)
    (plain / "model.bin").write_bytes(b"\0")
    assert lossfit.load(plain).names == ("neox", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a directory: give the log files in it"):
        lossfit.load(tmp_path / "empty")


# TensorBoard's event files


@pytest.fixture
def events(tmp_path):
    """Writes scalars as TensorFlow 1 (simple values) or 2 (tensors) does."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.plugins.scalar import metadata
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util import tensor_util

    def write(folder, points, tensors=False):
        writer = EventFileWriter(str(folder))
        for tag, step, value in points:
            if tensors:
                summary = summary_pb2.Summary()
                one = summary.value.add(tag=tag, metadata=metadata.create_summary_metadata("", ""))
                one.tensor.CopyFrom(tensor_util.make_tensor_proto(np.float32(value)))
            else:
                one = summary_pb2.Summary.Value(tag=tag, simple_value=value)
                summary = summary_pb2.Summary(value=[one])
            writer.add_event(event_pb2.Event(wall_time=1e9 + step, step=step, summary=summary))
        writer.close()
        return max(Path(folder).glob("events.out.tfevents*"))

    return write


def points_of(steps):
    points = []
    for step in steps:
        points.append(("train/loss", step, 9 - step / 1e4))
        if step % 100 == 0:
            points.append(("lr", step, 1e-3))
            points.append(("val/loss", step, 9.5 - step / 1e4))
    return points


@pytest.mark.parametrize("tensors", [False, True])
def test_event_files(tmp_path, events, tensors):
    steps = range(1, 10_501)  # more than the 10,000 that TensorBoard keeps by default
    path = events(tmp_path / "exp", points_of(steps), tensors)
    runs, (log,) = survey(path)
    assert log.format == "tensorboard"
    assert runs.names == ("exp",)
    run = runs["exp"]
    np.testing.assert_array_equal(run.axis("step"), steps)
    np.testing.assert_allclose(run.loss, 9 - np.array(steps) / 1e4, rtol=1e-6)
    np.testing.assert_allclose(run.lr[99::100], 1e-3, rtol=1e-6)
    assert np.isnan(run.lr).sum() == 10_500 - 105
    assert len(lossfit.load(path, loss="val")["exp"]) == 105
    assert lossfit.load(tmp_path).names == ("exp",)
    assert lossfit.load(io.BytesIO(path.read_bytes())).names == ("run",)


def test_event_files_of_a_restarted_run(tmp_path, events):
    first = events(tmp_path / "exp", points_of(range(1, 51)))
    first.rename(first.with_name("events.out.tfevents.1.host"))
    second = events(tmp_path / "exp", points_of(range(41, 91)))
    second.rename(second.with_name("events.out.tfevents.2.host"))
    for given in (tmp_path / "exp", sorted((tmp_path / "exp").iterdir())):
        runs = lossfit.load(given)
        assert len(runs["exp"]) == 90
        assert flags(runs)["restart"] == 10


def test_event_files_without_tensorboard(tmp_path, monkeypatch):
    import sys

    (tmp_path / "events.out.tfevents.1").write_bytes(b"\x18" + b"\0" * 40)
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(DataError, match=r"pip install 'lossfit\[tensorboard\]'"):
        lossfit.load(tmp_path / "events.out.tfevents.1")


@pytest.mark.filterwarnings("ignore:reading. damaged_lines")
def test_event_files_that_are_damaged(tmp_path, events):
    path = events(tmp_path / "exp", points_of(range(1, 200)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    runs = lossfit.load(path)  # cut while writing: what is whole is read
    assert 80 < len(runs["exp"]) < 120
    assert flags(runs)["cut_line"] == 1
    path.write_bytes(data[:5000] + bytes([data[5000] ^ 255]) + data[5001:])
    runs = lossfit.load(path)
    assert flags(runs)["damaged_lines"] > 50
    for damaged in (b"\xff" * 200, b"\x18" + b"\0" * 40, data[:10]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"event file|no scalars"):
            lossfit.load(path)


@pytest.mark.shared
def test_real_files(shared):
    """The numbers are counted in the files by grep and json."""
    raw = shared / "data" / "curves" / "raw"
    for name in ("llmc_main.log", "llmc_format_adamw.log"):
        text = (raw / name).read_text().splitlines()
        both = lossfit.load(raw / name, loss="both")
        stem = name.removesuffix(".log")
        assert len(both[f"{stem}/train"]) == sum(" trl:" in line for line in text)
        assert len(both[f"{stem}/val"]) == sum(" tel:" in line for line in text)
        assert both.axes == ("step",)
    run = lossfit.load(raw / "llmc_main.log")["llmc_main"]
    assert (len(run), np.isnan(run.lr).sum(), run.decimals) == (19_560, 346, 4)
    assert lossfit.load(raw / "llmc_format_adamw.log")["llmc_format_adamw"].decimals is None
    for name in ("trainer_state_geollm.json", "trainer_state_mt5_summarize.json"):
        history = json.loads((raw / name).read_text())["log_history"]
        run = lossfit.load(raw / name)[name.removesuffix(".json")]
        np.testing.assert_array_equal(run.loss, [e["loss"] for e in history if "loss" in e])
        np.testing.assert_array_equal(run.axis("step"), [e["step"] for e in history if "loss" in e])
    held_out = lossfit.load(raw / "trainer_state_mt5_summarize.json", loss="val")
    assert len(held_out[held_out.names[0]]) == sum("eval_loss" in e for e in history) == 70
    chart = lossfit.load(raw / "wandb_export_wikitext.csv")
    assert chart.names == tuple(f"k_is_{k}" for k in range(10, 0, -1))
    assert [len(run) for run in chart] == [10] * 10
    assert chart.axes == ("step",)
    assert chart["k_is_1"].end("step") == 2_048_000
    rows = list(csv.DictReader(io.StringIO((raw / "wandb_export_wikitext.csv").read_text())))
    for run in chart:
        column = f"Group: {run.name} - test-tokens/avg_loss"
        np.testing.assert_array_equal(run.loss, [float(row[column]) for row in rows])


@pytest.mark.shared
def test_prepared_tables_of_real_runs(shared):
    """Tidy CSV files, counted by the csv module."""
    for name in ("llama", "multipowerlaw_25m_100m", "xlstm_llama_ctx2048"):
        path = shared / "data" / "curves" / f"{name}.csv"
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        runs = lossfit.load(path)
        assert runs.names == tuple(dict.fromkeys(row["run"] for row in rows))
        assert sum(len(run) for run in runs) == len(rows)
        for run in (runs[runs.names[0]], runs[runs.names[-1]]):
            mine = [row for row in rows if row["run"] == run.name]
            np.testing.assert_array_equal(run.loss, [float(row["loss"]) for row in mine])
            for axis in ("tokens", "gpu_hours", "step"):
                if mine[0].get(axis):
                    np.testing.assert_allclose(run.axis(axis), [float(r[axis]) for r in mine])


@pytest.mark.parametrize(("totals", "planned"), [([60] * 30, 60), (range(1, 31), None)])
def test_a_column_of_one_total_is_the_planned_end(tmp_path, totals, planned):
    lines = [f"{k},{3 + 1 / k:.4f},{total}" for k, total in zip(range(1, 31), totals, strict=True)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["step,loss,total_steps", *lines]))
    assert lossfit.load(path)["a"].meta.get("planned_steps") == planned
