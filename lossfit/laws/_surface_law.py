"""What a law of final losses is: a loss for every model size and number of training tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .priors import Prior

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Published:
    """Constants of a surface that a paper or its re-analysis states.

    Attributes
    ----------
    name, law : str
        Name for `lossfit.surfaces.published`, and the law that the constants belong to.
    values : dict of str to float
        One number a parameter; loss in nats a token.
    errors : dict of str to float
        Standard errors as reported, one parameter at a time; empty where there are none.
    source : str
        Where they are from.

    Examples
    --------
    >>> from lossfit.laws.chinchilla import EPOCH
    >>> EPOCH.law
    'chinchilla'
    """

    name: str
    law: str
    values: Mapping[str, float]
    source: str
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SurfaceLaw:
    """A law ``L(N, D)`` of final losses: parameters N, training tokens D.

    Attributes
    ----------
    name, formula, doc : str
        Name, one-line formula and description.
    parameters : dict of str to str
        Names and one line on each; E, A, B, alpha, beta come first in every surface law.
    priors : dict of str to Prior
        Defaults of the parameters inside powers and exponentials.
    evaluate : callable
        ``f(values, params, tokens, unique_tokens) -> loss``, broadcasting.
    repeats : bool
        Whether the law knows of repeated tokens, and so needs how many are unique.

    Examples
    --------
    >>> import lossfit
    >>> law = lossfit.laws.surface_law("data_constrained")
    >>> law.repeats
    True
    """

    _stored_as: ClassVar[str] = "law"

    name: str
    formula: str
    doc: str
    parameters: Mapping[str, str]
    priors: Mapping[str, Prior]
    evaluate: Callable[[Mapping[str, Any], ArrayLike, ArrayLike, ArrayLike | None], NDArray[Any]]
    repeats: bool = False
