"""Elementary functions without branches or library calls.

Loops over them vectorise on a CPU (Numba has no SVML by default, and calls to libm stop the
vectoriser) and they run as they are inside CUDA kernels.  Laws may use them in their columns.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import FAST, inline, kernel, scalar, sums

__all__ = [
    "FAST",
    "TINY",
    "exp",
    "inline",
    "kernel",
    "log",
    "log_gamma_ratio",
    "missing",
    "scalar",
    "sincos_turns",
    "student_t_logsf",
    "sums",
]

TINY = 1e-300
LN2 = 0.6931471805599453

floor = np.floor  # by this name, because CUDA has another function for it


@inline
def log(x):
    """Natural logarithm of a normal positive number, relative error about 1e-15.

    The mantissa is brought into [sqrt(1/2), sqrt(2)) by integer arithmetic on its bits, then
    log m = 2 atanh((m - 1)/(m + 1)).
    """
    bits = np.float64(x).view(np.int64)
    shifted = bits - np.int64(0x3FE6A09E667F3BCD)  # sqrt(1/2)
    e = shifted >> np.int64(52)
    m = np.int64(bits - (e << np.int64(52))).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 2 / 15.0 + z * (2 / 17.0 + z * (2 / 19.0 + z * (2 / 21.0)))
    p = 2 / 3.0 + z * (
        2 / 5.0 + z * (2 / 7.0 + z * (2 / 9.0 + z * (2 / 11.0 + z * (2 / 13.0 + z * p))))
    )
    return np.float64(e) * LN2 + (2.0 * s + s * z * p)


@inline
def exp(x):
    """Exponential; the argument is clipped to [-700, 700]. Relative error about 4e-16."""
    x = min(max(x, -700.0), 700.0)
    k = floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    p = 1 / 479001600.0
    p = 1 / 39916800.0 + r * p
    p = 1 / 3628800.0 + r * p
    p = 1 / 362880.0 + r * p
    p = 1 / 40320.0 + r * p
    p = 1 / 5040.0 + r * p
    p = 1 / 720.0 + r * p
    p = 1 / 120.0 + r * p
    p = 1 / 24.0 + r * p
    p = 1 / 6.0 + r * p
    p = 0.5 + r * p
    p = 1.0 + r * p
    p = 1.0 + r * p
    return p * np.int64((np.int64(k) + np.int64(1023)) << np.int64(52)).view(np.float64)


@inline
def missing(x):
    """Whether it is NaN: `math.isnan` is a call in CUDA."""
    return x != x


@inline
def sincos_turns(u):
    """(sin, cos) of 2 pi u for u in [0, 1)."""
    q = floor(4.0 * u + 0.5)
    f = (u - 0.25 * q) * 6.283185307179586  # |f| <= pi/4
    z = f * f
    s = f * (
        1.0
        + z * (-1 / 6.0 + z * (1 / 120.0 + z * (-1 / 5040.0 + z * (1 / 362880.0 - z / 39916800.0))))
    )
    c = 1.0 + z * (
        -0.5
        + z
        * (1 / 24.0 + z * (-1 / 720.0 + z * (1 / 40320.0 + z * (-1 / 3628800.0 + z / 479001600.0))))
    )
    k = np.int64(q) & np.int64(3)
    swap = (k & 1) == 1
    a = c if swap else s
    b = s if swap else c
    a = -a if k >= 2 else a
    b = -b if (k == 1 or k == 2) else b
    return a, b


@inline
def tolerance():
    """Relative change at which iterations stop; CUDA has another one for single precision."""
    return 1e-13


@inline
def log_gamma_ratio(a):
    """Log of gamma(a) / gamma(a + 1/2): recurrence up to a = 8, from there Stirling's series.

    The difference of two `lgamma` loses digits where a is large (and calls a function in CUDA).
    """
    over = 1.0
    under = 1.0
    while a < 8.0:
        over *= a + 0.5
        under *= a
        a += 1.0
    r = 1.0 / a
    s = r * r
    # (2 - 2^(1-2k)) B_2k / (2k (2k - 1)) a^(1-2k), from DLMF 5.11.8
    series = 31 / 18432.0 + s * (-691 / 180224.0 + s * (5461 / 425984.0))
    series = 1 / 8.0 + s * (-1 / 192.0 + s * (1 / 640.0 + s * (-17 / 14336.0 + s * series)))
    return r * series + math.log(over / (under * math.sqrt(a)))


@kernel
def _beta_fraction(a, b, x):
    """Continued fraction of the incomplete beta function (DLMF 8.17.22) by its forward recurrence.

    Two steps are brought to one denominator: they take a single division.
    """
    value = 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    before = value  # numerator and denominator of the approximant before, in the scale of `value`
    before_under = value
    m = 0.0
    for _ in range(500):
        m += 1.0
        even = a + 2.0 * m
        d1 = (even - 1.0) * even
        d2 = even * (even + 1.0)
        one = m * (b - m) * x
        two = -(a + m) * (a + b + m) * x * d1
        odd = d1 * value + one * before
        odd_under = d1 + one * before_under
        scale = 1.0 / (d2 * odd_under + two)
        last = value
        value = (d2 * odd + two * value) * scale
        before = d2 * odd * scale
        before_under = d2 * odd_under * scale
        if abs(value - last) < tolerance() * abs(value):
            break
    return value


@kernel
def student_t_logsf(z, nu):
    """Log P(T > z) for Student's t with nu degrees of freedom."""
    a = 0.5 * nu
    z2 = z * z
    if z2 == 0.0:
        return -LN2
    w = nu / (nu + z2)
    q = z2 / (nu + z2)
    # log of w^a q^(1/2) / B(a, 1/2)
    front = -a * math.log1p(z2 / nu) + 0.5 * math.log(max(q, TINY))
    front -= log_gamma_ratio(a) + 0.5723649429247001
    far = w < (a + 1.0) / (a + 2.5)
    fraction = _beta_fraction(a if far else 0.5, 0.5 if far else a, w if far else q)
    if far:
        tail = front - math.log(a) + math.log(fraction) - LN2
        return tail if z > 0.0 else math.log1p(-math.exp(tail))
    inside = math.exp(front) * fraction  # half of P(|T| < |z|)
    if z > 0.0:
        return math.log(max(0.5 - inside, TINY))
    return math.log(0.5 + inside)
