"""Finished runs beside the surface of a plan: does it contradict them, and what is used then."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from .._base.errors import LossfitWarning
from .._base.ragged import Floats
from ..surfaces.against import Against, against
from ..surfaces.anchored import anchored
from ..surfaces.fitting import fit_surface
from ..surfaces.result import Surface
from ..surfaces.table import Table, read_table, table_of_runs

LEVELS = 3  # sizes, and token counts, from which runs tell a surface of their own
LEVEL = 0.15  # of log params or log tokens within which they count as one
SHOWN = 3  # runs that are named


def compared(
    surface: Surface,
    runs: Any,  # finished runs, one at least
    prob: float,  # probability of the intervals
    unique_tokens: float | None,  # tokens that there are, and were for runs that do not say
    # draws, seed: of a fit, if one is made
    draws: int,
    seed: int,
) -> tuple[Surface, Against, str]:
    """The surface of a plan beside runs at hand.

    Returns
    -------
    surface : Surface
        As it is, or where it contradicts the runs, what these say.
    beside : Against
    used : {"surface", "fitted", "anchored"}
        What the returned surface is made of.
    """
    table = _table(runs, unique_tokens, surface.law.repeats)
    beside = against(surface, table, prob)
    if not beside.contradicted:
        return surface, beside, "surface"
    if min(_levels(table.params), _levels(table.tokens)) >= LEVELS:
        with warnings.catch_warnings():
            # The fit's flags are repeated in the plan's one warning.
            warnings.simplefilter("ignore", LossfitWarning)
            own = fit_surface(runs, prob=surface.prob, draws=draws, random_seed=seed)
        return own, beside, "fitted"
    base = surface.source or f"a table of {len(surface.table or ())} rows"
    moved = anchored(surface, table)
    return replace(moved, source=f"{base}; held to {_count(table)}"), beside, "anchored"


def _table(runs: Any, unique_tokens: float | None, repeats: bool) -> Table:
    from ..runs.collection import Runs

    if isinstance(runs, Runs):
        return table_of_runs(runs, unique_tokens, least=1)
    return read_table(
        runs, params="params", tokens="tokens", loss="loss", flops="flops",
        unique_tokens="unique_tokens" if repeats or unique_tokens is not None else None, least=1,
        other_unique=unique_tokens,
    )  # fmt: skip


def _levels(values: Floats) -> int:
    """Different values, to 15 %."""
    count, last = 0, -np.inf
    for value in np.sort(np.log(values)):
        if value > last + LEVEL:
            count, last = count + 1, value
    return count


def _count(table: Table) -> str:
    return f"{len(table)} run{'' if len(table) == 1 else 's'}"


def words(beside: Against, used: str) -> tuple[str, str]:
    """A flag, and what a surface and the runs at hand say of each other."""
    table = beside.table
    they = _count(table)
    middle = float(np.median(beside.gap))
    gap = f"{100 * abs(np.expm1(middle)):.2g} % {'lower' if middle < 0 else 'higher'}"
    ends = "ends" if len(table) == 1 else "end (median)"
    if np.isnan(beside.p_value):
        return "runs_unchecked", (
            f"{they} at hand {ends} {gap} than the surface says, which has no intervals to judge "
            f"that by: plan on the runs alone, or on surface 'chinchilla'"
        )
    chance = f"p = {beside.p_value:.2g}"
    if used == "surface":
        return "runs_agree", (
            f"{they} at hand {ends} {gap} than the surface says, as they may ({chance})"
        )
    far = np.argsort(-np.abs(beside.gap))[:SHOWN]
    each = "; ".join(
        f"{table.labels[k]} ended at {table.loss[k]:.3f}, the surface says {beside.median[k]:.3f} "
        f"({beside.lower[k]:.3f} to {beside.upper[k]:.3f})"
        for k in far
    )
    plan = (
        "this plan is made on a surface fitted to the runs alone"
        if used == "fitted"
        else "the runs are too few, or too alike, for a surface of their own: this plan holds the "
        "surface to them, with its shape and their level, and wider intervals away from them"
    )
    return "surface_contradicted", (
        f"the surface contradicts {they} at hand, which {ends} {gap} than it says ({chance}): "
        f"{each}; {plan}"
    )
