"""Coefficients under the constraints beta_k >= lower_k, exactly.

Given the nonlinear parameters, the coefficients follow a multivariate t (nu degrees of freedom).
They are drawn one after the other, the tightest constraint first, each from its univariate t cut at
its bound; a t given some of its coordinates is again a t with one more degree of freedom each.  The
product of the cut probabilities is an unbiased estimate of the probability that all constraints
hold (the GHK simulator: Geweke 1991, Hajivassiliou & McFadden 1998), so that it serves as an
importance weight.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint64

from .marginal import BASE_B, BASE_NU, BASE_U, row_of_h, row_of_q, row_of_u
from .maths import inline, kernel, student_t_logsf
from .philox import gamma, normal_pair, philox, uniform

__all__ = ["draw_coefficients", "log_orthant"]

OPPOSITE = -0.9  # correlation of two coefficients
DEEP = -1.2  # standard deviations beyond a bound; such a coefficient comes first in any case
ZERO = uint64(0)
ONE = uint64(1)


@kernel
def _normal(draw, stream, key):
    w0, w1, _w2, _w3 = philox(draw, ZERO, stream, ONE, key)
    first, _second = normal_pair(w0, w1)
    return first


@kernel
def _cut_t(z, nu, draw, stream, key):
    """T ~ t_nu given T >= -z."""
    if -z > 0.5:
        # In the tail w = nu / (nu + T^2) has density w^(nu/2 - 1) (1 - w)^(-1/2) below its value at
        # the bound: draw the power, accept the square root.
        bound = nu / (nu + z * z)
        w = bound
        for block in range(1000):
            w0, w1, _w2, _w3 = philox(draw, uint64(block), stream, uint64(2), key)
            w = bound * uniform(w0) ** (2.0 / nu)
            u = uniform(w1)
            if u * u * (1.0 - w) < 1.0 - bound:
                break
        return math.sqrt(nu * (1.0 - w) / w)
    t = -z
    for block in range(1000):
        shift = uint64(block) * uint64(1 << 20)
        g = gamma(0.5 * nu, draw, stream + shift, key)
        candidate = _normal(draw, stream + shift, key) * math.sqrt(0.5 * nu / g)
        if candidate >= -z:
            t = candidate
            break
    return t


@kernel
def _joint(lane, n_fixed, m, rows, base, mean, cov):
    """Mean and covariance / sigma^2 of all coefficients (fixed, then varying)."""
    factor = np.zeros((6, 6))  # beta - mean = sigma factor z, z = (varying, fixed)
    p = n_fixed + m
    for a in range(m):
        mean[n_fixed + a] = rows[a, lane]
        for b in range(a, m):
            factor[n_fixed + a, b] = rows[row_of_u(m, a, b), lane]
    for k in range(n_fixed):
        t = base[BASE_B + k]
        for a in range(m):
            t -= rows[row_of_h(m, a, k), lane] * rows[a, lane]
        mean[k] = t
        for b in range(m):
            f = 0.0
            for a in range(b + 1):
                f -= rows[row_of_h(m, a, k), lane] * rows[row_of_u(m, a, b), lane]
            factor[k, b] = f
        for i in range(k, n_fixed):
            factor[k, m + i] = base[BASE_U + 3 * k + i]
    for i in range(p):
        for j in range(i + 1):
            t = 0.0
            for b in range(p):
                t += factor[i, b] * factor[j, b]
            cov[i, j] = t
            cov[j, i] = t


@kernel
def _condition(k, value, p, done, mean, cov):
    """Condition the coefficients that are not done on coefficient k.

    Returns its squared deviation in units of its variance / sigma^2.
    """
    v = cov[k, k]
    e = value - mean[k]
    for i in range(p):
        if not done[i]:
            mean[i] += cov[i, k] / v * e
    for i in range(p):
        if not done[i]:
            for j in range(p):
                if not done[j]:
                    cov[i, j] -= cov[i, k] * cov[j, k] / v
    return e * e / v


@kernel
def _tightest(p, done, mean, cov, lower, scale2):
    """The coefficient that is not done and least likely within its bound, and its z."""
    which = -1
    z = 1e300
    for i in range(p):
        if not done[i] and lower[i] > -1e299:
            t = (mean[i] - lower[i]) / math.sqrt(max(cov[i, i], 1e-300) * scale2)
            if t < z:
                z = t
                which = i
    return which, z


@kernel
def _first(p, mean, cov, lower, scale2):
    """The coefficient to cut first, and its z.

    It is the tightest one, unless two coefficients are almost opposite: these leave each other a
    sliver, which is seen only where one of them comes first.
    """
    free = np.zeros(6, np.bool_)
    which, z = _tightest(p, free, mean, cov, lower, scale2)
    if z < DEEP:
        return which, z
    worst = OPPOSITE
    for i in range(p):
        for j in range(i):
            if lower[i] > -1e299 and lower[j] > -1e299:
                correlation = cov[i, j] / math.sqrt(max(cov[i, i] * cov[j, j], 1e-300))
                if correlation < worst:
                    worst = correlation
                    for k in range(p):
                        free[k] = k != i and k != j
                    which, z = _tightest(p, free, mean, cov, lower, scale2)
    return which, z


@inline
def _surely_within(z, nu):
    """Whether a bound z standard deviations away cuts off nothing: beyond 9 for a near-normal t."""
    return z > 40.0 or (z > 9.0 and nu > 50.0)


@kernel
def _log_beyond(z, nu):
    """About log P(T > -z) for Student's t.

    Wallace's normal score (Johnson, Kotz & Balakrishnan 1995, chapter 28).
    """
    score = math.sqrt(nu * math.log1p(z * z / nu)) * (8.0 * nu + 1.0) / (8.0 * nu + 3.0)
    if z >= 0.0:
        return math.log1p(-0.5 * math.erfc(score * 0.7071067811865476))
    if score < 20.0:
        return math.log(0.5 * math.erfc(score * 0.7071067811865476))
    return -0.5 * score * score - math.log(2.5066282746310002 * score)


@kernel
def _mean_beyond(z):
    """Mean of a standard normal cut at -z; close enough for a t, too."""
    if z < -8.0:
        return -z - 1.0 / z
    density = math.exp(-0.5 * z * z) / 2.5066282746310002
    return density / (0.5 * math.erfc(-z * 0.7071067811865476))


# What the other constraints leave of the first one's range may be a sliver at its bound (E and A of
# a small exponent are almost opposite): places from the bound in units of the mean distance, and
# their widths.
PLACES = (0.02, 0.09, 0.25, 0.6, 1.1, 1.9)
WIDTHS = (0.05, 0.11, 0.24, 0.45, 0.65, 1.1)


@kernel
def log_orthant(lane, n_fixed, m, rows, work):
    """Approximate log probability that the constraints hold, for column `lane` of `rows`.

    The tightest coefficient is put at several places beyond its bound, the following ones at their
    means beyond theirs.  It only guides proposals; the draws' weights make up for it.
    """
    p = n_fixed + m
    mean0 = np.empty(6)
    cov0 = np.empty((6, 6))
    done0 = np.zeros(6, np.bool_)
    mean = np.empty(6)
    cov = np.empty((6, 6))
    done = np.zeros(6, np.bool_)
    _joint(lane, n_fixed, m, rows, work.base, mean0, cov0)
    root_q = rows[row_of_q(m), lane]
    q0 = root_q * root_q
    nu0 = work.base[BASE_NU]
    tightest, z0 = _tightest(p, done0, mean0, cov0, work.lower, q0 / nu0)
    if tightest < 0 or _surely_within(z0, nu0):
        return 0.0
    first, z0 = _first(p, mean0, cov0, work.lower, q0 / nu0)
    free = z0 > 4.0  # its cut moves nothing
    sd0 = math.sqrt(max(cov0[first, first], 1e-300) * q0 / nu0)
    distance = _mean_beyond(z0) + z0
    norm = 0.0
    rest = 0.0
    for place in range(1 if free else len(PLACES)):
        for i in range(p):
            mean[i] = mean0[i]
            done[i] = i == first
            for j in range(p):
                cov[i, j] = cov0[i, j]
        nu = nu0
        q = q0
        share = 1.0
        if not free:
            at = distance * PLACES[place] - z0
            share = WIDTHS[place] * math.exp(
                0.5 * (z0 * z0 - at * at) if z0 < 0 else -0.5 * at * at
            )
            q += _condition(first, mean0[first] + sd0 * at, p, done, mean, cov)
            nu += 1.0
        norm += share
        total = 0.0
        for _ in range(1, p):
            k, z = _tightest(p, done, mean, cov, work.lower, q / nu)
            if k < 0 or _surely_within(z, nu):
                break
            total += _log_beyond(z, nu)
            done[k] = True
            if z < 4.0:
                sd = math.sqrt(max(cov[k, k], 1e-300) * q / nu)
                q += _condition(k, mean[k] + sd * _mean_beyond(z), p, done, mean, cov)
                nu += 1.0
        rest += share * math.exp(max(total, -690.0))
    return _log_beyond(z0, nu0) + math.log(max(rest, 1e-300) / norm)


@kernel
def draw_coefficients(lane, n_fixed, m, work, draw, stream, key, out):
    """Draw the coefficients and sigma given the nonlinear parameters of a lane.

    Parameters
    ----------
    out : float64, shape (p + 1,)
        Filled with the coefficients (fixed, then varying; centred) and sigma.

    Returns
    -------
    float64
        Log importance weight: its exponential is an unbiased estimate of the probability that the
        constraints hold.
    """
    p = n_fixed + m
    mean = np.empty(6)
    cov = np.empty((6, 6))
    done = np.zeros(6, np.bool_)
    _joint(lane, n_fixed, m, work.rows, work.base, mean, cov)
    q = work.rows[row_of_q(m), lane]
    q = q * q
    nu = work.base[BASE_NU]
    weight = 0.0
    step = stream
    for number in range(p):
        k, z = _tightest(p, done, mean, cov, work.lower, q / nu)
        if k < 0 or _surely_within(z, nu):
            break
        if number == 0:
            k, z = _first(p, mean, cov, work.lower, q / nu)
        weight += student_t_logsf(-z, nu)
        t = _cut_t(z, nu, draw, step, key)
        step += ONE
        value = mean[k] + math.sqrt(max(cov[k, k], 1e-300) * q / nu) * t
        value = max(value, work.lower[k])
        out[k] = value
        done[k] = True
        q += _condition(k, value, p, done, mean, cov)
        nu += 1.0
    sigma = math.sqrt(0.5 * q / gamma(0.5 * nu, draw, step, key))
    step += ONE
    for k in range(p):
        if not done[k]:
            value = mean[k] + sigma * math.sqrt(max(cov[k, k], 0.0)) * _normal(draw, step, key)
            step += ONE
            out[k] = value
            done[k] = True
            if cov[k, k] > 0.0:
                _condition(k, value, p, done, mean, cov)
            if value < work.lower[k]:
                weight = -1e300
    out[p] = sigma
    return weight
