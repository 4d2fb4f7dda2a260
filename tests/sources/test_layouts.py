"""Logs in the layouts of public tools are read point for point, with what launchers add to them."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit

from .layouts import Points
from .layouts_more import ALL

EXPECTED_NOISE = pytest.mark.filterwarnings("ignore:reading")


def read(tmp_path, layout, text: str, **options) -> lossfit.Run:
    path = tmp_path / layout.name
    path.write_bytes(text.encode())
    runs = lossfit.load(path, **{**layout.options, **options})
    assert len(runs) == 1
    return next(iter(runs))


@EXPECTED_NOISE
@pytest.mark.parametrize("name", ALL)
def test_a_layout_is_read_point_for_point(tmp_path, name):
    layout = ALL[name]
    points = Points.made()
    run = read(tmp_path, layout, layout.text(points))
    np.testing.assert_allclose(run.loss, points.loss, rtol=1e-9)
    np.testing.assert_allclose(run.axis(layout.axis), layout.x(points), rtol=1e-9)
    if layout.lr:
        np.testing.assert_allclose(run.lr, points.lr, rtol=1e-3)
    assert run.meta.get("planned_steps") == layout.planned or layout.planned is None
    assert {flag.flag for flag in run.flags} >= set(layout.flags)
    if layout.val:
        val = read(tmp_path, layout, layout.text(points), loss="val")
        np.testing.assert_allclose(val.loss, points.val, rtol=1e-9)
        np.testing.assert_allclose(val.axis(layout.axis), layout.x(points)[4::5])
