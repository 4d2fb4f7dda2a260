"""Flags of fits: what a careful reader of a posterior would want to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._base.ragged import Bools
from ..runs.labels import names_text

FEW_POINTS = 12
MOST_RHO = 0.5
MOST_AT_BOUND = 0.05
LEAST_ACCEPTANCE = 0.9
CONTRADICTION = 1e-4  # as a normal estimate 3.7 standard errors below zero

FIT_MEANINGS = {
    "residual_autocorrelation": "neighbouring residuals are correlated (rho > 0.5): the law misses "
    "part of the curve, and its intervals are too narrow",
    "at_bound": "more than 5 % of the posterior lie at a bound of a nonlinear parameter",
    "positivity": "without the constraints E, A, B >= 0 more than 10 % of the posterior would be "
    "negative",
    "contradicted": "the data contradict E, A, B >= 0: without these constraints less than 1e-4 of "
    "the posterior would meet them; the law does not suit this curve",
    "few_points": "fewer than 12 points in the window: the prior matters",
    "sampled": "E, A, B >= 0 exclude nearly everything that the data say; the ensemble sampler "
    "drew in place of quadrature",
    "not_converged": "the sampler did not reach its targets; raise tune or draws",
}

ANSWER_MEANINGS = {
    "interpolation": "the target lies within the data",
    "far": "more than twice as far as the data reach",
    "untested": "beyond the farthest horizon at which forecasts were checked: 16x the data (4x for "
    "a finished run under a longer plan, 3.3x for laws by name)",
    "short_span": "the answer looks farther ahead than the data reach back (the end over the first "
    "point): too little of the curve to tell its shape; where the counter did not begin with this "
    "run (fine-tuning, the last part of a log), count from its start",
    "below_zero": "under a law of the answer the median curve is below zero there",
    "below_floor": "a linear term takes the median curve below the law's own floor E",
    "law_disagreement": "the laws' medians differ by more than the widest of their intervals",
    "schedule_unknown": "the learning-rate schedule is not known: the answer averages over five "
    "that end at the planned total, or at a target beyond it; schedule= or an lr column would "
    "sharpen it",
    "no_plan": "neither the learning-rate schedule nor the planned end of the run is known: the "
    "answer averages over schedules and ends; schedule=, an lr column or total= would sharpen it",
    "schedule_stretched": "the target lies beyond the end of the schedule, or beyond total=: the "
    "plan was stretched to end there; schedule= names another continuation",
    "schedule_held": "the learning rate is taken to stay at its last logged value; schedule= or "
    "total= changes that",
    "broken": "the run broke (it diverged, jumped, rises or ends in NaN), or its log begins late: "
    "its past does not go on; cut the log (Runs.until) to forecast what came before",
    "broken_left_out": "runs that broke were left out of what was learned from others (siblings=, "
    "calibrate_on=, share=)",
    "longer_plan": "the run has come to the end of its plan: this is the loss had it been planned "
    "to end at the target, with the gains that finished runs were seen to have",
    "schedule_over": "the data go on beyond the end of the run's schedule: check its total and its "
    "axis",
    "total_disagrees": "the logged learning rate follows a cosine, a line or a cooldown to an "
    "earlier end than total=: the answer averages over five ways from its last value to that end",
    "domain_by_name": "taken for no language model, by a word in the run's name; domain='text' "
    "says otherwise",
    "no_fall": "the losses show no fall: they go up and down as if about a level, or rise; the "
    "answer is little more than that level",
    "total_far": "the planned end is a thousand times the data or more; is it meant in their unit?",
    "response_from_prior": "the learning rate has not moved enough yet to tell what lowering it "
    "will win: that part of the answer rests on the prior; siblings= (finished runs of the same "
    "project) would sharpen it",
    "runs_disagree": "one of the runs that are fitted together lies off the curve of the others: "
    "are they of one model, on the same data, with losses of one kind?",
    "siblings_unused": "fewer than two of the sibling runs could tell how the loss responds to "
    "the learning rate: the shipped prior was used",
    "steps_unknown": "the run counts no steps: it is taken to have made 20,000 up to here, which "
    "only matters for how fast the loss responds to the learning rate",
    "smoothed_noise": "the losses were smoothed before logging (an exponential moving average): "
    "their noise was corrected for it",
    "ladder": "pooled with what a ladder of finished runs of other sizes says",
    "ladder_not_converged": "the chains of the ladder's sampler differ (R-hat above 1.1): answers "
    "with other random_seed= show by how much the ladder's part may be off",
    "calibrated": "the interval was widened or narrowed by backtests on the runs of calibrate_on",
    "not_calibrated": "calibrate_on gave too few forecasts to learn from: the interval was left as "
    "it is",
}

# Flags that do not, by themselves, make an answer suspicious: they are in the frames only.
QUIET = frozenset(
    {
        "rounded",
        "smoothed",
        "renamed_columns",
        "ignored_columns",
        "unused",
        "zero_axis",
        "missing",
        "duplicate_step",
        "restart",
        "unusable_axis",
        "validation",
        "other_losses",
        "run_average",
        "window_average",
        "single_batch",
        "unknown_lr",
        "stepless",
        "other_lines",
        "cut_line",
        "positivity",
        "interpolation",
        "steps_unknown",
        "domain_by_name",
        "smoothed_noise",
        "schedule_stretched",
        "calibrated",
        "ladder",
    }
)


def fit_flags(
    count: np.ndarray[tuple[int], np.dtype[np.integer]],
    info: Mapping[str, Any] | np.ndarray[tuple[int], np.dtype[np.void]],
) -> dict[str, Bools]:
    """The fit's own flags: for each, which runs have it (shape (n_runs,)).  NaN sets no flag.

    ``info`` has the fields of `lossfit.kernels.records.FIT`.
    """
    acceptance, status = info["acceptance"], info["status"]
    return {
        "few_points": np.asarray(count < FEW_POINTS),
        "residual_autocorrelation": np.asarray(info["rho1"] > MOST_RHO),
        "at_bound": np.asarray(info["bound_share"] > MOST_AT_BOUND),
        "positivity": np.asarray(acceptance < LEAST_ACCEPTANCE),
        "contradicted": np.asarray(acceptance < CONTRADICTION),
        "sampled": np.asarray(status == 1),
        "not_converged": np.asarray(status == 2),
    }


def warning_text(
    names: Sequence[str], flags: Sequence[Iterable[str]], meanings: dict[str, str]
) -> str:
    """One text for all flags that matter, with the runs that have them; "" if there are none."""
    by_flag: dict[str, list[str]] = {}
    for name, flags_of_run in zip(names, flags, strict=True):
        for flag in flags_of_run:
            if flag in QUIET:
                continue
            if flag not in by_flag or by_flag[flag][-1] != name:
                by_flag.setdefault(flag, []).append(name)
    return flags_text(by_flag, meanings)


def runs_by_flag(
    fit: Mapping[str, Bools],  # shape (n_runs,): what `fit_flags` gives
    # dict of sequence of str: flags of the data by the number of the run
    data: Mapping[int, Sequence[str]],
) -> dict[str, list[int]]:
    """The runs that have each flag that matters, by their numbers.

    Flags are in the order of their first runs; those of one run in the order in which it has them,
    the fit's own first.
    """
    runs: dict[str, list[int]] = {}
    place: dict[tuple[str, int], int] = {}  # of a flag in a run
    for k, (flag, has) in enumerate(fit.items()):
        if flag not in QUIET and has.any():
            runs[flag] = np.flatnonzero(has).tolist()
            place[flag, runs[flag][0]] = k
    for run, flags in data.items():
        for k, flag in enumerate(flags, len(fit)):
            if flag not in QUIET:
                runs.setdefault(flag, []).append(run)
                place.setdefault((flag, run), k)
    runs = {flag: sorted(set(numbers)) for flag, numbers in runs.items()}
    order = sorted(runs, key=lambda flag: (runs[flag][0], place[flag, runs[flag][0]]))
    return {flag: runs[flag] for flag in order}


def flags_text(by_flag: Mapping[str, Sequence[str]], meanings: Mapping[str, str]) -> str:
    """One text for flags, with the runs that have them; "" if there are none."""
    parts = [
        f"{flag} ({names_text(runs)}): {meanings.get(flag, 'see Runs.flags')}"
        for flag, runs in by_flag.items()
    ]
    return "; ".join(parts)
