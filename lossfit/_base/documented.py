"""What functions say in the same words, written once and put into their docstrings.

``help()``, notebooks and the reference show it with each function; a docstring's own words, for a
parameter or a section, stand in place of the shared ones.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.M)
ENTRY = re.compile(r"^\*{0,2}(\w+(?:, \w+)*) : .*\n(?:(?: +.*)?\n)*", re.M)
ORDER = (
    "", "Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "See Also", "Notes",
    "References", "Examples",
)  # fmt: skip

#: Parameters of what draws a figure.
OF_FIGURES = """
ax : matplotlib.axes.Axes, optional
    Where to draw; a new figure by default.
run : str, optional
    Which run; the first by default.
scale : {"auto", "log", "linear"}
    Of the axis.
probs : sequence of float, optional
    Probabilities of the bands.
noise : bool
    Whether the bands are for observations (with noise) or for the curve.
until : float, optional
    Axis value up to which the curve is drawn; by default 1.3 times the end of the data.  The
    figure starts at half the start of the window.
schedules : sequence of str, optional
    Which schedules; the first six by default.
rates : bool
    Whether to draw the learning rates below.
gains : bool
    Whether to draw the gains with their intervals beside the tail.
panels : bool
    Whether to draw PIT and outcomes beside the coverage.
parameter : str, optional
    Which parameter; the first of the law by default.
compute : sequence of float, optional
    Budgets in FLOP; by default up to six at which the table has most rows.
data : bool
    Whether to draw the points.
crossings : bool
    Whether to mark overtakings of probability 1/2 or more, with their intervals (of up to 12 runs).
frontier : bool
    Whether to draw the Pareto frontier of the data, without forecasts.
truncated : bool
    Whether to draw, where it differs, the frontier that would be seen had runs been stopped when
    first overtaken.
forecast : bool
    Whether runs go on beyond their data (dashed).
"""


def sections_of(text: str | None) -> dict[str, str]:
    """The parts of a numpydoc docstring by heading, what comes before the first under ""."""
    first, *others = HEADING.split(inspect.cleandoc(text or "") + "\n")
    return {"": first, **dict(zip(others[::2], others[1::2], strict=True))}


def entries_of(text: str) -> dict[str, str]:
    """Entries ``name : type`` of a section by name, each with its description."""
    return {
        name: match[0].rstrip() + "\n"
        for match in ENTRY.finditer(text.rstrip() + "\n")
        for name in match[1].split(", ")
    }


def documented(
    # entries by name, for parameters that the docstring does not describe
    parameters: Mapping[str, str],
    **sections: str,  # texts of sections that it does not have, such as ``Returns``
) -> Callable[[F], F]:
    """Add what a function's docstring leaves out."""

    def finish(function: F) -> F:
        if function.__doc__:  # there is none under python -OO
            parts = sections_of(function.__doc__)
            entries = {**parameters, **entries_of(parts.get("Parameters", ""))}
            told = dict.fromkeys(
                entries[name] for name in inspect.signature(function).parameters if name in entries
            )
            parts = {**sections, **parts, "Parameters": "".join(told)}
            function.__doc__ = "\n\n".join(
                (f"{name}\n{'-' * len(name)}\n" if name else "") + parts[name].strip()
                for name in sorted(parts, key=ORDER.index)
                if parts[name]
            )
        return function

    return finish


def as_in(function: Callable[..., Any]) -> Callable[[F], F]:
    """Describe parameters as another function does, where a docstring leaves them out."""
    return documented(entries_of(sections_of(function.__doc__).get("Parameters", "")))


#: For what draws a figure and gives the axes that it drew on.
figure_options = documented(
    entries_of(OF_FIGURES), Returns="matplotlib.axes.Axes\n    What was drawn on."
)
#: For what gives plain data.
plain_data = documented({}, Returns="dict\n    Numbers, strings, lists and dicts.")
