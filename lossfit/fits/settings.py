"""How a fit was made."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

DOF = 4.0  # of Student-t noise


@dataclass(frozen=True)
class Settings:
    """How a fit was made."""

    # axis, window, method, noise, device, dtype: as in `lossfit.fit`, with "auto" resolved (but for
    # the window, whose rule is named)
    axis: str
    window: str
    method: str
    noise: str
    device: str
    random_seed: int
    # chains, draws: chains, and draws in each
    chains: int
    draws: int
    prob: float  # probability of a kept summary's intervals
    dtype: str = "float64"
    engine: str = "compiled"  # "compiled", or "uncompiled" for kernels that served in plain Python
    # time, ISO 8601, UTC
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def exact(self) -> bool:
        """Whether the draws are exact and independent (quadrature, Gaussian noise)."""
        return self.method == "quadrature" and self.noise == "gaussian"
