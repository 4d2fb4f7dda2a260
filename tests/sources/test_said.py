"""What reading did to a log is said: once, by every answer, and in words that fit."""

from __future__ import annotations

import gc
import json
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import lossfit
from lossfit import DataError
from lossfit.cli.main import main

from .layouts import Points
from .layouts_more import ALL

POINTS = Points.made()
TWICE = "".join(f"step {s} loss {x}\n" for s, x, _ in POINTS)
RESUMED = "".join(
    f"step {s} loss {x}\n"
    for s, x, _ in [*list(POINTS)[:30], *list(POINTS)[24:]]
)  # fmt: skip
COUNTED = "".join(f"step {s} loss {x}\n" for s, x, _ in POINTS) + "".join(
    f"step {s} loss {x - 1.4:.4f}\n" for s, x, _ in list(POINTS)[20:]
)
AGAIN = "".join(f"step {(i % 20 + 1) * 10} loss {x}\n" for i, (_, x, _) in enumerate(POINTS))


def run(*words: object) -> tuple[str, str]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.log"


def test_a_note_on_reading_is_there_once(path):
    path.write_text(AGAIN)
    out, err = run("extrapolate", path, "--at", "2x")
    assert (out + err).count("counter (train)") == 1
    out, err = run("inspect", path)
    assert out.count("! counter") == 1
    assert "counter" not in err


def test_a_note_on_reading_goes_to_stderr_where_the_answer_is_json(path):
    path.write_text(AGAIN)
    out, err = run("extrapolate", path, "--at", "2x", "--json")
    json.loads(out)
    assert err.count("counter (train)") == 1


def test_a_note_on_reading_is_not_lost_where_the_answer_fails(path):
    path.write_text(AGAIN)
    done = CliRunner().invoke(main, ["race", str(path)])
    assert done.exit_code == 2
    assert done.stderr.count("counter (train)") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RESUMED, "restart (train): 1 restart (first back to step 250): 6 rows"),
        (TWICE.replace(f"{POINTS.loss[7]}", "nan", 1), "missing (train): 1 row"),
        (TWICE + "step 410 loss 3.1\nstep 410 loss 3.2\n", "duplicate_step (train): 1 row dropped"),
        (TWICE.replace("step ", "epoch "), "epoch_axis (train): the log has no steps"),
        (TWICE.replace("loss", "val_loss"), "validation (train): val_loss is read"),
    ],
)  # fmt: skip
def test_an_answer_says_what_inspect_knows(path, text, words):
    path.write_text(text)
    assert words.split(" (")[0] in run("inspect", path)[0]
    out, err = run("extrapolate", path, "--at", "2x")
    assert out.count(words) == 1
    assert words not in err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        assert str(lossfit.extrapolate(lossfit.load(path), at="2x")).count(words) == 1


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("loss_ema", True), ("ema_loss", True), ("smoothed loss", True), ("running_loss", True),
        ("avr_loss", True), ("train/loss_smooth", True), ("moving avg loss", True),
        ("loss", False), ("avg_loss", False), ("train_loss", False), ("schema_loss", False),
    ],
)  # fmt: skip
def test_a_moving_average_is_named_as_one(path, column, said):
    path.write_text("".join(f"step={s} {column}={x}\n" for s, x, _ in POINTS))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs = lossfit.load(path, loss=column)
    assert ("moving_average" in set(runs.flags["flag"])) == said
    assert any("moving_average" in str(each.message) for each in caught) == said


def test_the_loss_itself_goes_before_its_moving_average():
    table = {"step": POINTS.step, "loss_ema": POINTS.loss + 1, "nll_loss": POINTS.loss}
    runs = lossfit.load(table)
    assert runs["run"].loss[0] == POINTS.loss[0]
    assert "moving_average" not in set(runs.flags["flag"])


@pytest.mark.filterwarnings("ignore:reading")
def test_what_nanochat_prints_is_a_moving_average(path):
    path.write_text(ALL["nanochat base"].text(POINTS))
    assert "moving_average" in set(lossfit.load(path).flags["flag"])
    path.write_text(ALL["nanochat sft"].text(POINTS))
    assert "moving_average" not in set(lossfit.load(path).flags["flag"])


@pytest.mark.parametrize("form", ["{:.5f}", "{:.3f}", "{:.1f}"])
def test_decimal_commas_are_refused_in_plain_words(path, form):
    text = "".join(f"step {s} loss {form.format(x).replace('.', ',')}\n" for s, x, _ in POINTS)
    path.write_text(text)
    with pytest.raises(DataError, match="have a decimal comma, or separate thousands"):
        lossfit.load(path)


def test_thousands_are_no_decimal_commas(path):
    path.write_text("".join(f"step {s * 100:,} loss {x * 1000:,.1f}\n" for s, x, _ in POINTS))
    run = lossfit.load(path)["train"]
    assert run.loss[0] == pytest.approx(POINTS.loss[0] * 1000, abs=0.06)
    assert run.axis("step")[-1] == POINTS.step[-1] * 100


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("[0/5][{s}/400]\tLoss_D: 0.5\tLoss_G: {x}\tD(x): 0.5\n", "Loss_D.*Loss_G"),
        ("step {s} box_loss {x} cls_loss {x}\n", "box_loss.*cls_loss"),
    ],
)
def test_components_are_a_question(path, line, question):
    path.write_text("".join(line.format(s=s, x=x) for s, x, _ in POINTS))
    with pytest.raises(DataError, match=question):
        lossfit.load(path)


@pytest.mark.parametrize(
    "line",
    [
        "saving every step 100", "time per step 5", "best step 3", "total batch 64",
        "resuming from checkpoint step 7", "warmup steps 20", "micro batch 4",
    ],
)  # fmt: skip
def test_a_number_that_counts_something_else_is_no_step(path, line):
    path.write_text("".join(f"step {s} loss {x}\n{line}\n" for s, x, _ in POINTS))
    run = lossfit.load(path)["train"]
    assert run.axis("step").tolist() == POINTS.step.tolist()


def test_the_text_of_a_log_is_let_go_before_its_points_are_cleaned(tmp_path, monkeypatch):
    from lossfit import sources

    alive = []
    clean = sources.clean

    def looked(*arguments):
        gc.collect()
        # Proxies may stand for what is gone: `isinstance` would ask that.
        alive.extend(e for e in gc.get_objects() if issubclass(type(e), sources.Source))
        return clean(*arguments)

    monkeypatch.setattr(sources, "clean", looked)
    for name in ("nanogpt.log", "t.csv", "t.jsonl", "t.log"):
        text = {
            "nanogpt.log": "".join(f"iter {s}: loss {x}, time 2.00ms\n" for s, x, _ in POINTS),
            "t.csv": "step,loss\n" + "".join(f"{s},{x}\n" for s, x, _ in POINTS),
            "t.jsonl": "".join(json.dumps({"step": s, "loss": x}) + "\n" for s, x, _ in POINTS),
            "t.log": TWICE,
        }[name]
        (tmp_path / name).write_text(text)
        lossfit.load(tmp_path / name)
        assert not alive, name


@pytest.mark.parametrize(
    "line",
    [
        "Epoch [{e}e300/5], Step [5/1" + "0" * 300 + "], Loss: {x}\n",
        "step {s} loss {x} tokens 1e999\n",
        "step {s} loss {x} lr(1e-3):0..2\n",
    ],
)
def test_numbers_beyond_reason_are_no_warnings_of_numpy(path, line):
    path.write_text("".join(line.format(s=s, x=x, e=s) for s, x, _ in POINTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        try:
            run = lossfit.load(path)["train"]
        except DataError:
            return
    assert len(run) == len(POINTS.step)


def test_keys_that_look_like_numbers_are_none(tmp_path):
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"--10": {"loss": 2.5}, "20": {"loss": 2.4}, "30": {"loss": 2.3}}))
    with pytest.raises(DataError, match="neither rows nor columns"):
        lossfit.load(path)


@pytest.mark.parametrize(
    "form",
    [
        "loss: {x}",
        "INFO train loss = {x}",
        "tokens: {t} loss: {x}",
        "2026-03-01 10:{m:02d}:00 loss: {x}",
    ],
)
def test_equal_losses_one_after_another_are_points_each(path, form):
    losses = [round(4 - 0.02 * i, 1) for i in range(60)]
    lines = [form.format(x=x, t=1000 * (i + 1), m=i) for i, x in enumerate(losses)]
    path.write_text("\n".join(lines) + "\n")
    run = next(iter(lossfit.load(path)))
    assert run.loss.tolist() == losses


def test_equal_losses_of_ranks_count_each(path):
    lines = [
        f"[rank{rank}] step {10 * (i + 1)} loss {4 - 0.1 * i + more:.1f}\n"
        for i in range(30)
        for rank, more in enumerate((0.0, 0.0, 0.3))
    ]
    path.write_text("".join(lines))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        run = next(iter(lossfit.load(path)))
    assert run.loss == pytest.approx([4.1 - 0.1 * i for i in range(30)])


def test_an_entry_over_lines_that_is_not_closed_is_named(path):
    entry = "{{'loss': {x},\n 'step': {s}}}\n".format
    text = "".join(entry(x=x, s=s) for s, x, _ in POINTS)
    path.write_text(text + "{'loss': 1.2,\n 'step': 1000000,\n")
    runs = lossfit.load(path)
    assert len(next(iter(runs)).loss) == len(list(POINTS))
    assert "not closed" in runs.flags.set_index("flag").loc["cut_line", "detail"]


def test_many_things_in_a_table_of_a_row_a_value_cost_no_column_each(path):
    names = ["train/loss", "step", "my/score", *(f"grad/{i}" for i in range(297))]
    frame = pd.DataFrame(
        {"step": np.repeat(np.arange(1, 101), 300), "tag": names * 100, "value": 3.0}
    )
    frame.loc[frame["tag"] == "my/score", "value"] = 2.0
    tracemalloc.start()
    runs = lossfit.Runs.from_frame(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * len(frame) * len(names) * 8
    assert next(iter(runs)).loss.tolist() == [3.0] * 100
    ignored = runs.flags.set_index("flag").loc["ignored_columns"]
    assert ignored["count"] == 299
    assert "my/score" in ignored["detail"]
    asked = lossfit.Runs.from_frame(frame, loss="my/score")
    assert next(iter(asked)).loss.tolist() == [2.0] * 100
