"""The posterior of a surface of final losses: draws, tables, predictions, words."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError, LossfitWarning, warn
from .._base.frames import answer_first
from .._base.ragged import Floats
from .._base.results import Result
from .._base.seeds import Seed, run_keys, seed_integer
from .._base.summaries import MOMENTS, describe
from .._base.views import view
from ..laws import SurfaceLaw
from ..laws.priors import Prior
from ..runs.labels import size_text
from .constants import Seen
from .missed import Correction, errors
from .table import Table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

FAR = 2.0  # factor beyond the table's range from which a prediction is flagged
# benches/surface.py --beyond: real tables, rows far beyond the fitted compute left out.
RECORD = (
    "such 90 % intervals held 92 to 95 % of the rows left out of eleven real tables at 2 to 100 "
    "times the fitted compute (docs/how_we_checked_it.md)"
)
# benches/surface.py --held-out: seven tables, the largest budgets (3 to 100 times) left out.
RECORD_OF_LAW = (
    "such 90 % intervals held 18 to 86 % of the outcomes on seven real tables "
    "(docs/how_we_checked_it.md)"
)
OUTLIER = 8.0  # noise scales from the surface at which a row is named


@dataclass(frozen=True, eq=False, repr=False)
class Surface(Result):
    """Posterior of a law of final losses; made by `fit_surface` or `published`.

    Attributes
    ----------
    law : SurfaceLaw
        The law.
    table : Table or None
        The data; None for published constants.
    values : dict of str to ndarray, shape (chains * draws,)
        Draws of every parameter (for losses as in the table; params and tokens in ones), then
        ``sigma``, the noise scale as a share of the loss, and ``nu``, its degrees of freedom.
    priors : dict of str to Prior
        Of the nonlinear parameters.
    noise : {"student_t", "gaussian"}
        Noise of the loss.
    method : {"quadrature", "ensemble", "published"}
        How the draws were made.
    cells, ess, efficiency, log_evidence, rhat : float
        Diagnostics of the sampling, see `lossfit.surfaces.quadrature.Sampled`; NaN where they do
        not apply.
    prob : float
        Probability of the intervals in ``frame`` and text.
    random_seed : int
        Seed that the draws were made with.
    chains : int
        Chains of the sampler; 1 for independent draws.
    source : str
        Where published constants are from.
    summarised : Seen or None
        The range of the table, where only a summary of its posterior is at hand.
    missed : Correction or None
        What the law misses, in every draw; None for laws that are taken for true.

    Examples
    --------
    >>> import lossfit
    >>> surface = lossfit.surfaces.published("chinchilla", draws=200)
    >>> loss = surface.predict(params=[7e9, 7e10], tokens=1.4e12)  # every draw, for each size
    >>> loss.sizes["at"]
    2
    """

    _keys = ("parameter",)
    _view = "surface"

    law: SurfaceLaw
    table: Table | None
    values: Mapping[str, Floats]
    priors: Mapping[str, Prior] = field(default_factory=dict)
    noise: str = "student_t"
    method: str = "quadrature"
    cells: float = float("nan")
    ess: float = float("nan")
    efficiency: float = float("nan")
    log_evidence: float = float("nan")
    rhat: float = float("nan")
    prob: float = 0.9
    random_seed: int = 0
    chains: int = 1
    source: str = ""
    summarised: Seen | None = None
    missed: Correction | None = None

    def __post_init__(self) -> None:
        for array in self.values.values():
            array.setflags(write=False)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names: those of the law, then sigma and nu where they were fitted."""
        return tuple(self.values)

    @property
    def n_draws(self) -> int:
        """Draws in all; 1 for constants without a posterior."""
        return len(self.values["E"])

    @cached_property
    def posterior(self) -> xr.Dataset:
        """Draws with dims (chain, draw), one variable a parameter."""
        import xarray as xr

        from .. import __version__

        docs = {
            **self.law.parameters,
            "sigma": "scale of the noise as a share of the loss",
            "kappa": "scale of what the law misses, of the reducible loss",
            "nu": "degrees of freedom of the Student-t noise",
        }
        shape = (self.chains, self.n_draws // self.chains)
        return xr.Dataset(
            {
                name: (("chain", "draw"), draws.reshape(shape), {"long_name": docs[name]})
                for name, draws in self.values.items()
            },
            coords={"chain": np.arange(shape[0]), "draw": np.arange(shape[1])},
            attrs={
                "law": self.law.name,
                "formula": self.law.formula,
                "noise": self.noise,
                "method": self.method,
                "inference_library": "lossfit",
                "inference_library_version": __version__,
                "random_seed": str(self.random_seed),
            },
        )

    @property
    def draws(self) -> xr.Dataset:
        """The same draws end to end, dim (draw,)."""
        import xarray as xr

        return xr.Dataset(
            {name: (("draw",), draws) for name, draws in self.values.items()},
            coords={"draw": np.arange(self.n_draws)},
        )

    def summary(self, prob: float | None = None) -> pd.DataFrame:
        """Mean, sd and equal-tailed interval of every parameter.

        Parameters
        ----------
        prob : float, optional
            Probability of the interval; the surface's own by default.

        Returns
        -------
        pandas.DataFrame
            Index parameter; columns median, lower, upper, mean, ess, rhat, sd.  Constants without a
            posterior have NaN for sd, lower and upper.  Draws by quadrature come from one chain:
            their rhat is NaN.
        """
        import pandas as pd

        from .._base.summaries import check_prob

        prob = check_prob(self.prob if prob is None else prob)
        moments = described(np.stack([self.values[name] for name in self.parameters]), prob)
        frame = pd.DataFrame(
            dict(zip(MOMENTS, moments, strict=True)),
            index=pd.Index(list(self.parameters), name="parameter"),
        )
        frame["ess"], frame["rhat"] = min(self.ess, float(self.n_draws)), np.nan
        if self.method == "ensemble":
            found = self._diagnostics
            frame["ess"] = [float(found[0][name]) for name in self.parameters]
            frame["rhat"] = [float(found[1][name]) for name in self.parameters]
        frame = answer_first(frame)
        frame.attrs["prob"] = prob
        return frame

    @property
    def frame(self) -> pd.DataFrame:
        """One row a parameter: median, lower, upper, mean, notes, sd, prob, parameter."""
        import pandas as pd

        frame = self.summary().drop(columns=["ess", "rhat"]).reset_index()
        frame["prob"] = self.prob
        frame["notes"] = pd.Series([self.flags] * len(frame), dtype=object)
        return answer_first(frame, self._keys)

    def _row_draws(self) -> Floats | None:
        return np.stack(list(self.values.values())) if self.n_draws > 1 else None

    @cached_property
    def _diagnostics(self) -> Any:
        from ..fits.arviz_adapter import diagnostics

        return diagnostics(self.posterior)

    def losses(
        self, params: ArrayLike, tokens: ArrayLike, unique_tokens: ArrayLike | None = None
    ) -> Floats:
        """Loss without noise for every draw.

        With what the law misses, where the surface knows of that.

        Parameters
        ----------
        params : array_like
            Model parameters.
        tokens : array_like
            Training tokens; broadcast against `params`.
        unique_tokens : array_like, optional
            For the data-constrained law: how many tokens are unique; all by default.

        Returns
        -------
        ndarray, shape (draws, ...)
            Losses in the unit of the table.
        """
        n, d = np.broadcast_arrays(np.asarray(params, float), np.asarray(tokens, float))
        values = {
            name: self.values[name].reshape(-1, *([1] * n.ndim)) for name in self.law.parameters
        }
        if self.law.repeats and unique_tokens is None:
            unique_tokens = d
        loss = np.asarray(self.law.evaluate(values, n, d, unique_tokens))
        return loss if self.missed is None else self.missed.applied(loss, n, d)

    def predict(
        self,
        params: ArrayLike,
        tokens: ArrayLike,
        *,
        unique_tokens: ArrayLike | None = None,
        noise: bool = False,
        random_seed: Seed = None,
    ) -> xr.DataArray:
        """Loss of models of these sizes after these many tokens, jointly.

        Parameters
        ----------
        params, tokens : float or sequence of float
            They broadcast: a list of sizes and one number of tokens, or pairs.
        unique_tokens : float or sequence, optional
            For the data-constrained law: how many tokens are unique; all by default.
        noise : bool
            Whether to add the noise of a run about the surface.
        random_seed : int, Generator or None
            Of the noise; the fit's by default.

        Returns
        -------
        xarray.DataArray
            Dims (chain, draw, at); coordinates params and tokens (at), and ``beyond`` (at), the
            factor by which the place lies outside of the table's params or tokens (1 within, NaN
            without a table).  The same draw is the same surface everywhere, so differences have
            honest intervals.

        Raises
        ------
        DataError
            Sizes or tokens that are not positive; unique tokens where the law has none.

        Warns
        -----
        LossfitWarning
            Places more than twice outside of the table's range.
        """
        import xarray as xr

        n, d = _places(params, tokens)
        if unique_tokens is not None and not self.law.repeats:
            raise DataError(
                f"law {self.law.name!r} takes every token for new: fit law='data_constrained', or "
                f"ask lossfit.plan(surface, unique_tokens=...)"
            )
        unique = None
        if unique_tokens is not None:
            unique = _places(unique_tokens, d)[0]
        loss = self.losses(n, d, unique)
        if noise:
            if "sigma" not in self.values:
                raise DataError("published constants do not state the noise of a run: noise=False")
            seed = self.random_seed if random_seed is None else seed_integer(random_seed)
            rng = np.random.default_rng(int(run_keys(seed, [self.law.name], "noise")[0]))
            loss = loss * np.exp(errors(self.noise, self.values, loss.shape, rng))
        beyond = self.beyond(n, d)
        far = beyond > FAR
        if far.any():
            k = int(np.nanargmax(beyond))
            warnings.warn(
                LossfitWarning(
                    f"far ({int(far.sum())} of {far.size} places): {size_text(n[k])} on "
                    f"{size_text(d[k])} tokens lies {beyond[k]:.3g}x outside of the table's range; "
                    f"nothing there was seen{self.trust}"
                ),
                stacklevel=2,
            )
        shape = (self.chains, self.n_draws // self.chains, n.size)
        return xr.DataArray(
            loss.reshape(shape),
            dims=("chain", "draw", "at"),
            coords={
                "chain": np.arange(shape[0]),
                "draw": np.arange(shape[1]),
                "at": np.arange(n.size),
                "params": ("at", n),
                "tokens": ("at", d),
                "beyond": ("at", beyond),
            },
            name="loss",
            attrs={"law": self.law.name, "noise": str(bool(noise))},
        )

    def gap(
        self, first: tuple[float, float], second: tuple[float, float], *, prob: float | None = None
    ) -> pd.Series[float]:
        """How much higher the loss of one choice is than that of another, on the same surface.

        Parameters
        ----------
        first, second : tuple of float
            (params, tokens) each.
        prob : float, optional
            Probability of the interval; the surface's own by default.

        Returns
        -------
        pandas.Series
            The entries mean, sd, lower, median, upper of L(first) - L(second), and ``prob_below``,
            the probability that the first is lower.
        """
        import pandas as pd

        from .._base.summaries import check_prob

        prob = check_prob(self.prob if prob is None else prob)
        pairs = np.array([first, second], float)
        loss = self.losses(*_places(pairs[:, 0], pairs[:, 1]))
        difference = loss[:, 0] - loss[:, 1]
        moments = described(difference[None], prob)[:, 0]
        out = dict(zip(MOMENTS, moments, strict=True))
        below = float((difference < 0).mean()) if self.n_draws > 1 else float("nan")
        return pd.Series({**out, "prob_below": below}, name="gap")

    @property
    def trust(self) -> str:
        """What is to be said of an interval far outside of the table."""
        if self.missed is not None:
            return f"; {getattr(self.missed, 'record', RECORD)}"
        return f", and the interval takes the law for true; {RECORD_OF_LAW}"

    @property
    def seen(self) -> Seen | None:
        """The range of the table; None for constants without one."""
        table = self.table
        if table is None:
            return self.summarised
        (n_low, n_high), (d_low, d_high) = (
            (float(v.min()), float(v.max())) for v in (table.params, table.tokens)
        )
        return Seen((n_low, n_high), (d_low, d_high), float(table.compute.max()))

    def beyond(self, params: ArrayLike, tokens: ArrayLike) -> Floats:
        """Factor by which places lie outside of the table's params or tokens; 1 within.

        Parameters
        ----------
        params : array_like
            Model parameters.
        tokens : array_like
            Training tokens; broadcast against `params`.

        Returns
        -------
        ndarray
            The larger of the two factors, at least 1.
        """
        n, d = np.asarray(params, float), np.asarray(tokens, float)
        if self.seen is None:
            return np.full(n.shape, np.nan)
        out = np.ones(n.shape)
        for values, (low, high) in ((n, self.seen.params), (d, self.seen.tokens)):
            out = np.maximum(out, np.maximum(values / high, low / values))
        return out

    @cached_property
    def residuals(self) -> pd.DataFrame:
        """Rows of the table against the posterior mean surface.

        Columns row, params, tokens, loss, fitted, residual (log loss - log fitted), standardised
        (over the posterior mean of sigma) and outlier.
        """
        import pandas as pd

        table = self._needs_table("residuals")
        fitted = self.losses(table.params, table.tokens, table.unique_tokens).mean(axis=0)
        residual = np.log(table.loss / fitted)
        standardised = residual / float(self.values["sigma"].mean())
        return pd.DataFrame(
            {
                "row": list(table.labels),
                "params": table.params,
                "tokens": table.tokens,
                "loss": table.loss,
                "fitted": fitted,
                "residual": residual,
                "standardised": standardised,
                "outlier": np.abs(standardised) > OUTLIER,
            }
        )

    @cached_property
    def notes(self) -> dict[str, str]:
        """What a careful reader would want to know: a sentence for each flag."""
        notes: dict[str, str] = view("surface.notes")(self)
        return notes

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the notes."""
        return tuple(self.notes)

    def warn(self, stacklevel: int = 2) -> None:
        """Give one `LossfitWarning` if there are flags that matter.

        Parameters
        ----------
        stacklevel : int
            Which caller the warning points at, as in `warnings.warn`.
        """
        warn(self.law.name, self.notes, stacklevel)

    def _needs_table(self, what: str) -> Table:
        if self.table is None:
            raise DataError(f"published constants come without a table, so there are no {what}")
        return self.table

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """The surface as plain data for JSON; ``schema`` names its form."""
        plain: dict[str, Any] = view("surface.dict")(self)
        return plain

    @figure_options
    def plot(self, ax: Axes | None = None, *, compute: Sequence[float] | None = None) -> Axes:
        """IsoFLOP slices with the data; see `lossfit.plotting.plot_surface`."""
        axes: Axes = view("surface.plot")(self, ax=ax, compute=compute)
        return axes


def described(draws: Floats, prob: float) -> Floats:
    """Mean, sd, lower, median, upper over the last axis; one draw has no sd and no interval."""
    moments = describe(np.asarray(draws, float), prob)
    if draws.shape[-1] == 1:
        moments[[1, 2, 4]] = np.nan
    return moments


def _places(params: ArrayLike, tokens: ArrayLike) -> tuple[Floats, Floats]:
    try:
        n, d = np.broadcast_arrays(
            np.atleast_1d(np.asarray(params, float)), np.atleast_1d(np.asarray(tokens, float))
        )
    except (TypeError, ValueError):
        raise DataError("params and tokens must be numbers or lists that broadcast") from None
    if n.ndim != 1 or not n.size:
        raise DataError("params and tokens must be numbers or flat lists")
    for what, values in (("params", n), ("tokens", d)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if bad.size:
            raise DataError(f"{what} must be positive numbers, got {values[bad[0]]!r}")
    return np.array(n), np.array(d)
