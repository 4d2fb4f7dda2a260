"""The small inputs of shared/cases, each with the behaviour that its README calls right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import lossfit
from lossfit import DataError

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not here"),
    pytest.mark.filterwarnings("ignore:reading"),
]
STEPS = (10, 1200)

# Case, files, points, axis, first and last value, whether the rate is known, planned steps.
READ: list[tuple[str, Sequence[str], int, str, tuple[float, float], bool, float | None]] = [
    ("alias_current_steps", ["trainer_log.jsonl"], 120, "step", STEPS, True, 2000),
    ("alias_total_tokens", ["history.csv"], 120, "tokens", (5242880, 629145600), True, None),
    ("bad_byte_nanogpt", ["train.log"], 120, "step", STEPS, False, None),
    ("console_hf_dicts", ["train.log"], 120, "step", STEPS, True, 2000),
    ("console_nanochat", ["train.log"], 120, "step", STEPS, True, 2000),
    ("console_olmo", ["train.log"], 120, "step", STEPS, False, 2000),
    ("console_step_bar", ["train.out"], 120, "step", STEPS, True, None),
    ("console_titan", ["rank0.log"], 120, "step", STEPS, False, None),
    ("console_words_split", ["log.txt"], 120, "step", STEPS, False, None),
    ("counter_reset", ["metrics.csv"], 180, "step", (10, 1800), False, None),
    ("csv_space_sep", ["train_log.txt"], 120, "step", STEPS, True, None),
    ("data_order_waves", ["metrics.csv"], 200, "step", (10, 2000), False, None),
    ("diverged", ["metrics.csv"], 120, "step", STEPS, True, None),
    ("epoch_and_batch", ["log.csv"], 120, "step", (0, 5950), False, None),
    ("epoch_keras_csv", ["training_log.csv"], 60, "epoch", (1, 60), True, None),
    ("fall_after_plateau", ["metrics.csv"], 58, "step", (10, 580), False, None),
    ("header_repeated", ["learning_stats.csv"], 120, "step", STEPS, True, None),
    ("json_epochs", ["epochs.json"], 40, "epoch", (1, 40), True, None),
    ("json_indented_columns", ["loss_history.json"], 120, "record", (1, 120), False, None),
    ("megatron_valid_words", ["slurm-1.out"], 120, "step", STEPS, True, 2000),
    ("plain_words", ["train.log"], 120, "step", (50, 6000), False, 6000),
    ("prefix_nanogpt_srun", ["train.log"], 120, "step", STEPS, False, None),
    ("ranks_csv", ["log.csv"], 120, "step", STEPS, False, None),
    ("scale_jump", ["metrics.csv"], 120, "step", STEPS, False, None),
    ("tb_megatron", ["tb"], 120, "step", STEPS, True, None),
    ("two_parts", ["slurm-101.out", "slurm-102.out"], 120, "step", STEPS, False, None),
    ("wandb_hf_history", ["history.csv"], 120, "step", STEPS, True, None),
    ("wandb_run_dir", [""], 120, "step", STEPS, False, None),
    ("zeros_after_nan", ["metrics.csv"], 120, "step", STEPS, False, None),
]


def load(case: str, files: Sequence[str], **options) -> lossfit.Run:
    if case == "tb_megatron":
        pytest.importorskip("tensorboard")
    runs = lossfit.load([CASES / case / name for name in files], **options)
    assert len(runs) == 1
    return next(iter(runs))


@pytest.mark.parametrize(
    ("case", "files", "points", "axis", "ends", "lr", "planned"), READ, ids=[r[0] for r in READ]
)
def test_it_is_read(case, files, points, axis, ends, lr, planned):
    run = load(case, files)
    x = run.axis(axis)
    assert (len(run), x[0], x[-1]) == (points, *ends)
    assert (np.diff(x) > 0).all()
    assert (run.lr is not None) == lr
    assert run.meta.get("planned_steps") == planned


@pytest.mark.parametrize(
    ("case", "files", "points"),
    [
        ("console_words_split", ["log.txt"], 12),
        ("epoch_keras_csv", ["training_log.csv"], 60),
        ("json_epochs", ["epochs.json"], 40),
        ("megatron_valid_words", ["slurm-1.out"], 12),
        ("tb_megatron", ["tb"], 6),
    ],
)
def test_its_validation_losses_are_read(case, files, points):
    assert len(load(case, files, loss="val")) == points


@pytest.mark.parametrize(
    ("case", "files", "flag"),
    [
        ("bad_byte_nanogpt", ["train.log"], "other_lines"),
        ("console_nanochat", ["train.log"], "moving_average"),
        ("counter_reset", ["metrics.csv"], "counter"),
        ("epoch_and_batch", ["log.csv"], "counter"),
        ("epoch_keras_csv", ["training_log.csv"], "epoch_axis"),
        ("header_repeated", ["learning_stats.csv"], "header_again"),
        ("json_epochs", ["epochs.json"], "epoch_axis"),
        ("json_indented_columns", ["loss_history.json"], "record_axis"),
        ("ranks_csv", ["log.csv"], "ranks"),
        ("two_parts", ["slurm-101.out", "slurm-102.out"], "joined"),
        ("zeros_after_nan", ["metrics.csv"], "nonpositive_loss"),
    ],
)
def test_what_was_done_is_said(case, files, flag):
    assert flag in {f.flag for f in load(case, files).flags}


def test_component_losses_are_a_question():
    path = CASES / "step_yolo_like" / "results.csv"
    with pytest.raises(DataError, match=r"3 component losses .*train/box_loss.*--loss"):
        lossfit.load(path)
    assert len(lossfit.load(path, loss="val/dfl_loss")["results"]) == 60


def test_other_details():
    assert load("wandb_run_dir", [""]).name == "run-20260301_101112-ab12cd34"
    tokens = load("console_olmo", ["train.log"]).axis("tokens")
    assert (tokens[0], tokens[-1]) == (5242880, 629145600)
    assert load("console_step_bar", ["train.out"]).lr.max() == pytest.approx(4e-4)
    parts = lossfit.load([CASES / "two_parts" / f"slurm-{n}.out" for n in (101, 102)], join=False)
    assert [len(run) for run in parts] == [70, 60]
