"""The kernels of the default forecast: executed, against the CPU."""

from functools import cache

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

import lossfit
from lossfit._base.summaries import quantiles
from lossfit.diagnostics.random_batches import forecast_problem
from lossfit.kernels import forecast as on_cpu
from lossfit.kernels import forecast_driver
from lossfit.kernels.forecast_driver import forecast_batch
from lossfit.kernels.gpu import forecast
from lossfit.kernels.records import as_table
from tests.gpu.tested import launched

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")

LENGTHS = [3, 4, 9, 10, 23, 24, 51, 130]
FULL = {"past": True, "parameters": True, "multi_power": True}
LEAN = dict.fromkeys(FULL, False)


def problem(seed, lengths=LENGTHS, **options):
    return forecast_problem(seed, lengths, **options)


@cache
def kernels(single, room, past, parameters, multi_power):
    return forecast.build(single, room, past, parameters, multi_power)


def on_gpu(device, args, draws, *, single=False, **flags):
    """The forecast by the kernels.

    Kernels that reckon with everything have their scratch in global memory here, the others in
    shared memory: two variants of each, which are in the catalogue too.
    """
    curves, grid, at = args[0], args[1], args[6]
    room = forecast.GLOBAL if any(flags.values()) else forecast.room_for(grid, at.shape[1])
    given = forecast.arguments(
        np, *args, draws=draws, parameters=flags["parameters"], single=single, room=room,
        past=flags["past"],
    )  # fmt: skip
    for kernel in kernels(single, room, **flags):
        launched(device, kernel, len(at), given)
    return forecast.collect(np, given[-1], curves, at)


def agree(device, args, draws, **flags):
    """The kernels in double precision give what the CPU gives."""
    flags = {**FULL, **flags}
    expected = forecast_batch(*args, draws=draws, parameters=flags["parameters"], threads=1)
    found = on_gpu(device, args, draws, **flags)
    for name, mine, theirs in zip(found._fields, found, expected, strict=True):
        np.testing.assert_allclose(
            as_table(mine), as_table(theirs), rtol=1e-8, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("multi_power", [False, True])
def test_one_known_schedule(multi_power, new_device):
    agree(new_device(), problem(1, multi_power=multi_power), 40)
    assert forecast.room_for(problem(1)[1], 3) == (48, 11)  # in shared memory


@pytest.mark.parametrize("n_paths", [1, 3])
def test_kernels_without_what_is_not_needed(n_paths, new_device):
    agree(new_device(), problem(2, n_paths=n_paths), 33, **LEAN)


def test_several_schedules(new_device):
    agree(new_device(), problem(3, n_paths=3, multi_power=True), 33)


@pytest.mark.parametrize("n_paths", [1, 2])
def test_targets_within_the_data_and_none(n_paths, new_device):
    agree(new_device(), problem(4, n_at=5, n_paths=n_paths, past=True, gaps=True), 33)


@pytest.mark.parametrize(("lengths", "draws"), [([3], 1), ([1100], 2), ([60, 1025], 65)])
def test_odd_sizes(lengths, draws, new_device):
    agree(new_device(), problem(sum(lengths), lengths, past=True), draws)


def test_more_rows_than_fit_in_shared_memory(new_device):
    agree(new_device(), problem(5, [40, 7], n_at=60, n_paths=2, past=True), 5)
    assert forecast.room_for(problem(5)[1], 60) == forecast.GLOBAL


def test_smooth_logs_and_losses_that_are_all_zero(new_device):
    """Medians of many equal numbers; no noise; nothing that a power underflows."""
    curves, *rest = problem(6, [30, 80, 100], gaps=True)
    y = curves.y.copy()
    y[:30] = 0.0
    y[30:110] = np.round(y[30:110], 2)
    unknown = np.full(3, np.nan)
    curves = curves._replace(y=y, memory=unknown, floor=np.zeros(3), sigma=unknown, slope=unknown)
    prior = rest[2]._replace(most_slopes=np.full(3, 2.0))
    args = curves, *rest[:2], prior, *rest[3:]
    expected = forecast_batch(*args, draws=9, threads=1)
    assert (np.abs(expected.draws[0, :2]) < 1e-6).all()
    for single in (False, True):
        found = on_gpu(new_device(), args, 9, single=single, **LEAN)
        near = {"rtol": 1e-3 if single else 1e-9, "atol": 1e-9}
        np.testing.assert_allclose(found.draws, expected.draws, **near)


def test_batches_may_be_cut_into_parts(new_device):
    args = problem(7)
    curves, grid, hypotheses, prior, shapes, paths, at, keys = args
    whole = on_gpu(new_device(), args, 10, **LEAN)
    some = forecast.take(curves, hypotheses, prior, at, keys, 3, 6)
    args = some[0], grid, some[1], some[2], shapes, paths, *some[3:]
    part = on_gpu(new_device(), args, 10, **LEAN)
    for one, all_ in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one, all_[3:6])


def close_in_single(device, args, draws, **flags):
    """Draw by draw, but for the few that rounding puts in another cell."""
    flags = {**FULL, **flags}
    expected = forecast_batch(*args, draws=draws, parameters=flags["parameters"], threads=1)
    found = on_gpu(device, args, draws, single=True, **flags)
    sd = expected.draws.std(axis=-1, keepdims=True)
    error = np.abs(found.draws - expected.draws) / sd
    here = np.isfinite(expected.draws)
    np.testing.assert_array_equal(np.isfinite(found.draws), here)
    assert (error[here] > 1e-2).mean() < 0.01
    np.testing.assert_allclose(
        as_table(found.info)[:, [0, 1, 6]], as_table(expected.info)[:, [0, 1, 6]], rtol=1e-3
    )
    np.testing.assert_allclose(as_table(found.info)[:, 3], expected.info["log_evidence"], atol=0.02)
    np.testing.assert_allclose(found.shares, expected.shares, atol=1e-3)
    return found, expected


@pytest.mark.parametrize(
    "options", [{"multi_power": True}, {"n_paths": 3, "past": True, "gaps": True}]
)
def test_single_precision(options, new_device):
    close_in_single(new_device(), problem(8, **options), 60)


@pytest.mark.parametrize("options", [{"lengths": [1100, 3]}, {"unit": 1e-4}])
def test_single_precision_without_what_is_not_needed(options, new_device):
    close_in_single(new_device(), problem(8, **options), 60, **LEAN)


def left_alone(n_cells, best, w):
    """In the place of `_cumulate`: the log weights stay what they are."""
    return best - best + 1.0, best - best + 1.0


def log_weights(device, args, single, monkeypatch):
    """Log weights of the cells, by the kernels."""
    room = forecast.room_for(args[1], args[6].shape[1])
    given = forecast.arguments(np, *args, draws=1, single=single, room=room, past=False)
    with monkeypatch.context() as patch:
        table = forecast.OWN_SINGLE if single else forecast.OWN
        patch.setitem(table, on_cpu._cumulate, left_alone)
        weigh = forecast.build(single, room, **LEAN)[2]
    for kernel in (*kernels(single, room, **LEAN)[:2], weigh):
        launched(device, kernel, len(args[6]), given)
    return given[5].log_weight.astype(float)


@pytest.mark.parametrize("source", ["llama1", "llama2"])
def test_single_precision_on_real_curves(source, monkeypatch, new_device):
    """Log weights of cells within 0.01 nats, quantiles within 0.05 sd."""
    caught = []
    real = forecast_driver.forecast_batch

    def catch(*args, **options):
        caught.append(args)
        return real(*args, **options)

    monkeypatch.setattr(forecast_driver, "forecast_batch", catch)
    whole = lossfit.load(source)
    half = whole.until(0.5)
    end = max(run.end("tokens") for run in whole)
    lossfit.extrapolate(
        half, at=[end, 1.5 * end, 2 * end], axis="tokens", laws="annealing", draws=10
    )
    bare = lossfit.Runs.from_frame(half.frame)  # of no known schedule
    lossfit.extrapolate(
        bare, at=[end, 1.5 * end, 2 * end], axis="tokens", laws="annealing", draws=10
    )
    assert [args[2].history.shape[1] for args in caught] == [1, 9]
    for args in caught:
        double, single = (
            log_weights(new_device(), args, one, monkeypatch) for one in (False, True)
        )
        near = double > double.max(axis=1, keepdims=True) - 10.0
        for mine, theirs, where in zip(single, double, near, strict=True):
            assert np.ptp((mine - theirs)[where]) < 0.01
    found, expected = close_in_single(new_device(), caught[0], 400, **LEAN)
    gap = quantiles(found.draws, (0.05, 0.5, 0.95)) - quantiles(expected.draws, (0.05, 0.5, 0.95))
    assert np.abs(gap / expected.draws.std(axis=-1)).max() < 0.05
