"""What ``lossfit inspect`` says of logs: what was found, what was dropped and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.sparkline import sparkline
from ..runs.broken import broken_runs, words_of
from ..runs.cleaning import SMOOTHED_POINTS
from ..runs.labels import names_text, span

if TYPE_CHECKING:
    from ..runs.cleaning import Flag
    from ..runs.collection import Runs
    from ..runs.run import Run
    from . import Log

RUNS_SHOWN = 12
LOGS_SHOWN = 12
NORMAL_MAD = 0.6744897501960817
LEAST_NOISE_POINTS = 12
LOSSES = {"train": "training losses", "val": "validation losses", "named": "losses"}


def noise_of(run: Run) -> float | None:
    """Standard deviation of the points about their neighbours, over the second half of a run.

    From the median absolute deviation of a point from the mean of its two neighbours, which for
    independent normal noise of standard deviation s is 0.6745 s sqrt(3/2); None where there are too
    few points.  On a smoothed run it is the noise that is left.
    """
    loss = run.loss[~run.spike]
    loss = loss[len(loss) // 2 :]
    if len(loss) < LEAST_NOISE_POINTS:
        return None
    off = np.abs(loss[1:-1] - loss[:-2] / 2 - loss[2:] / 2)
    return float(np.median(off) / (NORMAL_MAD * np.sqrt(1.5)))


def inspect_text(
    runs: Runs,
    unicode: bool = True,  # whether the output takes more than ASCII
    logs: Sequence[Log] = (),  # what `lossfit.sources.survey` found in each log
) -> str:
    """What was found, in words.

    Returns
    -------
    str
        A line for each log, a line and a sparkline for each run, and a line for each thing that a
        careful reader would want to know, those of what was dropped among them.
    """
    total = sum(len(run) for run in runs)
    shared = ", ".join(runs.axes) or "none in common"
    lines = [_log_line(log) for log in logs[:LOGS_SHOWN]]
    if len(logs) > LOGS_SHOWN:
        lines.append(f"... and {len(logs) - LOGS_SHOWN:,} more logs (--json has them all)")
    lines.append(f"{len(runs):,} run{'s' * (len(runs) > 1)}, {total:,} points; axes: {shared}")
    width = max(len(name) for name in runs.names[:RUNS_SHOWN])
    for i, run in enumerate(runs):
        if i == RUNS_SHOWN:
            lines.append(f"... and {len(runs) - RUNS_SHOWN:,} more (--json has them all)")
            break
        lines += _run_lines(run, width, unicode)
        broken = _broken(runs, run)
        if broken is not None and not any(flag.detail == broken for flag in run.flags):
            lines.append(f"{'':<{width}}  ! broken: {broken}")
    lines += [_flag_line(flag) for flag in runs._columns.flags.get(None, ())]
    return "\n".join(lines)


def _log_line(log: Log) -> str:
    who = f" of {len(log.runs):,} runs ({names_text(log.runs)})" if len(log.runs) > 1 else ""
    column = f" ({log.loss})" if log.loss else ""
    return f"{log.name}: {log.format}, {log.rows:,} rows of {LOSSES[log.losses]}{column}{who}"


def _flag_line(flag: Flag) -> str:
    return f"! {flag.flag} ({flag.count}): {flag.detail}"


def _run_lines(run: Run, width: int, unicode: bool) -> list[str]:
    axis = run.axes[0]
    x = run.axis(axis)
    lines = [
        f"{run.name:<{width}}  {sparkline(run.loss, unicode)}  loss {run.loss[0]:.4g} "
        f"to {run.loss[-1]:.4g}, {len(run):,} points, {span(float(x[0]), float(x[-1]), axis)}"
    ]
    lines.append(f"{'':<{width}}  {'; '.join(_known(run))}")
    lines += [f"{'':<{width}}  {_flag_line(flag)}" for flag in run.flags]
    return lines


def _broken(runs: Runs, run: Run) -> str | None:
    """What broke in a run, on its first axis."""
    return words_of(broken_runs(runs, [run.name], run.axes[0]), [run.name])[0]


def _known(run: Run) -> list[str]:
    """What is known of a run besides its curve, in words."""
    words = [f"params {run.params:.3g}"] if run.params is not None else []
    lr = run.lr
    if lr is not None:
        rates = lr[np.isfinite(lr)]
        share = "" if len(rates) == len(lr) else f" at {len(rates):,} of {len(lr):,} points"
        first, highest, last = rates[0], rates.max(), rates[-1]
        words.append(f"lr known{share}: first {first:.3g}, highest {highest:.3g}, last {last:.3g}")
    if run.schedule is not None:
        words.append(f"schedule {run.schedule}")
    elif lr is None:
        words.append("lr unknown")
    planned = run.meta.get("planned_steps")
    if planned is not None:
        words.append(f"planned to {planned:,.0f} steps")
    noise = noise_of(run)
    if noise is not None:
        words.append(f"noise sd {noise:.2g}")
    if any(flag.flag == "smoothed" for flag in run.flags):
        words.append("smoothed, or without noise")
    elif len(run) >= SMOOTHED_POINTS:
        words.append("no smoothing seen")
    return words


def inspect_dict(runs: Runs, logs: Sequence[Log] = ()) -> dict[str, Any]:
    """The same as plain data, schema ``lossfit.inspect/1``."""
    from .. import __version__

    return {
        "schema": "lossfit.inspect/1",
        "lossfit": __version__,
        "logs": [
            {
                "name": log.name,
                "format": log.format,
                "rows": log.rows,
                "loss": log.loss,
                "losses": log.losses,
                "runs": list(log.runs),
            }
            for log in logs
        ],
        "axes": list(runs.axes),
        "runs": [{**_run_dict(run), "broken": _broken(runs, run)} for run in runs],
        "flags": [_flag_dict(f) for f in runs._columns.flags.get(None, ())],
    }


def _run_dict(run: Run) -> dict[str, Any]:
    lr = run.lr
    finite = None if lr is None else lr[np.isfinite(lr)]
    return {
        "name": run.name,
        "points": len(run),
        "params": run.params,
        "tokens_per_step": run.tokens_per_step,
        "schedule": None if run.schedule is None else str(run.schedule),
        "planned_steps": run.meta.get("planned_steps"),
        "axes": {axis: [float(run.axis(axis)[0]), run.end(axis)] for axis in run.axes},
        "loss": [float(run.loss[0]), float(run.loss[-1])],
        "lr": None
        if finite is None
        else {"points": len(finite), "highest": float(finite.max()), "last": float(finite[-1])},
        "noise_sd": noise_of(run),
        "decimals": run.decimals,
        "smoothed": any(flag.flag == "smoothed" for flag in run.flags),
        "flags": [_flag_dict(flag) for flag in run.flags],
    }


def _flag_dict(flag: Flag) -> dict[str, Any]:
    return {"flag": flag.flag, "count": int(flag.count), "detail": flag.detail}
