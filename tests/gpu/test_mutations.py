"""Deliberate faults in the kernels, each of which executing the compiled PTX must notice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit import laws
from lossfit._base.summaries import quantiles as quantiles_on_cpu
from lossfit.diagnostics.random_batches import bent_curves as ensemble_problem
from lossfit.diagnostics.random_batches import fit_problem as problem
from lossfit.diagnostics.random_batches import forecast_problem
from lossfit.diagnostics.random_curves import curve_problem
from lossfit.kernels import compress, driver
from lossfit.kernels.curve_forecast import forecast_curves
from lossfit.kernels.forecast_driver import forecast_batch
from lossfit.kernels.gpu import (
    curve_forecast,
    ensemble,
    exact,
    fit,
    forecast,
    moments,
    predict,
    quantiles,
)
from lossfit.kernels.gpu.batch import EnsembleJob, ExactJob, FitJob
from lossfit.kernels.gpu.curve_batch import CurveJob
from lossfit.kernels.gpu.device import checked
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.records import STATUS, as_table
from tests.gpu.emulated import EmulatedDevice
from tests.gpu.jobs import Sums, ragged
from tests.gpu.mutants import planted
from tests.gpu.ptx_emulator import PtxError, PtxModule, numba_kernel_args
from tests.gpu.simulated_device import SimulatedDevice
from tests.gpu.test_exact import cut
from tests.kernels.oracles import arguments as arguments_of

PROGRAM = laws.get("power").program
DRAWS = 33  # one more than a warp
MOST_STEPS = 100_000  # basic blocks; several times what a check takes

# What an error must say.
RACE = "memory race"
BOUNDS = "out of bounds"
UNWRITTEN = "uninitialised"
NUMBERS = "Not equal to tolerance|Arrays are not equal"
HANDED_OVER = "not served"  # the estimate of single precision's rounding sees it


class Device(EmulatedDevice):
    """`EmulatedDevice` that gives up where a kernel does not end, and keeps no kernels."""

    def launch(self, kernel, grid, arguments, stream):
        module = PtxModule(compiled.kernel_ptx(kernel))
        module.launch(
            next(iter(module.entries)),
            grid,
            kernel.block,
            numba_kernel_args(*checked(kernel, arguments)),
            max_steps=MOST_STEPS,
        )


@cache
def curves(single):
    """A curve of one point more than a tile, one that its constraints cut, and their fits.

    Single precision, which does not serve the latter, gets priors that weigh as much as the data:
    others could be wrong and be within its tolerance.
    """
    batch, program, table, keys = problem("power", [129, 60 if single else 5, 40], seed=6)
    expected = driver.fit_batch(batch, program, table, keys, draws=DRAWS)
    if single:
        linear = expected.draws[:, 1:-1]
        table.mean[...] = linear.mean(-1) + linear.std(-1)
        table.sd[...] = linear.std(-1)
        expected = driver.fit_batch(batch, program, table, keys, draws=DRAWS)
    return batch, table, keys, expected


def fits(single=False, **options):
    """A job of fits that is done, by kernels built anew, and the CPU's fits."""
    batch, table, keys, expected = curves(single)
    job = FitJob(batch, PROGRAM, table, keys, DRAWS, single)
    job.kernel = fit.build(PROGRAM, single)  # not the one that was built before
    run(job, [Device()], options=Options(**options))
    assert (job.info[:, STATUS] == 0).all(), "not served"
    return job, expected


def fit_in_double(**options):
    """As `test_fit.test_draws_are_those_of_the_cpu`."""
    job, expected = fits(**options)
    np.testing.assert_allclose(job.draws, expected.draws, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(
        job.info[:, :4], as_table(expected.info)[:, :4], rtol=1e-6, atol=1e-9
    )


def fit_in_chunks():
    """The same, two runs at a time."""
    fit_in_double(runs=2)


def fit_in_single():
    """As `test_fit.test_single_precision`."""
    job, expected = fits(single=True)
    off = (job.draws - expected.draws) / expected.draws.std(axis=-1, keepdims=True)
    np.testing.assert_allclose(off, np.zeros_like(off), atol=0.05)


@cache
def cut_curves():
    """A curve whose constraints cut off nearly everything, and its exact draws."""
    given = (*arguments_of([cut(2, 20, law="power")]), np.array([7], np.uint64))
    return given, driver.fit_batch(*given, draws=DRAWS)


def exact_draws():
    """As `test_exact.test_constraints_that_cut_off_much`."""
    given, expected = cut_curves()
    job = ExactJob(*given, DRAWS)
    job.kernel = exact.build(PROGRAM)
    run(job, [Device()])
    np.testing.assert_allclose(job.info, as_table(expected.info), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(job.draws, expected.draws, rtol=1e-6, atol=1e-8)


@cache
def sampled():
    """A curve and its draws by the ensemble sampler."""
    given = ensemble_problem("power", [20], seed=2)
    return given, driver.fit_batch(*given, draws=2, tune=4, chains=2, method="ensemble")


def ensemble_draws():
    """As `test_ensemble.test_draws_are_those_of_the_cpu`."""
    given, expected = sampled()
    job = EnsembleJob(*given, 2, 4, 2)
    job.kernel = ensemble.build(PROGRAM)
    run(job, [Device()])
    np.testing.assert_allclose(job.draws, expected.draws, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(job.info, as_table(expected.info), rtol=1e-6, atol=1e-9)


def moments_of_prefixes():
    """As `test_moments.test_moments_of_ragged_runs`."""
    rng = np.random.default_rng(4)
    lengths, order = [33, 205], 24
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    x = np.concatenate([np.sort(rng.uniform(0.03, 1.0, n)) for n in lengths])
    y, w = rng.normal(0.0, 1.0, x.size), rng.uniform(0.5, 2.0, x.size)
    cutoffs = np.array([[33, 33], [76, 205]], np.int32)
    found, totals = np.full((2, 2, 2, order), np.nan), np.full((2, 2, 3), np.nan)
    arguments = (x, y, w, offsets.astype(np.uint32), np.zeros(2), cutoffs, found, totals)
    Device().launch(moments.build(False), 2, arguments, None)
    for r, (a, b) in enumerate(pairwise(offsets)):
        sums, total = np.empty((2, 2, order)), np.empty((2, 3))
        compress.prefix_moments(
            x[a:b], y[a:b], w[a:b], 0.0, cutoffs[r].astype(np.int64), order, np.empty((7, b - a)),
            sums, total,
        )  # fmt: skip
        np.testing.assert_allclose(found[r], sums, rtol=0, atol=1e-11)
        np.testing.assert_allclose(totals[r], total, rtol=1e-12, atol=1e-12)


def predicted_curves():
    """As `test_moments.test_predicted_curves`."""
    rng = np.random.default_rng(5)
    draws = rng.uniform(0.2, 1.0, (2, 4, DRAWS))
    at = rng.uniform(0.1, 4.0, (2, 3))
    found = predict.predict_on(Device(), predict.build(PROGRAM, False), draws, at)
    np.testing.assert_allclose(found, driver.predict_batch(PROGRAM, draws, at), rtol=1e-12)


@cache
def forecasts():
    """Two runs whose noise and slope are measured, targets of another schedule, forecasts."""
    args = forecast_problem(12, [24, 51])
    return args, forecast_batch(*args, draws=DRAWS, threads=1)


def forecast_in_double():
    """As `test_forecast.agree`."""
    args, expected = forecasts()
    room = forecast.room_for(args[1], args[6].shape[1])
    given = forecast.arguments(np, *args, draws=DRAWS, room=room, past=False)
    for kernel in forecast.build(False, room, past=False, parameters=False, multi_power=False):
        Device().launch(kernel, 2, given, None)
    found = forecast.collect(np, given[-1], args[0], args[6])
    for name, mine, theirs in zip(found._fields, found, expected, strict=True):
        np.testing.assert_allclose(mine, as_table(theirs), rtol=1e-8, atol=1e-9, err_msg=name)


@cache
def curves_of_two():
    """Two runs that ask the default law, the second in a chunk of its own; answers."""
    given = curve_problem(20, [50, 34], n_at=2, n_paths=2)
    return given, forecast_curves(*given, draws=DRAWS, threads=1)


def curves_in_chunks(runs=1):
    """As `test_curve_forecast.agree`."""
    given, expected = curves_of_two()
    job = CurveJob(*given, draws=DRAWS)
    job.kernels = curve_forecast.build()
    run(job, [Device()], options=Options(runs=runs))
    for name, mine, theirs in zip(job.result._fields, job.result, expected, strict=True):
        np.testing.assert_allclose(mine, as_table(theirs), rtol=1e-8, atol=1e-9, err_msg=name)


def curves_in_a_chunk():
    """The same, both runs at a time."""
    curves_in_chunks(runs=2)


def quantiles_of_rows():
    """As `test_quantiles.test_rows`."""
    rows = np.random.default_rng(6).normal(3.0, 1.0, (2, 70))
    shares = (0.0, 0.25, 0.777, 1.0)
    out = np.full((2, 2 + len(shares)), np.nan)
    given = (rows, *quantiles.places(shares, 70, False), out)
    Device().launch(quantiles.build(False, quantiles.size_for(70)), 2, given, None)
    np.testing.assert_allclose(out[:, 0], rows.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(out[:, 1], rows.std(axis=1, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(out[:, 2:], quantiles_on_cpu(rows, shares).T, rtol=1e-12)


def sums_in_chunks():
    """As `test_launch.test_results_are_in_order_whatever_the_chunks`."""
    job = Sums(*ragged((3, 1, 40, 7, 5)))
    run(job, [SimulatedDevice()], options=Options(runs=2, slots=2))
    np.testing.assert_array_equal(job.sums, job.expected)
    np.testing.assert_array_equal(job.order, sorted(job.order))


CHECKS = (
    fit_in_double,
    fit_in_chunks,
    fit_in_single,
    exact_draws,
    ensemble_draws,
    moments_of_prefixes,
    predicted_curves,
    forecast_in_double,
    curves_in_chunks,
    curves_in_a_chunk,
    quantiles_of_rows,
    sums_in_chunks,
)


LONG = {
    fit_in_single,
    exact_draws,
    ensemble_draws,
    curves_in_chunks,
    curves_in_a_chunk,
}  # kernels that take long to build


# Of the kernels that take a while the first fault of each kind that a check tells; all at night.
SLOW = {fit_in_double, fit_in_chunks, forecast_in_double}
NIGHTLY = pytest.mark.nightly(only="builds large kernels again and again")


def _marks(check):
    return [NIGHTLY] * (check in LONG)


def _faults():
    told = set()
    for name, fault in FAULTS.items():
        again = fault.check in SLOW and (fault.check, fault.says) in told
        told.add((fault.check, fault.says))
        yield pytest.param(name, marks=[NIGHTLY] * (again or fault.check in LONG))


class Fault(NamedTuple):
    """Where a text of the source is replaced by another; what notices it, and how it says so."""

    where: str
    old: str
    new: str
    check: Callable[[], None]
    says: str


FAULTS = {
    # Barriers
    "no barrier after the elimination of fixed columns": Fault(
        "marginal:set_up",
        "        _eliminate(n_data, q, p, total, prior, work)\n    sync()\n",
        "        _eliminate(n_data, q, p, total, prior, work)\n",
        fit_in_double,
        RACE,
    ),
    "no barrier after a scan": Fault(
        "quadrature:_scan", "    sync()\n    return team_max(top)", "    return team_max(top)",
        fit_in_double, RACE,
    ),
    "no barrier after the draws": Fault(
        "gpu.fit:build", "        sync()\n        written = ", "        written = ",
        fit_in_double, RACE,
    ),
    "no barrier between a tile and its sums": Fault(
        "gpu.moments:prefix_moments", "            sync()\n            tile_moments",
        "            tile_moments", moments_of_prefixes, RACE,
    ),
    "no barrier between a response and what is read of it": Fault(
        "cells:tabulate", "                sync()\n                put_columns",
        "                put_columns", forecast_in_double, RACE,
    ),
    "no barrier between whitening and its sums": Fault(
        "gpu.cells:whiten_by_column", "    sync()\n    log_det", "    log_det",
        forecast_in_double, RACE,
    ),
    "no barrier between two sums of a block": Fault(
        "gpu.quantiles:build", "        cuda.syncthreads()  # the sum before has been read\n", "",
        quantiles_of_rows, RACE,
    ),
    "no barrier between the steps of a sort": Fault(
        "gpu.quantiles:build", "                cuda.syncthreads()\n                near = ",
        "                near = ", quantiles_of_rows, RACE,
    ),
    "no barrier between candidates and the choice among them": Fault(
        "exact:draw_exact", "        sync()\n        if not pilot:", "        if not pilot:",
        exact_draws, RACE,
    ),
    "no barrier between the moves of one half and of the other": Fault(
        "ensemble:draw_ensemble", "            sync()\n            kept = ",
        "            kept = ", ensemble_draws, RACE,
    ),
    # Loops and masks
    "a tile of one point is left out": Fault(
        "gpu.moments:prefix_moments", "range(start, stop, TILE_POINTS)",
        "range(start, stop - 1, TILE_POINTS)", moments_of_prefixes, NUMBERS,
    ),
    "the last warp of a tile has a point too many": Fault(
        "gpu.moments:tile_moments", "while i < stop", "while i <= stop",
        moments_of_prefixes, UNWRITTEN,
    ),
    "the binary search ends a cell early": Fault(
        "gpu.fit:make_draw_fast", "high = np.int32(middle)", "high = np.int32(middle - 1)",
        fit_in_double, NUMBERS,
    ),
    "candidates beyond those asked for count": Fault(
        "gpu.fit:make_draw_fast", "i < count and excess < 0.0", "excess < 0.0",
        fit_in_double, NUMBERS,
    ),
    "draws beyond the last are written": Fault(
        "gpu.fit:make_draw_fast", "if kept and place < n_draws", "if kept", fit_in_double, RACE,
    ),
    "a lane too many predicts": Fault(
        "gpu.predict:build", "range(lane(), draws.shape[1], width())",
        "range(lane(), draws.shape[1] + 1, width())", predicted_curves, RACE,
    ),
    "a median is off by a rank": Fault(
        "gpu.order:team_neighbours", "        if here > rank:", "        if here >= rank:",
        forecast_in_double, NUMBERS,
    ),
    "a quantile is off by a rank": Fault(
        "gpu.quantiles:build", "a = values[below[i]]", "a = values[max(below[i] - 1, 0)]",
        quantiles_of_rows, NUMBERS,
    ),
    "a row is read beyond its end": Fault(
        "gpu.quantiles:build", "            if i < n:\n", "            if i <= n:\n",
        quantiles_of_rows, BOUNDS,
    ),
    "the oldest bin is left out of the sums": Fault(
        "gpu.cells:gram_by_entry", "while i <= rows", "while i < rows",
        forecast_in_double, NUMBERS,
    ),
    # Strides and arguments
    "runs are taken to be of equal length": Fault(
        "gpu.moments:build", "b = offsets[r + 1]", "b = a + offsets[1]",
        moments_of_prefixes, NUMBERS,
    ),
    "predictions are transposed": Fault(
        "gpu.predict:build", "out[t, i] = ", "out[i, t] = ", predicted_curves, BOUNDS,
    ),
    "prior means and precisions are swapped": Fault(
        "gpu.fit:build", "mean[r], precision[r], lower[r]", "precision[r], mean[r], lower[r]",
        fit_in_double, NUMBERS,
    ),
    "a target follows another schedule": Fault(
        "cells:tabulate", "path = run.future[first, h]", "path = run.history[h]",
        forecast_in_double, NUMBERS,
    ),
    "the evidence is divided by that with the constraints": Fault(
        "gpu.exact:build", "value - evidence", "evidence - value", exact_draws, NUMBERS,
    ),
    "discarded sweeps and chains are swapped": Fault(
        "gpu.ensemble:build", "n_draws, tune, chains, keys[r]", "n_draws, chains, tune, keys[r]",
        ensemble_draws, BOUNDS,
    ),
    # The default law
    "no barrier between the largest weight and what becomes of the first": Fault(
        "curve_weights:_largest", "    sync()  # all have read the first\n", "",
        curves_in_chunks, RACE,
    ),
    "no barrier between the frames of a covariance and the next one's columns": Fault(
        "curve_cells:frames", "out)\n    sync()\n", "out)\n", curves_in_chunks, RACE,
    ),
    "no barrier between the times of targets and the walk of their path": Fault(
        "curve_columns:_append", "    sync()  # the times are there", "    # the times are there",
        curves_in_chunks, RACE,
    ),
    "no barrier between random places and their exchange": Fault(
        "gpu.curve_leaves:permutation_by_one", "    sync()\n    low = ", "    low = ",
        curves_in_chunks, RACE,
    ),
    "every second draw is of its neighbour's cell": Fault(
        "gpu.curve_leaves:list_cells_by_draw", "f = frames[first + i]",
        "f = frames[first + i - i % 2]", curves_in_chunks, NUMBERS,
    ),
    "a lane of bins reads a point too few": Fault(
        "gpu.curve_leaves:bin_means_by_bin", "in range(first, last)", "in range(first, last - 1)",
        curves_in_chunks, NUMBERS,
    ),
    "spikes push the points of other lanes": Fault(
        "curve_points:without_spikes", "points[1, m + before]", "points[1, m + lane()]",
        curves_in_chunks, RACE,
    ),
    "the cumulative weights forget the lanes before": Fault(
        "gpu.curve_leaves:choose_by_draw", "(sum_before(w) + w)", "w", curves_in_chunks, NUMBERS,
    ),
    "a target takes the run of the next one": Fault(
        "gpu.curve_forecast:run_of_target", "targets[half] <= t", "targets[half] <= t + 1",
        curves_in_a_chunk, NUMBERS,
    ),
    "hypotheses of another chunk": Fault(
        "gpu.curve_batch:CurveJob.fill", "asked.history[hypotheses]",
        "asked.history[: len(asked.history[hypotheses])]", curves_in_chunks, NUMBERS,
    ),
    # Exchange between lanes
    "a sum over lanes stops a step early": Fault(
        "gpu.warp:team_sum", "    value += cuda.shfl_xor_sync(FULL, value, 1)\n", "",
        moments_of_prefixes, NUMBERS,
    ),
    "a reduction exchanges with the wrong lane": Fault(
        "gpu.moments:sixteen_sums", "fold((j & 2) != 0, a0, a1, 2)",
        "fold((j & 2) != 0, a0, a1, 4)", moments_of_prefixes, NUMBERS,
    ),
    "the neighbour across warps is forgotten": Fault(
        "gpu.nodes:node_table", "before = last", "before = e", fit_in_double, NUMBERS,
    ),
    "cells before those of a lane are not all counted": Fault(
        "gpu.cells:sum_before", "(1, 2, 4, 8, 16)", "(1, 2, 4, 8)", forecast_in_double, NUMBERS,
    ),
    # Random numbers and functions
    "sine and cosine are swapped": Fault(
        "philox:normal_pair", "radius * sine, radius * cosine", "radius * cosine, radius * sine",
        forecast_in_double, NUMBERS,
    ),
    "a block of random words is used twice": Fault(
        "gpu.fit:make_draw_fast", "draw & MASK32, uint64(1)", "draw & MASK32, uint64(0)",
        fit_in_double, NUMBERS,
    ),
    "targets share their random words": Fault(
        "forecast:_draw", "philox(draw, uint64(j), uint64(1)", "philox(draw, ZERO, uint64(1)",
        forecast_in_double, NUMBERS,
    ),
    "a constant of the logarithm is cut short": Fault(
        "maths:log", "np.float64(e) * LN2", "np.float64(e) * 0.693147", predicted_curves, NUMBERS,
    ),
    # Single precision
    "what a prior takes off a coefficient is forgotten": Fault(
        "gpu.single:single_table", "work.rows[2, j] = e0 + h0 - p0", "work.rows[2, j] = e0 + h0",
        fit_in_single, NUMBERS,
    ),
    "residuals are staged about another centre": Fault(
        "gpu.single:single_table", "return work.reference[REF_CENTRE], real(0.0)",
        "return work.reference[REF_Q], real(0.0)", fit_in_single, HANDED_OVER,
    ),
    "the prior is not shifted with the losses": Fault(
        "gpu.batch:FitJob.fill", "some[1][:, self.program.constant] - shift",
        "some[1][:, self.program.constant]", fit_in_single, NUMBERS,
    ),
    # Launches
    "offsets of a chunk do not start from 0": Fault(
        "gpu.batch:FitJob.fill", "offsets[...] = edges - a", "offsets[...] = edges",
        fit_in_chunks, BOUNDS,
    ),
    "keys of another chunk": Fault(
        "gpu.batch:FitJob.fill", "self.keys[start:stop]", "self.keys[: stop - start]",
        fit_in_chunks, NUMBERS,
    ),
    "results are taken before they are there": Fault(
        "gpu.launch:_Gpu.finish_one", "self.device.mark(slot.stream).wait()", "None",
        sums_in_chunks, NUMBERS,
    ),
    "constants are used before they are there": Fault(
        "gpu.launch:_Gpu.upload_constants", "self.device.mark(stream).wait()", "None",
        sums_in_chunks, NUMBERS,
    ),
    "results are copied from the wrong place": Fault(
        "gpu.launch:_Gpu.start", "download(slot.block[n_in : n_in + n_out]",
        "download(slot.block[:n_out]", sums_in_chunks, NUMBERS,
    ),
    "the last chunk is handed over first": Fault(
        "gpu.launch:_Gpu.finish_one", "self.busy.popleft()", "self.busy.pop()",
        sums_in_chunks, NUMBERS,
    ),
}  # fmt: skip


@cache
def passed(check):
    """Run a check of kernels without a fault, before one is planted."""
    check()
    return True


@pytest.mark.parametrize(
    "check", [pytest.param(check, marks=_marks(check), id=check.__name__) for check in CHECKS]
)
def test_without_a_fault(check):
    assert passed(check)


@pytest.mark.parametrize("name", tuple(_faults()))
def test_fault_is_noticed(name):
    where, old, new, check, says = FAULTS[name]
    assert passed(check)
    with planted(where, old, new), pytest.raises((PtxError, AssertionError), match=says):
        check()
