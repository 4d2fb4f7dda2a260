"""All CUDA kernels, as they are built for the laws that come with the library.

Tests compile and execute what stands here, and the kernel report measures it: a new kernel needs a
line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lossfit.kernels.gpu import ensemble, exact, fit, forecast, moments, predict, quantiles
from lossfit.kernels.gpu.launch import built
from lossfit.kernels.gpu.spec import Kernel
from lossfit.laws import find, get

__all__ = ["Entry", "catalogue"]


class Entry(NamedTuple):
    """A kernel in its precisions.

    Attributes
    ----------
    name : str
        With the law or the variant.
    build : callable
        From ``single`` to the kernel.
    precisions : tuple of str
        Those that the kernel has.
    """

    name: str
    build: Callable[[bool], Kernel]
    precisions: tuple[str, ...] = ("float64", "float32")


def catalogue() -> list[Entry]:
    """Every kernel."""
    entries = []
    for law in ("power", "power_linear"):
        program = get(law).program
        entries.append(Entry(f"fit {law}", lambda single, p=program: fit.build(p, single)))
    wide = get("power_linear").program
    entries.append(
        Entry("fit power_linear, wide", lambda single: fit.build(wide, single, fit.POINTS[1]))
    )
    double = ("float64",)
    for law in ("power_linear", "power_linear_offset"):
        program = get(law).program
        entries.append(Entry(f"exact {law}", lambda _, p=program: exact.build(p), double))
    bent = get("broken_power").program
    entries.append(Entry("ensemble broken_power", lambda _: ensemble.build(bent, 0), double))
    for law in ("power_linear", "power_linear_offset", "broken_power"):
        program = get(law).program
        entries.append(Entry(f"predict {law}", lambda single, p=program: predict.build(p, single)))
    entries.append(Entry("moments", moments.build))
    # The default answer has few things to reckon with; the other one all.
    annealing: Any = find("annealing")
    room = forecast.room_for(annealing.grid, 3)
    for variant, place, everything in (("", room, False), (", full", forecast.GLOBAL, True)):
        for k, stage in enumerate(("prepare", "tabulate", "weigh", "draw")):
            entries.append(
                Entry(
                    f"forecast {stage}{variant}",
                    lambda single, k=k, place=place, everything=everything: built(
                        forecast.build, single, place, everything, everything, everything
                    )[k],
                )
            )
    entries.append(Entry("quantiles", lambda single: quantiles.build(single, 1024)))
    return entries
