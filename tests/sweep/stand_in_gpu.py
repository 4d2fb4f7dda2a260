"""A GPU that is none, for this process or (as a Dask preload) for workers.

The CPU runs its kernels.
"""

from __future__ import annotations

from typing import Any


def gpu() -> tuple[Any, Any]:
    """What stands in for `devices.find` and for `devices.Place.open`."""
    from lossfit.engine.devices import Found, Gpu
    from tests.gpu.native import NativeDevice

    found = Found((Gpu(0, "a stand-in", (9, 0)),), (), ())
    return lambda: found, lambda place: [NativeDevice() for _ in place.gpus]


def dask_setup(worker: Any) -> None:
    """Give a worker the GPU."""
    from lossfit.engine import devices

    devices.find, devices.Place.open = gpu()  # type: ignore[method-assign]
