"""Runs that are taken from the log as a GPU asks for them, against runs that were prepared."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit.fits.preparing import Source
from lossfit.fits.window import rule_of
from lossfit.kernels.driver import Batch
from lossfit.laws import get

N_RUNS = 9


def some_runs(even):
    """Ragged runs with spikes."""
    rng = np.random.default_rng(4)
    lengths = rng.integers(20, 90, N_RUNS)
    step = np.concatenate([np.arange(1.0, n + 1) for n in lengths])
    loss = 2 + step**-0.4 + rng.normal(0, 0.004, step.size)
    loss[rng.integers(0, step.size, 8)] += 1.0
    weight = None if even else rng.uniform(0.5, 2.0, step.size)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    names = [f"run {i}" for i in range(N_RUNS)]
    runs = lossfit.Runs.from_arrays("step", step, loss, edges, names, weight=weight)
    assert runs._columns.even is even
    assert runs.flat("step").spike.any()
    return runs


@pytest.mark.parametrize("even", [True, False])
def test_points_and_priors_are_those_of_prepared_runs(even):
    runs, law = some_runs(even), get("power_linear")
    given = runs.flat("step"), runs.names, law, rule_of("auto", runs), 0, N_RUNS
    ready = Source(*given).all()
    source = Source(*given)
    batch = ready.batch
    np.testing.assert_array_equal(source.offsets, batch.offsets)
    last = batch.offsets[1:] - 1
    np.testing.assert_array_equal(source.span, batch.x[last] / batch.x[batch.offsets[:-1]])
    np.testing.assert_array_equal(source.last_loss, batch.y[last])
    assert (batch.weight == 1).all() == even
    for start, stop in ((4, 9), (0, 4), (2, 3)):
        points = slice(batch.offsets[start], batch.offsets[stop])
        x, y, weight = (np.full(points.stop - points.start, np.nan) for _ in range(3))
        table = source.write(start, stop, x, y, None if even else weight)
        np.testing.assert_array_equal(x, batch.x[points])
        np.testing.assert_array_equal(y, batch.y[points])
        if not even:
            np.testing.assert_array_equal(weight, batch.weight[points])
        for part, expected in zip(table, ready.table, strict=True):
            np.testing.assert_array_equal(part, expected[start:stop])
    np.testing.assert_array_equal(source.scales, ready.scales)
    rows = np.array([7, 0, 3])
    few, table = source.rows(rows)
    assert isinstance(few, Batch)
    for k, r in enumerate(rows):
        here, there = (slice(b.offsets[i], b.offsets[i + 1]) for b, i in ((few, k), (batch, r)))
        for part, expected in zip(few[:3], batch[:3], strict=True):
            np.testing.assert_array_equal(part[here], expected[there])
    for part, expected in zip(table, ready.table, strict=True):
        np.testing.assert_array_equal(part, expected[rows])


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_fit_in_chunks_is_that_of_the_cpu(even, dtype, monkeypatch, new_device):
    from lossfit.engine import devices
    from lossfit.kernels.gpu import launch

    runs = some_runs(even)
    seen = devices.Gpu(0, "a stand-in", (9, 0))
    monkeypatch.setattr(devices, "find", lambda: devices.Found((seen,), (), ()))
    device = new_device()
    monkeypatch.setattr(devices.Place, "open", lambda self: [device])
    monkeypatch.setattr(launch.Options.__init__, "__defaults__", (3, 0.5, 2_000, 16, None))
    options = {"law": "power", "draws": 30, "random_seed": 3}
    monkeypatch.setattr("warnings.warn", lambda *args, **kwargs: None)
    expected = lossfit.fit(runs, device="cpu", **options)
    found = lossfit.fit(runs, device="cuda", dtype=dtype, **options)
    assert len(device.launches) > 2
    tolerance = 1e-6 if dtype == "float64" else 0.2
    sd = expected.draws.std(axis=-1, keepdims=True)
    gap = np.abs(found.draws - expected.draws) / sd
    if dtype == "float64":
        assert gap.max() < tolerance
    else:  # an acceptance that rounding turns over moves all later draws up by one
        gap = np.abs(found.draws.mean(axis=-1) - expected.draws.mean(axis=-1)) / sd[..., 0]
        assert gap.max() < tolerance
    for name in ("start", "end", "count", "scales"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
