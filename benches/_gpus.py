"""What GPUs can do in a clock, how many blocks they hold, and what bounds a kernel on them.

Rates are those of the tables of NVIDIA's CUDA programming guide (arithmetic instructions; technical
specifications), clocks and bandwidths those of the data sheets.  Nothing here was measured.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

KB = 1024


class Architecture(NamedTuple):
    """A multiprocessor.

    Attributes
    ----------
    capability : tuple of int
        For which code is compiled.
    rates : dict
        Instructions of warps that a unit takes in a clock.
    warps, blocks, shared : int
        What it holds at most; bytes of shared memory.
    double_latency : float
        Cycles of a float64 result, where machine code waits for it as for a load.
    """

    capability: tuple[int, int]
    rates: dict[str, float]
    warps: int
    blocks: int
    shared: int
    double_latency: float


class Gpu(NamedTuple):
    """A GPU: its multiprocessors, their clock in GHz, and bandwidth in GB/s."""

    name: str
    architecture: Architecture
    multiprocessors: int
    clock: float
    bandwidth: float


# Lanes a clock, over 32: issue, FP32 (FMA and integer multiplications, which share its pipe on
# newer ones: "imad" is their part), integer and logic, FP64, MUFU and conversions, loads and
# shuffles (one wavefront a clock).
_AMPERE = {"issue": 4, "fma": 2, "imad": 2, "alu": 2, "fp64": 1, "xu": 0.5, "lsu": 1}
_HOPPER = {"issue": 4, "fma": 4, "imad": 2, "alu": 2, "fp64": 2, "xu": 0.5, "lsu": 1}
_CONSUMER = {"issue": 4, "fma": 4, "imad": 2, "alu": 2, "fp64": 1 / 16, "xu": 0.5, "lsu": 1}

AMPERE = Architecture((8, 0), _AMPERE, 64, 32, 164 * KB, 12)
HOPPER = Architecture((9, 0), _HOPPER, 64, 32, 228 * KB, 8)
ADA = Architecture((8, 9), _CONSUMER, 48, 24, 100 * KB, 40)
BLACKWELL = Architecture((12, 0), _CONSUMER, 48, 24, 100 * KB, 40)

GPUS = (
    Gpu("A100 SXM", AMPERE, 108, 1.41, 2039),
    Gpu("H100 SXM", HOPPER, 132, 1.755, 3350),
    Gpu("H200 SXM", HOPPER, 132, 1.755, 4800),
    Gpu("RTX 4090", ADA, 128, 2.52, 1008),
    Gpu("RTX 5090", BLACKWELL, 170, 2.41, 1792),
)

REGISTERS = 16384  # of a quarter of a multiprocessor
REGISTER_UNIT = 256
SHARED_UNIT = 128
RESERVED = 1024  # bytes of shared memory a block, for the system


class Occupancy(NamedTuple):
    """Blocks of one warp that a multiprocessor holds, and what limits them."""

    blocks: int
    limit: str
    share: float


def occupancy(architecture: Architecture, registers: int, shared: int) -> Occupancy:
    """How many blocks of one warp fit.

    Parameters
    ----------
    architecture : Architecture
    registers : int
        Of a thread.
    shared : int
        Bytes of a block, without the system's.
    """
    a_warp = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    a_block = -(-(shared + RESERVED) // SHARED_UNIT) * SHARED_UNIT
    limits = {
        "registers": 4 * (REGISTERS // a_warp),
        "shared memory": architecture.shared // a_block,
        "blocks": min(architecture.blocks, architecture.warps),
    }
    limit = min(limits, key=lambda name: limits[name])
    return Occupancy(limits[limit], limit, limits[limit] / architecture.warps)


# By the first part of an opcode; what is in none of them takes a place in the issue only (branches,
# barriers, and the uniform instructions, one for a whole warp).
_UNITS = {
    "fp64": "DFMA DADD DMUL DSETP DMNMX",
    "fma": "FFMA FADD FMUL FFMA2 IMAD HFMA2 FSWZADD",
    "xu": "MUFU I2F F2I F2F FRND POPC FLO BREV",
    "lsu": "LDS STS LDG STG LD ST SHFL ATOM ATOMS ATOMG RED LDL STL VOTE",
    "alu": (
        "IADD3 ISETP LOP3 SHF SEL FSEL FSETP FMNMX LEA MOV VIADD VIMNMX IMNMX PRMT P2R R2P I2FP "
        "PLOP3 IABS SGXT BMSK CS2R FCHK LOP VABSDIFF IADD VIADDMNMX"
    ),
}
_UNIT_OF = {name: unit for unit, names in _UNITS.items() for name in names.split()}


def load(executed: Counter[str]) -> Counter[str]:
    """Instructions of warps for each unit, of a run's executed instructions by opcode.

    An access of 64 bits a lane to shared memory counts as two wavefronts, of 128 bits as four,
    though one that all lanes make to the same place takes one: an upper bound.
    """
    units: Counter[str] = Counter()
    for opcode, times in executed.items():
        name, *rest = opcode.split(".")
        units["issue"] += times
        unit = _UNIT_OF.get(name)
        if unit is None:
            continue
        wide = 1
        if name in ("LDS", "STS"):
            wide = 4 if "128" in rest else 2 if "64" in rest else 1
        units[unit] += times * wide
        if name == "IMAD" and not {"MOV", "SHL", "IADD"} & set(rest):
            units["imad"] += times
    return units


class Bound(NamedTuple):
    """Runs a second that a GPU cannot exceed, and that it may reach.

    Attributes
    ----------
    latency : float
        If the warps that are resident never waited for one another.
    expected : float
        They wait for their own results, and for one another at the unit that is busiest.
    """

    latency: float
    expected: float


def bound(gpu: Gpu, units: Counter[str], alone: float, blocks: int) -> Bound:
    """What bounds a kernel on a GPU.

    Parameters
    ----------
    GPU : GPU
    units : Counter
        Instructions of a run for each unit (`load`).
    alone : float
        Cycles that its warps take alone.
    blocks : int
        Resident warps of a multiprocessor.
    """
    clocks = gpu.multiprocessors * gpu.clock * 1e9
    rates = gpu.architecture.rates
    # A quarter of a multiprocessor is a queue: a warp thinks for `alone`, and asks for the slowest
    # unit in between (mean-value analysis, with a fraction of a warp interpolated).
    service = 4 * max(units[unit] / rates[unit] for unit in rates if units[unit])
    think = max(alone - service, 0.0)
    return Bound(clocks * blocks / alone, clocks * 4 * _throughput(blocks / 4, service, think))


def _throughput(warps: float, service: float, think: float) -> float:
    """Runs a clock of a closed queue with so many customers."""
    found, waiting = [0.0], 0.0
    for customers in range(1, int(warps) + 2):
        response = service * (1.0 + waiting)
        found.append(customers / (think + response))
        waiting = found[-1] * response
    low = int(warps)
    return found[low] + (warps - low) * (found[low + 1] - found[low])
