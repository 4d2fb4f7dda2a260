"""A plan: the posterior of the best choice for a budget, and what other choices cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError
from .._base.frames import answer_first
from .._base.ragged import Floats
from .._base.results import Result
from .._base.summaries import MOMENTS
from .._base.views import view
from ..surfaces.against import Against
from ..surfaces.result import Surface, described
from .optimum import Problem

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

CANNOT_TELL = 10.0  # ratio of the ends of the interval of the best size


@dataclass(frozen=True, eq=False)
class Choice:
    """One size on one number of tokens, under every draw of the surface."""

    params: float
    tokens: float
    compute: float  # FLOP of training, and of serving where it was asked for
    loss: Floats  # shape (draws,)
    regret: Floats  # shape (draws,): loss less that of the draw's own optimum for the budget, nats
    equivalent: Floats  # shape (draws,): the budget whose optimum would have this loss, FLOP


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Result):
    """How to spend a budget; made by `plan`.

    Attributes
    ----------
    surface : Surface
        What the plan is made on.
    problem : Problem
        The draws used and the constraints.
    compute : float
        The budget, FLOP.
    gpu_hours, flops_per_gpu_hour : float or None
        Where the budget was given in GPU-hours.
    params, tokens, loss : ndarray, shape (draws,)
        The best size, its tokens and its loss (without noise) under every draw.
    decision : Choice
        The choice of least posterior expected loss.
    choice : Choice or None
        The choice that was asked about.
    prob : float
        Probability of the intervals.
    random_seed : int
        Seed of the fit, if one was made.
    extra : dict of str to str
        Notes from making the plan.
    beside : Against or None
        The runs at hand, and what the surface that was asked for says of them.

    Examples
    --------
    >>> import lossfit
    >>> allocation = lossfit.plan("epoch", compute=5.88e23, params=7e9)
    >>> other = allocation.regret_of(params=1.3e10)  # another choice, same budget
    >>> other.params
    13000000000.0
    """

    _keys = ("of", "quantity")
    _view = "plan"

    surface: Surface
    problem: Problem
    compute: float
    gpu_hours: float | None
    flops_per_gpu_hour: float | None
    params: Floats
    tokens: Floats
    loss: Floats
    decision: Choice
    choice: Choice | None
    prob: float
    random_seed: int
    extra: Mapping[str, str]
    beside: Against | None = None

    @property
    def unique_tokens(self) -> float | None:
        """Tokens that there are, None for as many as one likes."""
        return self.problem.unique_tokens

    @property
    def epochs(self) -> Floats | None:
        """Times that the unique tokens are seen at the optimum, shape (draws,)."""
        if self.unique_tokens is None:
            return None
        return np.asarray(self.tokens / self.unique_tokens)

    @property
    def draws(self) -> xr.Dataset:
        """The optimum under every draw, dim (draw,): params, tokens, loss, the choice's regret."""
        import xarray as xr

        columns = {"params": self.params, "tokens": self.tokens, "loss": self.loss}
        columns["decision_loss"] = self.decision.loss
        if self.choice is not None:
            columns.update(
                choice_loss=self.choice.loss,
                regret=self.choice.regret,
                equivalent_compute=self.choice.equivalent,
            )
        return xr.Dataset(
            {name: (("draw",), values) for name, values in columns.items()},
            coords={"draw": np.arange(len(self.params))},
            attrs={"compute": self.compute, "law": self.problem.law.name},
        )

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a quantity.

        Columns median, lower, mean, notes (a tuple of flags), sd, prob, ``of`` (optimum: the
        best under each draw; decision: the choice of least expected loss; choice: the one asked
        about), upper and quantity.
        Quantities: params, tokens, tokens_per_param, epochs (with unique tokens), loss; of a
        decision or choice also regret (nats above the best possible), equivalent_compute (the
        budget that would do as well, FLOP) and wasted (the share of the budget that it saves).
        """
        import pandas as pd

        rows = self._quantities()
        moments = described(np.stack([draws for _, _, draws in rows]), self.prob)
        # What was chosen is a number and not a belief.
        fixed = np.array([of != "optimum" and np.ptp(draws) == 0 for of, _, draws in rows])
        moments[1, fixed] = 0.0
        moments[2, fixed] = moments[4, fixed] = moments[3, fixed]
        frame = pd.DataFrame({"of": [r[0] for r in rows], "quantity": [r[1] for r in rows]})
        for name, column in zip(MOMENTS, moments, strict=True):
            frame[name] = column
        if self.surface.n_draws == 1:
            belief = frame["quantity"].isin(["loss", "regret", "equivalent_compute", "wasted"])
            frame.loc[belief | (frame["of"] == "optimum"), ["sd", "lower", "upper"]] = np.nan
        frame["prob"] = self.prob
        frame["notes"] = pd.Series([self.flags] * len(frame), dtype=object)
        return answer_first(frame, self._keys, wide=True)

    def _quantities(self) -> list[tuple[str, str, Floats]]:
        """Rows of the frame: of what, which quantity, and its draws."""
        rows: list[tuple[str, str, Floats]] = [
            ("optimum", "params", self.params),
            ("optimum", "tokens", self.tokens),
            ("optimum", "tokens_per_param", self.tokens / self.params),
        ]
        if self.epochs is not None:
            rows.append(("optimum", "epochs", self.epochs))
        rows.append(("optimum", "loss", self.loss))
        for of, choice in (("decision", self.decision), ("choice", self.choice)):
            if choice is not None:
                rows += self._rows(of, choice)
        return rows

    def _row_draws(self) -> Floats | None:
        if self.surface.n_draws == 1:
            return None
        return np.stack([draws for _, _, draws in self._quantities()])

    def _rows(self, of: str, choice: Choice) -> list[tuple[str, str, Floats]]:
        same = np.ones(len(self.loss))
        rows = [
            (of, "params", choice.params * same),
            (of, "tokens", choice.tokens * same),
            (of, "tokens_per_param", choice.tokens / choice.params * same),
        ]
        if self.unique_tokens is not None:
            rows.append((of, "epochs", choice.tokens / self.unique_tokens * same))
        return [
            *rows,
            (of, "loss", choice.loss),
            (of, "regret", choice.regret),
            (of, "equivalent_compute", choice.equivalent),
            (of, "wasted", 1 - choice.equivalent / self.compute),
        ]

    @property
    def optimum(self) -> pd.DataFrame:
        """The posterior of the best choice: the frame's rows by quantity."""
        return self._part("optimum")

    @property
    def best(self) -> pd.DataFrame:
        """The choice of least posterior expected loss: the frame's rows by quantity."""
        return self._part("decision")

    @property
    def regret(self) -> pd.DataFrame:
        """What the choice that was asked about costs: the frame's rows by quantity.

        Raises
        ------
        DataError
            If none was asked about.
        """
        if self.choice is None:
            raise DataError("the plan was asked about no choice: params=, tokens= or epochs=")
        return self._part("choice").loc[["loss", "regret", "equivalent_compute", "wasted"]]

    def _part(self, of: str) -> pd.DataFrame:
        rows = self.frame[self.frame["of"] == of].set_index("quantity")
        return answer_first(rows[["mean", "sd", "lower", "median", "upper"]], wide=True)

    def regret_of(
        self,
        params: float | None = None,
        tokens: float | None = None,
        *,
        epochs: float | None = None,
    ) -> Choice:
        """Another choice under the same budget and draws.

        Parameters
        ----------
        params, tokens, epochs : float, optional
            As in `plan`; what is missing follows from the budget.

        Returns
        -------
        Choice
            Its loss, and its regret under every draw.

        Raises
        ------
        DataError
            Nothing is chosen, or serving it takes the whole budget.
        """
        n, d = resolve(self.problem, self.compute, params, tokens, epochs)
        return choice_of(self.problem, n, d, self.compute, self.loss)

    def loss_at(self, params: Any) -> Floats:
        """Loss of sizes that spend the whole budget.

        Parameters
        ----------
        params : float or sequence of float
            Model sizes.

        Returns
        -------
        ndarray, shape (draws, sizes)
            Losses without noise; infinite where serving takes the whole budget.
        """
        n = np.atleast_1d(np.asarray(params, float))
        return self.problem.loss(n[None], self.problem.tokens_for(self.compute, n)[None])

    @cached_property
    def notes(self) -> dict[str, str]:
        """What a careful reader would want to know: a sentence for each flag."""
        notes: dict[str, str] = view("plan.notes")(self)
        return notes

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the notes."""
        return tuple(self.notes)

    @property
    def can_tell(self) -> bool:
        """Whether the interval of the best size spans less than a factor of ten."""
        lower, upper = np.quantile(self.params, [(1 - self.prob) / 2, (1 + self.prob) / 2])
        notes = {**self.surface.notes, **self.extra}
        return bool(upper / lower < CANNOT_TELL) and "few_sizes" not in notes

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data for JSON; ``schema`` names its form."""
        plain: dict[str, Any] = view("plan.dict")(self)
        return plain

    @figure_options
    def plot(self, ax: Axes | None = None) -> Axes:
        """Loss along the budget's sizes; see `lossfit.plotting.plot_plan`."""
        axes: Axes = view("plan.plot")(self, ax=ax)
        return axes


def resolve(
    problem: Problem,
    compute: float,
    params: float | None,
    tokens: float | None,
    epochs: float | None,
) -> tuple[float, float]:
    """Size and tokens of a choice; the budget fills in what is missing."""
    if epochs is not None:
        if problem.unique_tokens is None:
            raise DataError("epochs are counted over unique_tokens=: give it too")
        tokens = epochs * problem.unique_tokens
    if params is None and tokens is None:
        raise DataError(
            "a choice is params=, tokens= or epochs=, or params= with one of the others"
        )
    if params is None:
        assert tokens is not None
        return problem.params_for(compute, float(tokens)), float(tokens)
    if tokens is None:
        left = float(problem.tokens_for(compute, float(params)))
        if left < 1:
            raise DataError(
                f"serving {problem.inference_tokens:.3g} tokens with {params:.3g} parameters takes "
                f"the whole budget of {compute:.3g} FLOP: a smaller model, or more compute="
            )
        return float(params), left
    return float(params), float(tokens)


def choice_of(problem: Problem, n: float, d: float, compute: float, best: Floats) -> Choice:
    """A choice under every draw, beside the draws' least losses ``best`` for the budget."""
    loss = problem.loss(np.full((1, 1), n), np.full((1, 1), d))[:, 0]
    cost = problem.cost(n, d)
    # The least losses are looked for on grids: no choice is better than the best for its own cost.
    regret = np.maximum(loss - best, 0.0) if cost <= compute * (1 + 1e-9) else loss - best
    return Choice(n, d, cost, loss, regret, np.minimum(problem.equivalent(loss, compute), cost))
