"""Tables of a fit: its parameters and its residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._base.errors import DataError
from .._base.frames import answer_first
from .._base.ragged import Floats, run_of_row
from .._base.summaries import describe

if TYPE_CHECKING:
    import pandas as pd

    from .posterior import Fit

MOST_RHAT = 1.01
RESIDUAL_RUNS = 64  # runs whose curves at their own points are held at a time


def summary(fit: Fit, prob: float, scaled: bool = False) -> pd.DataFrame:
    """See `Fit.summary`."""
    import pandas as pd

    from .._base.summaries import check_prob

    prob = check_prob(prob)
    names = fit.parameters
    n_runs = len(fit.runs)
    shape = (n_runs, len(names))
    rhat = np.full(shape, np.nan)
    median: Floats | None = None
    s = fit.settings
    if fit.device_draws is not None:
        median, mean, sd, lower, upper = _on_gpu(fit, prob, scaled)
        ess = np.full(shape, float(s.draws * s.chains) if s.exact else np.nan)
    elif fit.draws is None:
        assert fit.moments is not None
        if scaled:
            raise DataError(
                "this fit kept a summary in units of the axis only; fit again with keep='draws'"
            )
        if abs(prob - s.prob) > 1e-9:
            raise DataError(
                f"this fit kept intervals of probability {s.prob:g} only; ask for these, or fit "
                f"again with prob={prob:g}"
            )
        mean, sd, lower, upper = np.moveaxis(fit.moments.values, -1, 0)
        ess = np.full(shape, float(s.draws) if s.exact else np.nan)
    else:
        posterior = fit.scaled_posterior if scaled else fit.posterior
        mean, sd, lower, median, upper = (np.empty(shape) for _ in range(5))
        for k, name in enumerate(names):
            draws = posterior[name].values.transpose(2, 0, 1).reshape(n_runs, -1)
            mean[:, k], sd[:, k], lower[:, k], median[:, k], upper[:, k] = describe(draws, prob)
        ess = np.full(shape, float(s.draws * s.chains))
        if not s.exact:
            from .arviz_adapter import diagnostics

            convergence = diagnostics(posterior)
            ess = np.stack([convergence[0][name].values for name in names], axis=1)
            rhat = np.stack([convergence[1][name].values for name in names], axis=1)
    flags = list(fit.flags)
    for r in np.flatnonzero((rhat > MOST_RHAT).any(axis=1)):
        if "not_converged" not in flags[r]:
            flags[r] = ("not_converged", *flags[r])
    index = pd.MultiIndex.from_product([list(fit.runs.names), names], names=["run", "parameter"])
    values = {"mean": mean, "sd": sd, "lower": lower, "upper": upper}
    if median is not None:
        values["median"] = median
    values |= {"ess": ess, "rhat": rhat}
    frame = pd.DataFrame({column: array.ravel() for column, array in values.items()}, index=index)
    frame["notes"] = pd.Series([f for f in flags for _ in names], index=index, dtype=object)
    frame = answer_first(frame)
    frame.attrs["prob"] = prob
    return frame


def _on_gpu(fit: Fit, prob: float, scaled: bool) -> Floats:
    """Median, mean, sd, lower and upper of draws on a GPU, each (n_runs, n_parameters)."""
    assert fit.device_draws is not None
    units = () if scaled else (fit.law, fit.end)
    return fit.device_draws.describe(prob, *units)[[3, 0, 1, 2, 4]]


def residuals(fit: Fit) -> pd.DataFrame:
    """See `Fit.residuals`."""
    import pandas as pd

    from ..engine.serving import predict_batch

    draws = fit._needs_draws("residuals")
    flat = fit.runs.flat(fit.axis)
    rows = fit.window_rows()
    run = run_of_row(flat.offsets)[rows]
    x, loss, weight = fit.padded()
    fitted = np.empty_like(x)
    for first in range(0, len(fit.runs), RESIDUAL_RUNS):
        block = slice(first, first + RESIDUAL_RUNS)
        at = x[block] / fit.end[block, None]
        fitted[block] = predict_batch(fit.law.program, draws[block], at).mean(axis=-1)
    sigma = draws[:, -1].mean(axis=-1)[:, None]
    is_point = ~np.isnan(x)
    gap = loss - fitted
    return pd.DataFrame(
        {
            "run": np.asarray(fit.runs.names, dtype=object)[run],
            fit.axis: x[is_point],
            "loss": loss[is_point],
            "fitted": fitted[is_point],
            "residual": gap[is_point],
            "standardised": (gap * np.sqrt(weight) / sigma)[is_point],
        }
    )
