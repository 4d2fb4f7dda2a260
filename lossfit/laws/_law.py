"""What a loss law is: parameter declarations and scalar basis functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .._base.errors import DataError
from .priors import Prior, inverse_gamma

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from ..kernels.columns import Program

MAX_FIXED = 3  # linear parameters whose basis does not depend on a nonlinear parameter
MAX_VARYING = 3  # linear parameters whose basis does
MAX_NONLINEAR = 4


def constant() -> float:
    """Basis function of a constant term, such as the loss that no training takes away.

    Returns
    -------
    float
        Always 1.

    Examples
    --------
    >>> import lossfit
    >>> lossfit.laws.constant()
    1.0
    """
    return 1.0


@dataclass(frozen=True)
class Linear:
    """A parameter that multiplies a basis function.

    Parameters
    ----------
    name, doc : str
        Name in the posterior, and one line that says what it is.
    prior : Prior
        A `normal` prior; relative ones are in units of the loss at the end of the window.
    positive : bool
        Whether the parameter is restricted to values >= 0.

    Examples
    --------
    >>> import lossfit
    >>> size = lossfit.Linear("A", "size of the fall", lossfit.priors.normal(0, 2, relative=True))
    >>> size.positive
    True
    """

    name: str
    doc: str
    prior: Prior
    positive: bool = True


@dataclass(frozen=True)
class Nonlinear:
    """A parameter inside a basis function.

    Parameters
    ----------
    name, doc : str
        Name in the posterior, and one line that says what it is.
    low, high : float
        Bounds; the prior is cut to them.  With ``low > 0`` quadrature nodes are even in the
        logarithm.
    prior : Prior
        A `uniform`, `normal` or `lognormal` prior.
    unit : {"none", "start"}
        ``"start"``: bounds and relative priors are multiples of the axis value (in units of the
        window's end) at which the window starts, as suits an offset of the axis.

    Examples
    --------
    >>> import lossfit
    >>> time = lossfit.Nonlinear("t", "time scale", 0.01, 10, lossfit.priors.lognormal(0.3, 1))
    >>> time.low, time.high
    (0.01, 10)
    """

    name: str
    doc: str
    low: float
    high: float
    prior: Prior
    unit: Literal["none", "start"] = "none"

    @property
    def log(self) -> bool:
        """Whether quadrature works in the logarithm of the parameter."""
        return self.low > 0


Rescale = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Example:
    """A curve with noise that a law describes, and what it was made with.

    Attributes
    ----------
    x : ndarray, shape (n_points,)
        Axis values, the last of which is 1.
    loss : ndarray, shape (n_points,)
    parameters : dict of float
        The law's parameters for this x.
    noise : float
        Standard deviation of the noise.

    Examples
    --------
    >>> import lossfit
    >>> example = lossfit.laws.get("power").example(points=50)
    >>> example.loss.shape
    (50,)
    """

    x: NDArray[np.float64]
    loss: NDArray[np.float64]
    parameters: dict[str, float]
    noise: float


@dataclass(frozen=True)
class Law:
    """A loss law ``sum_k linear_k * column_k(x; nonlinear)``.

    Parameters
    ----------
    name, formula : str
        Name and one-line formula.
    linear : tuple of Linear
        Linear parameters, one for each column.
    columns : tuple of callable
        Scalar basis functions.  The names of their arguments say what they get: ``x`` (the axis
        divided by the end of the fitted window, so that data end at 1), ``log_x`` (its natural
        logarithm) and names of nonlinear parameters.  They are compiled with Numba; use
        ``lossfit.kernels.maths.exp`` and ``log`` in place of ``math``'s where speed matters.
    nonlinear : tuple of Nonlinear
        Nonlinear parameters, at most 4.  One or two are integrated by quadrature.
    doc : str
        One line that says what the law is for.
    sigma : Prior
        Noise prior.
    to_axis_units : callable, optional
        ``f(draws, x_ref) -> draws`` turns a dict of parameters for ``x / x_ref`` into parameters
        for ``x`` in the units of the axis.  By default they are reported as they are.
    typical : dict of float, optional
        Parameters of a typical curve, for x divided by the end of the window and losses in nats:
        what `example` shows, and what the tests of all registered laws fit.

    Raises
    ------
    DataError
        If the declarations do not fit together.

    Examples
    --------
    >>> import math
    >>> import lossfit
    >>> from lossfit import priors
    >>> def stretched(x, tau, gamma):
    ...     return math.exp(-((x / tau) ** gamma))
    >>> law = lossfit.Law(
    ...     name="stretched",
    ...     formula="E + A exp(-(x/tau)^gamma)",
    ...     linear=(
    ...         lossfit.Linear("E", "final loss", priors.normal(0, 2, relative=True)),
    ...         lossfit.Linear("A", "amplitude", priors.normal(0, 2, relative=True)),
    ...     ),
    ...     columns=(lossfit.laws.constant, stretched),
    ...     nonlinear=(
    ...         lossfit.Nonlinear("tau", "time scale", 0.01, 10, priors.lognormal(0.3, 1)),
    ...         lossfit.Nonlinear("gamma", "stretching", 0.2, 2, priors.lognormal(0.7, 0.5)),
    ...     ),
    ... )
    """

    _stored_as: ClassVar[str] = "law"

    name: str
    formula: str
    linear: tuple[Linear, ...]
    columns: tuple[Callable[..., float], ...]
    nonlinear: tuple[Nonlinear, ...]
    doc: str = ""
    sigma: Prior = field(default_factory=lambda: inverse_gamma(1.0, 1.0, relative=True))
    to_axis_units: Rescale | None = None
    typical: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for attribute in ("linear", "columns", "nonlinear"):
            object.__setattr__(self, attribute, tuple(getattr(self, attribute)))
        if len(self.linear) != len(self.columns) or not self.linear:
            raise DataError(
                f"law {self.name!r}: {len(self.linear)} linear parameters need as many columns, "
                f"got {len(self.columns)}"
            )
        names = self.parameters
        if len(set(names)) != len(names):
            raise DataError(f"law {self.name!r}: parameter names repeat: {', '.join(names)}")
        if "sigma" in names:
            raise DataError(f"law {self.name!r}: 'sigma' is the noise; rename the parameter")
        if not 1 <= len(self.nonlinear) <= MAX_NONLINEAR:
            raise DataError(
                f"law {self.name!r} needs 1 to {MAX_NONLINEAR} nonlinear parameters, "
                f"got {len(self.nonlinear)}"
            )
        for parameter in self.nonlinear:
            if not parameter.low < parameter.high:
                raise DataError(f"law {self.name!r}: {parameter.name} needs low < high")
        self._check_prior_kinds({})
        known = {"x", "log_x", *(p.name for p in self.nonlinear)}
        used: set[str] = set()
        for column, arguments in zip(self.linear, self.arguments, strict=True):
            unknown = [a for a in arguments if a not in known]
            if unknown:
                raise DataError(
                    f"law {self.name!r}: the column of {column.name} takes {unknown[0]!r}, which "
                    f"is neither x, log_x nor a nonlinear parameter"
                )
            used.update(arguments)
        idle = [p.name for p in self.nonlinear if p.name not in used]
        if idle:
            raise DataError(
                f"law {self.name!r}: no column takes the nonlinear parameter {idle[0]!r}"
            )
        self._check_typical()
        n_fixed = sum(self.fixed)
        if n_fixed > MAX_FIXED or len(self.linear) - n_fixed > MAX_VARYING:
            raise DataError(
                f"law {self.name!r}: at most {MAX_FIXED} columns without and {MAX_VARYING} with "
                f"nonlinear parameters"
            )

    def in_axis_units(self, draws: Any, end: Any) -> list[Any]:
        """Draws for the scaled axis as parameters in the units of the axis.

        Parameters
        ----------
        draws : array, shape (n_runs, n_parameters + 1, n_draws)
            Of the parameters and sigma, NumPy's or of another array library.
        end : array, shape (n_runs,)
            Where the runs' windows end: what the axis was divided by.

        Returns
        -------
        list of array, each of shape (n_runs, n_draws)
            In the order of `parameters`, sigma last.
        """
        names = (*self.parameters, "sigma")
        named = {name: draws[:, k, :] for k, name in enumerate(names)}
        if self.to_axis_units is not None:
            named = self.to_axis_units(named, end[:, None])
        return [named[name] for name in names]

    def _check_typical(self) -> None:
        if self.typical and set(self.typical) != set(self.parameters):
            raise DataError(
                f"law {self.name!r}: typical= needs a value of each parameter, "
                f"{', '.join(self.parameters)}; got {', '.join(self.typical)}"
            )
        for p in self.nonlinear if self.typical else ():
            if p.unit == "none" and not p.low <= self.typical[p.name] <= p.high:
                raise DataError(
                    f"law {self.name!r}: the typical {p.name} lies outside its bounds, "
                    f"{p.low:g} to {p.high:g}"
                )

    def _check_prior_kinds(self, priors: Mapping[str, Prior]) -> None:
        for linear in self.linear:
            if priors.get(linear.name, linear.prior).kind != "normal":
                raise DataError(
                    f"law {self.name!r}: the linear parameter {linear.name} needs a normal "
                    f"prior (lossfit.priors.normal)"
                )
        for nonlinear in self.nonlinear:
            if priors.get(nonlinear.name, nonlinear.prior).kind == "inverse_gamma":
                raise DataError(
                    f"law {self.name!r}: {nonlinear.name} needs a uniform, normal or lognormal "
                    f"prior"
                )
        if priors.get("sigma", self.sigma).kind != "inverse_gamma":
            raise DataError(f"law {self.name!r}: sigma needs an inverse_gamma prior")

    def with_priors(self, priors: Mapping[str, Prior] | None) -> Law:
        """The same law with some priors replaced.

        Parameters
        ----------
        priors : dict of str to Prior, or None
            New priors by parameter name, ``sigma`` among them; None changes nothing.

        Returns
        -------
        Law
            A copy; the law itself stays as it is.

        Raises
        ------
        DataError
            If a name is not a parameter of the law, or a family does not suit it.
        """
        if not priors:
            return self
        known = {*self.parameters, "sigma"}
        for name in priors:
            if name not in known:
                raise DataError(
                    f"law {self.name!r} has no parameter {name!r}; it has "
                    f"{', '.join(self.parameters)} and sigma"
                )
        for name, prior in priors.items():
            if not isinstance(prior, Prior):
                raise DataError(
                    f"the prior of {name} must be made by lossfit.priors, such as "
                    f"priors.lognormal(0.3, 1), got {prior!r}"
                )
        self._check_prior_kinds(priors)
        return replace(
            self,
            linear=tuple(replace(p, prior=priors.get(p.name, p.prior)) for p in self.linear),
            nonlinear=tuple(replace(p, prior=priors.get(p.name, p.prior)) for p in self.nonlinear),
            sigma=priors.get("sigma", self.sigma),
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names: nonlinear parameters first, then linear ones (``sigma`` is not among them)."""
        return (*(p.name for p in self.nonlinear), *(p.name for p in self.linear))

    @cached_property
    def arguments(self) -> tuple[tuple[str, ...], ...]:
        """Argument names of each column."""
        return tuple(
            tuple(inspect.signature(getattr(c, "py_func", c)).parameters) for c in self.columns
        )

    @cached_property
    def fixed(self) -> tuple[bool, ...]:
        """For each column, whether it is free of nonlinear parameters."""
        names = {p.name for p in self.nonlinear}
        return tuple(not names.intersection(arguments) for arguments in self.arguments)

    @cached_property
    def program(self) -> Program:
        """The columns compiled for the kernels (compiled at first use)."""
        from ..kernels.columns import Program

        return Program(
            columns=self.columns,
            arguments=self.arguments,
            nonlinear=tuple(p.name for p in self.nonlinear),
            log=tuple(p.log for p in self.nonlinear),
            bounds=tuple((p.low, p.high, p.unit == "start") for p in self.nonlinear),
        )

    def evaluate(
        self, x: ArrayLike, nonlinear: ArrayLike, linear: ArrayLike
    ) -> NDArray[np.float64]:
        """The law's curves for many parameter sets.

        Parameters
        ----------
        x : array_like, shape (n_points,)
            Axis values divided by the end of the window.
        nonlinear : array_like, shape (n_nonlinear, n_sets)
            Nonlinear parameters, in the order of the law; a column is one set.
        linear : array_like, shape (n_linear, n_sets)
            Linear parameters, in the order of the law.

        Returns
        -------
        ndarray, shape (n_points, n_sets)
            Loss.
        """
        import numpy as np

        beta = np.atleast_2d(np.asarray(linear, float))
        out = np.zeros((np.size(x), beta.shape[1]))
        for k in range(len(self.linear)):
            out += beta[k] * self.program.column(k, x, nonlinear)
        return out

    def example(
        self, points: int = 100, *, noise: float = 0.01, start: float = 0.02, random_seed: int = 0
    ) -> Example:
        """A curve that the law describes: its typical parameters, and noise.

        Parameters
        ----------
        points : int
            Points, evenly spaced in the logarithm of x.
        noise : float
            Standard deviation of the noise, in the unit of the loss.
        start : float
            First x; the last is 1.
        random_seed : int
            Seed of the noise.

        Returns
        -------
        Example
            The points of the curve, the parameters and the noise that made it.

        Raises
        ------
        DataError
            If the law states no typical parameters.

        Examples
        --------
        >>> import lossfit
        >>> example = lossfit.laws.get("power").example(points=50)
        >>> runs = lossfit.Runs.from_arrays("step", 1000 * example.x, example.loss)
        """
        import numpy as np

        if not self.typical:
            raise DataError(
                f"law {self.name!r} states no typical parameters: Law(..., "
                f"typical={{{', '.join(f'{name!r}: ...' for name in self.parameters)}}})"
            )
        x = np.geomspace(start, 1.0, points)
        curve = [self._loss_at(value) for value in x.tolist()]
        error = np.random.default_rng(random_seed).normal(0.0, noise, points)
        return Example(x, np.array(curve) + error, dict(self.typical), noise)

    def _loss_at(self, x: float) -> float:
        """The typical curve at x, in plain Python: an example must not wait for a compiler."""
        known = {**self.typical, "x": x, "log_x": math.log(x)}
        terms = (
            known[linear.name] * getattr(column, "py_func", column)(*(known[a] for a in arguments))
            for linear, column, arguments in zip(
                self.linear, self.columns, self.arguments, strict=True
            )
        )
        return float(sum(terms))
