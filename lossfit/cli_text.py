"""What the command line prints of fits and of logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._ragged import Floats
from .cleaning import MEANINGS
from .flags import FIT_MEANINGS
from .labels import names_text, span
from .records import rows_of

if TYPE_CHECKING:
    from .posterior import Fit
    from .run import Run
    from .runs import Runs

__all__ = ["fit_dict", "fit_text", "inspect_dict", "inspect_text", "sparkline"]

RUNS_SHOWN = 12
SPARK_WIDTH = 32
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-~=+*#"


def fit_text(fit: Fit, prob: float) -> str:
    """A table of parameters for each run."""
    s = fit.settings
    what = "exact draws" if s.exact else "draws"
    lines = [
        f"{fit.law.name} ({fit.law.formula}) on {s.axis}: {s.chains * s.draws:,} {what} a run "
        f"by {s.method}, {100 * prob:g} % intervals, window {s.window}"
    ]
    if fit.draws is not None and fit.law.to_axis_units is not None:
        lines.append(
            "x is the axis over the end of the window: sizes of terms are in units of the loss"
        )
    names = list(fit.runs.names)
    shown = fit.select(names[:RUNS_SHOWN])
    summary, diagnostics = shown.summary(prob, scaled=fit.draws is not None), shown.diagnostics
    width = max(len(p) for p in fit.parameters)
    for name in shown.runs.names:
        row = diagnostics.loc[name]
        window = span(row["window_start"], row["window_end"], s.axis)
        lines.append(f"{name}: {row['n_points']} points, {window}")
        for parameter in fit.parameters:
            p = summary.loc[(name, parameter)]
            lines.append(
                f"  {parameter:<{width}}  {p['mean']:<11.5g} sd {p['sd']:<10.3g} "
                f"{p['lower']:.5g} to {p['upper']:.5g}"
            )
    if len(names) > RUNS_SHOWN:
        lines.append(
            f"... and {len(names) - RUNS_SHOWN:,} more runs (--json or --out has them all)"
        )
    by_flag: dict[str, list[str]] = {}
    for name, flags in zip(names, fit.flags, strict=True):
        for flag in flags:
            by_flag.setdefault(flag, []).append(name)
    meanings = {**MEANINGS, **FIT_MEANINGS}
    lines += [f"! {f}: {meanings.get(f, '')} [{names_text(who)}]" for f, who in by_flag.items()]
    return "\n".join(lines)


def fit_dict(fit: Fit, prob: float) -> dict[str, Any]:
    """The summary as plain data, schema ``lossfit.fit_summary/1``."""
    from dataclasses import asdict

    from . import __version__

    summary = fit.summary(prob).drop(columns="flags").reset_index()
    return {
        "schema": "lossfit.fit_summary/1",
        "lossfit": __version__,
        "law": {"name": fit.law.name, "formula": fit.law.formula},
        "settings": {**asdict(fit.settings), "prob": prob},
        "summary": rows_of(summary),
        "diagnostics": rows_of(fit.diagnostics.reset_index()),
    }


def inspect_text(runs: Runs, unicode: bool) -> str:
    """What was found: a line and a sparkline for each run, then what cleaning did."""
    total = sum(len(run) for run in runs)
    shared = ", ".join(runs.axes) or "none in common"
    lines = [f"{len(runs):,} run{'s' if len(runs) > 1 else ''}, {total:,} points; axes: {shared}"]
    width = max(len(name) for name in runs.names[:RUNS_SHOWN])
    for i, run in enumerate(runs):
        if i == RUNS_SHOWN:
            lines.append(f"... and {len(runs) - RUNS_SHOWN:,} more (--json has them all)")
            break
        lines += _run_lines(run, width, unicode)
    for flag in runs._columns.flags.get(None, ()):
        lines.append(f"! {flag.flag} ({flag.count}): {flag.detail}")
    return "\n".join(lines)


def _run_lines(run: Run, width: int, unicode: bool) -> list[str]:
    axis = run.axes[0]
    x = run.axis(axis)
    known = [f"params {run.params:.3g}"] if run.params is not None else []
    if run.schedule is not None:
        known.append(f"schedule {run.schedule}")
    lines = [
        f"{run.name:<{width}}  {sparkline(run.loss, unicode)}  loss {run.loss[0]:.4g} "
        f"to {run.loss[-1]:.4g}, {len(run):,} points, {span(float(x[0]), float(x[-1]), axis)}"
    ]
    if known:
        lines.append(f"{'':<{width}}  {'; '.join(known)}")
    lines += [f"{'':<{width}}  ! {f.flag} ({f.count}): {f.detail}" for f in run.flags]
    return lines


def sparkline(loss: Floats, unicode: bool = True) -> str:
    """The loss in a few characters: medians of equal shares of the points."""
    shares = np.array_split(loss, min(SPARK_WIDTH, len(loss)))
    heights = np.array([np.median(share) for share in shares])
    low, high = heights.min(), heights.max()
    blocks = BLOCKS if unicode else ASCII_BLOCKS
    if high == low:
        return blocks[0] * len(heights)
    level = np.round((heights - low) / (high - low) * (len(blocks) - 1)).astype(int)
    return "".join(blocks[k] for k in level)


def inspect_dict(runs: Runs) -> dict[str, Any]:
    """The same as plain data, schema ``lossfit.inspect/1``."""
    from . import __version__

    return {
        "schema": "lossfit.inspect/1",
        "lossfit": __version__,
        "axes": list(runs.axes),
        "runs": [
            {
                "name": run.name,
                "points": len(run),
                "params": run.params,
                "tokens_per_step": run.tokens_per_step,
                "schedule": None if run.schedule is None else str(run.schedule),
                "axes": {a: [float(run.axis(a)[0]), run.end(a)] for a in run.axes},
                "loss": [float(run.loss[0]), float(run.loss[-1])],
                "flags": [_flag(f) for f in run.flags],
            }
            for run in runs
        ],
        "flags": [_flag(f) for f in runs._columns.flags.get(None, ())],
    }


def _flag(flag: Any) -> dict[str, Any]:
    return {"flag": flag.flag, "count": int(flag.count), "detail": flag.detail}
