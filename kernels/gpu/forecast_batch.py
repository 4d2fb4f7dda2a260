"""Default forecasts of many runs on GPUs: `forecast_driver.forecast_batch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cells import Grid
from ..forecast import PARAMETERS
from ..forecast_driver import Curves, Forecast, Hypotheses, ResponsePrior
from ..paths import MULTI_POWER, Paths, Shapes
from ..records import FORECAST, as_records
from . import forecast, quantiles
from .chunks import Spec
from .device import Device
from .launch import Chunk, Job, Options, built, run

__all__ = ["ForecastJob", "Quantiles", "forecast_batch_on"]

Floats = NDArray[np.float64]


class Quantiles(NamedTuple):
    """What comes back in the place of draws.

    Attributes
    ----------
    mean, sd : float64, shape (n_runs, n_at)
    quantiles : float64, shape (n_runs, n_at, n_quantiles)
    """

    mean: Floats
    sd: Floats
    quantiles: Floats


class ForecastJob(Job):
    """Forecasts by one law that responds to the learning rate.

    Parameters
    ----------
    curves, grid, hypotheses, prior, shapes, paths, at, keys, draws, parameters
        As in `forecast_driver.forecast_batch`.
    single : bool
        Whether to compute in float32.
    shares : sequence of float, optional
        Probabilities: mean, sd and these quantiles come back, and the draws do not.
    names : sequence of str, optional
        Of the runs, for messages.

    Attributes
    ----------
    result : Forecast
    summary : Quantiles or None
    """

    def __init__(
        self,
        curves: Curves,
        grid: Grid,
        hypotheses: Hypotheses,
        prior: ResponsePrior,
        shapes: Shapes,
        paths: Paths,
        at: Floats,
        keys: NDArray[np.uint64],
        *,
        draws: int,
        single: bool,
        parameters: bool = False,
        shares: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.n_runs, n_at = at.shape
        self.brought = (curves, hypotheses, prior, at, keys)
        self.single = single
        self.n_draws = draws
        self.parameters = parameters
        self.names = names
        self.number = np.dtype(np.float32 if single else np.float64)
        self.sizes = forecast.sizes_of(curves, grid, hypotheses, prior, shapes, at)
        self.made = forecast.constants(np, grid, shapes, paths, single)
        ends = curves.t[curves.offsets[1:] - 1]
        self.past = bool((at <= ends[:, None]).any())
        self.room = forecast.room_for(grid, n_at)
        multi_power = bool((grid.units[:, 0] == MULTI_POWER).any())
        self.kernels = built(forecast.build, single, self.room, self.past, parameters, multi_power)
        n_paths = self.sizes.n_paths
        self.result = Forecast(
            np.empty((self.n_runs, n_at, 0 if shares is not None else draws)),
            np.empty((self.n_runs, len(PARAMETERS), draws) if parameters else (self.n_runs, 0, 0)),
            np.empty((self.n_runs, n_paths)),
            np.empty((self.n_runs, n_at)),
            np.empty((self.n_runs, n_at)),
            np.empty((self.n_runs, len(FORECAST))),
        )
        self.summary: Quantiles | None = None
        if shares is not None:
            self.sort = built(quantiles.build, single, quantiles.size_for(draws))
            self.places = quantiles.places(shares, draws, single)
            shape = (self.n_runs, n_at)
            self.summary = Quantiles(
                np.empty(shape), np.empty(shape), np.empty((*shape, len(shares)))
            )

    def label(self, run: int) -> str:
        """The run's name."""
        return super().label(run) if self.names is None else f"run {self.names[run]!r}"

    def points(self, start: int, stop: int) -> int:
        """Points of some runs."""
        offsets = self.brought[0].offsets
        return int(offsets[stop] - offsets[start])

    def constants(self) -> Sequence[NDArray[Any]]:
        """Arrays of the grid, the shapes and the paths, and where quantiles lie."""
        arrays = [part for group in self.made for part in group if isinstance(part, np.ndarray)]
        return [*arrays, *(self.places if self.summary is not None else ())]

    def _sizes(self, start: int, stop: int) -> forecast.Sizes:
        return self.sizes._replace(n_runs=stop - start, n_points=self.points(start, stop))

    def inputs(self, start: int, stop: int) -> Sequence[Spec]:
        """`forecast.Points` and `forecast.PerRun`."""
        return forecast.input_specs(self._sizes(start, stop), self.single)

    def fill(self, start: int, stop: int, inputs: Sequence[NDArray[Any]]) -> None:
        """Write them."""
        some = forecast.take(*self.brought, start, stop)
        points, per = forecast.inputs(np, *some, self.single)
        for view, array in zip(inputs, (*points, *per), strict=True):
            view[...] = array

    def scratch(self, start: int, stop: int) -> Sequence[Spec]:
        """The workspace, and draws that do not come back."""
        specs = forecast.workspace(self._sizes(start, stop), self.single, self.room, self.past)
        return [*specs, *(self._out(start, stop)[:1] if self.summary is not None else ())]

    def _out(self, start: int, stop: int) -> Any:
        return forecast.outputs(
            self._sizes(start, stop), self.single, self.n_draws, self.parameters
        )

    def outputs(self, start: int, stop: int) -> Sequence[Spec]:
        """A `Forecast`, with summaries in the place of draws where these are wanted."""
        out = self._out(start, stop)
        if self.summary is None:
            return [*out]
        n_rows = (stop - start) * self.sizes.n_at
        return [Spec((n_rows, 2 + self.places[0].size), self.number), *out[1:]]

    def launch(self, chunk: Chunk) -> None:
        """The stages, and the sort."""
        arrays = iter(chunk.constants)
        made = [
            type(group)(*(next(arrays) if isinstance(p, np.ndarray) else p for p in group))
            for group in self.made
        ]
        n_points = len(forecast.Points._fields)
        out = Forecast(*chunk.outputs)
        if self.summary is not None:
            out = out._replace(draws=chunk.scratch[-1])
        workspace = chunk.scratch[: len(forecast.Workspace._fields)]
        for kernel in self.kernels:
            chunk.launch(
                kernel, forecast.Points(*chunk.inputs[:n_points]),
                forecast.PerRun(*chunk.inputs[n_points:]), *made, forecast.Workspace(*workspace),
                out,
            )  # fmt: skip
        if self.summary is not None:
            rows = out.draws.reshape(-1, self.n_draws)
            below, part = arrays
            chunk.launch(self.sort, rows, below, part, chunk.outputs[0], grid=rows.shape[0])

    def collect(self, start: int, stop: int, outputs: Sequence[NDArray[Any]]) -> None:
        """Copy them, at their own level."""
        curves, _hypotheses, _prior, at, _keys = forecast.take(*self.brought, start, stop)
        out = Forecast(*outputs)
        if self.summary is not None:
            level = curves.y[curves.offsets[1:] - 1]
            found = outputs[0].astype(np.float64).reshape(stop - start, self.sizes.n_at, -1)
            found[np.isnan(at)] = np.nan
            self.summary.mean[start:stop] = found[:, :, 0] + level[:, None]
            self.summary.sd[start:stop] = found[:, :, 1]
            self.summary.quantiles[start:stop] = found[:, :, 2:] + level[:, None, None]
            out = out._replace(draws=np.empty((stop - start, self.sizes.n_at, 0)))
        for target, values in zip(self.result, forecast.collect(np, out, curves, at), strict=True):
            target[start:stop] = values


def forecast_batch_on(
    devices: Sequence[Device],
    curves: Curves,
    grid: Grid,
    hypotheses: Hypotheses,
    prior: ResponsePrior,
    shapes: Shapes,
    paths: Paths,
    at: Floats,
    keys: NDArray[np.uint64],
    *,
    draws: int,
    single: bool,
    parameters: bool = False,
    names: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    options: Options | None = None,
) -> Forecast:
    """`forecast_driver.forecast_batch` on GPUs.

    Parameters
    ----------
    devices : sequence of Device
    curves, grid, hypotheses, prior, shapes, paths, at, keys, draws, parameters, progress
        As there.
    single : bool
        Whether to compute in float32.
    names : sequence of str, optional
        Of the runs, for messages.

    Returns
    -------
    Forecast
    """
    job = ForecastJob(
        curves, grid, hypotheses, prior, shapes, paths, at, keys, draws=draws, single=single,
        parameters=parameters, names=names,
    )  # fmt: skip
    run(job, devices, progress=progress, options=options)
    return job.result._replace(info=as_records(job.result.info, FORECAST))
