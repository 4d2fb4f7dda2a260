"""Where to compute, and in which precision: what ``device=`` and ``dtype=`` mean here.

GPUs are found through the driver's library by ctypes: neither numba.cuda nor CuPy is imported, and
on a machine without the library nothing else is tried.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.errors import DataError, DeviceError
from ..kernels.spreading import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..kernels.gpu.device import Device

__all__ = [
    "COLD_START",
    "CPU",
    "DEVICES",
    "DTYPES",
    "ON_CUDA",
    "WARM_START",
    "Found",
    "Gpu",
    "Place",
    "Work",
    "check_device",
    "check_dtype",
    "cpu_seconds",
    "find",
    "gpu_errors",
    "host_array",
    "place",
]


class Work(Enum):
    """What can be asked of a device; the values are for messages."""

    FIT_ONE = "a fit by quadrature over one parameter"
    FIT_TWO = "a fit by quadrature over two parameters"
    FIT_ENSEMBLE = "a fit by the ensemble sampler"
    FIT_EMCEE = "a fit by emcee"
    FIT_STUDENT_T = "a fit with Student-t noise"
    FIT_COLUMNS = "a fit with several columns that depend on nonlinear parameters"
    FORECAST = "a forecast by a law of the learning rate"
    CURVE_FORECAST = "a forecast by the default law"
    JOINT = "a joint fit"


# What has CUDA kernels: the one place to connect them.
ON_CUDA = frozenset(
    {Work.FIT_ONE, Work.FIT_TWO, Work.FIT_ENSEMBLE, Work.FORECAST, Work.CURVE_FORECAST}
)
DOUBLE_ONLY = frozenset({Work.CURVE_FORECAST})  # has kernels in float64 alone

# Seconds of one CPU core for a run of 512 points, and for each of its draws, as measured (CPU time
# of `lossfit.fit` and, with three targets, of `lossfit.extrapolate`).  They decide which device
# ``device="auto"`` takes and nothing else.
CPU_COSTS = {
    Work.FIT_ONE: (3e-5, 5e-8),
    Work.FIT_TWO: (1.3e-3, 6.8e-6),
    Work.FIT_ENSEMBLE: (8.6e-2, 1.6e-5),
    Work.FORECAST: (2.8e-4, 3.4e-7),
    Work.CURVE_FORECAST: (1.7e-4, 1.2e-7),
}
# Seconds before a GPU computes: packages that are imported, a context, kernels read or compiled.  A
# process that has one open waits for launches and copies only.  Reckoned, not measured on a GPU.
COLD_START = 5.0
WARM_START = 0.1

DEVICES = ("auto", "cpu", "cuda", "cuda:all")  # and "cuda:0", "cuda:1", ...
DTYPES = ("auto", "float64", "float32")
INSTALL = 'pip install "lossfit[cuda]"'
INSTALL_12 = 'pip install "lossfit[cuda12]"'
# What is left of one CUDA version hides the other's.
REMOVE = "pip uninstall -y cupy-cuda12x cupy-cuda13x cuda-bindings cuda-core"
LEAST_CAPABILITY = (7, 5)  # of the CUDA 13 toolchain: Turing
DRIVERS = {12: "525", 13: "580"}  # first driver of a CUDA version, on Linux
LIBRARIES = {"win32": "nvcuda.dll", "darwin": ""}

log = logging.getLogger("lossfit")


class Gpu(NamedTuple):
    """A GPU that the driver shows.

    Attributes
    ----------
    number : int
        Among the visible ones.
    name : str
    capability : tuple of int
        Compute capability.
    """

    number: int
    name: str
    capability: tuple[int, int]

    @property
    def usable(self) -> bool:
        """Whether kernels can be compiled for it."""
        return self.capability >= LEAST_CAPABILITY


class Found(NamedTuple):
    """What was found of CUDA.

    Attributes
    ----------
    gpus : tuple of Gpu
        Usable ones; empty where something is missing.
    missing : tuple of str
        What is missing, in words.
    fixes : tuple of str
        How to fix it.
    """

    gpus: tuple[Gpu, ...]
    missing: tuple[str, ...]
    fixes: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where something is computed, and in which precision.

    Attributes
    ----------
    gpus : tuple of int
        Numbers of the GPUs; empty for the CPU.
    dtype : str
        "float64" or "float32".
    """

    gpus: tuple[int, ...] = ()
    dtype: str = "float64"

    @property
    def device(self) -> str:
        """As in ``device=``: "cpu", "cuda:0", or "cuda:0,1" for several."""
        return "cuda:" + ",".join(map(str, self.gpus)) if self.gpus else "cpu"

    @property
    def single(self) -> bool:
        """Whether kernels compute in float32."""
        return self.dtype == "float32"

    def open(self) -> list[Device]:
        """The GPUs, for `lossfit.kernels.gpu.launch.run`; imports CuPy and numba.cuda.

        Raises
        ------
        DeviceError
            They cannot be imported, or the driver refuses.
        """
        try:
            from ..kernels.gpu.device import CupyDevice

            opened: list[Device] = [CupyDevice(number) for number in self.gpus]
            _opened.update(self.gpus)
            return opened
        except Exception as error:  # whatever CuPy, Numba and the driver may raise
            raise DeviceError(
                f"device={self.device!r} cannot be opened: {type(error).__name__}: {error}; "
                f"reinstall with: {INSTALL}"
            ) from error


CPU = Place()
_opened: set[int] = set()  # GPUs that this process has started


def check_device(device: Any) -> str:
    """A value of ``device=``, checked for its form only."""
    if isinstance(device, str):
        if device in DEVICES:
            return device
        head, _, number = device.partition(":")
        if head == "cuda" and number.isdecimal() and number.isascii():
            return f"cuda:{int(number)}"
    raise DataError(
        f"device must be 'auto', 'cpu', 'cuda', 'cuda:all' or a GPU such as 'cuda:0', got "
        f"{device!r}"
    )


def check_dtype(dtype: Any) -> str:
    """A value of ``dtype=`` as text; NumPy's types are taken too."""
    found = dtype
    if not isinstance(dtype, str):
        try:
            found = np.dtype(dtype).name if dtype is not None else None
        except TypeError:
            found = None
    if found not in DTYPES:
        raise DataError(f"dtype must be {', '.join(map(repr, DTYPES))}, got {dtype!r}")
    return str(found)


def cpu_seconds(work: Work, n_runs: int, n_draws: int) -> float | None:
    """About what some runs take the CPU, on all its cores; None where that is not known."""
    if work not in CPU_COSTS:
        return None
    a_run, a_draw = CPU_COSTS[work]
    return n_runs * (a_run + n_draws * a_draw) / available_threads(None, n_runs)


def place(
    work: Work, device: Any = "auto", dtype: Any = "auto", seconds: float | None = None
) -> Place:
    """Where to do some work.

    Parameters
    ----------
    work : Work
        What is to be done.
    device, dtype : str
        What the user asked for.
    seconds : float, optional
        What it takes the CPU (`cpu_seconds`): ``"auto"`` leaves it there if a GPU would need longer
        to start.  Without it, or with ``dtype="float32"``, which the CPU does not have, a GPU is
        taken wherever there is one.

    Returns
    -------
    Place

    Raises
    ------
    DataError
        Values that mean nothing; ``dtype="float32"`` on the CPU, or for what is computed in float64
        only.
    DeviceError
        A GPU is asked for and cannot be used; the message names what is missing and the fix.
    """
    device, dtype = check_device(device), check_dtype(dtype)
    if work in DOUBLE_ONLY and device != "cpu":
        if dtype == "float32":
            raise DataError(
                f"dtype='float32': {work.value} is computed in float64 only, on a GPU too: leave "
                f"dtype out"
            )
        dtype = "float64"
    if device == "auto":
        gpus, reason = _automatic(work, None if dtype == "float32" else seconds)
        if not gpus and dtype == "float32":
            raise DataError(
                f"dtype='float32' is for GPUs, and device='auto' takes the CPU here ({reason}), "
                f"which computes in float64: leave dtype out"
            )
        found = _on(gpus, dtype)
        if log.isEnabledFor(logging.DEBUG):
            _tell_once(f"device='auto': {work.value} on {found.device} in {found.dtype} ({reason})")
        return found
    if device == "cpu":
        if dtype == "float32":
            raise DataError(
                "dtype='float32' is for GPUs: the CPU computes in float64, leave dtype out or "
                "use device='cuda'"
            )
        return CPU
    return _on(_demanded(work, device), dtype)


def _on(gpus: tuple[Gpu, ...], dtype: str) -> Place:
    if not gpus:
        return CPU
    if dtype == "auto":
        from ..kernels.gpu.device import full_rate_double

        fast = all(full_rate_double(gpu.capability) for gpu in gpus)
        dtype = "float64" if fast else "float32"
    return Place(tuple(gpu.number for gpu in gpus), dtype)


def _automatic(work: Work, seconds: float | None) -> tuple[tuple[Gpu, ...], str]:
    """The GPU that ``device="auto"`` takes, if any, and why."""
    if work not in ON_CUDA:  # nothing is looked for
        return (), f"{work.value} has no CUDA kernels"
    if seconds is not None and seconds < WARM_START:  # no driver is asked
        return (), f"less than {WARM_START:g} s of work"
    found = find()
    if not found.gpus:
        return (), "; ".join(found.missing)
    gpu = found.gpus[0]
    if seconds is not None and seconds < COLD_START and gpu.number not in _opened:
        return (), f"less than the {COLD_START:g} s that a GPU takes to start"
    return (gpu,), gpu.name


def _demanded(work: Work, device: str) -> tuple[Gpu, ...]:
    """The GPUs that the user named."""
    found = find()
    if not found.gpus:
        raise DeviceError(
            f"device={device!r} cannot be used: {'; '.join(found.missing)}. To fix it: "
            f"{'; '.join(found.fixes)}. device='cpu' needs none of this"
        )
    _, _, which = device.partition(":")
    gpus = found.gpus if which == "all" else found.gpus[:1]
    if which.isdecimal():
        gpus = tuple(gpu for gpu in found.gpus if gpu.number == int(which))
        if not gpus:
            there = ", ".join(f"cuda:{gpu.number} ({gpu.name})" for gpu in found.gpus)
            raise DeviceError(
                f"device={device!r}: there is no such GPU, or none that can be used; there are "
                f"{there}{_visibility()}"
            )
    if work not in ON_CUDA:
        raise DeviceError(
            f"device={device!r}: {work.value} is not available on CUDA; use device='auto' or 'cpu'"
        )
    return gpus


@cache
def _tell_once(text: str) -> None:
    log.debug(text)


@cache
def find() -> Found:
    """Look for packages, driver and GPUs; once a process.

    Where a package is missing, the driver is not started: a process that has started it cannot use
    it after a fork.
    """
    from ..kernels.gpu.device import incompatible_numpy, older_numpy

    missing: list[str] = []
    fixes: list[str] = []
    absent = [name for name, there in _packages().items() if not there]
    if absent:
        missing.append(
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed"
        )
        fixes.append(INSTALL)
    trouble = incompatible_numpy()
    if trouble is not None and "numba-cuda" not in absent:
        missing.append(trouble)
        fixes.append(f'pip install "{older_numpy()}"')
    mixture = _mixture()
    if mixture is not None:
        missing.append(mixture[0])
        fixes.append(mixture[1])
    driver = _library()
    if driver is None:
        missing.append(_no_library())
        fixes.append(
            "there is no CUDA on macOS"
            if sys.platform == "darwin"
            else "install NVIDIA's driver (in a container: start it with the GPUs)"
        )
    if missing or driver is None:
        return Found((), tuple(missing), tuple(fixes))
    return _ask(driver)


def _packages() -> dict[str, bool]:
    """The packages that the CUDA path needs, and whether they are installed."""
    return {
        "numba-cuda": find_spec("numba_cuda") is not None,
        "CuPy": find_spec("cupy") is not None,
    }


def _version(distribution: str) -> str | None:
    """Of an installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _toolkit() -> int:
    """The CUDA version that the installed CuPy was built for."""
    return 12 if _version("cupy-cuda12x") and not _version("cupy-cuda13x") else 13


def _mixture() -> tuple[str, str] | None:
    """Packages of both CUDA 12 and CUDA 13, of which one does not work; and the fix."""
    cupy = [f"cupy-cuda{major}x" for major in (12, 13) if _version(f"cupy-cuda{major}x")]
    bindings = (_version("cuda-bindings") or "").split(".")[0]
    if len(cupy) == 2:
        what = "cupy-cuda12x and cupy-cuda13x are both installed, of which one hides the other"
    elif cupy and bindings in ("12", "13") and bindings != str(_toolkit()):
        what = f"{cupy[0]} is installed with cuda-bindings {bindings}, of another CUDA version"
    else:
        return None
    return what, f"{REMOVE}, then {INSTALL} (for drivers before 580: {INSTALL_12})"


def _no_library() -> str:
    name = LIBRARIES.get(sys.platform, "libcuda.so.1")
    return f"no NVIDIA driver was found ({name})" if name else "macOS has no NVIDIA driver"


def _library() -> Any:
    """The driver's library, or None."""
    name = LIBRARIES.get(sys.platform, "libcuda.so.1")
    if not name:
        return None
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _ask(driver: Any) -> Found:
    """Ask the driver for its version and GPUs."""
    number = ctypes.c_int()
    code = driver.cuInit(0)
    if driver.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value:
        toolkit = _toolkit()
        if number.value // 1000 < toolkit:
            other = f" or, for CUDA 12, {REMOVE}, then {INSTALL_12}"
            return Found(
                (),
                (
                    f"the NVIDIA driver is too old: it knows CUDA {number.value // 1000}."
                    f"{number.value % 1000 // 10}, CuPy was built for CUDA {toolkit}",
                ),
                (
                    f"update the driver to {DRIVERS[toolkit]} or later"
                    + (other if toolkit > 12 and number.value >= 12000 else ""),
                ),
            )
    if code == 0:
        code = driver.cuDeviceGetCount(ctypes.byref(number))
    if code not in (0, 100):  # 100: CUDA_ERROR_NO_DEVICE
        return Found(
            (),
            (f"the NVIDIA driver does not start: {_error_name(driver, code)}",),
            ("see what nvidia-smi says",),
        )
    gpus = tuple(_gpu(driver, i) for i in range(number.value if code == 0 else 0))
    if not gpus:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        return Found(
            (),
            (f"the NVIDIA driver shows no GPU{_visibility()}",),
            (
                "see what nvidia-smi says"
                if hidden is None
                else "unset CUDA_VISIBLE_DEVICES, or set it to the number of a GPU",
            ),
        )
    usable = tuple(gpu for gpu in gpus if gpu.usable)
    if not usable:
        least = ".".join(map(str, LEAST_CAPABILITY))
        old = ", ".join(f"{c.name} ({c.capability[0]}.{c.capability[1]})" for c in gpus)
        return Found(
            (),
            (f"no GPU has compute capability {least} or more: {old}",),
            ("use a GPU of the Turing generation (2018) or later",),
        )
    return Found(usable, (), ())


def _gpu(driver: Any, number: int) -> Gpu:
    handle = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(handle), number)
    name = ctypes.create_string_buffer(128)
    driver.cuDeviceGetName(name, len(name), handle)
    capability = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        capability.append(value.value)
    return Gpu(number, name.value.decode(errors="replace"), (capability[0], capability[1]))


def _error_name(driver: Any, code: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorName(code, ctypes.byref(text))
    return f"{text.value.decode()} ({code})" if text.value else f"error {code}"


def _visibility() -> str:
    """What the environment hides, as part of a sentence."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f" (CUDA_VISIBLE_DEVICES is {value!r})"


@contextmanager
def gpu_errors() -> Iterator[None]:
    """Turn what GPUs refuse into `DeviceError`."""
    from ..kernels.gpu.device import out_of_memory
    from ..kernels.gpu.launch import DeviceMemoryError

    try:
        yield
    except Exception as error:
        if not isinstance(error, DeviceMemoryError) and not out_of_memory(error):
            raise
        raise DeviceError(
            f"the GPU's memory is exhausted: {error}; use device='cpu' for it, fewer draws, or "
            f"keep='summary'"
        ) from error


def host_array(values: Any) -> NDArray[Any] | Any:
    """Arrays on a GPU (CuPy's, or any with its interfaces) as NumPy arrays; others as they are.

    Checks and cleaning run on the CPU: what lies on a GPU is copied once.

    Raises
    ------
    DeviceError
        CuPy, which does the copy, is not installed.
    """
    on_gpu = hasattr(values, "__cuda_array_interface__")
    if not on_gpu and hasattr(values, "__dlpack_device__") and not isinstance(values, np.ndarray):
        on_gpu = int(values.__dlpack_device__()[0]) in (2, 13)  # kDLCUDA, kDLCUDAManaged
    if not on_gpu:
        return values
    from ..kernels.gpu.device import on_host

    try:
        return on_host(values)
    except ImportError as error:
        raise DeviceError(
            f"an array on a GPU ({type(values).__name__}) was given, and CuPy, which copies it "
            f"from there, is not installed: {INSTALL}"
        ) from error
