"""Draws of a law's parameters, and the curves that they give under any learning rate.

    L(t) = level - a phi_alpha(x(t) + x0) - B D_u(t)

with x the LR time and D_u a response to the changes of the rate (`lossfit.kernels.paths`); phi is
the power law in Box-Cox form about a reference (`joint_features.basis`).  The laws of
single runs and of joint fits are both of this form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._base.ragged import Floats, Ints
from .joint_data import Rate
from .joint_features import basis

__all__ = ["LawDraws"]


class LawDraws(NamedTuple):
    """Equally weighted draws of the parameters of a law.

    Attributes
    ----------
    reference : float
        Where phi is 0, in steps of LR time.
    shapes : ndarray, shape (n_shapes, 2)
        alpha and x0 / reference.
    units : ndarray, shape (n_units, 4)
        Responses: kind, tau in steps (or C per step), p (or beta), gamma.
    shape, unit : ndarray of int, shape (n_draws,)
        Which of them each draw has.
    beta : ndarray, shape (n_draws, 3)
        level, a and B, in the units of the loss.
    """

    reference: float
    shapes: Floats
    units: Floats
    shape: Ints
    unit: Ints
    beta: Floats

    def columns(self, rate: Rate, steps: Floats) -> tuple[Floats, Floats]:
        """phi, shape (n_at, n_shapes), and D, shape (n_at, n_units), at steps under a rate."""
        return basis(rate, steps, self.reference, self.shapes, self.units)

    def curves(self, phi: Floats, response: Floats) -> Floats:
        """The law's part of the curves, shape (n_at, n_draws), of such columns."""
        level, a, b = self.beta.T
        return np.asarray(level - a * phi[:, self.shape] - b * response[:, self.unit])
