"""What is installed, what works and what is missing: ``lossfit doctor``."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..engine import devices
from ..kernels.gpu.device import incompatible_numpy
from .speed import machine

PACKAGES = (
    "lossfit", "numpy", "scipy", "pandas", "numba", "llvmlite", "arviz", "xarray", "matplotlib",
)  # fmt: skip
GPU_PACKAGES = (
    "numba-cuda", "cupy-cuda13x", "cupy-cuda12x", "cuda-bindings", "nvidia-nvvm",
    "nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink", "nvidia-nvjitlink-cu12",
)  # fmt: skip
OPTIONAL = {
    "pyarrow": "Parquet and Arrow files",
    "tensorboard": "TensorBoard logs", "zarr": "sweeps in Zarr stores",
    "distributed": "sweeps on a Dask cluster",
}  # fmt: skip
EXTRAS = {"pyarrow": "parquet", "distributed": "dask"}  # else of that name
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Problem(NamedTuple):
    """Something that does not work, and the fix."""

    what: str
    fix: str
    # whether something that every user needs does not work; others miss an option only
    hinders: bool = False


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cache() -> tuple[dict[str, Any], list[Problem]]:
    """Where compiled kernels are kept."""
    from ..kernels import cache, compiling
    from ..kernels.warmup import STEPS

    place = Path(cache.folder)
    problems = []
    writable = cache.writable()
    if not writable:
        problems.append(
            Problem(
                f"compiled kernels cannot be kept in {place}: every process compiles for a minute",
                "set LOSSFIT_CACHE to a folder that can be written",
                hinders=True,
            )
        )
    state = {
        "folder": str(place),
        "writable": writable,
        "megabytes": round(cache.size() / 1e6, 1),
        "compiled": compiling.is_compiled(*STEPS),
    }
    return state, problems


def _compiler() -> str:
    """Whether kernels can be compiled for GPUs, by numba-cuda and NVIDIA's libraries."""
    if find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    if (trouble := incompatible_numpy()) is not None:
        return trouble
    from cuda.pathfinder import load_nvidia_dynamic_lib

    for library in ("nvvm", "nvrtc", "nvJitLink"):
        try:
            load_nvidia_dynamic_lib(library)
        except RuntimeError as error:
            return f"{library} is missing ({str(error).splitlines()[0]})"
    return "works"


def _gpu() -> tuple[dict[str, Any], list[Problem]]:
    """GPUs, and what is missing for them."""
    found = devices.find()
    problems = [Problem(what, fix) for what, fix in zip(found.missing, found.fixes, strict=False)]
    state: dict[str, Any] = {
        "packages": _versions(GPU_PACKAGES),
        "gpus": [
            {"device": f"cuda:{gpu.number}", "name": gpu.name, "capability": gpu.capability}
            for gpu in found.gpus
        ],
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "compiler": _compiler(),
    }
    return state, problems


def doctor() -> dict[str, Any]:
    """Look at the installation; starts nothing and compiles nothing.

    Returns
    -------
    dict
        Schema ``lossfit.doctor/1``: versions, machine, cache, gpu, options and problems (each with
        ``what``, ``fix`` and ``hinders``).

    Examples
    --------
    >>> from lossfit.diagnostics.doctor import doctor
    >>> sorted(doctor())[:3]
    ['cache', 'gpu', 'machine']
    """
    cache, problems = _cache()
    gpu, more = _gpu()
    problems += more
    optional = _versions(tuple(OPTIONAL))
    threads = {name: os.environ[name] for name in THREADS if name in os.environ}
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        problems.append(
            Problem("NUMBA_DISABLE_JIT is set: kernels run a thousand times slower", "unset it")
        )
    return {
        "schema": "lossfit.doctor/1",
        "versions": {"python": platform.python_version(), **_versions(PACKAGES)},
        "machine": {
            "platform": platform.platform(), "executable": sys.executable,
            **{key: value for key, value in machine().items() if key in ("cpu", "cores")},
            "threads": threads,
        },
        "cache": cache,
        "gpu": gpu,
        "options": {name: optional.get(name) for name in OPTIONAL},
        "problems": [problem._asdict() for problem in problems],
    }  # fmt: skip


def doctor_text(record: dict[str, Any]) -> str:
    """The record for people: what is there, then what is missing with the fix."""
    lines = [
        "  ".join(f"{name} {number}" for name, number in record["versions"].items()),
        f"{record['machine']['cpu']}, {record['machine']['cores']} cores, "
        f"{record['machine']['platform']}",
    ]
    cache = record["cache"]
    state = "compiled" if cache["compiled"] else "not all compiled yet (lossfit warmup does it)"
    lines.append(f"kernels: {state}; {cache['megabytes']} MB in {cache['folder']}")
    gpus = record["gpu"]["gpus"]
    names = ", ".join(f"{gpu['device']} ({gpu['name']})" for gpu in gpus)
    lines.append(f"GPU: {names or 'none that can be used; the CPU does everything'}")
    for name, number in record["options"].items():
        if number is None:
            extra = EXTRAS.get(name, name)
            fix = f'pip install "lossfit[{extra}]"'
            lines.append(f"{name} is not installed ({OPTIONAL[name]}): {fix}")
    for problem in record["problems"]:
        mark = "PROBLEM" if problem["hinders"] else "note"
        lines.append(f"{mark}: {problem['what']}; fix: {problem['fix']}")
    if not any(problem["hinders"] for problem in record["problems"]):
        lines.append("All that a fit on the CPU needs is here.")
    return "\n".join(lines)
