"""Fits of surfaces of final losses by model size and training tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._base.documented import as_in
from .._base.errors import DataError, DeviceError
from .._base.progress import patience
from .._base.seeds import Seed, run_keys, seed_integer
from ..laws import SurfaceLaw, surface_law
from ..laws.priors import Prior
from .constants import CONSTANTS, POINTS, PUBLISHED
from .result import Surface
from .table import Table, read_table, table_of_runs

AUTO = "coupled"
WITH_DISCREPANCY = ("coupled", "kaplan")

LEAST_EFFECTIVE = 0.75  # effective proposals for a draw below which the ensemble takes over


def fit_surface(
    table: Any,
    law: str | SurfaceLaw = "auto",
    *,
    params: str = "params",
    tokens: str = "tokens",
    loss: str = "loss",
    flops: str = "flops",
    se: str = "se",
    weight: str = "weight",
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
    law : {"auto", "coupled", "kaplan", "chinchilla", "data_constrained"} or SurfaceLaw
        ``"auto"`` is ``coupled``.  It and ``kaplan`` are fitted together with what they miss, so
        that intervals stay honest beyond the table; the other two take their law for true.
    params, tokens, loss : str
        Columns: model parameters, training tokens, final loss.
    flops : str
        Column of training FLOP, 6 x params x tokens, which stands in for params or tokens.
    se, weight : str
        Columns that may be there: standard errors of the losses, or relative precision of rows.
    unique_tokens : str or float
        For ``data_constrained``: the column, or one number for all rows.
    noise : {"student_t", "gaussian"}
        Noise of the loss.  Student-t noise keeps outliers from pulling the surface.
    priors : dict of str to Prior, optional
        For the nonlinear parameters: alpha, beta, gamma, R_D, R_N (uniform, normal or log-normal).
    prob : float
        Probability of the intervals.
    draws : int
        Posterior draws.
    random_seed : int, numpy.random.Generator or None
        Seed of the draws; the same table and seed give the same draws.
    device : {"auto", "cpu"}
        Surfaces are fitted on the CPU.

    Returns
    -------
    Surface
        Draws of the law's parameters; ``surface.predict`` gives losses.

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
    The coupled law and what it misses: `lossfit.surfaces.batch`, docs/plan.md.  By law:
    ``log loss = log L(params, tokens) + sigma t``.  Priors are proper: E and the two other terms at
    the table's centre are half-normal with the median loss as sd, exponents are log-normal about
    0.35 (90 % between 0.13 and 0.94), sigma is log-normal about 1 % of the loss, the degrees of
    freedom gamma(2, 0.1) on 1 to 100 (Juarez and Steel 2010).  Given the exponents E, A, B and
    sigma of Chinchilla's law are integrated out (`lossfit.surfaces.quadrature`); the law of
    repeated data is sampled (`lossfit.surfaces.ensemble`).

    Examples
    --------
    >>> import lossfit
    >>> from lossfit.laws.chinchilla import EPOCH, loss
    >>> params = [1e8, 4e8, 1.6e9, 1e8, 4e8, 1.6e9, 1e8, 4e8, 1.6e9]
    >>> tokens = [2e9, 2e9, 2e9, 1e10, 1e10, 1e10, 5e10, 5e10, 5e10]
    >>> table = {"params": params, "tokens": tokens, "loss": loss(params, tokens, **EPOCH.values)}
    >>> surface = lossfit.fit_surface(table, draws=200)
    >>> surface.predict(7e9, 1e11).dims
    ('chain', 'draw', 'at')
    """
    from .target import Target

    found, prob, draws, chosen = _checked(law, prob, draws, noise, device, priors)
    data = _data(table, found, params, tokens, loss, flops, se, weight, unique_tokens)
    seed = seed_integer(random_seed)
    rng = np.random.default_rng(int(run_keys(seed, [found.name], "surface")[0]))
    if found.name in WITH_DISCREPANCY:
        surface = _with_discrepancy([data], found, chosen, noise, prob, draws, seed, rng)[0]
    else:
        surface = _fitted(Target.of(data, found, chosen, noise), prob, draws, seed, rng)
    surface.warn()
    return surface


@as_in(fit_surface)
def fit_surfaces(
    tables: Iterable[Any],
    law: str | SurfaceLaw = "auto",
    *,
    params: str = "params",
    tokens: str = "tokens",
    loss: str = "loss",
    flops: str = "flops",
    se: str = "se",
    weight: str = "weight",
    noise: str = "student_t",
    priors: Mapping[str, Prior] | None = None,
    prob: float = 0.9,
    draws: int = 1000,
    random_seed: Seed = 0,
) -> list[Surface]:
    """Fit the same law to many tables at once; see `fit_surface`.

    Parameters
    ----------
    tables : iterable
        Of what `fit_surface` takes.
    law : {"auto", "coupled", "kaplan"}
        A law that is fitted with what it misses.
    draws : int
        Posterior draws for each table.

    Returns
    -------
    list of Surface
        In the order of the tables, each as `fit_surface` gives it for that table and seed.  No
        warning is given: each has its `Surface.flags`.

    Raises
    ------
    DataError
        As `fit_surface`; another law.

    Examples
    --------
    >>> import lossfit
    >>> from lossfit.laws.chinchilla import EPOCH, loss
    >>> params = [1e8, 4e8, 1.6e9, 1e8, 4e8, 1.6e9, 1e8, 4e8, 1.6e9]
    >>> tokens = [2e9, 2e9, 2e9, 1e10, 1e10, 1e10, 5e10, 5e10, 5e10]
    >>> table = {"params": params, "tokens": tokens, "loss": loss(params, tokens, **EPOCH.values)}
    >>> len(lossfit.fit_surfaces([table, table], draws=100))
    2
    """
    found, prob, draws, chosen = _checked(law, prob, draws, noise, "auto", priors)
    if found.name not in WITH_DISCREPANCY:
        raise DataError(
            f"many tables are fitted by {' or '.join(WITH_DISCREPANCY)}, not by {found.name!r}: "
            f"leave law= out, or call fit_surface for each"
        )
    data = [
        _data(table, found, params, tokens, loss, flops, se, weight, "unique_tokens")
        for table in tables
    ]
    if not data:
        raise DataError("there is no table to fit: give at least one")
    seed = seed_integer(random_seed)
    rng = np.random.default_rng(int(run_keys(seed, [found.name], "surface")[0]))
    return _with_discrepancy(data, found, chosen, noise, prob, draws, seed, rng)


def _checked(
    law: str | SurfaceLaw,
    prob: float,
    draws: int,
    noise: str,
    device: str,
    priors: Mapping[str, Prior] | None,
) -> tuple[SurfaceLaw, float, int, dict[str, Prior]]:
    """The law, the options, and the law's priors with those given."""
    from .._base.summaries import check_prob
    from ..runs.checks import whole
    from .target import check_prior

    found = surface_law(AUTO if isinstance(law, str) and law == "auto" else law)
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
    return found, check_prob(prob), whole(draws, "draws", 10), chosen


def _data(
    table: Any,
    law: SurfaceLaw,
    params: str,
    tokens: str,
    loss: str,
    flops: str,
    se: str,
    weight: str,
    unique_tokens: str | float,
) -> Table:
    """The table as it is fitted."""
    from ..runs.collection import Runs

    if isinstance(table, Runs):
        unique = unique_tokens if not isinstance(unique_tokens, str) else None
        data = table_of_runs(table, unique if law.repeats else None)
    else:
        data = read_table(
            table, params=params, tokens=tokens, loss=loss, flops=flops, error=se, weight=weight,
            unique_tokens=unique_tokens if law.repeats else None,
        )  # fmt: skip
    if law.repeats and data.unique_tokens is None:
        raise DataError(
            f"law {law.name!r} needs to know how many tokens were unique: a column "
            f"{unique_tokens!r}, or unique_tokens=1e9 for all rows"
        )
    return data


def _with_discrepancy(
    tables: list[Table],
    law: SurfaceLaw,
    priors: dict[str, Prior],
    noise: str,
    prob: float,
    draws: int,
    seed: int,
    rng: np.random.Generator,
) -> list[Surface]:
    """Fit laws together with what they miss."""
    from .batch import posteriors
    from .conditioning import missed_of, values_of
    from .forms import form_of

    form = form_of(law, priors)
    sampled = posteriors(tables, form, draws, rng, robust=noise == "student_t")
    return [
        Surface(
            law=law,
            table=table,
            values=values_of(batch, b, posterior, law),
            priors=priors,
            noise=noise,
            method="hamiltonian",
            ess=float(draws),
            rhat=posterior.rhat,
            prob=prob,
            random_seed=seed,
            missed=missed_of(table, batch, b, posterior, seed),
        )
        for table, (batch, b, posterior) in zip(tables, sampled, strict=True)
    ]


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
        2022, figure 4, kept as draws, with what its law misses.  The others are constants:
        Besiroglu et al. 2024 (arXiv 2404.10102), Hoffmann et al. 2022 (arXiv 2203.15556),
        Muennighoff et al. 2023 (arXiv 2305.16264).
    prob : float
        Probability of the intervals.
    draws : int
        Draws of ``chinchilla``.
    random_seed : int, numpy.random.Generator or None
        Seed of the draws of ``chinchilla``.

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

    Examples
    --------
    >>> import lossfit
    >>> surface = lossfit.surfaces.published("chinchilla", draws=200)
    >>> surface.law.name  # `coupled` is Chinchilla's law with its two terms coupled
    'coupled'
    """
    from .._base.summaries import check_prob
    from ..runs.checks import whole

    prob = check_prob(prob)
    if name == POINTS.name:
        seed = seed_integer(random_seed)
        values, missed = POINTS.draw(whole(draws, "draws", 10), seed)
        return Surface(
            law=surface_law(AUTO),
            table=None,
            values=values,
            missed=missed,
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
    if hasattr(what, "surface"):  # a ladder
        made: Surface = what.surface(draws=options.get("draws", 1000))
        return made
    return fit_surface(what, **options)
