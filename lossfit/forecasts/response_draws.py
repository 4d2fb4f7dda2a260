"""What a run says of other learning-rate schedules: draws of its response to the rate.

They come from the cells of the default forecast (`lossfit.kernels.curve_cells`) with other
constants: those of joint fits (`joint.JointConstants`), that is the whole run from its warm-up on,
smooth, and both kinds of response, annealing and multi-power, weighed by evidence.  The prior of B,
and by how much a response to rates not yet seen may differ, are the default's.  Other schedules are
predicted better by these constants than by the default's own (docs/how_we_checked_it.md).  So
another schedule *moves* each draw of the run's own forecast, by what one of these draws makes of
the difference between the two rates, and nothing else of that draw changes.

The draws are put in the order of the forecast's: those that win most by what the schedule still
brings go with those draws of the forecast whose response is strongest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._base.ragged import Floats
from .constants import N_KINDS, STRENGTHS, TEXT, cell_grid, hyper_prior
from .curve_forecast import Cells, forecast_curves
from .joint import JointConstants
from .law_draws import LawDraws
from .responses import (
    BETAS,
    FIRST,
    GAMMAS,
    POWERS,
    QS,
    RATES,
    TAUS,
    Rate,
    annealing_units,
    basis,
    groups_of,
    lr_time,
    multi_power_units,
)

if TYPE_CHECKING:
    from ..fits.window import WindowSpec
    from ..kernels.curve_law import CellGrid, HyperPrior
    from ..laws import ResponseStrength
    from ..runs.collection import Runs
    from .rates import Plan

ALPHAS = tuple(np.linspace(0.2, 1.0, 9).tolist())
BINS = 120
#: The multi-power responses of joint fits, thinned.
FEWER_RATES, FEWER_BETAS, FEWER_GAMMAS = RATES[::2] + RATES[-1:], BETAS[::2], GAMMAS[1:2]
CERTAIN = 40.0  # a logit: evidence counts in full
NOTHING = -20.0  # a logarithm


class ResponseDraws(NamedTuple):
    """Draws of a run's response, and what they come from."""

    laws: LawDraws  # about the end of the data
    strength: tuple[float, float]  # posterior mean and sd of B in the units of the loss
    start: float  # where the window begins, on the axis


def response_draws(
    single: Runs,  # the run
    # axis, window, plan: as of `curve_forecast.forecast_curves`; the automatic window begins after
    # the warm-up
    axis: str,
    window: WindowSpec,
    plan: Plan,
    rate: Rate,  # the rate that it had
    step_size: float,  # axis units in an optimiser step
    strength: ResponseStrength | None,  # what finished runs say of B, instead of the shipped prior
    *,
    draws: int,
    seed: int,
    domain: str = "auto",  # {"auto", "text", "other"}: as of `curve_forecast.forecast_curves`
) -> ResponseDraws:
    """Fit the response of one run."""
    end = single[single.names[0]].end(axis)
    units = _units(end / step_size)
    cells = Cells("response", partial(_grid, units, strength), partial(_prior, units, strength))
    fitted = forecast_curves(
        single, axis, window, np.array([[end]]), plan,
        draws=draws, seed=seed, domain=domain, parameters=True, cells=cells,
    )  # fmt: skip
    level, a, _, b, alpha = fitted.parameters[0, :5]
    unit = fitted.parameters[0, -1].astype(np.int64)
    scale = fitted.unit[0] or 1.0
    last = np.array([end / step_size])
    reference = float(lr_time(rate, last)[0])
    shapes = np.stack([ALPHAS, np.zeros(len(ALPHAS))], axis=1)
    response = basis(rate, last, reference, shapes, units)[1][0]
    beta = np.stack([level + b * response[unit], a, b], axis=1) * scale
    shape = np.abs(alpha[:, None] - ALPHAS).argmin(axis=1)
    laws = LawDraws(reference, shapes, units, shape, unit, beta, log=fitted.unit[0] == 0)
    mean, sd = fitted.strength[0]
    return ResponseDraws(laws, (float(mean), float(sd)), float(fitted.start[0]))


def in_order(
    laws: LawDraws,
    rate: Rate,  # the rate that the run had and will have
    # last, planned: steps at the end of the data and of the plan
    last: float,
    planned: float,
    strength: Floats,  # shape (n_draws,): B of the forecast's draws
) -> LawDraws:
    """The draws in the order of those of a forecast."""
    wins = laws.beta[:, 2]
    if planned > last:
        response = laws.columns(rate, np.array([last, planned]))[1]
        coming = response[1] - response[0]
        if np.abs(coming).max() > 1e-6:
            wins = wins * coming[laws.unit]
    place = np.empty(len(wins), np.int64)
    place[np.argsort(strength, kind="stable")] = np.argsort(wins, kind="stable")
    return laws._replace(shape=laws.shape[place], unit=laws.unit[place], beta=laws.beta[place])


def _units(reference: float) -> Floats:
    """The responses, shape (n_units, 5)."""
    slow = annealing_units(reference, TAUS, POWERS)
    fast = multi_power_units(reference, FEWER_RATES, FEWER_BETAS, FEWER_GAMMAS, QS)
    return np.concatenate([np.pad(slow, ((0, 0), (0, 1)), constant_values=1.0), fast])


def _strengths(strength: ResponseStrength | None) -> Floats:
    """Normals of the prior of B, as of `curve_law.CellGrid`."""
    if strength is None:
        return np.array(STRENGTHS, float)
    scales, sds = np.array(strength.scales), np.array(strength.sds)
    return np.stack([np.zeros(len(scales)), scales, scales * sds], axis=1)


def _grid(units: Floats, strength: ResponseStrength | None, whole: bool) -> CellGrid:
    """The cells; with `whole` the window has been chosen already."""
    from ..kernels.curve_law import CellGrid

    nats, share, slopes = TEXT
    if strength is not None:
        nats, share, slopes = strength.mean, min(strength.share, 1.0), strength.slopes
    return CellGrid(
        noises=np.array([JointConstants.temper]),
        sizes=np.array([JointConstants.kb]),
        alphas=np.array(ALPHAS),
        responses=units,
        most_tau=np.full(len(units), np.inf),
        groups=groups_of(units),
        strengths=_strengths(strength),
        n_bins=BINS,
        first=0.0 if whole else FIRST,
        slope_sd=JointConstants.slope_sd,
        doubt=0.0,
        text_nats=nats,
        text_share=share,
        text_slopes=slopes,
    )


def _prior(units: Floats, strength: ResponseStrength | None) -> HyperPrior:
    """B as in the default forecast, else even weights; evidence in full, no tails, no widths."""
    from ..kernels.curve_law import (
        ETA,
        FEATURES,
        NUMBERS,
        RESPONSE,
        HyperPrior,
        rows_of_cells,
        rows_of_draws,
    )

    def constant(values: ArrayLike) -> Floats:
        """Rows that no feature changes."""
        rows = np.zeros((np.size(values), 2 * len(FEATURES)))
        rows[:, 0] = values
        return rows

    if strength is None:
        _, _, first, last = rows_of_cells(cell_grid())
        of_strength = hyper_prior().matrix[first:last]
    else:
        of_strength = constant(np.log(strength.weights))
    numbers = constant(np.full(len(NUMBERS), NOTHING))
    numbers[ETA, 0] = CERTAIN
    learned = hyper_prior()
    numbers[RESPONSE] = learned.matrix[rows_of_draws(cell_grid(), learned)[0] + RESPONSE]
    matrix = np.concatenate([
        constant(np.zeros(len(ALPHAS) + 2)), of_strength, constant(np.zeros(N_KINDS)),
        numbers, constant([NOTHING, 0.0, 0.0]),
    ])  # fmt: skip
    width = np.zeros((3, 2, 1, 3))
    width[..., [0, 2]] = 1.0
    return HyperPrior(matrix, N_KINDS, 1, np.array([0.0, 0.0, 1.0]), np.zeros(1), width)
