"""Kernels compiled to PTX and to machine code, where there is neither a GPU nor a driver.

For tests and reports only: `lossfit.kernels.gpu.device.CupyDevice` compiles with the same
compilers.  numba-cuda makes LLVM code once for a kernel, NVVM makes PTX from it for each compute
capability, and nvJitLink makes machine code (a cubin) from that and tells what the kernel needs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from lossfit.kernels.cache import folder
from lossfit.kernels.fingerprint import fingerprint
from lossfit.kernels.gpu.device import incompatible_numpy
from lossfit.kernels.gpu.spec import Kernel

__all__ = [
    "ARCHITECTURES",
    "Compiled",
    "Resources",
    "compile_kernel",
    "compile_kernels",
    "disassemble",
    "disassembler",
    "kept",
    "kernel_ptx",
    "link",
    "llvm_texts",
    "missing",
    "resources",
]

ARCHITECTURES = ((8, 0), (9, 0), (12, 0))  # A100; H100 and H200; the consumer GPUs of 2025

Capability = tuple[int, int]


class Resources(NamedTuple):
    """What a kernel needs of a multiprocessor, as the linker says.

    Attributes
    ----------
    registers : int
        Of a thread.
    spill_stores, spill_loads : int
        Bytes of a thread.
    stack, local : int
        Bytes of a thread in local memory.
    shared : int
        Bytes of a block.
    """

    registers: int
    spill_stores: int
    spill_loads: int
    stack: int
    local: int
    shared: int


class Compiled(NamedTuple):
    """A kernel for one compute capability.

    Attributes
    ----------
    ptx : str
    cubin : bytes
    log : str
        What the linker said.
    """

    ptx: str
    cubin: bytes
    log: str

    @property
    def resources(self) -> Resources:
        """What the kernel needs."""
        return resources(self.log)


def missing() -> str | None:
    """Why kernels cannot be compiled and linked here; None if they can."""
    try:
        import numba_cuda  # noqa: F401
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError as error:
        return f"numba-cuda[cu13] is not installed ({error}): the extra cuda-check has it"
    if (trouble := incompatible_numpy()) is not None:
        return f"{trouble}: the extra cuda-check takes an older one"
    for library in ("nvvm", "nvrtc", "nvJitLink"):
        try:
            load_nvidia_dynamic_lib(library)
        except RuntimeError as error:  # DynamicLibNotFoundError
            return f"{library}, of numba-cuda[cu13], is missing ({str(error).splitlines()[0]})"
    return None


def kernel_ptx(kernel: Kernel, cc: Capability = (9, 0)) -> str:
    """PTX of a kernel; found again in the process, and on disk."""
    return _ptx(kernel, cc).result()


def llvm_texts(kernel: Kernel) -> list[str]:
    """LLVM code of a kernel's modules, as NVVM gets it; the kernel itself is in the first."""
    with _lock:
        library = _library(kernel.function, tuple(kernel.signature), kernel.fastmath)
        return list(library.llvm_strs)


def kept(kernel: Kernel, kind: str, make: Callable[[], bytes]) -> bytes:
    """What was made of a kernel, read from disk where it lies there.

    Parameters
    ----------
    kernel : Kernel
    kind : str
        Of what is made, and how; part of a file's name.
    make : callable
    """
    place = _place(kernel, (0, 0))
    content = _read(place, kind)
    if content is None:
        content = make()
        _write(place, kind, content)
    return content


def compile_kernel(kernel: Kernel, cc: Capability = (9, 0)) -> Compiled:
    """PTX and machine code of a kernel; found again in the process, and on disk."""
    return _linked(kernel, cc).result()


def compile_kernels(
    kernels: Iterable[Kernel], capabilities: Iterable[Capability] = ARCHITECTURES
) -> dict[tuple[Kernel, Capability], Future[Compiled]]:
    """Kernels for several compute capabilities.

    numba-cuda works at once, in this thread; NVVM and nvJitLink in the background.

    Returns
    -------
    dict of (kernel, capability) -> future
    """
    capabilities = tuple(capabilities)
    return {(kernel, cc): _linked(kernel, cc) for kernel in kernels for cc in capabilities}


def link(ptx: str, cc: Capability, *options: str) -> tuple[bytes, str]:
    """Machine code for a compute capability, and the linker's log.

    Raises
    ------
    RuntimeError
        With the linker's own words.
    """
    from cuda.bindings import nvjitlink

    text = ptx.encode()
    settings = [f"-arch=sm_{cc[0]}{cc[1]}", "-verbose", "-Xptxas=-v", *options]
    handle = nvjitlink.create(len(settings), settings)
    try:
        try:
            nvjitlink.add_data(handle, nvjitlink.InputType.PTX, text, len(text), "kernel")
            nvjitlink.complete(handle)
        except nvjitlink.nvJitLinkError as error:
            said = bytearray(nvjitlink.get_error_log_size(handle))
            nvjitlink.get_error_log(handle, said)
            raise RuntimeError(f"{error}: {said.decode(errors='replace')}") from error
        cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, cubin)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    return bytes(cubin), log.decode(errors="replace").rstrip("\0\n ")


def resources(log: str) -> Resources:
    """What the linker's log says of the one kernel in it."""

    def number(pattern: str) -> int:
        found = re.findall(pattern, log)
        if not found:
            raise ValueError(f"the linker's log has no {pattern!r}:\n{log}")
        return max(int(one) for one in found)

    return Resources(
        number(r"[Uu]sed (\d+) registers"),
        number(r"(\d+) bytes spill stores"),
        number(r"(\d+) bytes spill loads"),
        max(number(r"(\d+) bytes stack frame"), number(r"(\d+) stack,")),
        number(r"(\d+) bytes lmem"),
        number(r"(\d+) bytes smem"),
    )


@cache
def disassembler() -> str | None:
    """Where nvdisasm is: of the package nvidia-cuda-nvdisasm, or on the path."""
    try:
        from cuda.pathfinder import find_nvidia_binary_utility
    except ImportError:
        return shutil.which("nvdisasm")
    found = find_nvidia_binary_utility("nvdisasm")
    return str(found) if found else shutil.which("nvdisasm")


def disassemble(cubin: bytes, *options: str) -> str:
    """What nvdisasm says of machine code.

    Raises
    ------
    FileNotFoundError
        There is no nvdisasm.
    """
    tool = disassembler()
    if tool is None:
        raise FileNotFoundError(
            "nvdisasm is not installed: pip install nvidia-cuda-nvdisasm (in the extra cuda-check)"
        )
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "kernel.cubin"
        path.write_bytes(cubin)
        done = subprocess.run(
            [tool, *options, str(path)], capture_output=True, text=True, check=True
        )
    return done.stdout


_lock = threading.RLock()  # for numba-cuda, and for the tables below
_pool = ThreadPoolExecutor(2, thread_name_prefix="nvvm")
_libraries: dict[Any, Any] = {}
_ptx_found: dict[Any, Future[str]] = {}
_linked_found: dict[Any, Future[Compiled]] = {}


def _ptx(kernel: Kernel, cc: Capability) -> Future[str]:
    key = (kernel.function, kernel.signature, kernel.fastmath, cc)
    with _lock:
        if key not in _ptx_found:
            _ptx_found[key] = _start_ptx(kernel, cc)
        return _ptx_found[key]


def _start_ptx(kernel: Kernel, cc: Capability) -> Future[str]:
    place = _place(kernel, cc)
    read = _read(place, "ptx")
    if read is not None:
        done: Future[str] = Future()
        done.set_result(read.decode())
        return done
    library = _library(kernel.function, kernel.signature, kernel.fastmath)

    def finish() -> str:
        text = _ptx_of(library, cc)
        _write(place, "ptx", text.encode())
        return text

    return _pool.submit(finish)


def _linked(kernel: Kernel, cc: Capability) -> Future[Compiled]:
    key = (kernel.function, kernel.signature, kernel.fastmath, cc)
    with _lock:
        if key not in _linked_found:
            place = _place(kernel, cc)
            ptx = _ptx(kernel, cc)
            # What is waited for was given to the pool before.
            _linked_found[key] = _pool.submit(lambda: _finish_linked(ptx.result(), cc, place))
        return _linked_found[key]


def _finish_linked(ptx: str, cc: Capability, place: Path | None) -> Compiled:
    cubin, log = _read(place, "cubin"), _read(place, "log")
    if cubin is None or log is None:
        cubin, said = link(ptx, cc)
        log = said.encode()
        _write(place, "cubin", cubin)
        _write(place, "log", log)
    return Compiled(ptx, cubin, log.decode())


def _ptx_of(library: Any, cc: Capability) -> str:
    from lossfit.kernels.gpu.backend import ptx_of

    return ptx_of(library, cc)


def _library(
    function: Callable[..., Any],
    signature: tuple[Any, ...],
    fastmath: bool,
) -> Any:
    """A kernel's LLVM code, from which NVVM makes PTX for any compute capability."""
    from lossfit.kernels.gpu.backend import llvm_library

    key = (function, signature, fastmath)
    if key not in _libraries:
        place = _place(Kernel("", function, signature, 32, fastmath), (0, 0))
        stored = _read(place, "llvm")
        if stored is None:
            made = llvm_library(function, signature, fastmath, ARCHITECTURES[0])
            # A function is there once for each that calls it.
            parts = [list(dict.fromkeys(made.llvm_strs)), made._nvvm_options]
            _write(place, "llvm", zlib.compress(json.dumps(parts).encode(), 1))
        else:
            parts = json.loads(zlib.decompress(stored))
        _libraries[key] = _library_of(*parts)
    return _libraries[key]


def _library_of(texts: list[str], options: dict[str, Any]) -> Any:
    """What `llvm_library` gave in another process, as far as `ptx_of` reads it."""
    from numba.cuda.codegen import CUDACodeLibrary

    library = object.__new__(CUDACodeLibrary)
    library._llvm_strs, library._nvvm_options, library._ptx_cache = texts, options, {}
    return library


def _place(kernel: Kernel, cc: Capability) -> Path | None:
    """Where a compiled kernel lies on disk: by what it is made of, and of the compilers."""
    made_of = fingerprint(kernel.function, tuple(kernel.signature), kernel.fastmath)
    if made_of is None:
        return None
    return Path(folder) / "checked" / f"{made_of}-{_toolkit()}" / f"sm_{cc[0]}{cc[1]}"


@cache
def _toolkit() -> str:
    """Versions of the compilers."""
    found = []
    for package in ("numba", "numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink"):
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("0")
    return "-".join(found)


def _read(place: Path | None, kind: str) -> bytes | None:
    if place is None:
        return None
    try:
        return (place / f"kernel.{kind}").read_bytes()
    except OSError:
        return None


def _write(place: Path | None, kind: str, content: bytes) -> None:
    """Put a file on disk; whole, or not at all."""
    if place is None:
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as new:
            new.write(content)
        Path(new.name).replace(place / f"kernel.{kind}")
    except OSError:  # nowhere to write
        return
