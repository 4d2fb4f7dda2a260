"""A law's curve from its one-line `formula`: what its columns are held against.

The formula is what the documentation shows, in units of the axis; it is evaluated with NumPy and
shares nothing with the columns that the kernels compile.  ``^`` is a power, a blank is a product,
and abbreviations follow after commas: ``E + A x^-alpha (1 + x/d)^-c, c = (r - 1) alpha``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossfit.laws import Law

Floats = NDArray[np.float64]

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh")
}
TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:e-?\d+)?|\.\d+)|([A-Za-z_]\w*)|(.))")


def python(expression: str) -> str:
    """The expression as Python: ``A x^-alpha`` is ``A*x**-alpha``."""
    out: list[str] = []
    last = ""
    for number, name, sign in TOKEN.findall(expression.strip()):
        token = number or name or sign
        ends = last and (last[-1].isalnum() or last[-1] in "_.)") and last not in FUNCTIONS
        if ends and (number or name or sign == "("):
            out.append("*")
        out.append("**" if sign == "^" else token)
        last = token
    return "".join(out)


def curve(law: Law, x: Any, values: Mapping[str, Any]) -> Any:
    """Losses at x by the law's formula.

    Parameters
    ----------
    law : Law
    x : array_like
        Axis values.
    values : mapping
        Parameters by name, in the units of x; they broadcast with x.
    """
    body, *abbreviations = law.formula.split(", ")
    names = {"x": x, **values}
    scope: dict[str, Any] = {"__builtins__": {}, **FUNCTIONS}
    for text in abbreviations:
        name, _, expression = text.partition("=")
        names[name.strip()] = eval(python(expression), scope, names)
    return eval(python(body), scope, names)


def columns(law: Law, x: Floats, theta: Floats) -> Floats:
    """The law's columns by its formula, shape (n_sets, n, p), for theta of shape (d, n_sets).

    Each is what the formula gives when its own linear parameter is 1 and the others are 0; `x` is
    in units of the window's end, where parameters are those of the columns.
    """
    out = []
    for own in law.linear:
        values = {p.name: t[:, None] for p, t in zip(law.nonlinear, theta, strict=True)}
        values |= {p.name: np.asarray(float(p is own)) for p in law.linear}
        if law.to_axis_units is not None:
            values = law.to_axis_units(values, 1.0)
        out.append(np.broadcast_to(curve(law, x, values), (theta.shape[1], x.size)))
    return np.stack(out, axis=-1)
