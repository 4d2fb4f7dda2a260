"""The short table that stands for a collection of runs on a screen."""

from __future__ import annotations

import html

from .._base.terminal import printable
from .run import Owner, Run

SHOWN = 12  # runs in the table
HEAD = ("run", "points", "params", "axis to", "loss", "flags")


def as_text(runs: Owner) -> str:
    """The table as text."""
    rows = [HEAD, *_rows(runs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return printable("\n".join([_title(runs), *lines, *_rest(runs)]))


def as_html(runs: Owner) -> str:
    """The table for a notebook."""
    head = "".join(f"<th>{word}</th>" for word in HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(runs)
    )
    rest = "".join(f"<p>{html.escape(line)}</p>" for line in _rest(runs))
    return (
        f"<p>{html.escape(_title(runs))}</p>"
        f'<table class="dataframe"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>{rest}"
    )


def _title(runs: Owner) -> str:
    plural = "" if len(runs) == 1 else "s"
    axes = ", ".join(runs.axes) or "none in common"
    return f"{len(runs)} run{plural}, {len(runs._columns.loss)} points; axes: {axes}"


def _rest(runs: Owner) -> list[str]:
    lines = [f"... and {len(runs) - SHOWN} more"] if len(runs) > SHOWN else []
    lines += [f"{flag.flag}: {flag.detail}" for flag in runs._columns.flags.get(None, ())]
    return lines


def _rows(runs: Owner) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for i in range(min(len(runs), SHOWN)):
        run = Run(runs, i)
        axis = run.axes[0]
        params = "-" if run.params is None else f"{run.params:.3g}"
        loss = f"{run.loss[0]:.4g} to {run.loss[-1]:.4g}"
        flags = ", ".join(f"{flag.flag} ({flag.count})" for flag in run.flags)
        end = f"{axis} {run.end(axis):.4g}"
        rows.append((run.name, str(len(run)), params, end, loss, flags))
    return rows
