"""Ragged arrays: many runs end to end."""

import numpy as np
import pytest

from lossfit._base.ragged import search, spans


@pytest.mark.parametrize("right", [False, True])
def test_search_is_searchsorted_in_every_run(right):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 40, 50)
    offsets = spans(lengths)
    values = np.concatenate([np.sort(rng.integers(0, 20, n)).astype(float) for n in lengths])
    targets = rng.integers(-2, 22, (50, 3)).astype(float)
    expected = [
        np.searchsorted(values[a:b], target, side="right" if right else "left")
        for a, b, target in zip(offsets, offsets[1:], targets, strict=False)
    ]
    np.testing.assert_array_equal(search(values, offsets, targets, right), expected)
