"""Draws of a law's parameters, and the curves that they give under any learning rate.

    y(t) = level - a phi_alpha(x(t) + x0) - B D_u(t)

with y the loss or its logarithm, x the LR time and D_u a response to the changes of the rate; phi
is the power law in Box-Cox form about a reference (`responses.basis`).  The laws of single runs
(`response_draws`) and of joint fits are both of this form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._base.ragged import Floats, Ints
from .responses import Rate, basis


class LawDraws(NamedTuple):
    """Equally weighted draws of the parameters of a law."""

    reference: float  # where phi is 0, in steps of LR time
    shapes: Floats  # shape (n_shapes, 2): alpha and x0 / reference
    units: Floats  # shape (n_units, 5): responses, as of `responses.Grid`
    # shape, unit: shape (n_draws,): which of them each draw has
    shape: Ints
    unit: Ints
    beta: Floats  # shape (n_draws, 3): level, a and B, in the units of y
    log: bool = False  # whether y is the logarithm of the loss

    def columns(self, rate: Rate, steps: Floats) -> tuple[Floats, Floats]:
        """phi, shape (n_at, n_shapes), and D, shape (n_at, n_units), at steps under a rate."""
        return basis(rate, steps, self.reference, self.shapes, self.units)

    def curves(self, phi: Floats, response: Floats) -> Floats:
        """What the law says of y for such columns, shape (n_at, n_draws)."""
        level, a, b = self.beta.T
        return np.asarray(level - a * phi[:, self.shape] - b * response[:, self.unit])

    def under(self, rate: Rate, steps: Floats) -> Floats:
        """What the law says of y at steps under a rate, shape (n_at, n_draws)."""
        return self.curves(*self.columns(rate, steps))

    def expected(self, rate: Rate, step: float) -> float:
        """Mean loss at a step under a rate."""
        y = self.under(rate, np.array([step]))
        return float((np.exp(y) if self.log else y).mean())

    def moved(self, loss: Floats, change: Floats) -> Floats:
        """Losses whose y changes by so much."""
        return np.asarray(loss * np.exp(change) if self.log else loss + change)
