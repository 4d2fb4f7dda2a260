"""How large a model, on how many tokens: the posterior of the answer, and what a choice costs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .._base.errors import DataError, LossfitWarning, warn
from .._base.numbers import number_of
from .._base.progress import patience
from .._base.seeds import Seed, run_keys, seed_integer
from ..surfaces.fitting import as_surface
from ..surfaces.result import Surface
from .at_hand import compared, words
from .optimum import Problem
from .result import Plan, choice_of, resolve


def plan(
    surface: Any,
    *,
    compute: float | None = None,
    gpu_hours: float | None = None,
    flops_per_gpu_hour: float | None = None,
    unique_tokens: float | None = None,
    inference_tokens: float | None = None,
    params: float | None = None,
    tokens: float | None = None,
    epochs: float | None = None,
    runs: Any = None,
    prob: float | None = None,
    draws: int = 1000,
    random_seed: Seed = 0,
) -> Plan:
    """The best model size and number of tokens for a budget, and what another choice costs.

    Parameters
    ----------
    surface : Surface, Ladder, Runs, pandas.DataFrame or str
        From `fit_surface` or `fit_ladder`; or finished runs or a table of final losses, to which
        the default law is fitted; or the name of a published surface (see
        `lossfit.surfaces.published`).
    compute : float, optional
        Budget in FLOP: 6 x params x tokens of training, and serving where it is asked for.
    gpu_hours : float, optional
        Budget in GPU-hours instead, at ``flops_per_gpu_hour``.
    flops_per_gpu_hour : float, optional
        Learned from the runs where they have both GPU-hours and FLOP.
    unique_tokens : float, optional
        Tokens that there are.  More are repeats and worth less (Muennighoff et al. 2023): by the
        surface's own law if it is data-constrained, else by that paper's constants with an
        uncertainty of a factor of two.  It holds for `runs` too, except those that say themselves
        how many they had (a column, or an entry of ``meta``, ``unique_tokens``).
    inference_tokens : float, optional
        Tokens that the model will serve; 2 FLOP a parameter and token come out of the budget.
    params, tokens, epochs : float, optional
        A choice to judge: "7B for 7 epochs" is ``params=7e9, epochs=7``.  One of params and tokens
        follows from the other and the budget.  Without a budget the choice's own compute is it.
    runs : Runs, pandas.DataFrame or mapping of columns, optional
        Finished runs at hand, one or more: where the surface contradicts them the answer says so
        and uses the runs (see Notes).
    prob : float, optional
        Probability of the intervals; the surface's own by default.
    draws : int
        Draws of the fit, if one is made.
    random_seed : int, numpy.random.Generator or None
        Seed of the fit, if one is made.

    Returns
    -------
    Plan
        The best size and token count under every draw, and the regret of the choice.

    Raises
    ------
    DataError
        No budget, or two; numbers that are not positive; a budget that serving alone exceeds.

    Warns
    -----
    LossfitWarning
        What `Plan.flags` names, such as an optimum beyond the table's range.

    Notes
    -----
    Regret is paired: under every draw, the choice's loss less that of the draw's own optimum.
    The decision minimises the posterior expected loss, and so the expected regret.

    A surface contradicts the ``runs`` where at most 1 % of its draws lie as far from their middle
    as the runs' final losses do, by level and slopes in size and tokens together, and where these
    differ by half a percent of the loss or more.  Then the plan is made on a surface that is fitted
    to the runs alone, if they have three sizes and three token counts at least; else on the surface
    held to the runs: its shape, their level, and an interval that grows away from them.

    Examples
    --------
    >>> import lossfit
    >>> allocation = lossfit.plan("chinchilla", compute=5.88e23, params=7e9)
    >>> size = allocation.best.loc["params", ["lower", "median", "upper"]]
    >>> size.shape
    (3,)
    """
    from .._base.summaries import check_prob
    from ..runs.checks import whole
    from ..runs.collection import Runs

    draws = whole(draws, "draws", 10)
    seed = seed_integer(random_seed)
    given = {
        "compute": compute, "gpu_hours": gpu_hours, "flops_per_gpu_hour": flops_per_gpu_hour,
        "unique_tokens": unique_tokens, "inference_tokens": inference_tokens, "params": params,
        "tokens": tokens, "epochs": epochs,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            number_of(value, name)
            _meant(float(value), name)
    if tokens is not None and epochs is not None:
        raise DataError("give one of tokens= and epochs=")
    if epochs is not None and unique_tokens is None:
        raise DataError("epochs are counted over unique_tokens=: give it too")
    if compute is not None and gpu_hours is not None:
        raise DataError("give one of compute= and gpu_hours=")
    whole_choice = params is not None and (tokens is not None or epochs is not None)
    if compute is None and gpu_hours is None and not whole_choice:
        raise DataError(
            "a plan needs a budget: compute= (FLOP) or gpu_hours=, or a whole choice (params= and "
            "tokens= or epochs=) whose compute it is"
        )
    extra: dict[str, str] = {}
    if gpu_hours is not None:
        if flops_per_gpu_hour is None:
            flops_per_gpu_hour, extra["throughput"] = _throughput(
                surface if isinstance(surface, Runs) else runs
            )
        compute = gpu_hours * flops_per_gpu_hour
    with warnings.catch_warnings():
        # The fit's flags are repeated in the plan's one warning.
        warnings.simplefilter("ignore", LossfitWarning)
        fitted = as_surface(surface, draws=draws, random_seed=seed)
    prob = check_prob(fitted.prob if prob is None else prob)
    beside, used = None, "surface"
    if runs is not None:
        asked = fitted
        fitted, beside, used = compared(asked, runs, prob, unique_tokens, draws, seed)
        flag, note = words(beside, used)
        extra = {flag: note, **beside.table.broken, **extra}
        if used == "anchored":  # what is to be said of the table still holds
            extra = {**asked.notes, **extra}
    fitted_to = runs if used == "fitted" else surface
    if isinstance(fitted_to, Runs):
        extra["from_runs"] = (
            f"the surface is fitted to the final losses of {len(fitted.table or ())} runs, whose "
            f"learning rates may not have ended alike"
        )
    problem = _problem(fitted, unique_tokens, inference_tokens or 0.0, seed, extra)
    if compute is None:
        assert params is not None
        d = tokens if tokens is not None else float(epochs or 0) * float(unique_tokens or 0)
        compute = problem.cost(params, d)
    compute = float(compute)
    best_n, best_d, best_loss = problem.best(compute)
    n, d = problem.decide(compute, best_n)
    decision = choice_of(problem, n, d, compute, best_loss)
    choice = None
    if params is not None or tokens is not None or epochs is not None:
        n, d = resolve(problem, compute, params, tokens, epochs)
        choice = choice_of(problem, n, d, compute, best_loss)
    out = Plan(
        fitted, problem, compute, gpu_hours, flops_per_gpu_hour, best_n, best_d, best_loss,
        decision, choice, prob, seed, extra, beside,
    )  # fmt: skip
    warn("plan", out.notes)
    return out


# The least that a plan's numbers can be, and what was probably meant by less.
LEAST = {
    "params": (1e3, "for {0:g} billion parameters write {0:g}e9 ({0:g}B on the command line)"),
    "tokens": (1e4, "for {0:g} trillion tokens write {0:g}e12 ({0:g}T on the command line)"),
    "unique_tokens": (1e4, "for {0:g} trillion tokens write {0:g}e12 ({0:g}T on the command line)"),
    "compute": (1e9, "a budget is in FLOP, such as 5.88e23"),
    "flops_per_gpu_hour": (1e9, "it is in FLOP, such as 1.4e18"),
}
MOST = {"params": 1e17, "tokens": 1e20, "unique_tokens": 1e20, "compute": 1e35, "epochs": 1e6}


def _meant(value: float, name: str) -> None:
    """Sizes and budgets that some model could have."""
    least, words = LEAST.get(name, (0.0, ""))
    if value < least:
        raise DataError(f"{name} is {value:g}, which no model has: {words.format(value)}")
    if value > MOST.get(name, np.inf):
        raise DataError(
            f"{name} is {value:g}, beyond all that was ever trained: check the number and its unit"
        )


def _throughput(runs: Any) -> tuple[float, str]:
    """FLOP per GPU-hour of the runs."""
    from ..runs.collection import Runs

    if not isinstance(runs, Runs):
        raise DataError("gpu_hours= needs flops_per_gpu_hour= too, unless runs with both are given")
    rates = [
        run.end("flops") / run.end("gpu_hours")
        for run in runs
        if run.has("flops") and run.has("gpu_hours")
    ]
    if not rates:
        raise DataError(
            "none of the runs has both GPU-hours and FLOP (params and tokens): give "
            "flops_per_gpu_hour="
        )
    rate = float(np.median(rates))
    return rate, (
        f"{rate:.3g} FLOP a GPU-hour, the median of {len(rates)} runs ({min(rates):.3g} to "
        f"{max(rates):.3g})"
    )


@patience("planning")
def _problem(
    surface: Surface, unique: float | None, served: float, seed: int, extra: dict[str, str]
) -> Problem:
    """The draws that the plan uses; repeats by published constants where the surface has none."""
    from ..laws.coupled import REPEATED
    from ..laws.data_constrained import LAW, MUENNIGHOFF, REPEATS

    law, values = surface.law, dict(surface.values)
    if unique is not None and not law.repeats:
        law = LAW if surface.missed is None else REPEATED
        uncoupled = np.ones_like(values["beta"])  # Chinchilla's law
        values.setdefault("gamma", values["beta"] if surface.law.name == "kaplan" else uncoupled)
        rng = np.random.default_rng(int(run_keys(seed, ["repeats"], "plan")[0]))
        for name, prior in REPEATS.items():
            centre = MUENNIGHOFF.values[name]
            z = rng.standard_normal(surface.n_draws) if surface.n_draws > 1 else np.zeros(1)
            values[name] = centre * np.exp(prior.second * z)
        extra["repeats_from_prior"] = (
            f"the surface knows nothing of repeated tokens: their worth is taken from Muennighoff "
            f"et al. 2023 (R*_D {MUENNIGHOFF.values['R_D']:.1f}, R*_N "
            f"{MUENNIGHOFF.values['R_N']:.1f}"
            + (", each to a factor of 2)" if surface.n_draws > 1 else ")")
        )
    return Problem(
        law, values, None if unique is None else float(unique), float(served), surface.missed
    )
