"""What a careful reader of a ladder would want to know."""

from __future__ import annotations

import numpy as np

from .._base.ragged import Floats
from ..runs.labels import names_text, size_text
from .core import Readings, grow_together
from .pilot import OFF
from .rows import Rung, levels
from .rungs import Rungs

FAR, NO_VERDICT = 4.5, 6.0  # times the largest size
BEYOND_TOKENS = 1.5  # times the largest cumulative rate
FEW_SIZES, NARROW = 3, 2.5
FEW_RUNS = 4
APART = 0.04  # sd of runs' levels, as a share of the reducible loss, that runs of a kind don't show
MOST_RHAT = 1.1


def notes_of(known: Rungs, fitted: Readings) -> dict[str, str]:
    """Flags and what they say, the gravest first."""
    rungs, notes = known.rungs, {}
    sizes, count = np.array([rung.params for rung in rungs]), levels(rungs)
    if count < FEW_SIZES or sizes.max() < NARROW * sizes.min():
        notes["narrow"] = (
            f"{count} sizes over {sizes.max() / sizes.min():.3g}x: how the loss falls with size is "
            f"told by the prior as much as by these runs; three sizes over 2.5x or more would tell"
        )
    if len(rungs) < FEW_RUNS:
        notes["few"] = f"{len(rungs)} runs: the priors matter"
    if grow_together(rungs):
        notes["together"] = (
            "sizes and tokens grow together: the ends of the runs can't tell the two apart, only "
            "the curves can; runs of one size with different lengths would help"
        )
    whole = fitted.whole
    off = [
        f"{rung.name} ({gap:+.1f} sd)"
        for rung, gap in zip(rungs, whole.off, strict=False)
        if abs(gap) > OFF
    ]
    if off:
        notes["rung_off"] = (
            f"{names_text(off)} lie{'s' if len(off) == 1 else ''} off what the other runs say: "
            f"another loss, tokenizer, data or setting? Leave out what is of another kind"
        )
    spread = float(np.exp(whole.scales[1]))
    if spread > APART:
        notes["levels_differ"] = (
            f"the levels of the runs scatter by {spread:.0%} of the reducible loss: runs with "
            f"different losses, tokenizers or data do not make one ladder; separate them"
        )
    if whole.rhat > MOST_RHAT:
        notes["not_converged"] = f"the sampler's chains differ (R-hat {whole.rhat:.2f})"
    if known.unscheduled:
        notes["constant_rate"] = (
            "no learning-rate schedule is known: rates are taken for constant; with_schedule() or "
            "an lr column would say what annealing won"
        )
    if known.stepless:
        notes["steps_unknown"] = (
            f"{names_text(known.stepless)}: the batch is not known, which matters for how fast the "
            f"loss responds to the learning rate; tokens_per_step= would tell"
        )
    return notes


def target_notes(rungs: list[Rung], params: float, x: Floats, stretched: bool) -> dict[str, str]:
    """Flags of a size that is asked for."""
    notes: dict[str, str] = {}
    largest = max(rung.params for rung in rungs)
    if params > FAR * largest:
        notes["far"] = (
            f"{size_text(params)} is {params / largest:.3g}x the largest size of the ladder "
            f"({size_text(largest)}); forecasts were checked to 4.5x"
        )
    top = max(float(rung.clock.at(rung.tokens[-1:])[0][0]) for rung in rungs)
    if float(x.max()) > BEYOND_TOKENS * top:
        notes["beyond_tokens"] = (
            f"{float(x.max()) / top:.3g}x as far as the longest run of the ladder"
        )
    if stretched:
        notes["schedule_stretched"] = (
            "the schedule is that of the ladder's runs, stretched to end there"
        )
    return notes
