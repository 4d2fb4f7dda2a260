"""Runs whose names say that they are no language models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.forecasts.domain import named_other

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("imagenet_resnet50-nadamw/train", "imagenet"),
        ("sweep-3/ViT-B16", "vit"),
        ("yolov8n/val", ""),  # another word: names are read by words, not by letters
        ("YOLO-v8n", "yolo"),
        ("CIFAR10 run 2", "cifar"),
        ("activity-7", ""),
        ("llama2-7B", ""),
        ("gpt-image-tokens", ""),  # both: the curve tells
        ("imagenet_resnet-nadamw-s0t1/train", "imagenet"),  # letters of a number are no word
        ("train/regression", ""),
        ("run", ""),
        ("", ""),
    ],
)
def test_a_word_in_the_name_tells_the_domain(name, word):
    assert named_other(name) == word


def answer(name: str, domain: str = "auto") -> lossfit.Answer:
    """A clean curve at a language model's level, named so."""
    rng = np.random.default_rng(0)
    step = np.arange(100, 20_001, 100.0)
    loss = 2 + 1.5 * (step / 100) ** -0.3 + 0.005 * rng.normal(size=step.size)
    runs = lossfit.Runs.from_frame(pd.DataFrame({"step": step, "loss": loss, "run": name}))
    return lossfit.extrapolate(runs, at=40_000, schedule="cosine@40k", domain=domain)


def test_a_run_named_so_takes_the_widths_of_other_domains():
    named, plain = answer("resnet-1"), answer("run-1")
    width = {a: np.ptp(np.quantile(a.draws[0, 0], [0.05, 0.95])) for a in (named, plain)}
    assert width[named] > 1.2 * width[plain]
    assert "domain_by_name" in named.frame["notes"].iloc[0]
    assert "as their names say" in str(named)
    assert "domain_by_name" not in plain.frame["notes"].iloc[0]


def test_what_is_stated_goes_before_the_name():
    stated = answer("resnet-1", "text")
    assert "domain_by_name" not in stated.frame["notes"].iloc[0]
    assert "language models on text, as stated" in str(stated)
    named, other = answer("resnet-1"), answer("resnet-1", "other")
    np.testing.assert_array_equal(named.draws, other.draws)


def test_an_answer_of_an_older_file_is_shown():
    old, words = answer("run-1"), str(answer("run-1"))
    del old.mixed.row_flags["domain_by_name"]
    assert str(old) == words
