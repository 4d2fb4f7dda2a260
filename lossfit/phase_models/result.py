"""Phases of runs: break points, probabilities, curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError
from .._base.frames import answer_first, word_column
from .._base.ragged import Floats
from .._base.results import Result, Scale
from .._base.summaries import central, check_prob, quantiles
from .._base.views import view
from ..fits.flags import ANSWER_MEANINGS, warning_text
from ..runs.broken import broken_runs, first_lines, without_forecast, words_of
from ..runs.labels import amount
from .models import MODELS

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from ..runs.collection import Runs

PHASE_MEANINGS = {
    "schedule_explains": "the learning-rate schedule alone, without phases, predicts held-out "
    "parts of the curve better: break points describe the curve, they are no change of regime",
    "cannot_tell": "phases and the learning-rate schedule predict the held-out parts of the curve "
    "about equally well, or the end and the rest say different things: these data can't tell",
    "schedule_unknown": "the learning-rate schedule is not known, so that its part in the shape of "
    "the curve can't be told: give schedule= or an lr column",
    "broken": ANSWER_MEANINGS["broken"],
}
SCHEMA = "lossfit.phases/1"


@dataclass(frozen=True, eq=False)
class RunPhases:
    """The phases of one run; D draws."""

    name: str
    end: float  # end of the data on the axis
    weights: Floats  # shape (4,): posterior of the models of `lossfit.phase_models.models.MODELS`
    # handover, tip: shape (D,): where the power law hands over to a line, and where a flat end
    # begins; NaN in draws of models without
    handover: Floats
    tip: Floats
    slopes: Floats  # shape (2, D): slope of the line, and of the tip, in loss per unit of the axis
    models: Any  # shape (D,)
    places: Floats  # shape (G,): axis values of the curves
    curves: Floats  # shape (G, D)
    # t, y: shape (K,): bins that were used
    t: Floats
    y: Floats
    # log marginal likelihood of every model, the schedule's too where it is known
    log_evidence: dict[str, float]
    # log density of the last 40 % given the first 60 %, by ``"phases"`` and ``"schedule"``
    held_out: dict[str, float]
    # sum over fifths of the run of their log density given all other points
    blocked: dict[str, float]
    # both held-out scores of the schedule's model less those of the phases; None where no schedule
    # is known
    gain: float | None
    flags: tuple[str, ...]

    @property
    def prob_linear(self) -> float:
        """P(there is a nearly linear phase)."""
        return float(sum(w for w, m in zip(self.weights, MODELS, strict=True) if "linear" in m))

    @property
    def prob_tip(self) -> float:
        """P(there is a flat end)."""
        return float(sum(w for w, m in zip(self.weights, MODELS, strict=True) if "tip" in m))


@dataclass(frozen=True, eq=False, repr=False)
class Phases(Result):
    """Phases of some runs; made by `lossfit.phases`.

    Attributes
    ----------
    runs : Runs
        The runs.
    axis : str
        The axis of the break points.
    prob : float
        Probability of the intervals.
    seed : int
        Seed of the draws.
    by_run : tuple of RunPhases, length R
        What was fitted to each run.

    Examples
    --------
    >>> import lossfit
    >>> phases = lossfit.phases(lossfit.load("llama2").select(["llama2-7B"]), draws=100)
    >>> models = phases.models  # what each model of phases says, and its probability
    """

    _keys = ("run", "phase")

    runs: Runs
    axis: str
    prob: float
    seed: int
    by_run: tuple[RunPhases, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(result.name for result in self.by_run)

    @property
    def flags(self) -> dict[str, tuple[str, ...]]:
        """Flags of each run (`PHASE_MEANINGS`)."""
        return {
            result.name: (*(["broken"] if result.name in self.broken else []), *result.flags)
            for result in self.by_run
        }

    @property
    def warning(self) -> str:
        """What the one `LossfitWarning` says; "" for nothing."""
        return warning_text(self.names, list(self.flags.values()), PHASE_MEANINGS)

    def __getitem__(self, run: str) -> RunPhases:
        """The phases of one run."""
        for result in self.by_run:
            if result.name == run:
                return result
        raise DataError(f"there is no run {run!r} here; there are {', '.join(self.names[:10])}")

    def __len__(self) -> int:
        return len(self.by_run)

    @cached_property
    def broken(self) -> dict[str, tuple[str, bool]]:
        """Runs that broke: what happened, and whether no forecast would hold for the run."""
        return broken_runs(self.runs, self.names, self.axis)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a run and phase.

        Columns median, lower, upper (where it begins, given that it exists; NaN where no draw has
        it), prob_exists (P that the phase exists), share_lower,
        share_median, share_upper (the same over the end of the data), slope (median, in loss per
        unit of the axis), schedule_gain (held-out log scores of the schedule's model less those of
        the phases, NaN where no schedule is known), schedule_explains (bool), broken (what broke
        in the run, in words, or None), notes (a tuple of flags), axis, prob, run and phase
        ("linear" or "tip").
        """
        import pandas as pd

        rows = []
        for result in self.by_run:
            for k, (phase, draws, exists) in enumerate(
                (
                    ("linear", result.handover, result.prob_linear),
                    ("tip", result.tip, result.prob_tip),
                )
            ):
                finite = draws[~np.isnan(draws)]
                three = [np.nan] * 3
                if finite.size:
                    three = [float(v) for v in central(finite, self.prob)]
                slope = result.slopes[k][~np.isnan(result.slopes[k])]
                rows.append(
                    {
                        "run": result.name,
                        "axis": self.axis,
                        "phase": phase,
                        "prob_exists": exists,
                        "lower": three[0],
                        "median": three[1],
                        "upper": three[2],
                        "prob": self.prob,
                        "share_lower": three[0] / result.end,
                        "share_median": three[1] / result.end,
                        "share_upper": three[2] / result.end,
                        "slope": float(np.median(slope)) if slope.size else np.nan,
                        "schedule_gain": np.nan if result.gain is None else result.gain,
                        "schedule_explains": "schedule_explains" in result.flags,
                        "notes": self.flags[result.name],
                    }
                )
        frame = pd.DataFrame(rows)
        words = word_column(words_of(self.broken, frame["run"]))
        frame.insert(list(frame).index("notes"), "broken", words)
        return answer_first(frame, self._keys)

    def _row_draws(self) -> Floats:
        return np.stack(
            [draws for result in self.by_run for draws in (result.handover, result.tip)]
        )

    def interval(self, prob: float | None = None) -> pd.DataFrame:
        """Where phases begin, given that they exist.

        Parameters
        ----------
        prob : float, optional
            Between 0 and 1; by default that of the result.

        Returns
        -------
        pandas.DataFrame
            Columns lower and upper, indexed by run and phase; NaN where no draw has the phase.
        """
        table = super().interval()
        if prob is None:
            return table
        tail = (1 - check_prob(prob)) / 2
        for i, draws in enumerate(self._row_draws()):
            if np.isfinite(draws).any():
                table.iloc[i] = quantiles(draws[np.isfinite(draws)], (tail, 1 - tail))
        return table

    @property
    def models(self) -> pd.DataFrame:
        """One row a run and model.

        Columns run, model, log_evidence, weight (NaN for the schedule's), and the scores held_out
        and blocked (of the phases together, or of the schedule's model).
        """
        import pandas as pd

        rows = []
        for result in self.by_run:
            for name, log in result.log_evidence.items():
                kind = "schedule" if name == "schedule" else "phases"
                weight = np.nan if kind == "schedule" else result.weights[MODELS.index(name)]
                rows.append(
                    {
                        "run": result.name,
                        "model": name,
                        "log_evidence": log,
                        "weight": weight,
                        "held_out": result.held_out[kind],
                        "blocked": result.blocked[kind],
                    }
                )
        return pd.DataFrame(rows)

    @property
    def draws(self) -> xr.Dataset:
        """Draws of the break points, dims (run, draw): handover, tip (NaN for none), and model."""
        import xarray as xr

        dims = ("run", "draw")
        return xr.Dataset(
            {
                "handover": (dims, np.stack([result.handover for result in self.by_run])),
                "tip": (dims, np.stack([result.tip for result in self.by_run])),
                "model": (dims, np.stack([result.models for result in self.by_run])),
            },
            coords={"run": list(self.names), "draw": np.arange(self.by_run[0].handover.size)},
            attrs={"axis": self.axis},
        )

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON.

        Keys schema, lossfit (version), axis, prob, random_seed, broken (what broke, by run), phases
        and models (rows of `frame` and `models`).
        """
        from .. import __version__
        from .._base.records import rows_of

        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "axis": self.axis,
            "prob": self.prob,
            "random_seed": self.seed,
            "broken": {name: words for name, (words, _) in self.broken.items()},
            "phases": rows_of(self.frame),
            "models": rows_of(self.models),
        }

    def _text(self) -> str:
        lines = first_lines(
            self.broken,
            consequence="phases of a run that broke say nothing of its training",
            where="phases.broken",
        )
        lines.append(
            f"Phases of {len(self.by_run):,} run{'s' * (len(self.by_run) > 1)} on {self.axis}"
        )
        table = self.frame
        for result in self.by_run[:10]:
            if without_forecast(self.broken, result.name):
                lines.append(f"  {result.name}: no phases (phases.frame takes it for a sound run)")
                continue
            lines.append(f"  {result.name}: {verdict_of(result)}")
            for _, row in table[table["run"] == result.name].iterrows():
                lines.append(f"    {_phase(row, self)}")
            lines += [f"    {line}" for line in _schedule(result)]
        if len(self.by_run) > 10:
            lines.append(f"  ... and {len(self.by_run) - 10:,} more runs in phases.frame")
        lines.append(
            f"  Models: {'; '.join(m.replace(', ', ' and ') for m in MODELS)}; equally probable "
            "beforehand, with correlated model error."
        )
        return "\n".join(lines)

    def _line(self) -> str:
        first = self.by_run[0]
        more = f", and {len(self) - 1:,} more runs" if len(self) > 1 else ""
        return (
            f"Phases of {first.name}: P(linear phase) {first.prob_linear:.2f}, "
            f"P(flat end) {first.prob_tip:.2f}{more}"
        )

    @figure_options
    def plot(
        self, ax: Axes | None = None, *, run: str | None = None, scale: Scale = "linear"
    ) -> Axes:
        """The curve with its phases shaded; see `lossfit.plotting.plot_phases`."""
        axes: Axes = view("phases.plot")(self, ax=ax, run=run, scale=scale)
        return axes


def _word(probability: float) -> str:
    if probability > 0.95:
        return "yes"
    if probability < 0.05:
        return "no"
    return "these data can't tell" if 0.2 < probability < 0.8 else (
        "probably" if probability >= 0.8 else "probably not"
    )  # fmt: skip


def verdict_of(result: RunPhases) -> str:
    """Which phases a run has, and whether the schedule explains them, in words."""
    text = f"a linear phase: {_word(result.prob_linear)}; a flat end: {_word(result.prob_tip)}"
    if "schedule_explains" in result.flags:
        text += "; but the learning-rate schedule alone explains the curve better"
    elif "cannot_tell" in result.flags:
        text += "; whether these are the schedule's doing, these data can't tell"
    elif result.gain is not None and max(result.prob_linear, result.prob_tip) >= 0.5:
        text += "; the learning-rate schedule alone explains the curve less well"
    return text


def _phase(row: pd.Series, phases: Phases) -> str:
    name = "line" if row["phase"] == "linear" else "tip"
    text = f"{name}: P(exists) = {row['prob_exists']:.2f}"
    if np.isfinite(row["median"]) and row["prob_exists"] >= 0.05:
        text += (
            f", from {amount(row['median'], phases.axis)} ({100 * phases.prob:g} % interval "
            f"{100 * row['share_lower']:.0f} to {100 * row['share_upper']:.0f} % of the run)"
        )
    return text


def _schedule(result: RunPhases) -> list[str]:
    if result.gain is None:
        return ["! schedule_unknown: give schedule= or an lr column to compare with its effect"]
    text = (
        f"log density of the last 40 %, predicted: {result.held_out['schedule']:.1f} by the "
        f"schedule without phases, {result.held_out['phases']:.1f} by phases; of each fifth: "
        f"{result.blocked['schedule']:.1f} and {result.blocked['phases']:.1f}"
    )
    out = [text]
    out += [f"! {flag}: {PHASE_MEANINGS[flag]}" for flag in result.flags]
    return out
