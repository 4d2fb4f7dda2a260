"""Machine code that is kept in files, and run without Numba.

Importing Numba takes half a second and its caches another half, more than most answers take.  So a
function of numbers is kept as plain object code: LLVM loads it, and `ctypes` calls it.  Object code
that would need Numba's runtime (Python objects, arrays of its own, exceptions) is refused when it
is made: such functions get all their memory from their caller.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CALL", "Code", "address", "load_or_make", "name_of"]

_lock = threading.RLock()
_engines: list[Any] = []  # LLVM's: what they loaded lives as long as they do


class Code(NamedTuple):
    """Object code of a C function.

    Attributes
    ----------
    symbol : str
        Its name in the object code.
    kinds : tuple of str
        What it takes (`arguments.kinds_of`), where that is kept.
    data : bytes
        The object code.
    """

    symbol: str
    kinds: tuple[str, ...]
    data: bytes


@functools.cache
def _machine() -> str:
    """What object code depends on beside its source: versions, processor, Numba's settings."""
    import llvmlite.binding as llvm

    features = os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()
    settings = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("NUMBA_"))
    parts = (
        version("numba"), version("llvmlite"), llvm.get_process_triple(), llvm.get_host_cpu_name(),
        features, *settings,
    )  # fmt: skip
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()


def name_of(function: str) -> str:
    """The name of the file for a function's code on this machine."""
    return f"{function}-{_machine()}.code"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def keep(code: Code, path: Path) -> None:
    """Write code to a file, whole or not at all."""
    head = json.dumps(
        {"symbol": code.symbol, "kinds": code.kinds, "digest": _digest(code.data)}
    ).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    part.write_bytes(head + b"\n" + code.data)
    os.replace(part, path)


def kept(path: Path) -> Code | None:
    """Code from a file, or None where there is none or it is damaged."""
    try:
        head, data = path.read_bytes().split(b"\n", 1)
        described = json.loads(head)
    except (OSError, ValueError):
        return None
    if described.get("digest") != _digest(data):
        return None
    return Code(described["symbol"], tuple(described["kinds"]), data)


def address(code: Code) -> int:
    """Load code into this process; where it is then."""
    import llvmlite.binding as llvm

    with _lock:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code.data))
        engine.finalize_object()
        _engines.append(engine)
        return int(engine.get_function_address(code.symbol))


def load_or_make(path: Path | None, make: Callable[[], Code]) -> Code:
    """Code from a file, or made and kept there; without a path it is made in every process."""
    with _lock:
        code = kept(path) if path is not None else None
        if code is None:
            code = make()
            if path is not None:
                keep(code, path)
        return code


CALL = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)  # of an entry point
