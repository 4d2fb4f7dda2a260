"""Loss curves of posterior draws on a GPU: `driver.predict_batch`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..columns import Program
from ..maths import log
from ..team import lane, width
from ..work import Model
from .backend import cuda, types
from .columns import law_columns
from .device import Device
from .nodes import loss_curve, node_table
from .port import Port
from .spec import Kernel
from .warp import SINGLE_TABLE, TABLE

__all__ = ["build", "predict_on"]


def build(program: Program, single: bool) -> Kernel:
    """The kernel of a law with one varying column.

    Returns
    -------
    Kernel
        Its arguments are draws (n_runs, n_parameters, n_draws), scaled axis values (n_runs, n_at),
        and what it writes: losses (n_runs, n_at, n_draws).  A NaN among the axis values gives NaN.
    """
    law = law_columns(program)
    d = len(program.nonlinear)
    table = {**(SINGLE_TABLE if single else TABLE), **law.table}
    table.update(node_table(law, d, program.n_fixed))
    log_flags = (*(int(flag) for flag in program.log), 0, 0, 0, 0)[:4]
    order = (*(int(k) for k in program.order), 0, 0, 0)[:4]
    n_fixed, constant = program.n_fixed, program.constant

    def curves(draws, at, out):  # type: ignore[no-untyped-def]
        model = Model(n_fixed, 1, d, 0, log_flags, order, constant)
        for t in range(at.size):
            x = at[t]
            log_x = log(x) if x > 0.0 else x - x
            for i in range(lane(), draws.shape[1], width()):
                out[t, i] = loss_curve(x, log_x, i, model, draws) + (x - x)

    run: Any = Port(table, single).device(curves)

    def predict(draws, at, out):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        run(draws[r], at[r], out[r])

    number = types.float32 if single else types.float64
    signature = (
        types.Array(number, 3, "C"), types.Array(number, 2, "C"), types.Array(number, 3, "C"),
    )  # fmt: skip
    return Kernel("predict", Port(TABLE).rebound(predict), signature, 32, False)


def predict_on(device: Device, kernel: Kernel, draws: Any, at: Any) -> Any:
    """Loss curves of draws that lie on a GPU.

    Parameters
    ----------
    device : Device
    kernel : Kernel
        Of the draws' precision.
    draws : device array, shape (n_runs, n_parameters, n_draws)
    at : ndarray, shape (n_runs, n_at)
        Scaled axis values.

    Returns
    -------
    device array, shape (n_runs, n_at, n_draws)
    """
    found: list[Any] = []

    def task() -> None:
        xp = device.xp
        places = xp.asarray(np.ascontiguousarray(at), dtype=draws.dtype)
        out = xp.empty((draws.shape[0], at.shape[1], draws.shape[2]), draws.dtype)
        device.launch(kernel, draws.shape[0], (draws, places, out), stream)
        found.append(out)

    with device.active():
        stream = device.stream()
        device.follow(stream)  # the caller may still be computing what is read here
        device.work(stream, task)
        device.mark(stream).wait()
    return found[0]
