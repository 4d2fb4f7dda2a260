"""Run PTX kernels on the CPU, for tests on machines without a GPU.

It executes the PTX that numba-cuda (NVVM), NVRTC or nvcc emit for a kernel, so that a kernel's
numbers can be compared with a reference, and its synchronisation checked, with neither a GPU nor a
driver. It needs numpy and Numba only.

    module = PtxModule(kernel_ptx(kernel))
    name = next(iter(module.entries))
    module.launch(name, grid, 32, numba_kernel_args(x, y, out))
    module.report.warp_counts_by_opcode()  # executed instructions, by opcode

How it works
    Every register is a numpy array over the threads that run. The threads at the lowest place of
    the program run next, together, whatever their block; threads that parted meet again when their
    places agree. A block is one warp, all of whose threads wait for one another at barriers,
    shuffles and votes. See `emulator.machine` and, for memory, `emulator.memory`.

What it checks (PtxError, unless another error is named)
    * OutOfBoundsError (an IndexError): an access outside the arrays of global or shared memory.
      There are gaps between arrays.
    * A misaligned access, and a write to an array that is not writeable.
    * "shared memory race", "global memory race": two threads access one element, at least one of
      them writes, and no barrier of their block orders them. Shuffles and votes do not order
      memory. Two writers of the same value race as well.
    * "uninitialised shared memory": a read of what nothing wrote before.
    * "divergent barrier": threads of a block wait at different barriers, shuffles or votes, or some
      have ended. A mask that leaves lanes out.
    * NotImplementedError: an instruction, or a modifier of one, that is not known.

Limits
    * One schedule only: what depends on timing, on the memory model or on ptxas is not seen. A
      kernel whose threads spin until another thread does something may never end.
    * The approximate instructions for float32 (ex2, lg2, rcp, rsqrt, sqrt, div.full) are correctly
      rounded; the hardware is off by about 2 units in the last place. An add and a mul that ptxas
      might fuse are two instructions.
    * Not there: what no kernel of the library needs. Kernels are single functions of blocks of one
      warp, without local memory, atomics, guards but of branches, and masks of some lanes only.
"""

from __future__ import annotations

import numpy as np

from tests.gpu.emulator.machine import Machine
from tests.gpu.emulator.memory import WARP, Memory, OutOfBoundsError, PtxError
from tests.gpu.emulator.parse import DTYPES, parse
from tests.gpu.emulator.report import Report

__all__ = ["OutOfBoundsError", "PtxError", "PtxModule", "numba_kernel_args"]


def numba_kernel_args(*args):
    """Flatten arrays, scalars and tuples of them into the parameters of a kernel of numba-cuda.

    Parameters
    ----------
    *args : numpy.ndarray, scalar, or (named) tuple of these
        The arguments as the kernel's Python function takes them.

    Returns
    -------
    list
        The `args` of `PtxModule.launch`: for each array meminfo, parent, size, itemsize, data,
        shape..., strides...; for each scalar a numpy scalar of the type that Numba gives it; of a
        tuple what its elements give.
    """
    flat = []
    for arg in args:
        if isinstance(arg, np.ndarray):
            sizes = [arg.size, arg.itemsize, ("ptr", arg), *arg.shape, *arg.strides]
            words = [0, 0, *sizes]
            flat += [x if isinstance(x, tuple) else np.int64(x) for x in words]
        elif isinstance(arg, tuple):
            flat += numba_kernel_args(*arg)
        elif arg is None:
            flat.append(np.int64(0))
        elif isinstance(arg, (bool, np.bool_)):
            flat.append(np.uint8(arg))
        elif isinstance(arg, (complex, np.complexfloating)):
            arg = np.asarray(arg)[()]
            flat += [arg.real, arg.imag]
        elif isinstance(arg, np.generic):
            flat.append(arg)
        elif isinstance(arg, int):
            flat.append(np.int64(arg) if arg < 1 << 63 else np.uint64(arg))
        elif isinstance(arg, float):
            flat.append(np.float64(arg))
        else:
            raise TypeError(f"argument {arg!r}")
    return flat


class PtxModule:
    """The kernels of one PTX text.

    Parameters
    ----------
    ptx : str
        The PTX text.

    Attributes
    ----------
    entries : dict
        Name of a kernel -> its parsed `Program`.
    report : Report
        What the last launch executed.
    """

    def __init__(self, ptx):
        self.entries = parse(ptx)
        self.report = None
        self._machines = {}

    def launch(self, name, grid, block, args, threads_at_once=512, max_steps=None):
        """Run a kernel to its end; arrays are changed in place.

        Parameters
        ----------
        name : str
            A key of `entries`.
        grid, block : int
            Blocks in the grid, and threads in a block: 32.
        args : list
            The kernel's parameters in order: scalars, and arrays as ('ptr', array).
            `numba_kernel_args` makes this list for a kernel of numba-cuda.
        threads_at_once : int, optional
            Blocks are run in batches of about so many threads, one batch after the other.
        max_steps : int, optional
            Give up after so many basic blocks have been executed.

        Raises
        ------
        PtxError
            The kernel does something wrong; see the top of this module.
        OutOfBoundsError
            It reads or writes what is not there (also an IndexError).
        NotImplementedError
            It has an instruction that is not known.
        """
        program = self.entries[name]
        if block != WARP:
            raise NotImplementedError(f"blocks of {block} threads")
        if len(program.parameters) != len(args):
            raise TypeError(f"{name} takes {len(program.parameters)} parameters, not {len(args)}")
        num_slots = max(1, min(grid, threads_at_once // WARP))
        memory = Memory(program, num_slots, [arg[1] for arg in args if isinstance(arg, tuple)])
        values = {
            name: _value(name, kind, arg, memory)
            for (name, kind), arg in zip(program.parameters.items(), args, strict=True)
        }
        key = name, num_slots
        if key not in self._machines:
            self._machines[key] = Machine(program, num_slots)
        machine = self._machines[key]
        machine.prepare(memory, values)
        budget = 1 << 62 if max_steps is None else max_steps
        with np.errstate(all="ignore"):
            for first in range(0, grid, num_slots):
                budget = machine.run(first, min(num_slots, grid - first), budget)
        memory.copy_back()
        self.report = Report(machine)


def _value(name, kind, arg, memory):
    """The value of a parameter, which must have its width and kind."""
    value = np.uint64(memory.address_of(arg[1])) if isinstance(arg, tuple) else np.asarray(arg)[()]
    dtype = np.dtype(DTYPES[kind])
    if (value.dtype.kind == "f") != (kind[0] == "f") or value.dtype.itemsize != dtype.itemsize:
        raise TypeError(f"{name} is {kind}, not {value.dtype}")
    return value.view(dtype)
