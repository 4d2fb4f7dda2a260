"""Losses in bits are read in nats where the log's own perplexities say that they are."""

import numpy as np
import pandas as pd
import pytest

from lossfit import Runs

NATS = 2 + np.arange(1.0, 31) ** -0.4
BITS = NATS / np.log(2)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"loss": BITS, "ppl": np.exp(NATS)}, NATS),
        ({"loss": BITS + 0.5, "nll_loss": BITS, "ppl": np.round(np.exp(NATS), 2)},
         NATS + 0.5 * np.log(2)),
        ({"loss": NATS, "ppl": np.exp(NATS)}, NATS),  # as most log them
        ({"loss": NATS, "ppl": np.full(30, 99.1)}, NATS),
        ({"loss": NATS, "ppl": ["low"] * 30}, NATS),
    ],
)  # fmt: skip
def test_the_perplexity_says_which_base_a_loss_has(columns, expected):
    frame = pd.DataFrame({"step": np.arange(1, 31), **columns})
    run = next(iter(Runs.from_frame(frame)))
    np.testing.assert_allclose(run.loss, expected, rtol=1e-12)
    said = [flag.detail for flag in run.flags if flag.flag == "base_two"]
    assert bool(said) == (expected is not NATS or columns["loss"] is BITS)


def test_each_run_is_read_in_its_own_base():
    bits = pd.DataFrame({"run": "b", "step": range(1, 31), "loss": BITS, "ppl": np.exp(NATS)})
    frame = pd.concat([bits, bits.assign(run="n", loss=NATS)])
    runs = Runs.from_frame(frame)
    np.testing.assert_allclose(runs["b"].loss, runs["n"].loss)
    assert "base_two" not in {flag.flag for flag in runs["n"].flags}
