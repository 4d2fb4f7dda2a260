"""The answer for a size that was never trained: an `Answer` like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import figure_options
from .._base.errors import DataError
from .._base.numbers import decimals_of, interval_text
from .._base.ragged import Floats
from .._base.results import Scale
from .._base.summaries import prob_less
from .._base.views import view
from ..answers.answer import Answer
from ..forecasts.mixture import Mixed
from ..runs.labels import AXIS_UNITS, amount, size_text
from .notes import NO_VERDICT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .parts import LadderParts

SCHEMA = "lossfit.ladder_answer/1"


@dataclass(frozen=True)
class LadderLaw:
    """The law's name and formula, as answers show them."""

    name: str = "ladder"
    formula: str = (
        "E + [(A / N^alpha)^(1/gamma) + (B / X^beta)^(1/gamma)]^gamma - c N^eta Resp(t; tau, p)"
    )


LAW = LadderLaw()


@dataclass(frozen=True, eq=False)
class LadderQuestion:
    """What was asked of a ladder; stands where a `Question` stands in an answer."""

    axis: str
    prob: float
    draws: int
    seed: int
    laws: tuple[LadderLaw, ...] = (LAW,)
    compared: tuple[Any, ...] = ()
    comparison: None = None
    models: None = None
    priors: None = None
    ladder: None = None
    window: str = "auto"
    by_default: bool = False
    weights: Floats = field(default_factory=lambda: np.ones(1))

    def learned(self, name: str) -> None:
        """Nothing is learned from siblings: the ladder is made of them."""

    @property
    def left_out(self) -> dict[str, str]:
        """Nothing here: the ladder's own notes name what was left out of it."""
        return {}


@dataclass(frozen=True, eq=False, repr=False)
class LadderAnswer(Answer):
    """The loss of a model of a size that was never trained; made by `Ladder.extrapolate`.

    Its frame has NaN for horizon_ratio, since there are no data to measure the horizon by.
    """

    ladder: LadderParts | None = None
    params: float = float("nan")
    curve: Callable[[Floats], Floats] | None = None
    target_notes: dict[str, str] = field(default_factory=dict)

    @cached_property
    def ends(self) -> Floats:
        """No data: NaN."""
        return np.full(len(self.names), np.nan)

    def curves_at(self, name: str, at: Floats) -> Floats:
        """Draws of the curve at other places, shape (k, draws)."""
        assert self.curve is not None
        return self.curve(np.asarray(at, float))

    def units_of(self, name: str, axis: str) -> float:
        """Units of another axis in one of the ladder's."""
        assert self.ladder is not None
        return self.ladder.units(self.params, axis)

    def final_loss(self, run: str) -> Floats:
        """The loss of a run of the ladder at the end of its data, draws of its noise included."""
        assert self.ladder is not None
        return self.ladder.final_loss(run, self.question.draws)

    def prob_below(self, other: str | float | None = None, at: ArrayLike | None = None) -> Any:
        """Probability that the loss is below a loss, or a finished run's; see `Answer.prob_below`.

        NaN beyond 6 times the largest size of the ladder, where no verdict is given.
        """
        assert self.ladder is not None
        if self.params > NO_VERDICT * self.ladder.largest:
            return float("nan")
        if other is None:
            raise DataError("prob_below needs a run of the ladder or a loss to compare with")
        curves = self.mixed.curves[0]
        if at is not None:
            curves = self.curves_at(self.names[0], np.atleast_1d(np.asarray(at, float)))
        final = self.final_loss(other) if isinstance(other, str) else np.array([float(other)])
        below = prob_less(curves, final)
        return float(below[0]) if below.size == 1 else below

    @property
    def records(self) -> list[str]:
        """The record of ladders, whatever the horizon: docs/howto/a_ladder.md has it by size."""
        return [self.record(np.inf)]

    @property
    def _is_other(self) -> str:
        return "ladder"

    @property
    def warning(self) -> str:
        """What the one `LossfitWarning` of this answer says."""
        assert self.ladder is not None
        notes = {**self.target_notes, **self.ladder.notes}
        notes.pop("schedule_stretched", None)
        return "; ".join(f"{flag}: {note}" for flag, note in notes.items())

    def _text(self) -> str:
        unit = AXIS_UNITS[self.axis]
        lines = [
            f"{self.names[0]} ({size_text(self.params)} parameters), never trained, from a ladder "
            f"of {len(self.runs)} runs"
        ]
        for _, row in self.frame.iterrows():
            where = amount(float(row["at"]), self.axis)
            places = decimals_of(row["upper"] - row["lower"], self.question.draws)
            lines.append(
                f"  at {where}: {row['median']:.{places}f} ({100 * self.prob:g} % interval "
                f"{interval_text(row['lower'], row['upper'], places)})"
            )
        assert self.ladder is not None
        lines.append(f"  {LAW.formula}, X the cumulative learning rate in {unit} at the peak")
        lines += [f"  {line}" for line in self.records]
        for flag, note in {**self.target_notes, **self.ladder.notes}.items():
            lines.append(f"  ! {flag}: {note}")
        return "\n".join(lines)

    def _read(self) -> tuple[Any, None]:
        return self.runs, None

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data for JSON; ``schema`` names its form."""
        from .. import __version__
        from .._base.records import rows_of

        assert self.ladder is not None
        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "run": self.names[0],
            "params": self.params,
            "axis": self.axis,
            "prob": self.prob,
            "random_seed": self.question.seed,
            "rows": rows_of(self.frame),
            "ladder": {"runs": list(self.runs.names), "notes": dict(self.ladder.notes)},
            "notes": dict(self.target_notes),
        }

    @figure_options
    def plot(
        self,
        ax: Axes | None = None,
        *,
        run: str | None = None,
        scale: Scale = "log",
        probs: Sequence[float] | None = None,
    ) -> Axes:
        """The ladder's curves, and the band of the unseen one."""
        axes: Axes = view("ladder.answer_plot")(self, ax=ax, scale=scale, probs=probs)
        return axes


def answer_of(
    ladder: LadderParts,
    name: str,
    params: float,
    at: Floats,
    curve: Callable[[Floats], Floats],
    notes: dict[str, str],
    prob: float,
    draws: int,
    seed: int,
) -> LadderAnswer:
    """An answer from what draws a curve."""
    curves = np.ascontiguousarray(curve(at))[None]
    flags = tuple(dict.fromkeys([*notes, *ladder.notes]))
    mixed = Mixed(
        curves=curves,
        sigma=np.full((1, draws), np.nan),
        below_floor=np.zeros((1, 1, len(at)), bool),
        flags=[[flags]],
        row_flags={},
        forecasts=[],
        prob=prob,
    )
    question: Any = LadderQuestion(ladder.axis, prob, draws, seed)
    return LadderAnswer(
        ladder.runs, (name,), at[None], question, mixed, ladder=ladder, params=params, curve=curve,
        target_notes=notes,
    )  # fmt: skip
