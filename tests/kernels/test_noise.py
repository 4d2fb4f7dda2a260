"""The noise of a window: of its last half, or of all of it where it is short."""

from __future__ import annotations

import numpy as np
import pytest

from lossfit.kernels.uncompiled import bins


@pytest.mark.parametrize(("n", "whole"), [(20, True), (23, True), (24, False), (80, False)])
def test_a_short_window_is_used_whole(n, whole):
    rng = np.random.default_rng(n)
    y = np.r_[rng.normal(0, 0.1, n // 2), rng.normal(0, 1e-4, n - n // 2)]
    # Of a whole window half of the differences are large, of its last half none.
    found = bins.noise(n, y, np.ones(n), 0.0, 1.0, np.empty(n))
    assert (found > 0.002) == whole
