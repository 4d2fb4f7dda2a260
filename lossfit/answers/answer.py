"""The answer to an extrapolation: draws, tables, comparisons, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import documented, entries_of, figure_options, plain_data, sections_of
from .._base.errors import DataError
from .._base.frames import answer_first, word_column
from .._base.ragged import Bools, Floats
from .._base.records import rows_of_columns
from .._base.results import Result, Scale
from .._base.summaries import MOMENTS, describe, prob_less, quantiles
from .._base.views import view
from ..fits.flags import warning_text
from ..forecasts.knowledge import check_targets
from ..forecasts.mixture import Mixed, curves_of
from ..runs.broken import broken_runs, words_of
from ..runs.checks import axis_values
from .meanings import meanings_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from ..backtests.conformal import Calibration
    from ..forecasts.question import Question
    from ..runs.axes import Axis
    from ..runs.collection import Runs


@dataclass(frozen=True, eq=False, repr=False)
class Answer(Result):
    """The loss of some runs at places that they did not reach; made by `lossfit.extrapolate`.

    Attributes
    ----------
    runs : Runs
        All runs of the question, the compared one too.
    names : tuple of str, length R
        The runs that were extrapolated.
    at : ndarray, shape (R, T)
        Targets in units of the axis, NaN where a run has fewer than the others.
    question : Question
        Laws, axis, window, seed and so on.
    mixed : Mixed
        Curves at the targets.
    compute_of : str or None
        The run whose compute the others get.
    calibration : Calibration or None
        What ``calibrate_on`` did.
    final : ndarray, shape (D,), or None
        Draws of the loss of that run at the end of its data.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2")
    >>> answer = lossfit.extrapolate(runs, run="llama2-7B", at=[2.5e12, 4e12], axis="tokens")
    >>> answer.draws.dims
    ('run', 'at', 'draw')
    >>> below = answer.prob_below(1.7)  # at each place
    >>> ax = answer.plot()
    """

    _keys = ("run", "at")
    _view = "answer"

    runs: Runs
    names: tuple[str, ...]
    at: Floats
    question: Question
    mixed: Mixed
    compute_of: str | None = None
    calibration: Calibration | None = None
    final: Floats | None = None

    @classmethod
    @documented(entries_of(sections_of(__doc__).get("Attributes", "")))
    def of(
        cls,
        runs: Runs,
        names: tuple[str, ...],
        at: Floats,
        question: Question,
        compute_of: str | None,
        progress: bool = False,
        calibration: Calibration | None = None,
    ) -> Answer:
        """Compute the answer.

        Parameters
        ----------
        progress : bool
            Show a bar.
        """
        from .._base.progress import bar

        asked = runs if names == runs.names else runs.select(names)
        with bar(len(names) * len(question.laws), "extrapolating", progress) as advance:
            mixed = curves_of(question, asked, at, advance)
        final = None if compute_of is None else _final_loss(question, runs, compute_of)
        at.setflags(write=False)
        return cls(runs, names, at, question, mixed, compute_of, calibration, final)

    @property
    def axis(self) -> str:
        """The axis of the targets."""
        return self.question.axis

    @property
    def engine(self) -> str:
        """Which kernels served: "compiled", or "uncompiled" in plain Python (docs/compiling.md)."""
        return "uncompiled" if "uncompiled" in self.mixed.engines else "compiled"

    @property
    def prob(self) -> float:
        """Probability of the intervals."""
        return self.question.prob

    @cached_property
    def ends(self) -> Floats:
        """Where the data of each run end on the axis, shape (R,)."""
        flat = self.runs.flat(self.axis) if len(self.runs) == len(self.names) else None
        if flat is not None and self.names == self.runs.names:
            return np.asarray(flat.x[flat.offsets[1:] - 1])
        return np.array([self.runs[name].end(self.axis) for name in self.names])

    @cached_property
    def broken(self) -> dict[str, tuple[str, bool]]:
        """Runs that broke: what happened, and whether no forecast holds for the run."""
        return broken_runs(self.runs, self.names, self.axis)

    @cached_property
    def _there(self) -> Bools:
        return ~np.isnan(self.at)

    @cached_property
    def _learned(self) -> bool:
        """Whether finished runs say something of a run."""
        learned = (self.question.learned(name) for name in self.names)
        return any(priors is not None and priors.used for priors in learned)

    @cached_property
    def _flags(self) -> list[list[tuple[str, ...]]]:
        """Flags by run and target; a row's own first, then the fits'."""
        flags: list[list[tuple[str, ...]]] = view("answer.flags")(self)
        return flags

    def record(self, ratio: float) -> str:
        """The record of the answer's law at a horizon, in one line.

        Parameters
        ----------
        ratio : float
            The horizon, as a multiple of the data.

        Returns
        -------
        str
            "" where it has none.
        """
        from ..forecasts.record import by_name_sentence, default_sentence, other_sentence

        if self._is_other is not None:
            return other_sentence(self._is_other, ratio)
        row = np.unravel_index(np.nanargmax(self.at / self.ends[:, None]), self.at.shape)
        if self.question.by_default:
            return default_sentence(self._situations[row], ratio)
        stretched = self.mixed.row_flags.get("schedule_stretched")
        return by_name_sentence(self._record_key, ratio, stretched is not None and stretched[row])

    @property
    def records(self) -> list[str]:
        """The record in lines: one for each kind of situation of the rows, at its farthest row."""
        lines: list[str] = view("answer.records")(self)
        return lines

    @property
    def _is_other(self) -> str | None:
        """What kind of answer it is, if not one law's to runs by themselves."""
        if self.question.ladder is not None:
            return "ladder"
        if self.question.models is not None:
            return "share"
        return "mixture" if len(self.question.laws) > 1 else None

    @cached_property
    def _situations(self) -> Any:
        """What the default law knew in each row, shape (R, T), and which domain it assumed."""
        return view("answer.situations")(self)

    def record_at(self, ratio: float) -> float:
        """Share of outcomes that such intervals held, at a horizon.

        Parameters
        ----------
        ratio : float
            The horizon, as a multiple of the data.

        Returns
        -------
        float
            NaN where it is not known.
        """
        from ..forecasts.record import default_record, record_of

        if self._is_other is not None:
            return float("nan")
        if self.question.by_default:
            row = np.unravel_index(np.nanargmax(self.at / self.ends[:, None]), self.at.shape)
            return default_record(self._situations[row], ratio)
        return record_of(self._record_key, ratio)

    @property
    def _record_key(self) -> str:
        """The law, and for the default what it knew: the key of its record."""
        law = self.question.laws[0].name
        rows = self.mixed.row_flags
        for flag, suffix in (("no_plan", "no plan"), ("schedule_unknown", "menu")):
            if flag in rows and rows[flag].any():
                return f"{law}, {suffix}"
        if self._learned:
            return f"{law}, siblings"
        return law

    @property
    def warning(self) -> str:
        """What the one `LossfitWarning` of this answer says; "" for nothing."""
        names, flags = [], []
        for name, row, there in zip(self.names, self._flags, self._there.tolist(), strict=True):
            for each in dict.fromkeys(compress(row, there)):
                if each:
                    names.append(name)
                    flags.append(each)
        return warning_text(names, flags, self.meanings)

    @cached_property
    def meanings(self) -> dict[str, str]:
        """What each flag says, with what was read of these runs and what was given."""
        of_run = {
            name: {flag for row in rows for flag in row}
            for name, rows in zip(self.names, self._flags, strict=True)
        }
        return meanings_of(self.question, self.runs, of_run)

    @cached_property
    def _moments(self) -> Floats:
        """Mean, sd, lower, median and upper of the mixture, shape (5, R, T)."""
        if self.mixed.apart is None:
            return np.asarray(self.mixed.by_law[0])
        return describe(self.mixed.curves, self.prob)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a run and target.

        Columns median, lower, upper, horizon_ratio, mean, broken (what broke in the run, in words;
        None for a sound one, and no forecast may hold where it is not), notes (a tuple of flags;
        see `lossfit.fits.flags`), sd, axis, prob, run and at.
        """
        import pandas as pd

        columns = self._columns(self._moments, self._flags_there)
        columns["broken"] = word_column(columns["broken"])
        return answer_first(pd.DataFrame(columns), self._keys)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of `frame`; without pandas, whose import takes longer than an answer."""
        return rows_of_columns(
            self._columns(self._moments, self._flags_there), int(self._there.sum())
        )

    @property
    def _flags_there(self) -> list[tuple[str, ...]]:
        return [self._flags[r][t] for r, t in np.argwhere(self._there)]

    def _row_draws(self) -> Floats:
        return self.mixed.curves[self._there]

    @cached_property
    def _compared(self) -> Mixed | None:
        """The compared laws at the same targets, fitted when they are asked for."""
        question = self.question.comparison
        if question is None:
            return None
        asked = self.runs if self.names == self.runs.names else self.runs.select(self.names)
        return curves_of(question, asked, self.at)

    @property
    def by_law(self) -> pd.DataFrame:
        """The same frame for each law, with columns law, weight and record.

        For the default law power and power_linear are fitted for comparison, with weight 0, when
        this is first asked for; printing an answer does not.  ``record`` is the share of outcomes
        that 90 % intervals of the law held in backtests on public runs at the horizon nearest to
        the row's (`lossfit.forecasts.record`), NaN where there is none.
        """
        import pandas as pd

        parts = self._of_laws(self.question, self.mixed, self.question.weights)
        if self._compared is not None and self.question.comparison is not None:
            weights = np.zeros(len(self.question.compared))
            parts += self._of_laws(self.question.comparison, self._compared, weights)
        tables = [pd.DataFrame({**p, "broken": word_column(p["broken"])}) for p in parts]
        return answer_first(pd.concat(tables, ignore_index=True), ("law", *self._keys))

    @property
    def rows_by_law(self) -> list[dict[str, Any]]:
        """The rows of `by_law` of the answer's own laws: nothing is computed for them."""
        parts = self._of_laws(self.question, self.mixed, self.question.weights)
        return [row for part in parts for row in rows_of_columns(part, int(self._there.sum()))]

    def _of_laws(self, question: Question, mixed: Mixed, weights: Floats) -> list[dict[str, Any]]:
        """The columns of each law's part of `by_law`."""
        from ..forecasts.record import default_record, record_of

        parts = []
        for k, law in enumerate(question.laws):
            flags = [mixed.flags[k][r] for r, _ in np.argwhere(self._there)]
            weight = float(weights[k])
            columns = self._columns(mixed.by_law[k], flags)
            ratios = columns["horizon_ratio"].tolist()
            if question.by_default:
                known = self._situations[self._there].tolist()
                record = [default_record(*one) for one in zip(known, ratios, strict=True)]
            else:
                own = weight == 1
                record = [self.record_at(x) if own else record_of(law.name, x) for x in ratios]
            parts.append({"law": law.name, "weight": weight, **columns, "record": record})
        return parts

    def _columns(self, moments: Floats, flags: list[tuple[str, ...]]) -> dict[str, Any]:
        there = self._there
        which = np.nonzero(there)[0]
        at = self.at[there]
        data: dict[str, Any] = {
            "run": np.asarray(self.names, dtype=object)[which],
            "axis": self.axis,
            "at": at,
            "horizon_ratio": at / self.ends[which],
        }
        for name, values in zip(MOMENTS, moments, strict=True):
            data[name] = values[there]
        data["prob"] = self.prob
        data["broken"] = np.array(words_of(self.broken, self.names), dtype=object)[which]
        data["notes"] = np.fromiter(flags, dtype=object, count=len(flags))
        return data

    @property
    def draws(self) -> xr.DataArray:
        """Equally weighted draws of the loss curve without noise, dims (run, at, draw).

        The same draw is the same curve at every target.  Coordinates: run names; ``target`` (run,
        at), the axis values (NaN where a run has fewer targets); ``law`` (draw).  Where all runs
        have the same targets these are the coordinate ``at`` too.
        """
        array: xr.DataArray = view("answer.draws")(self)
        return array

    def quantile(self, q: ArrayLike) -> Any:
        """Quantiles of the loss.

        Parameters
        ----------
        q : float or sequence of float
            Probabilities, 0 to 1.

        Returns
        -------
        float or pandas.DataFrame
            A number for one run, one target and one probability; else a frame with index (run, at)
            and a column for each probability.
        """
        import pandas as pd

        shares = np.atleast_1d(np.asarray(q, np.float64))
        if shares.ndim != 1 or not ((shares >= 0) & (shares <= 1)).all():
            raise DataError(f"quantiles are asked for by probabilities between 0 and 1, got {q!r}")
        found = quantiles(self.mixed.curves[self._there], list(shares))
        if np.ndim(q) == 0 and found.shape[1] == 1:
            return float(found[0, 0])
        return pd.DataFrame(
            found.T, index=self._index(self.at), columns=pd.Index(shares, name="quantile")
        )

    def prob_below(self, other: str | float | None = None, at: ArrayLike | None = None) -> Any:
        """Probability that a run's loss at its target is below another run's final loss.

        Parameters
        ----------
        other : str or float, optional
            A run, by default the one of ``compute_of``; or a loss.
        at : float or sequence of float, optional
            Other targets than the answer's, in units of its axis.

        Returns
        -------
        float or pandas.Series
            A number for one run and one target, else a series with index (run, at).

        Raises
        ------
        DataError
            No such run; no run to compare with; a target that no forecast can serve.

        Notes
        -----
        The other run is fitted with the same laws on the same axis, and its final loss is its own
        curve's at the end of its data.  The two posteriors are independent, so all pairs of draws
        are compared; a run compared with itself shares its draws.
        """
        other = self.compute_of if other is None else other
        if other is None:
            raise DataError("prob_below needs a run or a loss to compare with")
        where, curves = self.at, self.mixed.curves
        if at is not None:
            where = np.tile(axis_values(at), (len(self.names), 1))
            check_targets(self.runs, self.names, self.axis, where)
            curves = curves_of(self.question, self.runs.select(self.names), where).curves
        below = np.empty(where.shape)
        if isinstance(other, str):
            final = self.final_loss(other)
            for r, name in enumerate(self.names):
                same = name == other
                below[r] = (
                    (curves[r] < final).mean(axis=-1) if same else prob_less(curves[r], final)
                )
        else:
            try:
                level = float(other)
            except (TypeError, ValueError):
                raise DataError(
                    f"prob_below compares with a run or a loss, got {other!r}"
                ) from None
            below = (curves < level).mean(axis=-1)
        values = below[~np.isnan(where)]
        if values.size == 1:
            return float(values[0])
        import pandas as pd

        return pd.Series(values, index=self._index(where), name="prob_below")

    def final_loss(self, run: str) -> Floats:
        """Draws of a run's loss at the end of its own data, under the same laws.

        Parameters
        ----------
        run : str
            Any run of the question.

        Returns
        -------
        ndarray, shape (draws,)
            Losses without noise.
        """
        if run == self.compute_of and self.final is not None:
            return self.final
        return _final_loss(self.question, self.runs, run)

    def time_to(
        self, loss: ArrayLike, *, axis: Axis | None = None, gpus: float | None = None
    ) -> pd.DataFrame:
        """When the curve reaches a loss.

        Parameters
        ----------
        loss : float or sequence of float
            Targets, in the units of the log.
        axis : str, optional
            Units of the places: ``step``, ``tokens``, ``gpu_hours``, ``flops``, or ``hours``, which
            are GPU-hours over ``gpus``.  By default the answer's axis.
        gpus : float, optional
            Number of GPUs, for ``hours``.

        Returns
        -------
        pandas.DataFrame
            A row a run and loss: run, loss, lower, median, upper (units of the axis; infinite where
            that share of the draws does not get there within the horizon), prob_reached within the
            horizon, horizon (the run's farthest target), axis and broken (what broke in the run, in
            words, or None).

        Raises
        ------
        DataError
            No finite losses; an axis that a run does not have.

        Notes
        -----
        Every draw is one curve without noise; a place is where it first comes to the loss, inside
        of the data too (from a tenth of them on).  Along the plan the curve is that of the plan,
        beyond its end the loss *had the run been planned to end there*.

        Examples
        --------
        >>> import lossfit
        >>> runs = lossfit.load("llama2")
        >>> answer = lossfit.extrapolate(runs, run="llama2-7B", at=4e12, axis="tokens")
        >>> answer.time_to([1.8, 1.7])["loss"].tolist()
        [1.8, 1.7]
        """
        table: pd.DataFrame = view("answer.time_to")(self, loss, axis, gpus)
        return table

    def curves_at(self, name: str, at: Floats) -> Floats:
        """Draws of one run's curve at other places.

        Parameters
        ----------
        name : str
            A run of the answer.
        at : ndarray, shape (k,)
            Places on the answer's axis.

        Returns
        -------
        ndarray, shape (k, draws)
            Losses without noise.
        """
        return np.asarray(curves_of(self.question, self.runs.select([name]), at[None]).curves[0])

    def units_of(self, name: str, axis: str) -> float:
        """Units of another axis in a unit of the answer's, for one run.

        Parameters
        ----------
        name : str
            A run of the answer.
        axis : {"tokens", "step", "gpu_hours", "flops"}
            The other axis.

        Returns
        -------
        float
            Units of `axis` in one of the answer's.
        """
        run = self.runs[name]
        return run.end(axis) / run.end(self.axis)

    def _index(self, at: Floats) -> pd.MultiIndex:
        import pandas as pd

        there = ~np.isnan(at)
        names = np.asarray(self.names, dtype=object)[np.nonzero(there)[0]]
        return pd.MultiIndex.from_arrays([names, at[there]], names=["run", "at"])

    def _checked(self) -> None:
        if self.mixed.curves.shape[:2] != self.at.shape or len(self.at) != len(self.names):
            raise DataError("its curves, targets and runs do not match")
        super()._checked()

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data for JSON; ``schema`` names its form.

        Keys schema, lossfit (version), question (axis, compute_of, prob, window, draws,
        random_seed, device, dtype), laws, rows, broken (what broke, by run), left_out (the same of
        runs of which nothing was learned), by_law (of the answer's own laws), compare (null without
        ``compute_of``), schedules (the weight of each hypothesis on a run's learning rate), record
        (a sentence, or null) and calibration_factor (null without ``calibrate_on``).
        """
        plain: dict[str, Any] = view("answer.dict")(self)
        return plain

    @figure_options
    def plot(
        self,
        ax: Axes | None = None,
        *,
        run: str | None = None,
        scale: Scale = "auto",
        probs: Sequence[float] | None = None,
    ) -> Axes:
        """Data, curve and intervals up to the target; see `lossfit.plotting.plot_answer`."""
        axes: Axes = view("answer.plot")(self, ax=ax, run=run, scale=scale, probs=probs)
        return axes


def _final_loss(question: Question, runs: Runs, name: str) -> Floats:
    """Draws of a run's loss at the end of its own data, shape (D,)."""
    run = runs.select([name])
    end = np.array([[run[name].end(question.axis)]])
    return np.asarray(curves_of(question, run, end).curves[0, 0])
