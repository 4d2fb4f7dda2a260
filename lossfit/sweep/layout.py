"""Which arrays a sweep's store has, and the files of a chunk of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._base.summaries import MOMENTS
from ..runs.labels import AXIS_UNITS
from .arrays import ERROR_ROWS, Array
from .work import DIAGNOSTICS, Failure, Fitted, Spec

LEDGER = "ledger/entry"
PLANS = ("ledger/plan/c/0", "ledger/plan/c/1")  # the plan of the store, twice
END = "ledger/end/c/0"  # the root's attributes, once the sweep is done


def layout(spec: Spec) -> tuple[list[Array], dict[str, NDArray[Any]]]:
    """The arrays of a store, and the values of those that do not grow (by path)."""
    law, size = spec.law, spec.chunk_runs
    docs = {p.name: p.doc for p in law.nonlinear} | {p.name: p.doc for p in law.linear}
    docs["sigma"] = "standard deviation of the noise of a point of weight 1"
    units = {"units": AXIS_UNITS[spec.axis]}
    p, q, t = len(spec.parameters), len(spec.quantiles), len(spec.targets)
    fixed: dict[str, NDArray[Any]] = {
        "parameter": np.array(spec.parameters, object),
        "quantile": np.array(spec.quantiles),
    }
    made: list[Array] = []

    def grown(path: str, dtype: str, dims: tuple[str, ...] = (), *inner: int, **attrs: str) -> None:
        made.append(Array(path, dtype, ("run", *dims), (0, *inner), (size, *inner), attrs=attrs))

    grown("run", "string")
    widest = f"{100 * spec.probs[0]:g} % equal-tailed interval, "
    names = {"lower": widest + "lower end", "upper": widest + "upper end"}
    if spec.keep == "quantiles":
        grown("parameter_quantile", "float64", ("parameter", "quantile"), p, q)
    else:
        for name in MOMENTS:
            grown(
                name, "float64", ("parameter",), p, long_name=names.get(name, f"posterior {name}")
            )
    if t:
        fixed["target"] = np.array(spec.targets, object)
        grown("at", "float64", ("target",), t, long_name=spec.axis, **units)
        if spec.keep != "quantiles":
            grown("loss_mean", "float64", ("target",), t, long_name="mean of the predicted loss")
            grown("loss_sd", "float64", ("target",), t, long_name="sd of the predicted loss")
        long_name = "quantiles of the predicted loss"
        grown("loss_quantile", "float64", ("target", "quantile"), t, q, long_name=long_name)
    grown("n_points", "int32", long_name="points in the window")
    grown("window_start", "float64", (), **units)
    grown("window_end", "float64", (), **units)
    for name in (*DIAGNOSTICS, "n_eff"):
        grown(name, "float64")
    grown("flags", "string", long_name="what a careful reader would want to know, with commas")
    grown("failed", "bool", long_name="whether the run is in the table of errors")
    for name, values in fixed.items():
        kind = "string" if values.dtype == object else "float64"
        made.append(Array(name, kind, (name,), values.shape, values.shape, None))
    if spec.keep == "draws":
        shape = (spec.sampler.chains, spec.sampler.draws)
        for name in spec.parameters:
            attrs = {"long_name": docs[name]}
            path = f"posterior/{name}"
            dims = ("chain", "draw", "run")
            made.append(Array(path, "float64", dims, (*shape, 0), (*shape, size), 2, attrs))
        made.append(Array("posterior/run", "string", ("run",), (0,), (size,)))
        made.append(Array("posterior/x_ref", "float64", ("run",), (0,), (size,), 0, units))
        for name, length in zip(("chain", "draw"), shape, strict=True):
            path = f"posterior/{name}"
            made.append(Array(path, "int64", (name,), (length,), (length,), None))
            fixed[path] = np.arange(length)
    rows = (ERROR_ROWS,)
    for name, kind in (("run", "string"), ("index", "int64"), ("error", "string")):
        made.append(Array(f"errors/{name}", kind, ("row",), (0,), rows))
    made.append(Array("errors/message", "string", ("row",), (0,), rows))
    made.append(Array(LEDGER, "string", ("chunk",), (0,), (1,)))
    made.append(Array("ledger/plan", "string", ("copy",), (2,), (1,), None))
    made.append(Array("ledger/end", "string", ("end",), (1,), (1,), None))
    return made, fixed


def chunk_files(number: int, fitted: Fitted, spec: Spec, arrays: list[Array]) -> dict[str, bytes]:
    """The files of a chunk, by path within the store."""
    columns = fitted.arrays
    out = {}
    for array in arrays:
        if array.grows is None or array.path.startswith(("errors/", "ledger/")):
            continue
        head, _, name = array.path.rpartition("/")
        if head and name in spec.parameters:
            draws = columns["draws"][:, spec.parameters.index(name)]
            split = draws.reshape(len(draws), spec.sampler.chains, spec.sampler.draws)
            values = np.moveaxis(split, 0, -1)
        else:
            values = columns["window_end" if name == "x_ref" else name]
        out[array.file(number)] = array.encode(values)
    return out


def error_files(start: int, failures: list[Failure], arrays: list[Array]) -> dict[str, bytes]:
    """The files of one chunk of the table of errors; `start` is the number of the chunk."""
    out = {}
    for array in arrays:
        head, _, name = array.path.rpartition("/")
        if head == "errors":
            kind: Any = object if array.dtype == "string" else np.int64
            column = np.array([*(getattr(f, name) for f in failures), None], object)[:-1]
            out[array.file(start)] = array.encode(column.astype(kind))
    return out
