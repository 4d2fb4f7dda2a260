"""What a fit gives: `Fit`, posterior draws of one law's parameters for many runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._base.documented import figure_options
from .._base.errors import DataError, warn
from .._base.frames import answer_first, word_column
from .._base.ragged import Bools, Floats, run_of_row
from .._base.results import Result, Scale
from .._base.seeds import Seed, run_keys, seed_integer
from .._base.views import view
from ..runs.broken import broken_runs, words_of
from ..runs.checks import axis_values
from ..runs.cleaning import MEANINGS
from .flags import ANSWER_MEANINGS, FIT_MEANINGS, fit_flags, flags_text, runs_by_flag
from .settings import DOF, Settings
from .window import rows_between

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from .._base.summaries import Moments
    from ..engine.device_draws import DeviceDraws
    from ..laws import Law
    from ..runs.collection import Runs


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Result):
    """Posterior of one law for many runs; made by `lossfit.fit`.

    Attributes
    ----------
    runs : Runs
        The data, all of it; the window says what was used.
    law : Law
        The law with its priors.
    settings : Settings
        Axis, window, method, noise, seed and so on.
    start, end : ndarray, shape (n_runs,)
        First and last axis value used; the kernels' axis is the run's axis over ``end``.
    count : ndarray of int, shape (n_runs,)
        Points used.
    scales : ndarray, shape (n_runs, 2)
        Loss and noise scales that relative priors refer to.
    info : structured ndarray, shape (n_runs,)
        Diagnostics of the kernels (`lossfit.kernels.records.FIT`).
    draws : ndarray, shape (n_runs, n_parameters, chains * draws), or None
        Parameters for the scaled axis, sigma last; None when only a summary was kept.
    moments : Moments or None
        The kept summary.
    device_draws : DeviceDraws or None
        The draws where they stayed on a GPU; `to_host` brings them here.

    Examples
    --------
    >>> import lossfit
    >>> fit = lossfit.fit(lossfit.load("llama2"), law="power", axis="tokens", draws=200)
    >>> fit.parameters
    ('alpha', 'E', 'A', 'sigma')
    >>> fit.select("llama2-7B").runs.names
    ('llama2-7B',)
    """

    _keys = ("run", "parameter")
    _view = "fit"

    runs: Runs
    law: Law
    settings: Settings
    start: Floats
    end: Floats
    count: NDArray[np.integer[Any]]
    scales: Floats
    info: NDArray[np.void]
    draws: Floats | None = None
    moments: Moments | None = None
    device_draws: DeviceDraws | None = None

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def _line(self) -> str:
        s = self.settings
        size = "a summary of" if self.moments is not None else f"{s.chains} x {s.draws}"
        where = "" if self.device_draws is None else f", kept on {s.device}"
        return (
            f"Fit of {self.law.name} ({self.law.formula}) to {len(self.runs):,} runs on {s.axis}, "
            f"{size} draws by {s.method}{where}"
        )

    def _of_the_data(self) -> list[str]:
        return []  # the text has the flags of the data

    def to_dict(self, prob: float | None = None) -> dict[str, Any]:
        """Plain data for JSON, schema ``lossfit.fit_summary/1``.

        Parameters
        ----------
        prob : float, optional
            Probability of the intervals; `prob` by default.

        Returns
        -------
        dict
            Keys schema, lossfit (version), law, settings, summary and diagnostics (rows).
        """
        plain: dict[str, Any] = view("fit.dict")(self, prob)
        return plain

    @property
    def axis(self) -> str:
        """The axis of the fit."""
        return self.settings.axis

    @property
    def prob(self) -> float:
        """Probability of the intervals of `frame`."""
        return self.settings.prob

    @property
    def readable(self) -> bool:
        """Whether `frame` has parameters for the axis over ``x_ref``: sizes of terms as losses."""
        return self.moments is None and self.law.to_axis_units is not None

    @property
    def frame(self) -> pd.DataFrame:
        """The parameters in readable units, a row a run and parameter.

        Columns median, lower, upper, mean, ess, rhat, broken (what broke in the run, in words, or
        None), notes (a tuple of flags), sd, prob, run and parameter.  Parameters are those of
        `scaled_posterior`: amplitudes are sizes of terms at the end of the window, in the unit of
        the loss.  Of a fit that kept a summary only they are in units of the axis, as in `summary`,
        and the median is NaN.
        """
        table = self.summary(self.prob, scaled=self.readable).reset_index()
        if "median" not in table:
            table.insert(2, "median", np.nan)
        table["prob"] = self.prob
        broken = word_column(words_of(self.broken, table["run"]))
        table.insert(list(table).index("notes"), "broken", broken)
        return answer_first(table, self._keys)

    def _row_draws(self) -> Floats | None:
        if self.draws is None:
            return None
        posterior = self.scaled_posterior if self.readable else self.posterior
        draws = np.stack([posterior[name].values for name in self.parameters], axis=-1)
        return draws.reshape(-1, draws.shape[2] * draws.shape[3]).T

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, sigma last."""
        return (*self.law.parameters, "sigma")

    @cached_property
    def posterior(self) -> xr.Dataset:
        """Draws of the parameters in units of the axis, dims (chain, draw, run).

        Coordinates are the names of the runs and ``x_ref``, the axis value at the window's end.
        """
        shown: xr.Dataset = view("fit.posterior")(self)
        return shown

    @cached_property
    def scaled_posterior(self) -> xr.Dataset:
        """Draws of the parameters for the axis over ``x_ref``, dims (chain, draw, run).

        The axis then ends at 1, and ``A`` and ``B`` of the built-in laws are in units of the loss:
        the size of the power-law term at the window's end, and the linear decrease up to there.
        """
        shown: xr.Dataset = view("fit.posterior")(self, scaled=True)
        return shown

    def predict(
        self, at: ArrayLike, noise: bool = False, random_seed: Seed | str = "fit"
    ) -> xr.DataArray:
        """Draws of the loss at axis values, the same for all runs.

        Parameters
        ----------
        at : array_like, shape (n_at,)
            Axis values above 0, in units of the axis.
        noise : bool
            Whether to add the noise of an observation of weight 1 (else: the loss curve).
        random_seed : int, numpy.random.Generator or None
            Seed of that noise; by default the fit's.

        Returns
        -------
        xarray.DataArray, dims (chain, draw, run, at)
            Losses in the unit of the log.

        Raises
        ------
        DataError
            An axis value that is not a positive number; a fit that kept a summary only.
        """
        shown: xr.DataArray = view("fit.prediction")(
            self, axis_values(at), bool(noise), random_seed
        )
        return shown

    def curves(self, at: Floats) -> Floats:
        """Loss of every draw at each run's own axis values.

        Parameters
        ----------
        at : ndarray, shape (n_runs, n_at)
            In units of the axis; NaN gives NaN.

        Returns
        -------
        ndarray, shape (n_runs, n_at, chains * draws)
            Losses without noise.
        """
        from ..engine.serving import predict_batch

        scaled = at / self.end[:, None]
        if self.device_draws is not None:
            return self.device_draws.curves(self.law, scaled)
        return predict_batch(self.law.program, self._needs_draws("predictions"), scaled)

    def noise(self, n_at: int, random_seed: Seed | str = "fit") -> Floats:
        """Draws of the noise of observations of weight 1.

        Parameters
        ----------
        n_at : int
            How many observations for each run.
        random_seed : int, numpy.random.Generator or None
            Seed of the noise; by default the fit's.

        Returns
        -------
        ndarray, shape (n_runs, n_at, chains * draws)
            What to add to losses without noise.
        """
        draws = self._needs_draws("predictions")
        s = self.settings
        seed = s.random_seed if isinstance(random_seed, str) else seed_integer(random_seed)
        out = np.empty((draws.shape[0], n_at, draws.shape[2]))
        # A stream for each run: its noise does not depend on the other runs.
        for r, key in enumerate(run_keys(seed, self.runs.names, "noise")):
            rng = np.random.default_rng(int(key))
            if s.noise == "student_t":
                out[r] = rng.standard_t(DOF, out[r].shape)
            else:
                rng.standard_normal(out=out[r])
        out *= draws[:, None, -1]
        return out

    def summary(self, prob: float = 0.9, *, scaled: bool = False) -> pd.DataFrame:
        """Mean, sd and equal-tailed interval of every parameter.

        Parameters
        ----------
        prob : float
            Probability of the interval.
        scaled : bool
            Whether to describe `scaled_posterior` in place of `posterior`.  An amplitude in units
            of an axis that runs to 1e12 tokens has a posterior over many powers of ten; scaled, it
            is the size of a term at the end of the window, in units of the loss.

        Returns
        -------
        pandas.DataFrame
            Index (run, parameter), columns median (but for a fit that kept a summary only), lower,
            upper, mean, ess, rhat, notes (a tuple of flags), sd.
            Exact draws are independent: their ess is their number and rhat, which compares chains,
            is NaN.

        Raises
        ------
        DataError
            A fit that kept only a summary has the intervals of one probability, and no scaled one.
        """
        shown: pd.DataFrame = view("fit.summary")(self, prob, scaled)
        return shown

    @property
    def diagnostics(self) -> pd.DataFrame:
        """One row a run: points, window, quadrature nodes, mass at bounds, residuals, notes.

        Columns ``n_points``; ``window_start`` and ``window_end`` in units of the axis;
        ``effective_nodes`` (quadrature only); ``bound_share`` (posterior mass within 1 % of a
        bound); ``acceptance`` (share of the unconstrained posterior that meets the sign
        constraints); ``rho1`` (lag-1 autocorrelation of the residuals); ``n_eff`` (n (1 - rho) / (1
        + rho), the independent points that the residuals are worth); ``broken``, what broke in the
        run, in words, or None; ``notes``, a tuple of flags.
        """
        import pandas as pd

        index = pd.Index(list(self.runs.names), name="run")
        info = {name: self.info[name].astype(np.float64) for name in self.info.dtype.names or ()}
        rho = np.clip(info["rho1"], -0.99, 0.99)
        return pd.DataFrame(
            {
                "n_points": self.count.astype(np.int64),
                "window_start": self.start,
                "window_end": self.end,
                "effective_nodes": info["effective_nodes"],
                "bound_share": info["bound_share"],
                "acceptance": info["acceptance"],
                "rho1": info["rho1"],
                "n_eff": np.clip(self.count * (1 - rho) / (1 + rho), 1, self.count),
                "broken": word_column(words_of(self.broken, index), index),
                "notes": pd.Series(self.flags, dtype=object).to_numpy(),
            },
            index=index,
        )

    @cached_property
    def broken(self) -> dict[str, tuple[str, bool]]:
        """Runs that broke: what happened, and whether no forecast holds for the run."""
        return broken_runs(self.runs, self.runs.names, self.axis)

    @cached_property
    def flags(self) -> list[tuple[str, ...]]:
        """Flags of each run: ``broken``, the fit's own (`lossfit.fits.flags`), its data's."""
        named = zip(self.runs.names, self._plain_flags, strict=True)
        return [("broken", *flags) if name in self.broken else flags for name, flags in named]

    @cached_property
    def _plain_flags(self) -> list[tuple[str, ...]]:
        """The fit's own flags, then those of the data."""
        info = self.info
        flags_of_fit = fit_flags(self.count, info)
        out: list[tuple[str, ...]] = [()] * len(self.runs)
        data = self.runs._columns.flags
        if data:
            out = [tuple(f.flag for f in data.get(name, ())) for name in self.runs.names]
        for flag, has in reversed(flags_of_fit.items()):
            for r in np.flatnonzero(has):
                out[r] = (flag, *out[r])
        return out

    def warn(self, stacklevel: int = 2) -> None:
        """Give one `LossfitWarning` if runs have flags that matter.

        Parameters
        ----------
        stacklevel : int
            Which caller the warning points at, as in `warnings.warn`.
        """
        # Outliers are what Student-t noise is for.
        unsaid = "spike" if self.settings.noise == "student_t" else ""
        position, names = self.runs._positions, self.runs.names
        of_data = {
            position[name]: [f.flag for f in flags if f.flag != unsaid]
            for name, flags in self.runs._columns.flags.items()
            if name in position
        }
        if self.draws is not None:  # of very many runs it is told where they are looked at
            for name in self.broken:
                of_data.setdefault(position[name], []).insert(0, "broken")
        by_flag = runs_by_flag(fit_flags(self.count, self.info), of_data)
        text = flags_text(
            {flag: [names[r] for r in rows] for flag, rows in by_flag.items()},
            {**MEANINGS, **FIT_MEANINGS, "broken": ANSWER_MEANINGS["broken"]},
        )
        warn(f"fit of {self.law.name}", text, stacklevel - 1)

    def residuals(self) -> pd.DataFrame:
        """Loss minus posterior mean curve at every point of the window.

        Returns
        -------
        pandas.DataFrame
            Columns run, the axis, loss, fitted, residual, standardised (residual over the posterior
            mean of sigma, times the root of the point's weight).
        """
        shown: pd.DataFrame = view("fit.residuals")(self)
        return shown

    def select(self, names: str | Sequence[str]) -> Fit:
        """The fit of some runs, in that order.

        Parameters
        ----------
        names : str or sequence of str
            Names of the runs.

        Returns
        -------
        Fit
            A new fit; its draws are those of this one.
        """
        chosen = self.runs.select([names] if isinstance(names, str) else list(names))
        position = {name: i for i, name in enumerate(self.runs.names)}
        rows = np.array([position[name] for name in chosen.names])
        parts: dict[str, Any] = {
            name: getattr(self, name)[rows] for name in ("start", "end", "count", "scales", "info")
        }
        draws = None if self.draws is None else self.draws[rows]
        moments = None if self.moments is None else self.moments.select(rows)
        on_gpu = None if self.device_draws is None else self.device_draws.select(rows)
        return replace(
            self, runs=chosen, draws=draws, moments=moments, device_draws=on_gpu, **parts
        )

    def to_host(self) -> Fit:
        """The same fit with its draws in the memory of the host, where they stayed on a GPU.

        Returns
        -------
        Fit
            This fit where its draws are on the host already.
        """
        if self.device_draws is None:
            return self
        return replace(self, draws=self.device_draws.to_host(), device_draws=None)

    def to_datatree(self, *, predictive: bool = True) -> Any:
        """The fit as ArviZ groups, in the container that the installed ArviZ takes.

        Parameters
        ----------
        predictive : bool
            Whether to add ``posterior_predictive`` and ``log_likelihood``, which have a value for
            every draw and point.

        Returns
        -------
        xarray.DataTree or arviz.InferenceData
            Groups ``posterior``, ``posterior_predictive``, ``log_likelihood``, ``observed_data``,
            ``constant_data`` and ``sample_stats``.  Points are along the dimension ``obs``; runs
            with fewer points than the longest are filled up with NaN at the end (``select`` one run
            for functions of ArviZ that take no NaN).

        Raises
        ------
        DataError
            A fit that kept a summary only; more than 2 GiB of predictions.
        """
        return view("fit.arviz")(self, predictive)

    def to_netcdf(self, path: str | os.PathLike[str]) -> None:
        """Write the fit and its data to a netCDF file, which `from_netcdf` and ArviZ read.

        Parameters
        ----------
        path : str or path
            The file to write.
        """
        view("fit.storage")(self, path)

    @figure_options
    def plot(
        self,
        run: str | None = None,
        ax: Axes | None = None,
        *,
        until: float | None = None,
        scale: Scale = "auto",
        probs: Sequence[float] = (0.5, 0.9),
        noise: bool = True,
    ) -> Axes:
        """Data, curve and bands of one run; see `lossfit.plotting.plot_fit`."""
        axes: Axes = view("fit.plot")(
            self, run, ax=ax, until=until, scale=scale, probs=probs, noise=noise
        )
        return axes

    def window_rows(self) -> Bools:
        """Which points of the runs were used.

        Returns
        -------
        ndarray of bool, shape (n_points,)
            For the points of ``fit.runs.flat(fit.axis)``.
        """
        return rows_between(
            self.runs.flat(self.axis),
            self.start,
            self.end,
            0,
            len(self.runs),
            keep_spikes=self.settings.noise == "student_t",
        )

    def padded(self) -> tuple[Floats, Floats, Floats]:
        """The points used, a row a run, NaN beyond a run's last.

        Returns
        -------
        tuple of three ndarray, shape (n_runs, n_max)
            Axis values, losses and relative precisions.
        """
        flat = self.runs.flat(self.axis)
        rows = np.flatnonzero(self.window_rows())
        run = run_of_row(flat.offsets)[rows]
        edges = np.concatenate([[0], np.cumsum(self.count)])
        place = np.arange(rows.size) - edges[run]
        out = np.full((3, len(self.runs), int(self.count.max())), np.nan)
        for k, values in enumerate((flat.x, flat.loss, flat.weight)):
            out[k, run, place] = values[rows]
        return out[0], out[1], out[2]

    def _needs_draws(self, what: str) -> Floats:
        if self.device_draws is not None:
            raise DataError(
                f"the draws of this fit are on {self.settings.device}, and {what} are made from "
                f"draws on the host: use fit.to_host(), perhaps of fit.select(runs)"
            )
        if self.draws is None:
            raise DataError(
                f"this fit kept a summary only, so it has no {what}: fit again with keep='draws' "
                f"(and draws above 0), perhaps only the runs that matter"
            )
        return self.draws

    def _by_chain(self, values: Floats) -> Floats:
        """(n_runs, ..., chains * draws) as (chains, draws, n_runs, ...)."""
        s = self.settings
        split = values.reshape(*values.shape[:-1], s.chains, s.draws)
        return np.moveaxis(split, (-2, -1), (0, 1))
