"""One training run: a view into `lossfit.Runs`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, frozen
from .._base.terminal import printable
from ..schedules.shapes import Schedule
from .axes import AXES, check_axis, needed
from .cleaning import Flag

if TYPE_CHECKING:
    from .axes import Columns


class Owner(Protocol):
    """What a run needs of the collection that it is a view into: `lossfit.Runs`."""

    _columns: Columns
    _cache: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that all runs have."""

    def _axis(self, axis: str) -> tuple[Floats, Bools]: ...

    def select(self, names: list[str]) -> Owner:
        """The named runs."""

    def __len__(self) -> int: ...


class Run:
    """One training run; get it from `Runs` by name.

    Arrays are read-only views and have shape (n,), with n the number of points.

    Parameters
    ----------
    runs : Runs
        The collection that it is a run of.
    i : int
        Its place in there.

    Attributes
    ----------
    name : str
        Its name, unique in the collection.
    params : float or None
        Model parameters.
    tokens_per_step : float or None
        Batch size in tokens.
    loss : ndarray
        Loss, in the units of the log (nats per token for a language model).
    weight : ndarray
        Relative precision of the points, mean 1; ones where none was given.
    lr : ndarray or None
        Logged learning rate, NaN where unknown.
    spike : ndarray of bool
        Points that fits leave out (`lossfit.runs.cleaning`).
    decimals : int or None
        Decimals that the losses are written with; None for many.
    schedule : Schedule or None
        Learning-rate schedule.
    axes : tuple of str
        The axes that the run has.
    meta : mapping
        What else was kept with the run.
    flags : tuple of Flag
        What a careful reader would want to know of it.

    Examples
    --------
    >>> import lossfit
    >>> run = lossfit.load("llama2")["llama2-7B"]
    >>> run.axes
    ('tokens', 'step', 'gpu_hours', 'flops')
    >>> run.loss.shape == run.axis("tokens").shape
    True
    """

    __slots__ = ("_i", "_runs")
    _stored_as: ClassVar[str] = "run"

    def __init__(self, runs: Owner, i: int) -> None:
        self._runs = runs
        self._i = i

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._runs.names[self._i]

    @property
    def params(self) -> float | None:
        """Model parameters, None if unknown."""
        return _or_none(self._runs._columns.params[self._i])

    @property
    def tokens_per_step(self) -> float | None:
        """Batch size in tokens, None if unknown."""
        return _or_none(self._runs._columns.tokens_per_step[self._i])

    @property
    def loss(self) -> Floats:
        """Loss of each point, shape (n,)."""
        return self._slice(self._runs._columns.loss)

    @property
    def weight(self) -> Floats:
        """Relative precision of each point, shape (n,), mean 1."""
        return self._slice(self._runs._columns.weight)

    @property
    def lr(self) -> Floats | None:
        """Logged learning rate, shape (n,), NaN where unknown; None if it was never logged."""
        lr = self._runs._columns.lr
        if lr is None:
            return None
        rates = self._slice(lr)
        return None if np.isnan(rates).all() else rates

    @property
    def spike(self) -> Bools:
        """Which points are spikes, shape (n,); fits leave them out."""
        return self._slice(self._runs._columns.spike)

    @property
    def decimals(self) -> int | None:
        """Decimals that the losses are written with, None for many."""
        decimals = int(self._runs._columns.decimals[self._i])
        return None if decimals < 0 else decimals

    @property
    def schedule(self) -> Schedule | None:
        """Learning-rate schedule, None if unknown."""
        return self._runs._columns.schedules.get(self.name)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that the run has, the preferred one first."""
        return tuple(axis for axis in AXES if self.has(axis))

    @property
    def meta(self) -> Mapping[str, Any]:
        """Anything else known of the run."""
        return MappingProxyType(dict(self._runs._columns.meta.get(self.name, {})))

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What a careful reader would want to know of the run."""
        return self._runs._columns.flags.get(self.name, ())

    def has(self, axis: str) -> bool:
        """Whether the run has that axis, logged or derived.

        Parameters
        ----------
        axis : {"tokens", "step", "gpu_hours", "flops"}
            An axis.

        Returns
        -------
        bool
            True if it was logged or can be derived.
        """
        return bool(self._runs._axis(check_axis(axis))[1][self._i])

    def axis(self, axis: str) -> Floats:
        """Values of an axis, increasing.

        Parameters
        ----------
        axis : {"tokens", "step", "gpu_hours", "flops"}
            An axis that the run has.

        Returns
        -------
        ndarray, shape (n,)
            Read-only.

        Raises
        ------
        DataError
            The run does not have that axis; the message says what would give it.
        """
        values, has = self._runs._axis(check_axis(axis))
        if not has[self._i]:
            raise DataError(needed(self._runs._columns, self._i, axis))
        return self._slice(values)

    def end(self, axis: str) -> float:
        """The last value of an axis.

        Parameters
        ----------
        axis : {"tokens", "step", "gpu_hours", "flops"}
            An axis that the run has.

        Returns
        -------
        float
            The axis at the last point of the run.

        Raises
        ------
        DataError
            The run does not have that axis.
        """
        return float(self.axis(axis)[-1])

    def __len__(self) -> int:
        return int(np.diff(self._runs._columns.offsets[self._i : self._i + 2])[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run):
            return NotImplemented
        return self.alone() == other.alone()

    __hash__ = None  # type: ignore[assignment]  # equal by content, and arrays do not hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Run, (self.alone(), 0)

    def __repr__(self) -> str:
        loss = self.loss
        words = [f"Run {self.name!r}: {len(self)} points, loss {loss[0]:.4g} to {loss[-1]:.4g}"]
        words += [f"{axis} to {self.end(axis):.4g}" for axis in self.axes]
        words += [f"{flag.flag} ({flag.count})" for flag in self.flags]
        return printable(", ".join(words))

    def alone(self) -> Owner:
        """A collection of this run only: `lossfit.Runs`.

        Returns
        -------
        Runs
            A collection of one run.
        """
        return self._runs if len(self._runs) == 1 else self._runs.select([self.name])

    def _slice(self, flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        offsets = self._runs._columns.offsets
        return frozen(flat[offsets[self._i] : offsets[self._i + 1]])


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
