"""What the tests of kernels run them on: natively, by the PTX interpreter, or on a real GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossfit.kernels.gpu.device import CupyDevice, on_host
from tests.gpu.emulated import EmulatedDevice
from tests.gpu.native import NativeDevice, missing_native

__all__ = ["KINDS", "RealDevice", "device_class", "launched"]

KINDS = ("native", "ptx", "cuda")


class RealDevice(CupyDevice):
    """A GPU that remembers what was launched."""

    def __init__(self, number: int = 0, **_pretended: Any) -> None:
        super().__init__(0)
        self.launches: list[tuple[str, int, int]] = []
        self.reports: list[Any] = []

    def launch(self, kernel, grid, arguments, stream):
        if grid:
            self.launches.append((kernel.name, grid, kernel.block))
        super().launch(kernel, grid, arguments, stream)


def device_class(kind: str) -> Any:
    """The class of devices of a kind, or why there are none here."""
    if kind == "ptx":
        return EmulatedDevice
    if kind == "native":
        return missing_native() or NativeDevice
    from lossfit.engine import devices

    found = devices.find()
    return RealDevice if found.gpus else "there is no GPU: " + "; ".join(found.missing)


def launched(device: Any, kernel: Any, grid: int, arguments: Any) -> None:
    """Launch a kernel on host arrays, which are changed in place, and wait for it."""
    if not isinstance(device, RealDevice):
        device.launch(kernel, grid, arguments, None)
        return
    there: list[Any] = []

    def move(value: Any) -> Any:
        if isinstance(value, tuple):
            parts = [move(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if isinstance(value, np.ndarray):
            there.append((value, device.xp.asarray(value)))
            return there[-1][1]
        return value

    with device.active():
        stream = device.stream()
        device.work(
            stream, lambda: device.launch(kernel, grid, [move(a) for a in arguments], stream)
        )
        device.mark(stream).wait()
        for host, array in there:
            if host.flags.writeable:
                host[...] = on_host(array)
