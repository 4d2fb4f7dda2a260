"""All CUDA kernels, as they are built for the laws that come with the library.

Tests compile and execute what stands here, and the kernel report measures it: a new kernel needs a
line here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..kernels.gpu import (
    curve_forecast,
    ensemble,
    exact,
    fit,
    forecast,
    moments,
    predict,
    quantiles,
)
from ..kernels.gpu.launch import built
from ..kernels.gpu.spec import Kernel
from ..laws import find, get


class Entry(NamedTuple):
    """A kernel in its precisions."""

    name: str  # with the law or the variant
    build: Callable[[bool], Kernel]  # from ``single`` to the kernel
    precisions: tuple[str, ...] = ("float64", "float32")  # those that the kernel has


def catalogue() -> list[Entry]:
    """Every kernel."""
    both, double = ("float64", "float32"), ("float64",)
    entries = [
        Entry(f"fit {law}", partial(_fit, law, fit.POINTS[0]), both)
        for law in ("power", "power_linear")
    ]
    entries.append(Entry("fit power_linear, wide", partial(_fit, "power_linear", fit.POINTS[1])))
    entries += [
        Entry(f"exact {law}", partial(_exact, law), double)
        for law in ("power_linear", "power_linear_offset")
    ]
    entries.append(Entry("ensemble broken_power", _ensemble, double))
    entries += [
        Entry(f"predict {law}", partial(_predict, law))
        for law in ("power_linear", "power_linear_offset", "broken_power")
    ]
    entries.append(Entry("moments", partial(built, moments.build)))
    entries += [
        Entry(f"curve {stage}", partial(_curve_stage, k), double)
        for k, stage in enumerate(curve_forecast.ARGUMENTS)
    ]
    # The usual question has few things to reckon with; the other one all.
    annealing: Any = find("annealing")
    room = forecast.room_for(annealing.grid, 3)
    for variant, place, everything in (("", room, False), (", full", forecast.GLOBAL, True)):
        entries += [
            Entry(f"forecast {stage}{variant}", partial(_stage, k, place, everything))
            for k, stage in enumerate(("prepare", "tabulate", "weigh", "draw"))
        ]
    entries.append(Entry("quantiles", _quantiles))
    return entries


def _fit(law: str, points: int, single: bool) -> Kernel:
    return built(fit.build, get(law).program, single, points)


def _exact(law: str, single: bool) -> Kernel:
    return built(exact.build, get(law).program, fit.POINTS[0])


def _ensemble(single: bool) -> Kernel:
    return built(ensemble.build, get("broken_power").program, 0)


def _predict(law: str, single: bool) -> Kernel:
    return built(predict.build, get(law).program, single)


def _quantiles(single: bool) -> Kernel:
    return built(quantiles.build, single, 1024)


def _curve_stage(number: int, single: bool) -> Kernel:
    stages: Any = built(curve_forecast.build)
    kernel: Kernel = stages[number]
    return kernel


def _stage(number: int, place: Any, everything: bool, single: bool) -> Kernel:
    stages: Any = built(forecast.build, single, place, everything, everything, everything)
    kernel: Kernel = stages[number]
    return kernel
