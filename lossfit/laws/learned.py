"""The default: the annealing law with a prior that was learned from many sources."""

from __future__ import annotations

from ._schedule_law import ScheduleLaw

LAW = ScheduleLaw(
    name="learned",
    formula="log L = c - a (1 - (x/xc)^-alpha)/alpha - B (D - Dc) + g",
    doc=(
        "Power law in the cumulative learning rate x for the logarithm of the loss, written "
        "about the last point, a concave response D to changes of the learning rate with a delay, "
        "and a Brownian discrepancy g in log t that starts at the last point.  The prior of all of "
        "its constants depends on what the run looks like, and was learned from public runs of "
        "many domains (`lossfit.forecasts.constants`)."
    ),
    first=0.35,
)
