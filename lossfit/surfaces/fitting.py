"""Fits of surfaces of final losses by model size and training tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base.errors import DataError, DeviceError
from .._base.progress import patience
from .._base.seeds import Seed, run_keys, seed_integer
from ..laws import SurfaceLaw, surface_law
from ..laws.priors import Prior
from .constants import CONSTANTS, POINTS, PUBLISHED
from .result import FAR, Surface
from .table import read_table, table_of_runs

__all__ = ["FAR", "PUBLISHED", "Surface", "as_surface", "fit_surface", "published"]

LEAST_EFFECTIVE = 0.75  # effective proposals for a draw below which the ensemble takes over


def fit_surface(
    table: Any,
    law: str | SurfaceLaw = "chinchilla",
    *,
    params: str = "params",
    tokens: str = "tokens",
    loss: str = "loss",
    flops: str = "flops",
    unique_tokens: str | float = "unique_tokens",
    noise: str = "student_t",
    priors: Mapping[str, Prior] | None = None,
    prob: float = 0.9,
    draws: int = 1000,
    random_seed: Seed = 0,
    device: str = "auto",
) -> Surface:
    """Fit a law of final losses to a table of finished runs.

    Parameters
    ----------
    table : pandas.DataFrame, mapping of columns, or Runs
        One row a finished run.  Of `Runs`, the final losses are taken.
    law : {"chinchilla", "data_constrained"} or SurfaceLaw
    params, tokens, loss : str
        Columns: model parameters, training tokens, final loss.
    flops : str
        Column of training FLOP, 6 x params x tokens, which stands in for params or tokens.
    unique_tokens : str or float
        For ``data_constrained``: the column, or one number for all rows.
    noise : {"student_t", "gaussian"}
        Noise of the logarithm of the loss.  Student-t noise, whose degrees of freedom are
        estimated, keeps outliers from pulling the surface.
    priors : dict of str to Prior, optional
        For the nonlinear parameters: alpha, beta, R_D, R_N (uniform, normal or log-normal).
    prob : float
        Probability of the intervals.
    draws : int
        Posterior draws.
    random_seed : int, numpy.random.Generator or None
    device : {"auto", "cpu"}
        Surfaces are fitted on the CPU.

    Returns
    -------
    Surface

    Raises
    ------
    DataError
        Columns that are missing, rows that are not positive numbers, a law or prior that there is
        not.

    Warns
    -----
    LossfitWarning
        Outliers, few sizes, residuals with a pattern and other `Surface.flags`.

    Notes
    -----
    ``log loss = log L(params, tokens) + sigma t``.  Priors are proper: E and the two other terms at
    the table's centre are half-normal with the median loss as sd, exponents are log-normal about
    0.35 (90 % between 0.13 and 0.94), sigma is log-normal about 1 % of the loss, the degrees of
    freedom gamma(2, 0.1) on 1 to 100 (Juarez and Steel 2010).  Given the exponents E, A, B and
    sigma are integrated out (`lossfit.surfaces.quadrature`); the law of repeated data is sampled
    (`lossfit.surfaces.ensemble`).

    Examples
    --------
    >>> import lossfit
    >>> from lossfit.laws.chinchilla import EPOCH, loss
    >>> params = [1e8, 4e8, 1.6e9, 1e8, 4e8, 1.6e9, 1e8, 4e8, 1.6e9]
    >>> tokens = [2e9, 2e9, 2e9, 1e10, 1e10, 1e10, 5e10, 5e10, 5e10]
    >>> table = {"params": params, "tokens": tokens, "loss": loss(params, tokens, **EPOCH.values)}
    >>> surface = lossfit.fit_surface(table)  # doctest: +SKIP
    """
    from ..runs.checks import check_prob, whole
    from ..runs.collection import Runs
    from .target import Target, check_prior

    found = surface_law(law)
    prob = check_prob(prob)
    draws = whole(draws, "draws", 10)
    if noise not in ("student_t", "gaussian"):
        raise DataError(f"noise must be 'student_t' or 'gaussian', got {noise!r}")
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"surfaces are fitted on the CPU, in under a second: device='cpu' or 'auto', got "
            f"{device!r}"
        )
    chosen = dict(found.priors)
    for name, prior in (priors or {}).items():
        if name not in chosen:
            raise DataError(
                f"law {found.name!r} takes priors of {', '.join(chosen)}, not of {name!r}"
            )
        chosen[name] = check_prior(name, prior)
    if isinstance(table, Runs):
        unique = unique_tokens if not isinstance(unique_tokens, str) else None
        data = table_of_runs(table, unique if found.repeats else None)
    else:
        data = read_table(
            table, params=params, tokens=tokens, loss=loss, flops=flops,
            unique_tokens=unique_tokens if found.repeats else None,
        )  # fmt: skip
    if found.repeats and data.unique_tokens is None:
        raise DataError(
            f"law {found.name!r} needs to know how many tokens were unique: a column "
            f"{unique_tokens!r}, or unique_tokens=1e9 for all rows"
        )
    seed = seed_integer(random_seed)
    rng = np.random.default_rng(int(run_keys(seed, [found.name], "surface")[0]))
    surface = _fitted(Target.of(data, found, chosen, noise), prob, draws, seed, rng)
    surface.warn()
    return surface


@patience("fitting the surface")
def _fitted(target: Any, prob: float, draws: int, seed: int, rng: np.random.Generator) -> Surface:
    """Quadrature where it is effective, else the ensemble."""
    from dataclasses import replace

    from ..laws.chinchilla import LAW
    from .ensemble import by_ensemble
    from .quadrature import by_quadrature

    plain = target
    if target.law.repeats:
        # The walkers start where Chinchilla's law would put them for what the tokens are worth.
        plain = replace(target, law=LAW, priors={k: target.priors[k] for k in ("alpha", "beta")})
    sampled = by_quadrature(plain, draws, rng)
    if target.law.repeats or sampled.ess < LEAST_EFFECTIVE * draws:
        sampled = by_ensemble(target, sampled, draws, rng)
    return Surface(
        law=target.law,
        table=target.table,
        values=target.values(sampled.logs, sampled.u, sampled.log_nu),
        priors=target.priors,
        noise=target.noise,
        method=sampled.method,
        cells=sampled.cells,
        ess=sampled.ess,
        efficiency=sampled.efficiency,
        log_evidence=sampled.log_evidence,
        rhat=sampled.rhat,
        prob=prob,
        random_seed=seed,
        chains=sampled.chains,
    )


def published(name: str, *, prob: float = 0.9, draws: int = 1000, random_seed: Seed = 0) -> Surface:
    """A surface that needs no table.

    Parameters
    ----------
    name : {"chinchilla", "epoch", "hoffmann", "muennighoff"}
        ``chinchilla`` is the posterior that `fit_surface` gives for 240 points of Hoffmann et al.
        2022, figure 4, kept as its mean and covariance.  The others are constants: Besiroglu et
        al. 2024 (arXiv 2404.10102), Hoffmann et al. 2022 (arXiv 2203.15556), Muennighoff et al.
        2023 (arXiv 2305.16264).
    prob : float
    draws : int
        Draws of ``chinchilla``.
    random_seed : int, Generator or None

    Returns
    -------
    Surface
        Constants have one draw.  Standard errors are reported one parameter at a time at most, and
        A and alpha (B and beta) are nearly collinear, so no honest interval of a loss follows from
        them: sd, lower and upper are NaN everywhere, and the flag ``no_intervals`` says so.

    Raises
    ------
    DataError
        If there is none of that name.
    """
    from ..runs.checks import check_prob, whole

    prob = check_prob(prob)
    if name == POINTS.name:
        seed = seed_integer(random_seed)
        rng = np.random.default_rng(int(run_keys(seed, [name], "published")[0]))
        return Surface(
            law=surface_law("chinchilla"),
            table=None,
            values=POINTS.draw(whole(draws, "draws", 10), rng),
            method="published",
            ess=float(draws),
            prob=prob,
            random_seed=seed,
            source=POINTS.source,
            summarised=POINTS.seen,
        )
    if name not in CONSTANTS:
        raise DataError(f"no surface {name!r} is known; there are {', '.join(PUBLISHED)}")
    one = CONSTANTS[name]
    return Surface(
        law=surface_law(one.law),
        table=None,
        values={key: np.array([value]) for key, value in one.values.items()},
        noise="unknown",
        method="published",
        prob=prob,
        source=one.source,
    )


def as_surface(what: Any, **options: Any) -> Surface:
    """A surface as it is, a published one by name, or the fit of runs or of a table."""
    if isinstance(what, Surface):
        return what
    if isinstance(what, str):
        return published(what, **options)
    return fit_surface(what, **options)
