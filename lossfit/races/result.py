"""A race as it was run: who leads, overtakings, the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError
from .._base.frames import answer_first, word_column
from .._base.ragged import Bools, Floats, Ints
from .._base.results import Result, Scale
from .._base.summaries import MOMENTS, central
from .._base.views import view
from ..answers.meanings import meanings_of
from ..fits.flags import warning_text
from ..runs.broken import broken_runs, words_of
from ..runs.checks import axis_values
from ..runs.labels import AXIS_UNITS
from . import crossings as crossing
from . import frontier as front
from .device import back, placed

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from ..backtests.conformal import Calibration
    from ..forecasts.question import Question
    from ..runs.collection import Runs

RACE_MEANINGS = {
    "end_disagrees": "the law and a smooth curve through the data differ at the end of the data by "
    "more than both leave open: the forecast starts from a level that the data do not support"
}
MOST_STOPPED = 48  # runs whose truncated frontier is found without being asked
SCHEMA = "lossfit.race/1"


@dataclass(frozen=True, eq=False, repr=False)
class Race(Result):
    """Runs along an axis of compute; made by `lossfit.race`.

    Attributes
    ----------
    runs : Runs
        All R runs.
    question : Question
        Laws, axis, window, seed and so on.
    at : ndarray, shape (G,)
        Places on the axis.
    curves : ndarray, shape (K, G, D)
        Draws of the kept runs, NaN before a run's first point.
    kept : ndarray of int, shape (K,)
        Which runs these are: all, or of more than 128 those that ever lead.
    leads : ndarray, shape (G, R)
        Probability that a run leads.
    lowest : ndarray, shape (G, D)
        The lowest loss, infinite where there is no run.
    leaders : ndarray of int, shape (G, D)
        Whose it is, -1 where there is no run.
    margin : ndarray, shape (G,)
        Lead that counts, in loss.
    starts, ends : ndarray, shape (R,)
        Ends of the data on the axis.
    run_flags : tuple of tuple of str, length R
        Flags of the forecasts.
    calibration : Calibration or None
        What ``calibrate_on`` did.

    Examples
    --------
    >>> import lossfit
    >>> race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours", draws=200)
    >>> overtakes = race.overtakes()  # who overtakes whom, when, and how probably
    >>> race.loss([1e6], run="llama2-7B").dims
    ('at', 'draw')
    """

    _keys = ("run", "at")
    _view = "race"

    runs: Runs
    question: Question
    at: Floats
    curves: Floats
    kept: Ints
    leads: Floats
    lowest: Floats
    leaders: Ints
    margin: Floats
    starts: Floats
    ends: Floats
    run_flags: tuple[tuple[str, ...], ...]
    calibration: Calibration | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""
        return self.runs.names

    @property
    def axis(self) -> str:
        """The axis of compute."""
        return self.question.axis

    @property
    def prob(self) -> float:
        """Probability of the intervals."""
        return self.question.prob

    @property
    def until(self) -> float:
        """The horizon: the last place of the race."""
        return float(self.at[-1])

    @property
    def flags(self) -> dict[str, tuple[str, ...]]:
        """Flags of each run (`lossfit.fits.flags`, `RACE_MEANINGS`)."""
        return dict(zip(self.names, self.run_flags, strict=True))

    @property
    def warning(self) -> str:
        """What the one `LossfitWarning` of this race says; "" for nothing."""
        return warning_text(self.names, self.run_flags, self.meanings)

    @cached_property
    def meanings(self) -> dict[str, str]:
        """What each flag says, of these runs and of what was given."""
        return {**meanings_of(self.question, self.runs, self.flags), **RACE_MEANINGS}

    @cached_property
    def broken(self) -> dict[str, tuple[str, bool]]:
        """Runs that broke: what happened, and whether no forecast holds for the run."""
        return broken_runs(self.runs, self.names, self.axis)

    @cached_property
    def _beyond(self) -> Bools:
        """Where the kept runs are forecasts, shape (K, G)."""
        return self.at > self.ends[self.kept, None] * (1 + 1e-9)

    def _curves(self, forecast: bool) -> Floats:
        """Draws of the kept runs, with or without what lies beyond their data."""
        if forecast:
            return self.curves
        return np.where(self._beyond[:, :, None], np.nan, self.curves)

    @property
    def draws(self) -> xr.DataArray:
        """Draws of the curves without noise, dims (run, at, draw); NaN before a first point.

        Draw i of a run is one curve.  Coordinate ``beyond`` (run, at): what is forecast.
        """
        import xarray as xr

        return xr.DataArray(
            self.curves,
            dims=("run", "at", "draw"),
            coords={
                "run": [self.names[r] for r in self.kept],
                "at": ("at", self.at, {"units": AXIS_UNITS[self.axis], "long_name": self.axis}),
                "draw": np.arange(self.curves.shape[2]),
                "beyond": (("run", "at"), self._beyond),
            },
            name="loss",
            attrs={"axis": self.axis},
        )

    @property
    def frame(self) -> pd.DataFrame:
        """One row a kept run and place.

        Columns median, lower, upper, mean, leads (probability of leading), beyond (whether it is
        forecast), horizon_ratio, broken (what broke in the run, in words, or None), notes (a tuple
        of flags), sd, axis, prob, run and at.
        """
        import pandas as pd

        from .._base.summaries import describe

        k, g = np.nonzero(~np.isnan(self.curves[:, :, 0]))
        r = self.kept[k]
        moments = describe(self.curves, self.prob)
        names = np.asarray(self.names, dtype=object)
        data: dict[str, Any] = {"run": names[r], "axis": self.axis, "at": self.at[g]}
        for name, values in zip(MOMENTS, moments, strict=True):
            data[name] = values[k, g]
        frame = pd.DataFrame(data)
        frame["prob"] = self.prob
        frame["leads"] = self.leads[g, r]
        frame["beyond"] = self._beyond[k, g]
        frame["horizon_ratio"] = self.at[g] / self.ends[r]
        flags = [
            self.run_flags[i] if far else () for i, far in zip(r, frame["beyond"], strict=True)
        ]
        frame["broken"] = word_column(words_of(self.broken, frame["run"]))
        frame["notes"] = pd.Series(flags, dtype=object)
        return answer_first(frame, self._keys)

    def _row_draws(self) -> Floats:
        return self.curves[~np.isnan(self.curves[:, :, 0])]

    def leader(self, at: ArrayLike | None = None, *, forecast: bool = True) -> pd.DataFrame:
        """Probability that each run leads, i.e. has the lowest loss.

        Parameters
        ----------
        at : float or sequence of float, optional
            Places on the axis, up to `until`; by default `Race.at`.
        forecast : bool
            Whether runs go on beyond their data; else they are out of the race there.

        Returns
        -------
        pandas.DataFrame
            A row for each place (index ``at``), a column for each run.  Rows sum to 1; they are NaN
            where no run exists.

        Raises
        ------
        DataError
            A place beyond `until`.
        """
        import pandas as pd

        where = self.at if at is None else self._places(at)
        if at is None and forecast:
            shares = self.leads.copy()
        else:
            curves = self._between(where, forecast)
            _, run = front.best(curves)
            kept = front.leading(run, len(self.kept))
            shares = np.zeros((len(where), len(self.names)))
            shares[:, self.kept] = kept
        shares[shares.sum(axis=1) == 0] = np.nan
        return pd.DataFrame(
            shares, index=pd.Index(where, name="at"), columns=pd.Index(self.names, name="run")
        )

    def ties(self, at: ArrayLike | None = None) -> pd.Series:
        """Probability that the second run is less than the margin behind the leader.

        Parameters
        ----------
        at : float or sequence of float, optional
            Places on the axis; by default `Race.at`.

        Returns
        -------
        pandas.Series
            Probabilities; its index ``at`` holds the places.
        """
        import pandas as pd

        where = self.at if at is None else self._places(at)
        curves = self._between(where, True)
        filled = np.where(np.isnan(curves), np.inf, curves)
        shares = np.zeros(len(where))
        if len(curves) > 1:
            first = np.partition(filled, 1, axis=0)[:2]
            with np.errstate(invalid="ignore"):
                gap = first[1] - first[0]
            need = np.interp(np.log(where), np.log(self.at), self.margin)
            shares = (gap < need[:, None]).mean(axis=1)
        return pd.Series(shares, index=pd.Index(where, name="at"), name="tie")

    def loss(self, at: ArrayLike, run: str | Sequence[str] | None = None) -> xr.DataArray:
        """Draws of the kept runs' curves at other places, dims (run, at, draw).

        Parameters
        ----------
        at : float or sequence of float
            Places on the axis, up to `until`.
        run : str or sequence of str, optional
            Of these runs only.

        Returns
        -------
        xarray.DataArray, dims (run, at, draw)
            Losses without noise, NaN before a run's first point; without ``run`` where one
            name was given.
        """
        import xarray as xr

        where = self._places(at)
        names = [self.names[r] for r in self.kept]
        out = xr.DataArray(
            self._between(where, True),
            dims=("run", "at", "draw"),
            coords={"run": names, "at": where, "draw": np.arange(self.curves.shape[2])},
            name="loss",
        )
        return out if run is None else out.sel(run=run)

    def _places(self, at: ArrayLike) -> Floats:
        where = axis_values(at)
        beyond = where > self.until * (1 + 1e-9)
        if beyond.any():
            raise DataError(
                f"the race goes to {self.until:g} on {self.axis}, got {where[beyond][0]:g}: run it "
                f"with until={where.max():g}"
            )
        return np.minimum(where, self.until)

    def _between(self, where: Floats, forecast: bool) -> Floats:
        """Curves of the kept runs at places; each run within what exists of it, shape (K, T, D)."""
        if where is self.at:
            return self._curves(forecast)
        losses = crossing.interpolated(self.curves, np.log(self.at), np.log(where))
        if not forecast:
            over = where > self.ends[self.kept, None] * (1 + 1e-9)
            losses = np.where(over[:, :, None], np.nan, losses)
        return np.asarray(losses)

    def overtakes(
        self,
        runs: Sequence[str] | str | None = None,
        *,
        until: float | None = None,
        forecast: bool = True,
        least: float = 0.0,
    ) -> pd.DataFrame:
        """When each run overtakes each other, and whether that lasts.

        Parameters
        ----------
        runs : sequence of str or "all", optional
            Pairs among these; by default among the kept runs, or, if these are more than 32, among
            the 32 of them that lead most.  ``"all"``: all kept runs, however many.
        until : float, optional
            A nearer horizon than the race's.
        forecast : bool
            Whether runs go on beyond their data.
        least : float
            Leave out rows whose overtaking is less probable than this (rows of rank 1 stay if it is
            0).

        Returns
        -------
        pandas.DataFrame
            One row for each ordered pair and rank, the most probable first within a pair.

            overtaker, overtaken
                Runs.
            rank : int
                1 for the first time that it overtakes, 2 for the second, ...; ranks above 1 have a
                row if they occur in any draw.
            prob_ever
                P(it happens within the horizon).
            lower, median, upper
                Of the place, given that it happens; NaN if it never does.
            prob_inside, prob_beyond
                P(it happens where both runs have data), P(where one is a forecast).
            inside_lower, inside_median, inside_upper, beyond_lower, beyond_median, beyond_upper
                The same quantiles, given that it happens inside or beyond.
            prob_returns
                P(the other gets ahead again afterwards, within the horizon), given that it happens.
            prob_several
                P(it overtakes at least twice).
            prob_0, prob_1, prob_2, prob_more
                Probability of that many overtakings by this run of that other.
            prob_ahead_first, prob_ahead_last
                P(it is ahead where both first exist), P(it is ahead at the horizon); what is
                missing to 1 with the reverse pair is a tie.
            until, prob
                The horizon, and the probability of the intervals.

        Notes
        -----
        `lossfit.races.crossings` says what counts as a crossing.
        """
        table: pd.DataFrame = view("race.overtakes")(self, runs, until, forecast, least)
        return table

    def frontier(self, *, truncated: bool = False, forecast: bool = True) -> pd.DataFrame:
        """The Pareto frontier: the lowest loss that any run has with this compute or less.

        Parameters
        ----------
        truncated : bool
            The frontier that one would have drawn had each run been stopped when it was first
            overtaken.
        forecast : bool
            Whether runs go on beyond their data.

        Returns
        -------
        pandas.DataFrame
            Columns median, lower, upper, mean, prob, at, run (the most probable run on it),
            run_prob (its probability), beyond (share of the draws in which what is on it is a
            forecast).  Without ``truncated`` also truncated_lower, truncated_median,
            truncated_upper (the truncated frontier) and bias_lower, bias_median, bias_upper (the
            difference); for more than 48 kept runs these are NaN: they take long, ask for them with
            ``truncated=True`` and `bias`.
        """
        import pandas as pd

        curves = self._curves(forecast)
        if truncated:
            curves = self._stopped[1 if forecast else 0]
        loss, run, reached = front.lowest_so_far(*front.best(curves))
        finite = np.isfinite(loss[:, 0])
        loss, run, reached, at = loss[finite], run[finite], reached[finite], self.at[finite]
        lower, median, upper = central(loss, self.prob)
        shares = front.leading(run, len(self.kept))
        most = shares.argmax(axis=1)
        beyond = self._beyond[run, reached].mean(axis=1)
        names = np.array([self.names[r] for r in self.kept], dtype=object)
        table = pd.DataFrame(
            {
                "at": at,
                "mean": loss.mean(axis=1),
                "lower": lower,
                "median": median,
                "upper": upper,
                "prob": self.prob,
                "run": names[most],
                "run_prob": shares[np.arange(len(at)), most],
                "beyond": beyond,
            }
        )
        keys = ("run", "at")
        if truncated:
            return answer_first(table, keys)
        words = ("lower", "median", "upper")
        if len(self.kept) <= MOST_STOPPED:
            other = self.frontier(truncated=True, forecast=forecast)
            gap = self.bias(forecast=forecast)
        else:
            other = gap = pd.DataFrame(np.nan, index=table.index, columns=list(words))
        for prefix, part in (("truncated", other), ("bias", gap)):
            for word in words:
                table[f"{prefix}_{word}"] = part[word]
        return answer_first(table, keys)

    @cached_property
    def _stopped(self) -> tuple[Floats, Floats]:
        """Kept curves stopped when first overtaken: within the data, and with forecasts."""
        with placed(self.question) as put, np.errstate(invalid="ignore"):
            data, whole = (
                back(front.stopped(put(self._curves(forecast)), put(self.margin)))
                for forecast in (False, True)
            )
        return data, whole

    def truncated_frontier(self, *, forecast: bool = True) -> pd.DataFrame:
        """`frontier` with ``truncated=True``.

        Parameters
        ----------
        forecast : bool
            Whether runs go on beyond their data.

        Returns
        -------
        pandas.DataFrame
            As `frontier`.
        """
        return self.frontier(truncated=True, forecast=forecast)

    def bias(self, *, forecast: bool = True) -> pd.DataFrame:
        """How far the truncated frontier lies above the frontier, in loss.

        Parameters
        ----------
        forecast : bool
            Whether runs go on beyond their data.

        Returns
        -------
        pandas.DataFrame
            Columns median, lower, upper, mean, prob, at, prob_positive: P(the truncated frontier is
            higher by more than the margin).
        """
        import pandas as pd

        whole, *_ = front.lowest_so_far(*front.best(self._curves(forecast)))
        cut, *_ = front.lowest_so_far(*front.best(self._stopped[1 if forecast else 0]))
        finite = np.isfinite(whole[:, 0])
        gap = cut[finite] - whole[finite]
        lower, median, upper = central(gap, self.prob)
        table = {
            "at": self.at[finite],
            "mean": gap.mean(axis=1),
            "lower": lower,
            "median": median,
            "upper": upper,
            "prob": self.prob,
            "prob_positive": (gap > self.margin[finite][:, None]).mean(axis=1),
        }
        return answer_first(pd.DataFrame(table), ("at",))

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """The race as plain data for JSON; ``schema`` names its form.

        Keys schema, lossfit (version), question (axis, until, prob, draws, random_seed, laws), runs
        (name, start, end, broken, flags, probability of leading at the horizon), left_out (what
        broke in runs of which nothing was learned), leader (at, and for each run that ever leads
        its probabilities), overtakes, frontier, truncated_frontier and bias (of the data, without
        forecasts) as lists of rows.
        """
        from .. import __version__
        from .._base.records import rows_of

        table = self.leader()
        leading = [name for name in table.columns if table[name].max() > 0]
        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "question": {
                "axis": self.axis,
                "until": self.until,
                "prob": self.prob,
                "draws": int(self.curves.shape[2]),
                "random_seed": self.question.seed,
                "laws": [law.name for law in self.question.laws],
            },
            "runs": [
                {
                    "run": name,
                    "start": float(self.starts[r]),
                    "end": float(self.ends[r]),
                    "leads_at_horizon": float(self.leads[-1, r]),
                    "broken": self.broken.get(name, (None,))[0],
                    "notes": list(self.run_flags[r]),
                }
                for r, name in enumerate(self.names)
            ],
            "left_out": dict(self.question.left_out),
            "leader": {
                "at": self.at.tolist(),
                "probability": {
                    name: [None if np.isnan(v) else float(v) for v in table[name]]
                    for name in leading
                },
            },
            "overtakes": rows_of(self.overtakes()) if len(self.kept) > 1 else [],
            "frontier": rows_of(self.frontier(forecast=False)),
            "truncated_frontier": rows_of(self.frontier(truncated=True, forecast=False)),
            "bias": rows_of(self.bias(forecast=False)),
        }

    @figure_options
    def plot(
        self,
        ax: Axes | None = None,
        *,
        scale: Scale = "log",
        data: bool = True,
        frontier: bool = True,
        truncated: bool = True,
        crossings: bool = True,
        forecast: bool = True,
    ) -> Axes:
        """Loss against compute, bands, frontier and crossings: `lossfit.plotting.plot_race`."""
        axes: Axes = view("race.plot")(
            self, ax=ax, scale=scale, data=data, frontier=frontier, truncated=truncated,
            crossings=crossings, forecast=forecast,
        )  # fmt: skip
        return axes

    @figure_options
    def plot_leader(
        self, ax: Axes | None = None, *, scale: Scale = "log", forecast: bool = True
    ) -> Axes:
        """Stacked probability of leading; see `lossfit.plotting.plot_leader`."""
        axes: Axes = view("race.leader_plot")(self, ax=ax, scale=scale, forecast=forecast)
        return axes
