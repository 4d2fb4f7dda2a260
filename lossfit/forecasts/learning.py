"""Priors from a project's finished runs: `learn_priors`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError
from .._base.frames import answer_first
from .._base.ragged import Floats
from .._base.records import rows_of
from .._base.results import Result
from .._base.summaries import check_prob
from .._base.views import view
from ..fits.window import WindowSpec
from ..laws import GridLaw, ResponseStrength, find
from ..runs.broken import first_lines, left_out, left_out_for, reason
from ..runs.checks import as_runs, choose_axis
from ..runs.logged_rate import history_of
from .forecasting import forecast
from .rates import Plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from ..runs.run import Run

LEAST_POINTS = 40
LEAST_FALL = 0.7  # the learning rate must have fallen below this share of its peak
WELL_KNOWN = 0.35  # relative sd of B below which a run counts
BROAD = 3.0  # relative sd of the prior under which a run's own B is found
KNOWN_SHARE = 0.6  # ... of B, or of so much of the shipped prior's: a small B may be known well
LEAST_RUNS = 2
RUN_ERROR = 0.1  # of B, and of the local slope: what the law gets wrong in a run
POPULATION_SD = 0.7  # of log B0 about the shipped one
SPREADS = np.array([0.1, 0.15, 0.22, 0.33, 0.5, 0.75])  # grid of the sd of log B among runs
SPREAD_CENTRE, SPREAD_SD = 0.25, 0.6  # its log-normal prior
OUTLIER = 0.05  # a run may have nothing in common with the others
SD_LIMITS = (0.15, 0.8)
PSEUDO_RUNS = 3.0  # what the shipped weights of the responses count
PROB = 0.9  # of the intervals that are shown
MOST_SAID = 6  # unused runs in the print
SCHEMA = "lossfit.priors/1"


@dataclass(frozen=True, eq=False, repr=False)
class Priors(Result):
    """What finished runs say about the next one; made by `learn_priors`.

    Attributes
    ----------
    strength : ResponseStrength
        Prior of B, the loss won by taking the learning rate from its peak to 0.
    unit_weights : tuple of float
        Prior weights of the law's responses (how fast the loss follows the learning rate).
    used : tuple of str
        The runs that it was learned from; empty if too few were usable, and then it is the
        shipped prior.
    b, b_sd : ndarray, shape (n_runs,)
        B of every finished run under a broad prior, and its posterior sd; NaN where the run could
        not tell (see `reasons`).
    names, reasons : tuple of str, length n_runs
        The finished runs, and why one was not used ("" if it was).
    slope, level : ndarray, shape (n_runs,)
        Local slope (loss per e-fold) and last loss of the runs.
    units : ndarray, shape (n_runs, n_units)
        Posterior weights of the law's responses.
    runs : Runs or None
        The finished runs.

    Examples
    --------
    >>> import lossfit
    >>> finished = lossfit.load("llama2")
    >>> priors = lossfit.learn_priors(finished)
    >>> running = lossfit.load("llama1").select(["llama1-7B"])
    >>> answer = lossfit.extrapolate(running, at=1.5e12, axis="tokens", priors=priors)
    """

    _keys = ("run",)

    strength: ResponseStrength
    unit_weights: tuple[float, ...]
    used: tuple[str, ...]
    names: tuple[str, ...]
    b: Floats
    b_sd: Floats
    reasons: tuple[str, ...]
    slope: Floats
    level: Floats
    units: Floats
    runs: Runs | None = None

    @property
    def prob(self) -> float:
        """Probability of the frame's intervals."""
        return PROB

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each finished run: median, lower, upper (of B), B, used, reason, sd, prob, run.

        B is the posterior mean, and the posterior is taken for a normal one.
        """
        import pandas as pd

        used = [not reason for reason in self.reasons]
        lower, upper = self._ends(PROB)
        return answer_first(
            pd.DataFrame(
                {
                    "run": self.names,
                    "median": self.b,
                    "lower": lower,
                    "upper": upper,
                    "B": self.b,
                    "sd": self.b_sd,
                    "prob": PROB,
                    "used": used,
                    "reason": self.reasons,
                }
            ),
            self._keys,
        )

    def _ends(self, prob: float) -> tuple[Floats, Floats]:
        reach = NormalDist().inv_cdf((1 + prob) / 2) * self.b_sd
        return self.b - reach, self.b + reach

    def interval(self, prob: float | None = None) -> pd.DataFrame:
        """Intervals of B, by run.

        Parameters
        ----------
        prob : float, optional
            Between 0 and 1; by default 0.9.

        Returns
        -------
        pandas.DataFrame
            Columns lower and upper, indexed like `to_frame`.
        """
        table = super().interval()
        if prob is not None:
            table["lower"], table["upper"] = self._ends(check_prob(prob))
        return table

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: schema, lossfit (version), used, strength (of B) and rows."""
        from .. import __version__

        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "used": list(self.used),
            "strength": {"mean": self.strength.mean, "relative_sd": self.strength.sds[-1]},
            "rows": rows_of(self.frame),
        }

    @figure_options
    def plot(self, ax: Axes | None = None) -> Axes:
        """B of every finished run with its interval; see `lossfit.plotting.plot_priors`."""
        axes: Axes = view("priors.plot")(self, ax=ax)
        return axes

    def without(self, name: str) -> Priors:
        """The same without one of the runs, which must not learn from itself.

        Parameters
        ----------
        name : str
            The run.

        Returns
        -------
        Priors
            What the others say.
        """
        return self.only([other for other in self.names if other != name])

    def only(self, names: Sequence[str]) -> Priors:
        """What these runs alone say.

        Parameters
        ----------
        names : sequence of str
            The runs.

        Returns
        -------
        Priors
            Learned from these alone.
        """
        if tuple(names) == self.names:
            return self
        chosen = set(names)
        keep = [i for i, name in enumerate(self.names) if name in chosen]
        return _priors(
            tuple(self.names[i] for i in keep),
            self.b[keep],
            self.b_sd[keep],
            tuple(self.reasons[i] for i in keep),
            self.slope[keep],
            self.level[keep],
            self.units[keep],
            self.runs,
        )

    @property
    def left_out(self) -> dict[str, str]:
        """The runs that broke, which say nothing, and what broke in each."""
        return left_out_for(zip(self.names, self.reasons, strict=True))

    def _text(self) -> str:
        broken = {name: (words, True) for name, words in self.left_out.items()}
        lines = first_lines(broken, consequence="left out", where="priors.left_out")
        unused = [
            f"  {name} was not used: {reason}"
            for name, reason in zip(self.names, self.reasons, strict=True)
            if reason and name not in self.left_out
        ]
        if len(unused) > MOST_SAID:
            unused[MOST_SAID:] = [f"  ... and {len(unused) - MOST_SAID} more, in priors.frame"]
        return "\n".join([*lines, self._line(), *unused])

    def _line(self) -> str:
        if not self.used:
            return (
                f"Priors: none of {len(self.names)} runs is enough to learn from; the shipped "
                f"prior (B about {self.strength.mean:.3g})"
            )
        return (
            f"Priors from {len(self.used)} of {len(self.names)} runs: B about "
            f"{self.strength.mean:.3g} (relative sd {self.strength.sds[-1]:.2f})"
        )


def learn_priors(
    finished_runs: Runs | pd.DataFrame, *, axis: AnyAxis = "auto", window: WindowSpec = "auto"
) -> Priors:
    """What a project's finished runs say about its next one.

    The strength of the response to the learning rate differs between domains by more than 10 times
    (on text it is 0.1 to 0.3 nats), and a run says nothing of its own before its learning rate
    falls: finished runs of the same project do.

    Parameters
    ----------
    finished_runs : Runs or pandas.DataFrame
        Runs that went through their schedule, which must be known (``with_schedule`` or an ``lr``
        column).
    axis : str
        As in `lossfit.extrapolate`.
    window : WindowSpec
        Part of the runs that is fitted.

    Returns
    -------
    Priors
        For ``lossfit.extrapolate(..., priors=...)``.  Runs that cannot tell (fewer than 40 points,
        schedule unknown, learning rate that did not fall below 70 % of its peak, B known worse
        than to 35 %) are listed with the reason in ``Priors.frame``; with fewer than two usable
        runs the shipped prior is returned.

    Raises
    ------
    DataError
        Input that cannot be used.

    Notes
    -----
    The runs' log B are taken for draws from Normal(mu, omega^2), with mu ~ Normal(log of the
    shipped B0, 0.7^2) and a log-normal prior on omega about 0.25; each run's B is known to its
    posterior sd and 10 % more, and has a 5 % chance to be unlike the others.  mu and omega are
    integrated on a grid.  The weights of the responses are those of the runs' posteriors and of
    three runs more that have the shipped ones.

    Examples
    --------
    >>> import lossfit
    >>> finished = lossfit.load("llama2")
    >>> priors = lossfit.learn_priors(finished)
    >>> priors.used
    ('llama2-7B', 'llama2-13B', 'llama2-34B', 'llama2-70B')
    """
    runs = as_runs(finished_runs)
    axis = choose_axis(runs, axis)
    law = _law()
    n = len(runs)
    b, sd, slope, level = (np.full(n, np.nan) for _ in range(4))
    units = np.full((n, len(law.units)), np.nan)
    broken = left_out(runs, axis)
    reasons = [
        reason(broken[run.name]) if run.name in broken else _unfit(run, axis) for run in runs
    ]
    chosen = [name for name, reason in zip(runs.names, reasons, strict=True) if not reason]
    if chosen:
        from ..kernels.forecast import PARAMETERS

        broad = replace(law.strength, scales=(1.0,), sds=(BROAD,), weights=(1.0,), slopes=np.inf)
        usable = runs.select(chosen)
        ends = np.array([[run.end(axis)] for run in usable])
        fitted = forecast(
            usable, law, axis, window, ends, Plan(),
            lambda last: broad.components(last, law.unit_weights),
            draws=4000, seed=0, parameters=True,
        )  # fmt: skip
        rows = [runs.names.index(name) for name in chosen]
        b[rows], sd[rows] = fitted.strength.T
        slope[rows] = fitted.slope
        level[rows] = [float(run.loss[-1]) for run in usable]
        tau, power = (fitted.parameters[:, PARAMETERS.index(n)] for n in ("tau", "power"))
        for k, unit in enumerate(law.units):
            units[rows, k] = ((tau == unit.tau) & (power == unit.power)).mean(axis=1)
        for i in rows:
            shipped = float(broad.components(level[i : i + 1], law.unit_weights).centre[0])
            if sd[i] > WELL_KNOWN * max(b[i], KNOWN_SHARE * shipped):
                reasons[i] = f"its B, {b[i]:.3g}, is known to +- {sd[i]:.2g} only"
    return _priors(runs.names, b, sd, tuple(reasons), slope, level, units, runs)


def _law() -> GridLaw:
    law = find("annealing")
    assert isinstance(law, GridLaw)
    return law


def _unfit(run: Run, axis: str) -> str:
    """Why a run can say nothing of B, "" if it may."""
    if len(run.loss) < LEAST_POINTS:
        return f"fewer than {LEAST_POINTS} points"
    schedule = run.schedule
    if schedule is not None:
        if not run.has(schedule.axis):
            raise DataError(
                f"run {run.name!r}: its schedule counts {schedule.axis}, which the run does not "
                f"have: give tokens_per_step="
            )
        x = run.axis(schedule.axis)
        rate = schedule(np.linspace(0.0, float(x[-1]), 400))
    else:
        logged = history_of(run, axis)
        if logged is None:
            return "its schedule is not known"
        rate = logged[1]
    peak = int(np.argmax(rate))
    if not rate[peak:].min() < LEAST_FALL * rate[peak]:
        return f"its learning rate did not fall below {LEAST_FALL:.0%} of its peak"
    return ""


def _priors(
    names: tuple[str, ...],
    b: Floats,
    sd: Floats,
    reasons: tuple[str, ...],
    slope: Floats,
    level: Floats,
    units: Floats,
    runs: Runs | None = None,
) -> Priors:
    law = _law()
    good = np.array([not reason for reason in reasons], bool)
    strength, weights = law.strength, law.unit_weights
    used: tuple[str, ...] = ()
    if good.sum() >= LEAST_RUNS:
        used = tuple(n for n, ok in zip(names, good, strict=True) if ok)
        shipped = float(np.median(law.strength.components(level[good], weights).centre))
        strength = strength_from(b[good], sd[good], slope[good], shipped)
        # Runs whose B is barely known say nothing of how fast the loss responds.
        telling = good & (sd < WELL_KNOWN * np.abs(b))
        own = np.asarray(weights) / sum(weights)
        total = PSEUDO_RUNS * own + units[telling].sum(axis=0)
        weights = tuple(float(w) for w in total / total.sum())
    return Priors(strength, weights, used, names, b, sd, reasons, slope, level, units, runs)


def strength_from(
    # b, sd: shape (n_runs,): posterior means and sds
    b: Floats,
    sd: Floats,
    slope: Floats,  # shape (n_runs,): local slopes
    shipped: float,  # the shipped B0
) -> ResponseStrength:
    """Prior of the next run's B from those of finished runs."""
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(9)
    node_weights = node_weights / node_weights.sum()
    mu = np.log(shipped) + np.linspace(-4.0, 2.0, 61)
    log_p = (
        -0.5 * ((mu - np.log(shipped)) / POPULATION_SD)[:, None] ** 2
        - 0.5 * (np.log(SPREADS / SPREAD_CENTRE) / SPREAD_SD) ** 2
    )
    size = np.exp(mu[:, None, None] + SPREADS[:, None] * nodes)
    errors = np.sqrt(sd**2 + (RUN_ERROR * b) ** 2 + (RUN_ERROR * slope) ** 2)
    for value, error in zip(b, errors, strict=True):
        fits = np.exp(-0.5 * ((value - size) / error) ** 2) @ node_weights / error
        log_p += np.log((1 - OUTLIER) * fits + OUTLIER * 0.3 / max(shipped, abs(value)))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    middle = float(p.sum(1) @ mu)
    spread = np.sqrt(p.sum(1) @ (mu - middle) ** 2 + p.sum(0) @ SPREADS**2)
    mean = float(np.exp(middle))
    least = 0.5 * RUN_ERROR * float(np.median(slope)) / mean
    sd_log = max(float(np.clip(spread, *SD_LIMITS)), least)
    return ResponseStrength(mean, (1.0,), (sd_log,), (1.0,))
