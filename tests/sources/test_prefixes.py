# ruff: noqa: E501 (lines as launchers write them)
"""A log of random points reads back the same in every layout, behind every prefix, among noise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lossfit
from lossfit.sources import Source
from lossfit.sources._prefixes import plain

from .layouts import LAYOUTS, Points
from .layouts_more import ALL, MORE

PREFIXES = {
    "none": lambda i, line: line,
    "srun -l": lambda i, line: f"0: {line}",
    "torchrun": lambda i, line: f"[default0]:{line}",
    "rank": lambda i, line: f"[rank0]: {line}",
    "mpirun": lambda i, line: f"[1,0]<stdout>:{line}",
    "ray": lambda i, line: f"(RayTrainWorker pid=4242, ip=10.0.0.7) {line}",
    "kubectl --timestamps": lambda i, line: f"2026-03-01T10:{i // 60 % 60:02d}:{i % 60:02d}.123Z {line}",
    "kubectl --prefix": lambda i, line: f"[pod/trainer-x7/main] {line}",
    "docker compose": lambda i, line: f"trainer-1  | {line}",
    "journald": lambda i, line: f"Mar 01 10:{i // 60 % 60:02d}:{i % 60:02d} node7 python[812]: {line}",
    "logging": lambda i, line: f"2026-03-01 10:{i // 60 % 60:02d}:{i % 60:02d},5 - root - INFO - {line}",
    "basicConfig": lambda i, line: f"INFO:root:{line}",
    "hydra": lambda i, line: f"[2026-03-01 10:{i // 60 % 60:02d}:{i % 60:02d},123][main][INFO] - {line}",
    "absl": lambda i, line: f"I0301 10:{i // 60 % 60:02d}:{i % 60:02d}.123456 4242 train.py:10] {line}",
    "loguru": lambda i, line: (
        f"2026-03-01 10:{i // 60 % 60:02d}:{i % 60:02d}.123 | INFO     | __main__:main:42 - {line}"
    ),
    "colours": lambda i, line: f"\x1b[32m{line[:4]}\x1b[1m{line[4:]}\x1b[0m",
}  # fmt: skip
# Logs of lines; the others are documents, tables, or told by what stands at a line's very start.
LINED = sorted(
    set(LAYOUTS)
    - {
        "LLaMA-Factory", "MMDetection JSON", "MMEngine scalars", "DETR log.txt", "fastai", "spaCy",
        "detectron2 metrics.json", "Keras CSVLogger", "Keras history", "a notebook's table",
        "YOLO results.csv, one loss chosen", "XGBoost evals_result", "np.savetxt",
        "MLflow metric file", "Sacred metrics.json", "TensorBoard page, JSON", "JSON by step",
        "JSON objects over several lines", "rows under a key", "Hugging Face stdout", "Keras bars",
        "Hugging Face JSON in stdout", "build-nanogpt log.txt",
    }
    | {
        name for name, layout in MORE.items()
        if layout.name == "train.log" and name not in (
            # Lines of one dict or table, between which a launcher's lines cannot be told.
            "a dict over several lines", "TensorFlow object detection", "Stable-Baselines3 table",
            "YOLO console, one loss chosen", "PyTorch basics with a test",
        )
    }
)  # fmt: skip
NOISE = (
    "", "saving checkpoint to out/ckpt.pt", "/usr/lib/python3/site-packages/torch/utils.py:31: UserWarning: x",
    "NCCL INFO Bootstrap : Using eth0:10.0.0.7<0>", "GPU 3 at 71 C", "wandb: synced 4 files",
    "Traceback (most recent call last):", "{", "100%", "~" * 300, "\x1b[2K\r",
)  # fmt: skip


def loaded(text: str, layout, **options) -> lossfit.Run:
    source = Source(layout.name, "train", ".log", text.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        runs = lossfit.load(source, **{**layout.options, **options})
    assert len(runs) == 1
    return next(iter(runs))


def check(run: lossfit.Run, layout, points: Points) -> None:
    np.testing.assert_allclose(run.loss, points.loss, rtol=1e-9)
    np.testing.assert_allclose(run.axis(layout.axis), layout.x(points), rtol=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(LINED), st.sampled_from(sorted(PREFIXES)), st.integers(12, 60),
    st.integers(1, 100), st.integers(0, 999), st.booleans(),
)  # fmt: skip
def test_a_rendered_log_reads_back(name, prefix, n, stride, seed, crlf):
    layout, points = ALL[name], Points.made(n // 10 * 10 + 10, stride * 10, seed)
    rng = np.random.default_rng(seed)
    out = []
    for i, line in enumerate(layout.text(points).splitlines()):
        if rng.random() < 0.15 and not line.startswith((" ", "\t", "train", "val", "--")):
            out.append(PREFIXES[prefix](i, str(rng.choice(NOISE))))
        out.append(PREFIXES[prefix](i, line))
    ending = "\r\n" if crlf else "\n"
    check(loaded(ending.join(out) + ending, layout), layout, points)


@pytest.mark.parametrize("prefix", sorted(PREFIXES))
def test_every_layout_behind_a_prefix(prefix):
    points = Points.made(20, 10, 0)
    for name in LINED:
        lines = ALL[name].text(points).splitlines()
        text = "\n".join(PREFIXES[prefix](i, line) for i, line in enumerate(lines)) + "\n"
        check(loaded(text, ALL[name]), ALL[name], points)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(LINED), st.integers(2, 5), st.integers(0, 999), st.booleans())
def test_ranks_that_print_the_same_are_one_run(name, ranks, seed, mixed):
    layout, points = ALL[name], Points.made(40, 10, seed)
    lines = layout.text(points).splitlines()
    rng = np.random.default_rng(seed)
    blocks = any(line.startswith((" ", "\t")) for line in lines)
    headings = ("PyTorch basics", "PyTorch transfer learning", "validation heading")
    if blocks or name in (*headings, "held out: a heading"):
        return  # blocks of several ranks between one another cannot be told apart
    rows = [
        (i + (rng.uniform(0, 0.9) if mixed else 0.0), f"[rank{rank}]: {line}")
        for i, line in enumerate(lines)
        for rank in range(ranks)
    ]
    text = "\n".join(line for _, line in sorted(rows, key=lambda row: row[0])) + "\n"
    check(loaded(text, layout), layout, points)


@settings(max_examples=40, deadline=None)
@example("mb of", 0.8077, 1)  # the last loss is cut to a whole number
@given(st.sampled_from(LINED), st.floats(0.3, 0.95), st.integers(0, 999))
def test_nothing_of_a_cut_log_is_dropped_without_a_flag(name, share, seed):
    """Of the points whose lines are whole all are read; a flag tells of what is not."""
    layout, points = ALL[name], Points.made(40, 10, seed)
    text = layout.text(points)
    run = loaded(text[: int(len(text) * share)], layout)
    assert len(run) >= int(40 * share) - 2
    np.testing.assert_allclose(run.loss[:-1], points.loss[: len(run) - 1], rtol=1e-9)


def test_a_last_line_that_was_cut_before_its_step_is_left_out():
    """Another counter of the line is not taken for the step, as if the run began again."""
    layout, points = LAYOUTS["fairseq"], Points.made(40, 10, 1)
    lines = layout.text(points).splitlines()
    train = [line for line in lines if "train_inner" in line][:25]
    whole, last = "\n".join(train[:-1]) + "\n", train[-1]
    source = Source(
        "fairseq", "train", ".log", (whole + last[: last.index("num_updates")]).encode()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        runs = lossfit.load(source)
    assert len(runs["train"]) == 24
    assert "cut_line" in set(runs.flags["flag"])


@pytest.mark.parametrize("name", ["MMEngine, by epoch", "fairseq", "Keras, one line an epoch"])
def test_what_a_logger_without_a_format_puts_before_dates_and_counts(name):
    layout, points = ALL[name], Points.made(20, 10, 0)
    text = "\n".join(f"INFO:root:{line}" for line in layout.text(points).splitlines()) + "\n"
    check(loaded(text, layout), layout, points)


@pytest.mark.parametrize("word", ["step_p_", "a_", "node-", "a.b:", "[x] ", "1,", "12:"])
def test_long_words_cost_no_more_than_their_length(word):
    """A pattern that tries every way to split a word would take years for these."""
    line = 4_000 // len(word) * word
    assert line.endswith(plain(line).text)
