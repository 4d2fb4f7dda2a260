"""What a careful reader of a surface would want to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri
from scipy.stats import f as f_distribution
from scipy.stats import rankdata

from .._base.ragged import Floats
from ..runs.labels import names_text

if TYPE_CHECKING:
    from .result import Surface

FEW_ROWS = 12
FEW_LEVELS = 5
MOST_OF_PRIOR = 0.5  # posterior sd over prior sd of a logarithm
STRUCTURE = 1e-3  # p value of the test for a pattern in the residuals
LEAST_ROWS_TESTED = 20
COLLINEAR = 0.98
FLOOR = 0.1  # E over the lowest loss
MOST_RHAT = 1.02
MOST_RHAT_OF_MANY = 1.1  # of the many short chains of Hamiltonian Monte Carlo


def notes_of(surface: Surface) -> dict[str, str]:
    """Flags and what they say, the gravest first."""
    from .result import OUTLIER
    from .target import middle

    table = surface.table
    if table is None and surface.n_draws > 1:
        return {}
    if table is None:
        return {
            "no_intervals": "published constants: the source reports standard errors of one "
            "parameter at a time at most, from which no honest interval of a loss follows"
        }
    notes = dict(table.broken)
    many = surface.method == "hamiltonian"
    if surface.rhat > (MOST_RHAT_OF_MANY if many else MOST_RHAT):
        notes["not_converged"] = (
            f"the sampler's chains differ (R-hat {surface.rhat:.3f}): a flat posterior; proper "
            f"priors= or more rows would help"
        )
    copies = int((table.copies > 1).sum())
    if copies:
        counted = (
            "each set of them counts as one row"
            if surface.missed is not None
            else "they count as often as they stand there, which makes intervals too narrow"
        )
        notes["equal_rows"] = (
            f"{copies} rows have the same size, tokens and loss as another: {counted}; drop the "
            f"copies, or give runs that were repeated with their own losses"
        )
    if table.high_rate is not None and table.high_rate.any():
        high = [label for label, bad in zip(table.labels, table.high_rate, strict=True) if bad]
        notes["not_annealed"] = (
            f"{names_text(high)} ended with the learning rate above half of its peak: such losses "
            f"lie above those of runs that were annealed; fit them apart, or as a ladder of curves"
        )
    if surface.missed is None and (table.error is not None or table.weight is not None):
        notes["weights_unused"] = (
            f"law {surface.law.name!r} takes no standard errors or weights: every row counts alike"
        )
    if len(table) < FEW_ROWS:
        notes["few_rows"] = f"{len(table)} rows: the priors matter"
    if table.sizes < FEW_LEVELS:
        notes["few_sizes"] = (
            f"{_count(table.sizes, 'model size')}: how the loss falls with size is told by the "
            f"prior as much as by these data"
        )
    if table.budgets < FEW_LEVELS:
        notes["few_token_counts"] = (
            f"{_count(table.budgets, 'token count')}: how the loss falls with tokens is told by "
            f"the prior as much as by these data"
        )
    if table.sizes > 2 and table.budgets > 2:
        together = float(np.corrcoef(np.log(table.params), np.log(table.tokens))[0, 1])
        if together > COLLINEAR:
            notes["collinear"] = (
                f"size and tokens grow together (correlation {together:.3f} of the logarithms): "
                f"what is due to which can't be told"
            )
    told_by_prior = []
    for name, prior in surface.priors.items():
        spread = float(np.log(surface.values[name]).std())
        if spread > MOST_OF_PRIOR * middle(prior)[1]:
            told_by_prior.append(name)
    if told_by_prior:
        notes["prior_matters"] = (
            f"these data hardly tell {' and '.join(told_by_prior)}: the posterior is more than "
            f"half as wide as the prior"
        )
    if np.quantile(surface.values["E"], 0.05) < FLOOR * table.loss.min():
        notes["floor_unresolved"] = "the floor E can't be told from zero"
    frame = surface.residuals
    rows = [str(v) for v in frame.loc[frame["outlier"], "row"]]
    if rows:
        kept = (
            "they hardly weigh on the surface"
            if surface.noise == "student_t"
            else "with Gaussian noise they pull the surface: noise='student_t'"
        )
        notes["outliers"] = (
            f"{names_text(rows)} lie{'s' if len(rows) == 1 else ''} more than {OUTLIER:g} noise "
            f"scales from the surface; {kept}"
        )
    found = _structure(frame["standardised"].to_numpy(), table.params, table.tokens)
    if found is not None and surface.missed is None:
        notes["residual_structure"] = (
            f"residuals have a pattern in size and tokens (it explains {found:.0%} of them): the "
            f"law misses something, and its intervals are too narrow"
        )
    return notes


def _structure(residual: Floats, params: Floats, tokens: Floats) -> float | None:
    """Share of the residuals that a quadratic in log size and log tokens explains, if any.

    Residuals are replaced by normal scores, so that outliers do not decide.
    """
    n = len(residual)
    if n < LEAST_ROWS_TESTED:
        return None
    x, y = (np.log(v) - np.log(v).mean() for v in (params, tokens))
    design = np.stack([np.ones(n), x, y, x * x, x * y, y * y], axis=1)
    design /= np.sqrt((design**2).mean(axis=0)) + 1e-300
    scores = ndtri((rankdata(residual) - 0.5) / n)
    solution, _, rank, _ = np.linalg.lstsq(design, scores, rcond=1e-8)
    if rank < 2 or n <= rank + 1:
        return None
    left = float(((scores - design @ solution) ** 2).sum())
    total = float(((scores - scores.mean()) ** 2).sum())
    ratio = (total - left) / (rank - 1) / (left / (n - rank))
    p_value = float(f_distribution.sf(ratio, rank - 1, n - rank))
    return 1 - left / total if p_value < STRUCTURE else None


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'} only"
