"""The laws that `lossfit.surfaces.batch` samples: their coordinates, means and gradients.

Coordinates of a form come first, then log sigma and log kappa.  ``theta`` are those of
`lossfit.laws.coupled`: log E, log A, log B, log alpha, log beta, log gamma.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .._base.ragged import Floats
from ..laws import SurfaceLaw, coupled, kaplan
from ..laws.coupled import Reducible, fold, pull, push, reducible, unfold
from ..laws.priors import Prior
from .target import log_density_of_log, middle, shape_of_log

AMPLITUDE_SD = 1.0
NO_FLOOR = -30.0  # log of a floor that is none
NAMES = ("alpha", "beta", "gamma")


class Form(Protocol):
    """A law as the sampler sees it."""

    @property
    def law(self) -> SurfaceLaw:
        """The law."""
        ...

    @property
    def priors(self) -> Mapping[str, Prior]:
        """Of alpha, beta and gamma, where the law has them."""
        ...

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        ...

    def theta(self, phi: Floats) -> Floats:
        """Coordinates of the coupled law, shape (..., 6), from those of the form."""
        ...

    def phi(self, theta: Floats) -> Floats:
        """The inverse."""
        ...

    def chain(self, phi: Floats, gradient: Floats) -> Floats:
        """A gradient by theta as one by phi; with that of the Jacobian's logarithm."""
        ...

    def log_prior(self, theta: Floats) -> tuple[Floats, Floats]:
        """Log prior density, shape (...), and its gradient by theta, shape (..., 6)."""
        ...

    def log_jacobian(self, phi: Floats) -> Floats:
        """Logarithm of the Jacobian of theta by phi."""
        ...


def _log_prior(theta: Floats, priors: Mapping[str, Prior], floor: bool) -> tuple[Floats, Floats]:
    gradient = np.zeros((*theta.shape[:-1], 6))
    first = 0 if floor else 1
    logs = theta[..., first:3]
    square = np.exp(2 * logs) / AMPLITUDE_SD**2
    value = (logs - 0.5 * square).sum(axis=-1)
    gradient[..., first:3] = 1 - square
    for name, prior in priors.items():
        k = 3 + NAMES.index(name)
        value = value + log_density_of_log(prior, theta[..., k])
        gradient[..., k] = shape_of_log(prior, theta[..., k])[0]
    return value, gradient


@dataclass(frozen=True)
class Coupled:
    """The law with a floor and a coupling of its own."""

    priors: Mapping[str, Prior]
    law: SurfaceLaw = coupled.LAW
    size: int = 6

    def theta(self, phi: Floats) -> Floats:
        """See `Form`."""
        return unfold(phi[..., :6])

    def phi(self, theta: Floats) -> Floats:
        """See `Form`."""
        return fold(theta)

    def chain(self, phi: Floats, gradient: Floats) -> Floats:
        """See `Form`."""
        return pull(phi[..., :6], gradient)

    def log_prior(self, theta: Floats) -> tuple[Floats, Floats]:
        """See `Form`."""
        return _log_prior(theta, self.priors, True)

    def log_jacobian(self, phi: Floats) -> Floats:
        """See `Form`."""
        return phi[..., 5]


@dataclass(frozen=True)
class Kaplan:
    """Kaplan's law: no floor, and gamma is beta."""

    priors: Mapping[str, Prior]
    law: SurfaceLaw = kaplan.LAW
    size: int = 4

    def theta(self, phi: Floats) -> Floats:
        """See `Form`."""
        floor = np.full((*phi.shape[:-1], 1), NO_FLOOR)
        return np.concatenate([floor, phi[..., :4], phi[..., 3:4]], axis=-1)

    def phi(self, theta: Floats) -> Floats:
        """See `Form`."""
        return theta[..., 1:5]

    def chain(self, phi: Floats, gradient: Floats) -> Floats:
        """See `Form`."""
        out = gradient[..., 1:5].copy()
        out[..., 3] += gradient[..., 5]
        return out

    def log_prior(self, theta: Floats) -> tuple[Floats, Floats]:
        """See `Form`."""
        return _log_prior(theta, self.priors, False)

    def log_jacobian(self, phi: Floats) -> Floats:
        """See `Form`."""
        return np.zeros(phi.shape[:-1])


def form_of(law: SurfaceLaw, priors: Mapping[str, Prior]) -> Form:
    """The form of a law of this kind."""
    return Kaplan(priors) if law.name == "kaplan" else Coupled(priors)


def starts(form: Form) -> Floats:
    """Places from which the pilot fit starts, shape (starts, 6)."""
    out = []
    centres = {name: middle(prior)[0] for name, prior in form.priors.items()}
    for floor in (0.2, 0.7):
        for shift in (-0.55, 0.0, 0.55):
            half = np.log((1 - floor) / 2)
            out.append(
                [np.log(floor), half, half, centres["alpha"] + shift, centres["beta"] + shift,
                 centres.get("gamma", 0.0)]
            )  # fmt: skip
    return np.array(out)


def mean(theta: Floats, n: Floats, d: Floats) -> tuple[Floats, Reducible]:
    """The law over the level at rows, and its reducible part."""
    above = reducible(theta, n, d)
    return np.exp(theta[..., :1]) + above.loss, above


def jacobian(form: Form, phi: Floats, n: Floats, d: Floats, above: Reducible) -> Floats:
    """Derivatives of the mean by phi, shape (..., k, size), for rows n and d of shape (..., k)."""
    theta = form.theta(phi)
    each = np.broadcast_to(theta[..., None, :], (*above.loss.shape, 6))
    sizes, tokens = (np.broadcast_to(v, above.loss.shape)[..., None] for v in (n, d))
    rows = Reducible(*(v[..., None] for v in above))
    by_theta = push(each, sizes, tokens, rows, np.ones_like(rows.loss))
    place = np.broadcast_to(phi[..., None, :], (*above.loss.shape, phi.shape[-1]))
    out = form.chain(place, by_theta)
    return out - form.chain(place, np.zeros_like(by_theta))  # without the Jacobian's part
