"""Collections of training runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import as_in
from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints, counts, run_of_row
from .._base.views import view
from .arrays import raw_from_arrays
from .axes import AXES, Columns, check_axis, derive, needed
from .cleaning import MINIMUM_POINTS
from .columns import cut, described, joined
from .intake import clean
from .known import Known, NumberByRun, ScheduleByRun, close_to, schedules_by_run
from .run import Run
from .selection import raw_of
from .show import SHOWN, as_html, as_text
from .tables import frame_from

if TYPE_CHECKING:
    import pandas as pd


class Flat(NamedTuple):
    """Runs end to end on one axis; read-only views."""

    # x, loss, weight: shape (N,): axis value, loss and relative precision of every point
    x: Floats
    loss: Floats
    weight: Floats
    spike: Bools  # shape (N,): points that fits leave out
    offsets: Ints  # shape (R + 1,): run ``i`` owns the points ``offsets[i]:offsets[i + 1]``
    even: bool  # whether all weights are 1


class Runs:
    """An immutable, ragged collection of training runs.

    Make one with `lossfit.load`, `Runs.from_frame` or `Runs.from_arrays`.  Runs keep the order in
    which they first appear.  ``runs["name"]`` is one `Run`; ``for run in runs`` goes through them.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2")
    >>> runs.names
    ('llama2-7B', 'llama2-13B', 'llama2-34B', 'llama2-70B')
    >>> runs["llama2-7B"].params
    6700000000.0
    """

    __slots__ = ("_breaks", "_cache", "_columns", "_positions")
    _stored_as: ClassVar[str] = "runs"

    _columns: Columns
    _breaks: dict[str, dict[str, tuple[str, str] | None]]  # by axis (`lossfit.runs.broken`)
    _cache: dict[str, Any]  # axes and logged rates, each made at first use
    _positions: dict[str, int]

    def __init__(self) -> None:
        raise TypeError("make runs with lossfit.load(...) or lossfit.Runs.from_frame(...)")

    @classmethod
    def _of(cls, columns: Columns) -> Runs:
        runs = object.__new__(cls)
        object.__setattr__(runs, "_columns", columns)
        object.__setattr__(runs, "_breaks", {})
        object.__setattr__(runs, "_cache", {})
        positions = {name: i for i, name in enumerate(columns.names)}
        object.__setattr__(runs, "_positions", positions)
        return runs

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        loss: str = "train",
        columns: Mapping[str, str] | None = None,
        params: NumberByRun = None,
        tokens_per_step: NumberByRun = None,
        gpu_hours: NumberByRun = None,
        schedules: ScheduleByRun = None,
        meta: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Runs:
        """Runs from a table: one row a logged point, in log order.

        Parameters
        ----------
        frame : table
            A pandas, polars or pyarrow table, a dict of arrays, a list of dicts, a run of W&B (its
            whole history) or what Keras' ``fit`` gives.  It has a column of losses; at least one of
            ``step``, ``tokens``, ``gpu_hours``, ``flops`` (else ``epoch``, ``hours``, or the number
            of the row, with a flag); and optionally ``run`` (else there is one run, called "run"),
            ``lr``, ``params``, ``rank`` and one of ``se`` (standard error of the point), ``count``
            (observations averaged in it) and ``weight`` (relative precision).  These, and the names
            that trainers give to them (`lossfit.runs.names`), are known.  It is not changed.
        loss : str
            Which losses: ``"train"``, ``"val"`` or the name of a column, as in `lossfit.load`.
        columns : dict, optional
            Which column to read as what, e.g. ``{"tokens": "seen"}``.
        params : float or dict by run, optional
            Model parameters.
        tokens_per_step : float or dict by run, optional
            Batch size in tokens.
        gpu_hours : float or dict by run, optional
            GPU-hours that the run had taken at its last logged point, *in total*; spread over the
            run in proportion to its axis.
        schedules : Schedule or dict by run, optional
            Learning-rate schedules (`lossfit.schedules`).
        meta : dict by run of dicts, optional
            Anything else to keep with the runs.

        Returns
        -------
        Runs

        Raises
        ------
        DataError
            Input that cannot be used (`lossfit.runs.cleaning` has the rules); the message names the
            run, the row and the fix.
        """
        known = Known(params, tokens_per_step, gpu_hours, schedules, meta)
        raw, _ = raw_of(frame_from(frame), loss, columns)
        return cls._of(clean(raw, known))

    @classmethod
    @as_in(from_frame.__func__)  # type: ignore[attr-defined]
    def from_arrays(
        cls,
        axis: str,
        x: ArrayLike,
        loss: ArrayLike,
        offsets: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        *,
        weight: ArrayLike | None = None,
        params: NumberByRun = None,
        tokens_per_step: NumberByRun = None,
        gpu_hours: NumberByRun = None,
        schedules: ScheduleByRun = None,
        meta: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Runs:
        """Runs from flat arrays, with the same cleaning: the fast door for very many runs.

        Parameters
        ----------
        axis : {"tokens", "step", "gpu_hours", "flops"}
            What ``x`` is.
        x, loss : array_like, shape (N,)
            Axis values and losses, run after run, each in log order.  They are copied.
        offsets : array_like of int, shape (R + 1,), optional
            Run ``i`` owns ``offsets[i]:offsets[i + 1]``; one run by default.
        names : sequence of str, length R, optional
            Names of the runs; "0", "1", ... by default.
        weight : array_like, shape (N,), optional
            Relative precision of each point.

        Raises
        ------
        DataError
            As `from_frame`; arrays of different lengths; offsets that do not rise from 0 to N.
        """
        raw = raw_from_arrays(check_axis(axis), x, loss, offsets, names, weight)
        known = Known(params, tokens_per_step, gpu_hours, schedules, meta)
        return cls._of(clean(raw, known))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""
        return self._columns.names

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that every run has, the preferred one first."""
        return tuple(axis for axis in AXES if self.has(axis))

    def has(self, axis: str) -> bool:
        """Whether every run has that axis.

        Parameters
        ----------
        axis : {"tokens", "step", "gpu_hours", "flops"}
            An axis.

        Returns
        -------
        bool
            True if all of them have it, logged or derived.
        """
        return bool(self._axis(check_axis(axis))[1].all())

    @property
    def frame(self) -> pd.DataFrame:
        """Everything known, one row a point, as a new tidy frame.

        Columns ``run``, every axis that some run has, ``loss``, ``lr`` and ``params`` where some
        run has them, ``weight`` where points differ in it, and the bool ``spike``.
        """
        import pandas as pd

        table = self._columns
        lengths = np.diff(table.offsets)
        labels = pd.Index(table.names, dtype=object).astype("str")
        data: dict[str, Any] = {"run": labels.repeat(lengths)}
        for axis in AXES:
            values, has = self._axis(axis)
            if has.any():
                data[axis] = values.copy()
        data["loss"] = table.loss.copy()
        if table.lr is not None and not np.isnan(table.lr).all():
            data["lr"] = table.lr.copy()
        if not np.isnan(table.params).all():
            data["params"] = np.repeat(table.params, lengths)
        if (table.weight != 1).any():
            data["weight"] = table.weight.copy()
        data["spike"] = table.spike.copy()
        return pd.DataFrame(data)

    @property
    def flags(self) -> pd.DataFrame:
        """What a careful reader would want to know, as a new frame.

        Columns ``run`` (missing where a flag is about the whole collection), ``flag``, ``count``
        and ``detail``; `lossfit.runs.cleaning.MEANINGS` explains the flags.
        """
        import pandas as pd

        by_run = self._columns.flags
        flags = [flag for name in (None, *self.names) for flag in by_run.get(name, ())]
        rows = [(flag.run, flag.flag, flag.count, flag.detail) for flag in flags]
        frame = pd.DataFrame(rows, columns=["run", "flag", "count", "detail"])
        return frame.astype({"count": "int64"})

    def flat(self, axis: str) -> Flat:
        """The runs end to end on one axis, without copies where the logs have it.

        Parameters
        ----------
        axis : {"tokens", "step", "gpu_hours", "flops"}
            An axis that all runs have.

        Returns
        -------
        Flat
            Arrays of all points, and where each run begins.

        Raises
        ------
        DataError
            A run does not have that axis; the message says what would give it.
        """
        values, has = self._axis(check_axis(axis))
        if not has.all():
            raise DataError(needed(self._columns, int(np.flatnonzero(~has)[0]), axis))
        table = self._columns
        return Flat(values, table.loss, table.weight, table.spike, table.offsets, table.even)

    def select(self, names: Sequence[str]) -> Runs:
        """The named runs, in that order.

        Parameters
        ----------
        names : sequence of str
            Names of the runs; a single name will do.

        Returns
        -------
        Runs
            A new collection; this one where all of its runs are named in their order.

        Raises
        ------
        DataError
            No names, a name that is not there, a name given twice.
        """
        chosen = [names] if isinstance(names, str) else list(names)
        if not chosen:
            raise DataError("select needs at least one run name")
        if tuple(chosen) == self.names:
            return self
        twice = [name for name, count in Counter(chosen).items() if count > 1]
        if twice:
            raise DataError(f"run {twice[0]!r} is selected twice")
        runs = np.array([self._position(name) for name in chosen], dtype=np.int64)
        offsets = self._columns.offsets
        return Runs._of(cut(self._columns, runs, offsets[runs], offsets[runs + 1]))

    def until(self, where: float | Mapping[str, float]) -> Runs:
        """The runs as they were earlier on.

        Parameters
        ----------
        where : float or dict
            A share of each run along its own first axis, 0 to 1; or axis values, e.g.
            ``{"tokens": 1e12}`` (several must all hold).  Points at the value are kept.

        Returns
        -------
        Runs
            Spikes and other descriptions are found again from what is left, so that nothing of the
            rest of a run shows.

        Raises
        ------
        DataError
            A share out of range; fewer than three points of a run are left; a run that does not
            have the axis.
        """
        table = self._columns
        starts, stops = table.offsets[:-1], table.offsets[1:]
        row_run = run_of_row(table.offsets)
        keep = np.ones(len(table.loss), dtype=bool)
        if isinstance(where, Mapping):
            if not where:
                raise DataError("until needs an axis value, e.g. {'tokens': 1e12}")
            for axis, value in where.items():
                limit = _number(value, f"until's {axis}")
                keep &= self.flat(axis).x <= limit
        else:
            share = _number(where, "until's share")
            if not 0 < share <= 1:
                raise DataError(f"until takes a share of each run, above 0 to 1, got {share:g}")
            for axis, runs in self._first_axes().items():
                x = self._axis(axis)[0]
                limits = np.where(runs, share * x[stops - 1], np.inf)
                keep &= ~(x > limits[row_run])
        left = counts(keep, table.offsets)
        if (left < MINIMUM_POINTS).any():
            run = int(np.flatnonzero(left < MINIMUM_POINTS)[0])
            raise DataError(
                f"run {self.names[run]!r} has {left[run]} points up to there; {MINIMUM_POINTS} are "
                "needed: choose a later point or leave the run out"
            )
        left_over = cut(table, np.arange(len(left)), starts, starts + left)
        return Runs._of(described(left_over))

    def with_schedule(self, schedules: ScheduleByRun) -> Runs:
        """The same runs with learning-rate schedules: one for all, or a dict by run.

        Runs that the dict does not name keep theirs.

        Parameters
        ----------
        schedules : Schedule, str, or dict of these by run
            Learning-rate schedules (`lossfit.schedules`), or words for them (``"cosine@20k"``).

        Returns
        -------
        Runs
            A new collection.

        Raises
        ------
        DataError
            A name that is not there, or what is no schedule.
        """
        new = schedules_by_run(view("runs.schedules")(schedules, self), self.names)
        return Runs._of(replace(self._columns, schedules={**self._columns.schedules, **new}))

    def __add__(self, other: Runs) -> Runs:
        """Both collections in one; `DataError` if they share a run name."""
        if not isinstance(other, Runs):
            return NotImplemented
        for name in other.names:
            if name in self:
                raise DataError(f"both collections have a run {name!r}: rename or leave out one")
        return Runs._of(joined(self._columns, other._columns))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Run]:
        return (Run(self, i) for i in range(len(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    def __getitem__(self, name: str) -> Run:
        """The run of that name; `DataError` with names like it if there is none."""
        return Run(self, self._position(name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Runs):
            return NotImplemented
        return all(
            _same(getattr(self._columns, field.name), getattr(other._columns, field.name))
            for field in fields(Columns)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by content, and arrays do not hash

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("runs are immutable: select, until and with_schedule give new ones")

    def __reduce__(self) -> tuple[Callable[..., Runs], tuple[Any, ...]]:
        values = {field.name: getattr(self._columns, field.name) for field in fields(Columns)}
        return _unpickled, (values,)

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def _position(self, name: str) -> int:
        try:
            return self._positions[name]
        except (KeyError, TypeError):
            hint = close_to(name, self.names)
            if not hint and len(self) <= SHOWN:
                hint = f"; there are {', '.join(map(repr, self.names))}"
            raise DataError(f"there is no run {name!r}{hint}") from None

    def _axis(self, axis: str) -> tuple[Floats, Bools]:
        """Values of an axis (NaN in the runs without it) and which runs have it."""
        if axis not in self._cache:
            self._cache[axis] = derive(self._columns, axis)
        values: tuple[Floats, Bools] = self._cache[axis]
        return values

    def _first_axes(self) -> dict[str, Bools]:
        """Which runs have each axis as their first, shape (R,)."""
        first = {}
        left = np.ones(len(self), dtype=bool)
        for axis in AXES:
            has_axis = left & self._axis(axis)[1]
            left &= ~has_axis
            if has_axis.any():
                first[axis] = has_axis
        return first


def _number(value: object, what: str) -> float:
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return float(value)
    raise DataError(f"{what} must be a number, got {value!r}")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(a == b)


def _unpickled(values: dict[str, Any]) -> Runs:
    return Runs._of(Columns(**values))
