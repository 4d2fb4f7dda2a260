"""The constants of the default forecast: its cells, and what was learned from many sources.

The cells are chosen; everything in ``constants.json`` is learned by
``python -m benches.learn_forecast`` from public training runs, one vote a source.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..kernels.curve_law import CellGrid, HyperPrior

NOISES = (1.5, 8.0)  # factors on the variance of a bin's noise: white, slow
SIZES = (0.02, 0.07, 0.25, 0.8, 2.5)  # of the discrepancy, in local slopes per sqrt(e-fold)
ALPHAS = (-0.5, 0.0, 0.2, 0.45, 0.75, 1.25)
#: Responses: tau in steps, and at most this share of the plan; the power of the rate.
RESPONSES = ((150.0, 0.02, 0.65), (800.0, 0.08, 0.65), (300.0, 0.03, 0.3))
GROUPS = (0, 2, 3)  # of responses that differ in tau only
#: Normals of the prior of B: unit (0: what is usual in text, 1: a local slope), mean, sd.
STRENGTHS = (
    (0, 0.25, 0.2),
    (0, 0.85, 0.17),
    (0, 1.2, 0.24),
    (1, 0.0, 0.25),
    (1, 0.5, 0.35),
    (1, 1.5, 0.75),
    (1, 4.0, 2.0),
)
FIRST, BINS, SLOPE_SD, DOUBT = 0.35, 40, 2.0, 2.0
TEXT = (0.19, 0.127, 3.0)  # nats, share of the level, local slopes
TAILS = 3

#: Rows of the kinds of hypotheses: the known schedule, then the menus of `curve_rates.asked_rates`.
KINDS = {"known": 0, "total": 1, "nothing": 6}
N_KINDS = 11


class References(NamedTuple):
    """How what a project's finished runs did changes its next forecast."""

    # shift, scale: runs that no shift, and the shipped width, count as
    shift: float
    scale: float
    strengths: float  # ... and that the hyper-prior's probabilities of the normals of B do
    # mean distance of outcomes from the median, in half widths, where intervals hold
    typical: float
    clip: tuple[float, float]  # least and largest factor
    most: float  # half widths that an error counts at most


@cache
def _learned() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("constants.json").read_text())
    return found


@cache
def references() -> References:
    """What was learned of finished runs of a project."""
    of = _learned()["siblings"]
    return References(
        of["shift"], of["scale"], of["strengths"], of["typical"], tuple(of["clip"]), of["most"]
    )


def learned_record() -> dict[str, Any]:
    """How often intervals held on left-out sources, by what was known and domain."""
    table: dict[str, Any] = _learned().get("record", {})
    return table


@cache
def cell_grid(whole: bool = False) -> CellGrid:
    """The cells; with `whole` the window has been chosen already."""
    from ..kernels.curve_law import CellGrid
    from ..kernels.paths import ANNEALING

    return CellGrid(
        noises=np.array(NOISES),
        sizes=np.array(SIZES),
        alphas=np.array(ALPHAS),
        responses=np.array([(ANNEALING, tau, power, 0.0) for tau, _, power in RESPONSES], float),
        most_tau=np.array([share for _, share, _ in RESPONSES]),
        groups=np.array(GROUPS),
        strengths=np.array(STRENGTHS, float),
        n_bins=BINS,
        first=0.0 if whole else FIRST,
        slope_sd=SLOPE_SD,
        doubt=DOUBT,
        text_nats=TEXT[0],
        text_share=TEXT[1],
        text_slopes=TEXT[2],
    )


@cache
def hyper_prior() -> HyperPrior:
    """What was learned of the cells, of the future and of widths."""
    from ..kernels.curve_law import HyperPrior

    constants = _learned()
    width = [constants["width"][name] for name in ("known", "total", "nothing")]
    longer = constants["longer"]
    return HyperPrior(
        matrix=np.array(constants["table"], float),
        n_kinds=N_KINDS,
        n_tails=TAILS,
        width_at=np.log(np.array(constants["width_at"], float)),
        width=np.array(width, float),
        longer=np.array([longer["mean"], longer["sd"], longer["keep"]]),
    )
