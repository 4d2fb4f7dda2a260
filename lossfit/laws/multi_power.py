"""Multi-power law (Luo et al. 2025, arXiv 2503.12811), with the default's discrepancy."""

from __future__ import annotations

from dataclasses import replace

from ._schedule_law import Unit
from .annealing import LAW as ANNEALING

# The paper's constants for 25M, 100M and 400M: C 2.02 to 2.13 per unit of learning rate to the
# power 1 - gamma, beta .58 to .60, gamma .63 to .66, at a peak of 3e-4: C peak^(1 - gamma) is
# 0.11 to 0.13 per step at the peak rate.
RATES = (0.03, 0.11, 0.4)

LAW = replace(
    ANNEALING,
    name="multi_power",
    formula="Lc - a (1 - (x/xc)^-alpha)/alpha - B (LD - LDc) + g",
    doc=(
        "As annealing, with the loss drop LD of the multi-power law as the response: a sum over "
        "drops of the learning rate of 1 - (1 + C rho^-gamma S)^-beta, S the cumulative learning "
        "rate since then."
    ),
    units=tuple(Unit("multi_power", rate, beta, 0.64) for beta in (0.5, 0.6) for rate in RATES),
)
