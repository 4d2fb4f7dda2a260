"""The normal distribution: its tails, its quantiles, and draws of it that are positive."""

from __future__ import annotations

import math

from .maths import inline, kernel

__all__ = ["log_normal_cdf", "positive_normal", "upper_quantile"]

FAR = -12.0  # below it the asymptotic series, to 2e-8; erfc is 0 there in single precision


@kernel
def log_normal_cdf(z):
    """Log of the standard normal distribution function."""
    if z > FAR:
        return math.log(0.5 * math.erfc(-z * 0.7071067811865476))
    r = 1.0 / (z * z)
    tail = r * (-1.0 + r * (3.0 + r * (-15.0 + r * 105.0)))
    return -0.5 / r - 0.9189385332046727 - math.log(-z) + math.log1p(tail)


@inline
def positive_normal(mean, sd, u):
    """Normal(mean, sd^2) given > 0, from a uniform, by inversion of the upper tail.

    With the cut more than 6 sd above the mean the tail is exponential to 3 % of its scale.
    """
    z = -mean / sd  # the cut
    if z > 6.0:
        return sd * (-math.log(u) / z)
    # P(Z > z) u is the upper tail of the draw.
    tail = 0.5 * math.erfc(z * 0.7071067811865476) * u
    draw = upper_quantile(tail)
    return max(mean + sd * draw, 0.0)


@inline
def upper_quantile(tail):
    """The z with P(Z > z) = tail, for 0 < tail < 1 (Acklam 2003, and one Halley step)."""
    p = min(tail, 1.0 - tail)
    if p > 0.02425:
        q = p - 0.5
        r = q * q
        z = (
            (((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r
            + 138.3577518672690) * r - 30.66479806614716) * r + 2.506628277459239) * q
            / (((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r
            + 66.80131188771972) * r - 13.28068155288572) * r + 1.0)
        )  # fmt: skip
    else:
        q = math.sqrt(-2.0 * math.log(max(p, 1e-300)))
        z = (
            (((((-0.007784894002430293 * q - 0.3223964580411365) * q - 2.400758277161838) * q
            - 2.549732539343734) * q + 4.374664141464968) * q + 2.938163982698783)
            / ((((0.007784695709041462 * q + 0.3224671290700398) * q + 2.445134137142996) * q
            + 3.754408661907416) * q + 1.0)
        )  # fmt: skip
    # z is the lower quantile of p, negative; refine it.
    e = 0.5 * math.erfc(-z * 0.7071067811865476) - p
    u = e * 2.5066282746310002 * math.exp(0.5 * z * z)
    z -= u / (1.0 + 0.5 * z * u)
    return -z if tail < 0.5 else z
