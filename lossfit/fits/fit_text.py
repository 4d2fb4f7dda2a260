"""A fit in words, and as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._base.numbers import decimals_of
from .._base.records import rows_of
from ..runs.broken import first_lines
from ..runs.cleaning import MEANINGS
from ..runs.labels import names_text, span
from .flags import FIT_MEANINGS

if TYPE_CHECKING:
    from .posterior import Fit

RUNS_SHOWN = 12


def fit_text(fit: Fit, prob: float | None = None) -> str:
    """A table of parameters for each run, with intervals of `prob` (the fit's by default)."""
    prob = fit.prob if prob is None else prob
    s = fit.settings
    what = "exact draws" if s.exact else "draws"
    lines = [
        *first_lines(fit.broken, consequence="no law describes that", where="fit.broken"),
        f"{fit.law.name} ({fit.law.formula}) on {s.axis}: {s.chains * s.draws:,} {what} a run "
        f"by {s.method}, {100 * prob:g} % intervals, window {s.window}",
    ]
    if fit.readable:
        lines.append(
            "x is the axis over the end of the window: sizes of terms are in units of the loss"
        )
    names = list(fit.runs.names)
    shown = fit.select(names[:RUNS_SHOWN])
    summary, diagnostics = shown.summary(prob, scaled=fit.readable), shown.diagnostics
    width = max(len(p) for p in fit.parameters)
    for name in shown.runs.names:
        row = diagnostics.loc[name]
        window = span(row["window_start"], row["window_end"], s.axis)
        lines.append(f"{name}: {row['n_points']} points, {window}")
        for parameter in fit.parameters:
            p = summary.loc[(name, parameter)]
            places = decimals_of(p["upper"] - p["lower"], s.chains * s.draws)
            digits = f".{places}f" if fit.readable else ".5g"
            lines.append(
                f"  {parameter:<{width}}  {p['mean']:<11{digits}} sd {p['sd']:<10.2g} "
                f"{p['lower']:{digits}} to {p['upper']:{digits}}"
            )
    if len(names) > RUNS_SHOWN:
        lines.append(
            f"... and {len(names) - RUNS_SHOWN:,} more runs (--json or --out has them all)"
        )
    by_flag: dict[str, list[str]] = {}
    for name, flags in zip(names, fit.flags, strict=True):
        for flag in flags[name in fit.broken :]:
            if flag != "rounded":  # most logs are, far below their noise
                by_flag.setdefault(flag, []).append(name)
    meanings = {**MEANINGS, **FIT_MEANINGS}
    lines += [f"! {f}: {meanings.get(f, '')} [{names_text(who)}]" for f, who in by_flag.items()]
    return "\n".join(lines)


def fit_dict(fit: Fit, prob: float | None = None) -> dict[str, Any]:
    """The summary as plain data, schema ``lossfit.fit_summary/1``."""
    from dataclasses import asdict

    from .. import __version__

    prob = fit.prob if prob is None else prob
    summary = fit.summary(prob).drop(columns="notes").reset_index()
    return {
        "schema": "lossfit.fit_summary/1",
        "lossfit": __version__,
        "law": {"name": fit.law.name, "formula": fit.law.formula},
        "settings": {**asdict(fit.settings), "prob": prob},
        "broken": {name: words for name, (words, _) in fit.broken.items()},
        "summary": rows_of(summary),
        "diagnostics": rows_of(fit.diagnostics.reset_index()),
    }
