"""A device whose kernels are their PTX, executed on the CPU."""

from __future__ import annotations

import threading
from functools import cache

from lossfit.kernels.gpu.device import checked
from lossfit.kernels.gpu.spec import Kernel
from tests.gpu.compiled import compile_kernel, kernel_ptx
from tests.gpu.ptx_emulator import PtxModule, numba_kernel_args
from tests.gpu.simulated_device import SimulatedDevice

__all__ = ["EmulatedDevice", "linked_resources", "module_of"]


@cache
def _module(thread: int, kernel: Kernel, cc: tuple[int, int]) -> PtxModule:
    return PtxModule(kernel_ptx(kernel, cc))


def module_of(kernel: Kernel, cc: tuple[int, int] = (9, 0)) -> PtxModule:
    """The kernel's PTX, ready to be launched; compiled once a process, parsed once a thread."""
    return _module(threading.get_ident(), kernel, cc)


def linked_resources(kernel: Kernel, cc: tuple[int, int]) -> dict[str, int]:
    """What the linker says of a kernel, as `Device.resources`."""
    needs = compile_kernel(kernel, cc).resources
    return {"registers": needs.registers, "local": needs.local, "shared": needs.shared}


class EmulatedDevice(SimulatedDevice):
    """`SimulatedDevice` that executes PTX.

    Parameters
    ----------
    **options
        As for `SimulatedDevice`; `reports` collects what the launches executed.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.reports = []

    def resources(self, kernel):
        return linked_resources(kernel, self.compute_capability)

    def launch(self, kernel, grid, arguments, stream):
        if grid == 0:
            return
        self.launches.append((kernel.name, grid, kernel.block))
        module = module_of(kernel, self.compute_capability)
        module.launch(
            next(iter(module.entries)),
            grid,
            kernel.block,
            numba_kernel_args(*checked(kernel, arguments)),
        )
        self.reports.append(module.report)
