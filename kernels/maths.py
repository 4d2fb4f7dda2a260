"""Elementary functions without branches or library calls.

Loops over them vectorise on a CPU (Numba has no SVML by default, and calls to libm stop the
vectoriser) and they run as they are inside CUDA kernels.  Laws may use them in their columns.
"""

from __future__ import annotations

import math

import numpy as np

from .cache import cached_njit

__all__ = [
    "FAST",
    "TINY",
    "exp",
    "inline",
    "kernel",
    "log",
    "scalar",
    "sincos_turns",
    "student_t_logsf",
    "sums",
]

TINY = 1e-300
LN2 = 0.6931471805599453

# All that LLVM may do to sums.  NaN and infinity are refused before a kernel is called.
FAST = {"contract", "reassoc", "nsz", "arcp", "nnan", "ninf", "afn"}

# error_model="numpy" matters: Python's tests every divisor for zero, which stops vectorisation.
inline = cached_njit(forceinline=True, error_model="numpy")
scalar = inline  # what a law's columns are decorated with
sums = cached_njit(fastmath=FAST, error_model="numpy", nogil=True)
kernel = cached_njit(error_model="numpy", nogil=True)


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
    k = np.floor(x * 1.4426950408889634 + 0.5)
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
def sincos_turns(u):
    """(sin, cos) of 2 pi u for u in [0, 1)."""
    q = np.floor(4.0 * u + 0.5)
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


@kernel
def _beta_fraction(a, b, x):
    """Continued fraction of the incomplete beta function (modified Lentz; DLMF 8.17.22)."""
    c = 1.0
    d = 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    h = d
    for m in range(1, 500):
        m2 = 2 * m
        step = m * (b - m) * x / ((a - 1.0 + m2) * (a + m2))
        d = 1.0 / (1.0 + step * d)
        c = 1.0 + step / c
        h *= d * c
        step = -(a + m) * (a + b + m) * x / ((a + m2) * (a + 1.0 + m2))
        d = 1.0 / (1.0 + step * d)
        c = 1.0 + step / c
        h *= d * c
        if abs(d * c - 1.0) < 1e-13:
            break
    return h


@kernel
def student_t_logsf(z, nu):
    """Log P(T > z) for Student's t with nu degrees of freedom."""
    a = 0.5 * nu
    z2 = z * z
    w = nu / (nu + z2)
    q = z2 / (nu + z2)
    lbeta = math.lgamma(a) + 0.5723649429247001 - math.lgamma(a + 0.5)  # log B(nu/2, 1/2)
    if w < (a + 1.0) / (a + 2.5):
        tail = (
            -a * math.log1p(z2 / nu)
            + 0.5 * math.log(max(q, TINY))
            - lbeta
            - math.log(a)
            + math.log(_beta_fraction(a, 0.5, w))
            - LN2
        )
        return tail if z > 0 else math.log1p(-math.exp(tail))
    if z == 0.0:
        return -LN2
    inside = math.exp(-a * math.log1p(z2 / nu) + 0.5 * math.log(q) - lbeta)
    inside *= 2.0 * _beta_fraction(0.5, a, q)
    if z > 0:
        return math.log(max(0.5 - 0.5 * inside, TINY))
    return math.log(0.5 + 0.5 * inside)
