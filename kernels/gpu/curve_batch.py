"""Default forecasts of many runs on GPUs: `curve_forecast.forecast_curves`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..curve_data import PARAMETERS, RECORD, Asked, CurveForecast, Observed
from ..curve_forecast import most
from ..curve_law import CellGrid, HyperPrior, n_marginals
from ..paths import Paths, Shapes
from ..records import as_records
from . import curve_forecast
from .chunks import Spec
from .curve_forecast import ARGUMENTS, Results, Sizes, specs
from .device import Device
from .launch import Chunk, Job, Options, built, run

__all__ = ["CurveJob", "forecast_curves_on"]

WORK = ("points", "known", "tabulated", "weighed", "drawn", "evaluated")


class CurveJob(Job):
    """Forecasts by the default law.

    Parameters
    ----------
    observed, asked, grid, hyper, shapes, paths, draws, parameters
        As in `curve_forecast.forecast_curves`.
    names : sequence of str, optional
        Of the runs, for messages.

    Attributes
    ----------
    result : Results
    """

    def __init__(
        self,
        observed: Observed,
        asked: Asked,
        grid: CellGrid,
        hyper: HyperPrior,
        shapes: Shapes,
        paths: Paths,
        *,
        draws: int,
        parameters: bool = False,
        names: Sequence[str] | None = None,
    ) -> None:
        self.observed, self.asked, self.grid, self.hyper = observed, asked, grid, hyper
        self.made = {"grid": grid, "hyper": hyper, "shapes": shapes, "paths": paths}
        self.n_runs = len(observed.keys)
        self.names = names
        self.kernels = built(curve_forecast.build)
        largest = most(observed, asked, 0, self.n_runs)
        nodes = int(np.diff(shapes.offsets).max())
        self.sizes = Sizes(
            0, 0, 0, 0, 0, largest.paths, largest.at, largest.past, nodes, draws, parameters
        )
        self.result = Results(
            np.empty((len(asked.at), draws)),
            np.empty((self.n_runs, len(PARAMETERS), draws) if parameters else (0, 0, 0)),
            np.empty(len(asked.history)),
            np.empty((self.n_runs, n_marginals(grid))),
            np.empty(len(asked.at)),
            np.empty((self.n_runs, len(RECORD))),
        )

    def label(self, run: int) -> str:
        """The run's name."""
        return super().label(run) if self.names is None else f"run {self.names[run]!r}"

    def points(self, start: int, stop: int) -> int:
        """Points of some runs."""
        return int(self.observed.offsets[stop] - self.observed.offsets[start])

    def constants(self) -> Sequence[NDArray[Any]]:
        """Arrays of the cells, of the hyper-prior, of the shapes and the paths."""
        return [p for group in self.made.values() for p in group if isinstance(p, np.ndarray)]

    def _slices(self, start: int, stop: int) -> dict[str, slice]:
        """Where some runs' points, targets, hypotheses and futures lie, and they themselves."""
        offsets = {
            "points": self.observed.offsets,
            "targets": self.asked.targets,
            "hypotheses": self.asked.hypotheses,
            "futures": self.asked.futures,
        }
        slices = {name: slice(int(v[start]), int(v[stop])) for name, v in offsets.items()}
        return {**slices, "runs": slice(start, stop)}

    def _specs(self, start: int, stop: int) -> dict[str, Any]:
        counts = {name: s.stop - s.start for name, s in self._slices(start, stop).items()}
        return specs(self.sizes._replace(**counts), self.grid, self.hyper)

    def inputs(self, start: int, stop: int) -> Sequence[Spec]:
        """`Observed` and `Asked`."""
        groups = self._specs(start, stop)
        return [*groups["observed"], *groups["asked"]]

    def fill(self, start: int, stop: int, inputs: Sequence[NDArray[Any]]) -> None:
        """Write them."""
        part = self._slices(start, stop)
        observed, asked = self.observed, self.asked
        points, targets, hypotheses = part["points"], part["targets"], part["hypotheses"]
        runs, edges = part["runs"], slice(start, stop + 1)
        arrays = (
            observed.t[points], observed.loss[points], observed.weight[points],
            observed.offsets[edges] - points.start, observed.warmup[runs],
            observed.step_size[runs], observed.floor[runs], observed.noise[runs],
            observed.slope[runs], observed.keys[runs],
            asked.at[targets], asked.targets[edges] - targets.start,
            asked.hypotheses[edges] - hypotheses.start, asked.history[hypotheses],
            asked.kind[hypotheses], asked.log_weight[hypotheses],
            asked.futures[edges] - part["futures"].start, asked.future[part["futures"]],
            asked.plan[runs], asked.knowledge[runs], asked.like[runs], asked.longer[targets],
            asked.siblings[targets], asked.strengths[runs],
        )  # fmt: skip
        for view, array in zip(inputs, arrays, strict=True):
            view[...] = array

    def scratch(self, start: int, stop: int) -> Sequence[Spec]:
        """What the stages leave for each other."""
        groups = self._specs(start, stop)
        return [spec for name in WORK for spec in groups[name]]

    def outputs(self, start: int, stop: int) -> Sequence[Spec]:
        """`Results`."""
        return [*self._specs(start, stop)["out"]]

    def launch(self, chunk: Chunk) -> None:
        """The stages."""
        groups = self._specs(chunk.start, chunk.stop)

        def taken(names: Sequence[str], arrays: Sequence[Any]) -> dict[str, Any]:
            rest = iter(arrays)
            return {name: type(groups[name])(*(next(rest) for _ in groups[name])) for name in names}

        constants = iter(chunk.constants)
        arguments: dict[str, Any] = {
            name: type(group)(*(next(constants) if isinstance(p, np.ndarray) else p for p in group))
            for name, group in self.made.items()
        }
        arguments |= taken(("observed", "asked"), chunk.inputs)
        observed = arguments["observed"]
        arguments |= {"step_size": observed.step_size, "keys": observed.keys}
        arguments |= taken(WORK, chunk.scratch)
        arguments |= taken(("out",), chunk.outputs)
        n_targets = chunk.outputs[0].shape[0]
        for kernel, (stage, names) in zip(self.kernels, ARGUMENTS.items(), strict=True):
            grid = n_targets if stage == "evaluate" else None
            chunk.launch(kernel, *(arguments[name] for name in names), grid=grid)

    def collect(self, start: int, stop: int, outputs: Sequence[NDArray[Any]]) -> None:
        """Copy them."""
        part = self._slices(start, stop)
        runs, targets, hypotheses = part["runs"], part["targets"], part["hypotheses"]
        for name, values in zip(Results._fields, outputs, strict=True):
            whose = {"draws": targets, "falls": targets, "shares": hypotheses}.get(name, runs)
            getattr(self.result, name)[whose] = values


def forecast_curves_on(
    devices: Sequence[Device],
    observed: Observed,
    asked: Asked,
    grid: CellGrid,
    hyper: HyperPrior,
    shapes: Shapes,
    paths: Paths,
    *,
    draws: int,
    parameters: bool = False,
    names: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    options: Options | None = None,
) -> CurveForecast:
    """`curve_forecast.forecast_curves` on GPUs, in float64.

    Parameters
    ----------
    devices : sequence of Device
    observed, asked, grid, hyper, shapes, paths, draws, parameters, progress
        As there.
    names : sequence of str, optional
        Of the runs, for messages.
    options : Options, optional

    Returns
    -------
    CurveForecast
    """
    job = CurveJob(
        observed, asked, grid, hyper, shapes, paths, draws=draws, parameters=parameters, names=names
    )
    run(job, devices, progress=progress, options=options)
    return CurveForecast(*job.result[:-1], as_records(job.result.records, RECORD))
