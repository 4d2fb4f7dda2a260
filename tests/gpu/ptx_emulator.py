"""Run PTX kernels on the CPU, for tests on machines without a GPU.

It executes the PTX that numba-cuda (NVVM), NVRTC or nvcc emit for a kernel, so that a kernel's
numbers can be compared with a reference, and its synchronisation checked, with neither a GPU nor a
driver. It needs numpy and Numba only.

    module = PtxModule(compile_ptx(kernel, (x, y, out)))
    name = next(iter(module.entries))
    arrays, steps = module.launch(name, grid, block, numba_kernel_args(x, y, out))
    print(module.report)  # executed instructions, by opcode; loops; memory traffic

How it works
    Every register is a numpy array over the threads that run. The threads at the lowest place of
    the program run next, together, whatever their block or warp; threads that parted meet again
    when their places agree. Threads wait at barriers, and at shuffles and votes with a mask, for
    those that must take part. See `emulator.machine` and, for memory, `emulator.memory`.

What it checks (PtxError, unless another error is named)
    * OutOfBoundsError (an IndexError): an access outside the arrays of global, shared or local
      memory. There are gaps between arrays, and between the elements of a strided view.
    * A misaligned access, and a write to an array that is not writeable or to constant memory.
    * "shared memory race", "global memory race": two threads access one element, at least one of
      them writes, and no barrier orders them: a block barrier if they are of one block, or a warp
      barrier if they are of one warp. Neither shuffles nor fences order memory. Atomics race with
      plain accesses only. Two writers of the same value race as well.
    * "uninitialised shared memory" or local memory: a read of what nothing wrote before.
    * "divergent barrier": the threads of a block wait at different barriers, or some have ended.
      "divergent warp barrier": a live thread that the mask of a warp barrier, shuffle or vote names
      never comes.
    * A shuffle that reads a lane which has ended or which the mask leaves out; a mask that leaves
      out the thread itself; `trap`.
    * NotImplementedError: an instruction, or a modifier of one, that is not known.

Limits
    * One schedule only: what depends on timing, on the memory model or on ptxas is not seen. A
      kernel whose threads spin until another thread does something may never end.
    * The approximate instructions for float32 (ex2, lg2, rcp, rsqrt, sqrt, div.full) are correctly
      rounded; the hardware is off by about 2 units in the last place. An add and a mul that ptxas
      might fuse are two instructions.
    * Stricter than the hardware: a thread that returns before a block barrier is an error.
    * Not there: what no kernel of the library needs, such as carries, fields and permutations of
      bits, funnel shifts, branch tables, reductions of a warp or block, trigonometry.
    * Not there: barriers of a part of a block, recursion, calls through pointers and of functions
      outside the module (printf, malloc), bf16 and packed types, tensor cores, asynchronous copies,
      clusters, textures, %clock.
"""

from __future__ import annotations

import numpy as np

from tests.gpu.emulator.machine import Machine
from tests.gpu.emulator.memory import Memory, OutOfBoundsError, PtxError
from tests.gpu.emulator.parse import DTYPES, parse_module
from tests.gpu.emulator.program import Program
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
        Name of a kernel -> its parsed function.
    instruction_counts : dict
        Opcode -> how often threads executed it, over all launches of this object.
    report : Report
        What the last launch executed.
    """

    def __init__(self, ptx):
        self.functions, self.variables = parse_module(ptx)
        self.entries = {name: f for name, f in self.functions.items() if f.is_entry}
        self.instruction_counts = {}
        self.report = None
        self._programs = {}
        self._machines = {}

    def program(self, name):
        """The kernel `name` with all that it calls."""
        if name not in self._programs:
            self._programs[name] = Program(self.functions, self.variables, name)
        return self._programs[name]

    def launch(
        self,
        name,
        grid,
        block,
        args,
        dynamic_shared=0,
        check_races=True,
        check_global=True,
        check_uninitialised=True,
        threads_at_once=512,
        max_steps=None,
    ):
        """Run a kernel to its end.

        Parameters
        ----------
        name : str
            A key of `entries`.
        grid, block : int or tuple of up to three int
            Blocks in the grid, and threads in a block.
        args : list
            The kernel's parameters in order: scalars, and arrays as ('ptr', array).
            `numba_kernel_args` makes this list for a kernel of numba-cuda.
        dynamic_shared : int, optional
            Bytes of dynamic shared memory of a block.
        check_races : bool, optional
            Look for races in shared memory.
        check_global : bool or 'strict', optional
            Look for races in global memory. If 'strict', two threads must not write one element
            even if a barrier lies between.
        check_uninitialised : bool, optional
            Look for reads of shared and local memory that nothing wrote.
        threads_at_once : int, optional
            Blocks are run in batches of about so many threads, one batch after the other.
        max_steps : int, optional
            Give up after so many basic blocks have been executed.

        Returns
        -------
        arrays : list of numpy.ndarray
            The arrays of `args` in order, which have been changed in place.
        steps : int
            Instructions issued, one for each group of threads that executed it together.

        Raises
        ------
        PtxError
            The kernel does something wrong; see the top of this module.
        OutOfBoundsError
            It reads or writes what is not there (also an IndexError).
        NotImplementedError
            It has an instruction that is not known.
        """
        program = self.program(name)
        grid, block = _three(grid), _three(block)
        block_size, num_blocks = int(np.prod(block)), int(np.prod(grid))
        num_slots = max(1, min(num_blocks, threads_at_once // block_size))
        arrays = [arg[1] for arg in args if isinstance(arg, tuple)]
        checks = {
            "shared": bool(check_races),
            "global": bool(check_global),
            "strict": check_global == "strict",
            "uninitialised": bool(check_uninitialised),
        }
        memory = Memory(program, num_slots, block_size, dynamic_shared, checks)
        parameters = program.functions[-1].parameters
        if len(parameters) != len(args):
            raise TypeError(f"{name} takes {len(parameters)} parameters, not {len(args)}")
        memory.fill(arrays)
        values = {
            parameter.name: _parameter_bytes(parameter, arg, memory)
            for parameter, arg in zip(parameters, args, strict=True)
        }
        key = name, num_slots, block_size
        if key not in self._machines:
            self._machines[key] = Machine(program, num_slots, block_size)
        machine = self._machines[key]
        machine.prepare(memory, grid, block, values)
        budget = 1 << 62 if max_steps is None else max_steps
        with np.errstate(all="ignore"):
            for first in range(0, num_blocks, num_slots):
                budget = machine.run(first, min(num_slots, num_blocks - first), budget)
        memory.copy_back()
        self.report = Report(machine)
        for opcode, count in self.report.thread_counts_by_opcode().items():
            self.instruction_counts[opcode] = self.instruction_counts.get(opcode, 0) + count
        return arrays, self.report.steps


def _three(extent):
    extent = (extent,) if np.ndim(extent) == 0 else tuple(extent)
    return tuple(int(x) for x in (*extent, 1, 1)[:3])


def _parameter_bytes(parameter, arg, memory):
    """Bytes of the value of a parameter, which must have its width and kind."""
    if isinstance(arg, tuple):
        arg = np.uint64(memory.address_of(arg[1]))
    if isinstance(arg, (bytes, np.void)):
        value = bytes(arg)
    elif isinstance(arg, (int, float)) and not isinstance(arg, np.generic):
        value = np.array(arg).astype(DTYPES[parameter.type]).tobytes()
    else:
        value = np.asarray(arg)
        if (value.dtype.kind == "f") != (parameter.type[0] == "f") and parameter.type[0] != "b":
            raise TypeError(f"{parameter.name} is {parameter.type}, not {value.dtype}")
        value = value.tobytes()
    if len(value) != parameter.size:
        raise TypeError(f"{parameter.name} has {parameter.size} bytes, not {len(value)}")
    return value
