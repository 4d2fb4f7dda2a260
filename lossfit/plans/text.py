"""A plan in words, and as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.records import rows_of
from ..runs.labels import size_text
from ..surfaces.result import FAR

if TYPE_CHECKING:
    from ..surfaces.against import Against
    from .result import Choice, Plan

SCHEMA = "lossfit.plan/1"
SAME_BUDGET = 0.01  # share of the budget by which a choice may miss it without a word
FIRST = ("surface_contradicted", "runs_unchecked")  # said right below the title
AGREE = "runs_agree"  # no flag: nothing to be careful of
MANY_EPOCHS = 40.0  # about where the source's experiments stopped


def notes_of(plan: Plan) -> dict[str, str]:
    """Flags and what they say, the gravest first."""
    notes = {flag: plan.extra[flag] for flag in FIRST if flag in plan.extra}
    surface = plan.surface
    if not plan.can_tell and surface.n_draws > 1:
        lower, upper = _ends(plan.params, plan.prob)
        notes["cannot_tell"] = (
            f"these data can't tell the best size: the {100 * plan.prob:g} % interval is "
            f"{size_text(lower)} to {size_text(upper)}"
        )
    seen = surface.seen
    if seen is not None:
        beyond = float(surface.beyond(plan.decision.params, plan.decision.tokens))
        if beyond > 1.001:
            notes["beyond" if beyond <= FAR else "far"] = (
                f"the best choice lies {beyond:.3g}x outside of the table's range (sizes "
                f"{size_text(seen.params[0])} to {size_text(seen.params[1])}, tokens "
                f"{size_text(seen.tokens[0])} to {size_text(seen.tokens[1])}; the budget is "
                f"{plan.compute / seen.compute:.3g}x its largest): nothing there was seen"
                f"{surface.trust}"
            )
    notes.update({flag: note for flag, note in plan.extra.items() if flag != AGREE})
    if plan.choice is not None:
        spent = plan.choice.compute / plan.compute
        if abs(spent - 1) > SAME_BUDGET:
            notes["choice_budget"] = (
                f"the choice takes {spent:.3g}x the budget ({plan.choice.compute:.3g} of "
                f"{plan.compute:.3g} FLOP): its regret is against the best for the budget"
            )
    epochs = [] if plan.unique_tokens is None else [plan.decision.tokens / plan.unique_tokens]
    if epochs and plan.choice is not None and plan.unique_tokens is not None:
        epochs.append(plan.choice.tokens / plan.unique_tokens)
    if epochs and max(epochs) > MANY_EPOCHS:
        notes["many_epochs"] = (
            f"{max(epochs):.0f} epochs are more than the law of repeated data was checked at, and "
            f"it knows of no loss that rises again"
        )
    for flag, note in surface.notes.items():
        notes.setdefault(flag, note)
    return notes


def line(plan: Plan) -> str:
    """The best choice in a line."""
    lower, upper = _ends(plan.params, plan.prob)
    ends = f" ({size_text(lower)} to {size_text(upper)})" if plan.surface.n_draws > 1 else ""
    return (
        f"Plan for {plan.compute:.3g} FLOP: {size_text(float(np.median(plan.params)))} parameters"
        f"{ends} on {size_text(float(np.median(plan.tokens)))} tokens, loss "
        f"{_loss(float(np.median(plan.loss)))}"
    )


def text(plan: Plan) -> str:
    """A few readable lines."""
    lines = [_title(plan)]
    lines += [f"  ! {flag}: {plan.notes[flag]}" for flag in FIRST if flag in plan.notes]
    if AGREE in plan.extra:
        lines.append(f"  {plan.extra[AGREE]}")
    known = plan.surface.n_draws > 1
    interval = f"{100 * plan.prob:g} % interval "

    def row(what: str, draws: Any, form: Any, unit: str, first: bool = False) -> str:
        value = form(float(np.median(draws)))
        line = f"  {what:<13}{value}{unit}"
        if known:
            lower, upper = _ends(draws, plan.prob)
            line += f" ({interval if first else ''}{form(lower)} to {form(upper)})"
        return line

    lines.append(row("best size", plan.params, size_text, " parameters", True))
    lines.append(row("best tokens", plan.tokens, size_text, ""))
    lines.append(row("a parameter", plan.tokens / plan.params, _plain, " tokens"))
    if plan.epochs is not None:
        lines.append(row("epochs", plan.epochs, _plain, ""))
    lines.append(row("loss there", plan.loss, _loss, ""))
    if known:
        lines.append(f"  Least expected loss: {_words(plan, plan.decision)}")
        lines.append(f"    {_cost(plan, plan.decision)}")
    if plan.choice is not None:
        lines.append(f"  The choice: {_words(plan, plan.choice)}")
        lines.append(f"    {_cost(plan, plan.choice)}")
    rest = {flag: note for flag, note in plan.notes.items() if flag not in FIRST}
    lines += [f"  ! {flag}: {note}" for flag, note in rest.items()]
    return "\n".join(lines)


def _title(plan: Plan) -> str:
    budget = f"{plan.compute:.3g} FLOP"
    if plan.gpu_hours is not None:
        budget = f"{plan.gpu_hours:,.0f} GPU-hours ({budget})"
    out = f"How to spend {budget}"
    if plan.problem.inference_tokens:
        out += f", {size_text(plan.problem.inference_tokens)} tokens served included"
    if plan.unique_tokens is not None:
        out += f", with {size_text(plan.unique_tokens)} unique tokens"
    return f"{out}; law {plan.problem.law.name}"


def _words(plan: Plan, choice: Choice) -> str:
    out = f"{size_text(choice.params)} parameters on {size_text(choice.tokens)} tokens"
    if plan.unique_tokens is not None:
        out += f" ({_plain(choice.tokens / plan.unique_tokens)} epochs)"
    loss = float(np.median(choice.loss))
    if plan.surface.n_draws == 1:
        return f"{out}, loss {_loss(loss)}"
    lower, upper = _ends(choice.loss, plan.prob)
    return f"{out}, loss {_loss(loss)} ({_loss(lower)} to {_loss(upper)})"


def _cost(plan: Plan, choice: Choice) -> str:
    """What a choice costs against the best possible."""
    regret, ratio = choice.regret, choice.equivalent / plan.compute
    out = f"{_nats(float(np.median(regret)))} nats above the best possible"
    if plan.surface.n_draws > 1:
        lower, upper = _ends(regret, plan.prob)
        out += f" ({_nats(lower)} to {_nats(upper)})"
    share = float(np.median(ratio))
    out += f": {_share(share)} of the compute would do"
    if plan.surface.n_draws > 1:
        lower, upper = _ends(ratio, plan.prob)
        out += f" ({_share(lower)} to {_share(upper)})"
    return out


def _ends(draws: Any, prob: float) -> tuple[float, float]:
    lower, upper = np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2])
    return float(lower), float(upper)


def _loss(value: float) -> str:
    return f"{value:.3f}"


def _nats(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 0.01 else f"{value:.3f}"


def _plain(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _share(value: float) -> str:
    percent = 100 * value
    return f"{percent:.3g} %" if percent < 99.95 else f"{percent:.0f} %"


def _beside(beside: Against) -> dict[str, Any]:
    """The runs at hand, and what the surface that was asked for says of them."""

    def plain(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    columns = zip(
        beside.table.labels, beside.table.loss, beside.lower, beside.median, beside.upper,
        strict=True,
    )  # fmt: skip
    return {
        "contradicted": beside.contradicted,
        "p_value": plain(beside.p_value),
        "rows": [
            {"run": name, "loss": float(loss), "lower": plain(low), "median": float(middle),
             "upper": plain(high)}
            for name, loss, low, middle, high in columns
        ],
    }  # fmt: skip


def as_dict(plan: Plan) -> dict[str, Any]:
    """See `Plan.to_dict`."""
    from .. import __version__

    return {
        "schema": SCHEMA,
        "lossfit": __version__,
        "question": {
            "compute": plan.compute,
            "gpu_hours": plan.gpu_hours,
            "flops_per_gpu_hour": plan.flops_per_gpu_hour,
            "unique_tokens": plan.unique_tokens,
            "inference_tokens": plan.problem.inference_tokens or None,
            "prob": plan.prob,
            "random_seed": plan.random_seed,
        },
        "law": {"name": plan.problem.law.name, "formula": plan.problem.law.formula},
        "rows": rows_of(plan.frame.drop(columns=["notes", "prob"])),
        "can_tell": plan.can_tell if plan.surface.n_draws > 1 else None,
        "runs": None if plan.beside is None else _beside(plan.beside),
        "notes": dict(plan.notes),
    }
