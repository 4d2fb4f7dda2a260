"""Whether a GPU gives what the CPU gives, and how fast: ``lossfit bench --verify``.

For the first person with a GPU of a kind: the record is to be attached to an issue.
"""

from __future__ import annotations

import platform
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._base.errors import DeviceError
from ..engine.devices import Work, find, place
from ..kernels.gpu.backend import OPTIONS
from ..kernels.gpu.device import Device
from .budgets import budget
from .doctor import doctor
from .host_trials import HOST_TRIALS
from .kernel_trials import Outcome, trial, trials_of

TRANSFER = 1 << 26  # bytes
# Fits a second of 512 points without draws kept, by counted instructions; see docs/gpu.md.
PREDICTED = {"float64": (9e6, 24e6), "float32": (9e6, 24e6)}


def verify(
    device: str = "cuda",  # as in `lossfit.fit`; a GPU
    *,
    devices: Sequence[Device] | None = None,  # instead of the GPUs that ``device`` names: for tests
    # only these kernels, by the keys of `kernel_trials.trials_of`
    families: Sequence[str] | None = None,
    say: Callable[[str], None] | None = None,  # called with a line of text for each result
) -> dict[str, Any]:
    """Run every kernel and the ways to it on a GPU, and compare with the CPU.

    Raises `DeviceError`: there is no GPU to verify.

    Returns
    -------
    dict
        Schema ``lossfit.card/1``: ``passed``, ``gpu``, ``doctor`` (see `doctor.doctor`),
        ``options`` of the compiler, ``kernels``, ``host`` and ``transfers``.
    """
    if devices is None:
        where = place(Work.FIT_ONE, device)
        if not where.gpus:
            missing = "; ".join(find().missing) or f"device={device!r} is the CPU"
            raise DeviceError(f"there is no GPU to verify: {missing}; see lossfit doctor")
        devices = where.open()
    say = say or (lambda text: None)
    began = time.perf_counter()
    kernels = _kernels(devices, families, say)
    host = _host(devices, say)
    return {
        "schema": "lossfit.card/1",
        "passed": all(row["passed"] for row in (*kernels, *host)),
        "gpu": [_described(one) for one in devices],
        "doctor": doctor(),
        "system": platform.platform(),
        "options": OPTIONS,
        "kernels": kernels,
        "host": host,
        "transfers": [_transfers(one) for one in devices],
        "predicted_fits_per_second": PREDICTED,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _described(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "number": device.number,
        "capability": list(device.compute_capability),
        "multiprocessors": device.multiprocessors,
        "clock": device.clock,
        "memory": device.memory().total,
        "driver": device.versions(),
    }


def _kernels(
    devices: Sequence[Device], families: Sequence[str] | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row for each kernel and precision."""
    rows = []
    for (family, dtype), entries in trials_of().items():
        if families is not None and family not in families:
            continue
        wrong: str | None = None
        outcome = Outcome(float("nan"), 0.0, {}, float("nan"), float("nan"))
        try:
            outcome = trial(family, dtype, devices)
        except Exception as error:  # whatever a GPU may raise is a result
            wrong = "".join(traceback.format_exception_only(error)).strip()
        for entry in entries:
            row = {
                "kernel": entry.name,
                "dtype": dtype,
                "passed": wrong is None and outcome.passed,
                **outcome._asdict(),
                "raised": wrong,
            }
            row.update(_needs(devices[0], entry.name, entry.build(dtype == "float32")))
            rows.append(row)
            say(_row_text(row))
    return rows


def _needs(device: Device, name: str, kernel: Any) -> dict[str, Any]:
    """Registers, local and shared memory as the GPU's driver says, beside the budget."""
    try:
        found = device.resources(kernel)
    except Exception as error:  # a driver that does not say is a result, too
        return {"resources": None, "resources_raised": str(error)}
    most = budget(name)
    registers = most.registers.get(device.compute_capability[0])
    within = found["local"] == 0 and (registers is None or found["registers"] <= registers)
    return {"resources": found, "within_budget": within}


def _host(devices: Sequence[Device], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row for each way that results take between user and kernel."""
    rows = []
    for name, check in HOST_TRIALS.items():
        row: dict[str, Any] = {"what": name, "passed": True, "raised": None}
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row.update(check(devices))
        except Exception as error:  # also of an assertion: what differs
            row.update(passed=False, raised=str(error).strip()[:2000])
        row["seconds"] = round(time.perf_counter() - start, 4)
        rows.append(row)
        say(f"{'ok    ' if row['passed'] else 'FAILED'}  {name} ({row['seconds']:.2f} s)")
    return rows


def _transfers(device: Device) -> dict[str, float]:
    """Bytes a second to the GPU and back."""
    rates = {}
    with device.active():
        stream = device.stream()
        host = device.pinned(TRANSFER)
        host[:] = 1
        there = device.allocate(TRANSFER, stream)
        copies: dict[str, Callable[[], None]] = {
            "up": lambda: device.upload(host, there, stream),
            "down": lambda: device.download(there, host, stream),
        }
        for name, copy in copies.items():
            copy()
            device.mark(stream).wait()
            start = time.perf_counter()
            copy()
            device.mark(stream).wait()
            rates[name] = TRANSFER / (time.perf_counter() - start)
    return rates


def _row_text(row: dict[str, Any]) -> str:
    said = row["raised"] or (
        f"error {row['error']:.2g} of {row['tolerance']:.2g}; "
        + ", ".join(f"{n} {status}" for status, n in row["statuses"].items())
    )
    needs = row.get("resources") or {}
    size = f"; {needs['registers']} registers" if "registers" in needs else ""
    mark = "ok    " if row["passed"] else "FAILED"
    return f"{mark}  {row['kernel']}, {row['dtype']}: {said}{size}; first call {row['first']:.1f} s"


def verify_text(record: dict[str, Any]) -> str:
    """The record as a page of Markdown."""
    lines = ["# " + ", ".join(gpu["name"] for gpu in record["gpu"]), ""]
    lines.append("Passed." if record["passed"] else "**Failed**: see the rows below.")
    lines += ["", "| kernel | type | result | error | allowed | registers | runs | first call, s |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in record["kernels"]:
        needs = row.get("resources") or {}
        runs = ", ".join(f"{n} {status}" for status, n in row["statuses"].items())
        lines.append(
            f"| {row['kernel']} | {row['dtype']} | {'ok' if row['passed'] else 'failed'} "
            f"| {row['error']:.2g} | {row['tolerance']:.2g} | {needs.get('registers', '')} "
            f"| {row['raised'] or runs} | {row['first']:.1f} |"
        )
    lines += ["", "| between user and kernel | result | seconds |", "|---|---|---|"]
    for row in record["host"]:
        said = "ok" if row["passed"] else f"failed: {str(row['raised']).splitlines()[0]}"
        lines.append(f"| {row['what']} | {said} | {row['seconds']:.2f} |")
    for gpu, rates in zip(record["gpu"], record["transfers"], strict=True):
        up, down = rates["up"] / 1e9, rates["down"] / 1e9
        lines += ["", f"{gpu['name']}: {up:.1f} GB/s up, {down:.1f} down."]
    lines.append(f"{np.round(record['seconds'], 1)} seconds in all.")
    return "\n".join(lines)
