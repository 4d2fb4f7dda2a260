"""A surface in words, and as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.records import rows_of
from ..runs.labels import size_text

if TYPE_CHECKING:
    from .result import Surface

SCHEMA = "lossfit.surface/1"


def line(surface: Surface) -> str:
    """The exponents in a line."""
    rows = "published" if surface.table is None else f"{len(surface.table):,} rows"
    frame = surface.summary()
    numbers = ", ".join(
        f"{name} {_number(float(frame.loc[name, 'median']))}"
        for name in ("E", "alpha", "beta")
        if name in frame.index
    )
    return f"Surface {surface.law.name}, {rows}: {numbers}"


def text(surface: Surface) -> str:
    """A few readable lines."""
    law = surface.law
    lines = [f"{law.name}: {law.formula}"]
    table = surface.table
    if table is None:
        lines.append(f"  {surface.source}")
        if surface.seen is not None:
            seen = surface.seen
            lines.append(
                f"  which have {_range(np.array(seen.params))} parameters, "
                f"{_range(np.array(seen.tokens))} tokens"
            )
    else:
        lines.append(
            f"  {len(table):,} rows: {_range(table.params)} parameters, {_range(table.tokens)} "
            f"tokens, loss {table.loss.min():.3f} to {table.loss.max():.3f}"
        )
    frame = surface.summary()
    interval = f"{100 * surface.prob:g} % interval "
    if surface.n_draws == 1:
        for name, row in frame.iterrows():
            lines.append(f"  {name:<6} {_number(float(row['mean']))}")
    else:
        width = max(len(_number(float(v))) for v in frame["median"])
        for name, row in frame.iterrows():
            lower, median, upper = (_number(float(row[k])) for k in ("lower", "median", "upper"))
            lines.append(f"  {name:<6} {median:>{width}}  ({interval}{lower} to {upper})")
            interval = ""
        if table is not None:
            lines.append(f"  {_how(surface)}")
    lines += [f"  ! {flag}: {note}" for flag, note in surface.notes.items()]
    return "\n".join(lines)


def _how(surface: Surface) -> str:
    noise = "Student-t" if surface.noise == "student_t" else "Gaussian"
    if surface.method == "quadrature":
        return (
            f"{surface.n_draws:,} draws by quadrature over (alpha, beta), {surface.cells:.0f} "
            f"effective cells; {noise} noise of the log loss"
        )
    if surface.method == "hamiltonian":
        return (
            f"{surface.n_draws:,} draws by Hamiltonian Monte Carlo, with what the law misses; "
            f"{noise} noise"
        )
    return f"{surface.n_draws:,} draws by an ensemble of walkers; {noise} noise of the log loss"


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    if abs(value) >= 1e5 or 0 < abs(value) < 1e-3:
        return f"{value:.3g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _range(values: Any) -> str:
    return f"{size_text(float(values.min()))} to {size_text(float(values.max()))}"


def as_dict(surface: Surface) -> dict[str, Any]:
    """See `Surface.to_dict`."""
    from .. import __version__

    def plain(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "schema": SCHEMA,
        "lossfit": __version__,
        "law": {"name": surface.law.name, "formula": surface.law.formula},
        "noise": surface.noise,
        "method": surface.method,
        "rows": None if surface.table is None else len(surface.table),
        "draws": surface.n_draws,
        "prob": surface.prob,
        "random_seed": surface.random_seed,
        "diagnostics": {
            "effective_cells": plain(surface.cells),
            "efficiency": plain(surface.efficiency),
            "log_evidence": plain(surface.log_evidence),
        },
        "parameters": rows_of(surface.frame.drop(columns=["notes"])),
        "notes": dict(surface.notes),
        "source": surface.source or None,
    }
