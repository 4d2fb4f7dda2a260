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

from numpy import uint64

from .marginal import BASE_B, BASE_NU, BASE_U, row_of_h, row_of_q, row_of_u
from .maths import inline, kernel, log, student_t_logsf
from .philox import gamma, normal_pair, philox, uniform
from .team import lane, real

__all__ = ["draw_coefficients", "log_orthant"]

OPPOSITE = -0.9  # correlation of two coefficients
DEEP = -1.2  # standard deviations beyond a bound; such a coefficient comes first in any case
ZERO = uint64(0)
ONE = uint64(1)
TWO = uint64(2)
SHIFT = uint64(1 << 20)  # streams of the tries of one coefficient


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
        # the bound: draw the power, accept the square root.  Written for T^2 and 1 - w, which are
        # small where nu is large.
        z2 = z * z
        bound = z2 / (nu + z2)
        t2 = z2
        block = ZERO
        for _ in range(1000):
            w0, w1, _w2, _w3 = philox(draw, block, stream, TWO, key)
            block += ONE
            t2 = z2 + (nu + z2) * math.expm1(-2.0 * log(uniform(w0)) / nu)
            u = uniform(w1)
            if u * u * (t2 / (nu + t2)) < bound:
                break
        return math.sqrt(t2)
    t = -z
    for _ in range(1000):
        g = gamma(0.5 * nu, draw, stream, key)
        candidate = _normal(draw, stream, key) * math.sqrt(0.5 * nu / g)
        stream += SHIFT
        if candidate >= -z:
            t = candidate
            break
    return t


# Below, a candidate's coefficients have means mean[:, c] and a factor F of their covariance
# / sigma^2 = F F' in factor[:, :, c], with c the lane of the team.  Conditioning works on the
# factor, as Gram-Schmidt does: coefficients of real curves are nearly collinear, and a covariance
# would lose twice as many digits.  `done` is the set of the coefficients that are drawn already.


@kernel
def _joint(column, n_fixed, m, rows, base, mean, factor):
    """Mean and factor of all coefficients (fixed, then varying) for a column of `rows`."""
    c = lane()
    p = n_fixed + m
    for a in range(m):
        mean[n_fixed + a, c] = rows[a, column]
        for b in range(p):
            factor[n_fixed + a, b, c] = 0.0
        for b in range(a, m):
            factor[n_fixed + a, b, c] = rows[row_of_u(m, a, b), column]
    for k in range(n_fixed):
        t = base[BASE_B + k]
        for a in range(m):
            t -= rows[row_of_h(m, a, k), column] * rows[a, column]
        mean[k, c] = t
        for b in range(m):
            f = real(0.0)
            for a in range(b + 1):
                f -= rows[row_of_h(m, a, k), column] * rows[row_of_u(m, a, b), column]
            factor[k, b, c] = f
        for i in range(n_fixed):
            factor[k, m + i, c] = base[BASE_U + 3 * k + i]


@inline
def _product(i, j, p, factor):
    """Covariance / sigma^2 of coefficients i and j."""
    c = lane()
    t = real(0.0)
    for b in range(p):
        t += factor[i, b, c] * factor[j, b, c]
    return t


@inline
def _is_in(some, i):
    """Whether coefficient i is in a set, which has a bit for each."""
    return (some >> i) & 1 == 1


@kernel
def _condition(k, e, variance, p, done, mean, factor):
    """Condition the coefficients that are not done on a deviation e of coefficient k."""
    c = lane()
    for i in range(p):
        if not _is_in(done, i):
            slope = _product(i, k, p, factor) / variance
            mean[i, c] += slope * e
            for b in range(p):
                factor[i, b, c] -= slope * factor[k, b, c]


@inline
def _tightest(p, done, pair, mean, factor, lower, scale):
    """The coefficient that is not done and least likely within its bound.

    Where no coefficient is deep beyond its bound, the choice is among those of `pair`, if any.

    Returns
    -------
    which : int64
        -1 where no coefficient has a bound.
    z, spread : float64
        Its distance from the bound in standard deviations, and that deviation / sigma.
    least : float64
        The z of the tightest of all.
    """
    c = lane()
    which = -1
    z = 1e300
    spread = 1.0
    of_pair = -1
    z_pair = 1e300
    spread_pair = 1.0
    for i in range(p):
        if not _is_in(done, i) and lower[i] > -1e299:
            sd = math.sqrt(max(_product(i, i, p, factor), 1e-300))
            t = (mean[i, c] - lower[i]) / (sd * scale)
            if t < z:
                z = t
                spread = sd
                which = i
            if _is_in(pair, i) and t < z_pair:
                z_pair = t
                spread_pair = sd
                of_pair = i
    least = z
    if of_pair >= 0 and z >= DEEP:
        which = of_pair
        z = z_pair
        spread = spread_pair
    return which, z, spread, least


@kernel
def _opposite(p, factor, lower):
    """The two coefficients that are the most opposite, if almost so, as a set.

    They leave each other a sliver, which is seen only where one of them comes first.
    """
    pair = 0
    worst = OPPOSITE
    for i in range(p):
        for j in range(i):
            if lower[i] > -1e299 and lower[j] > -1e299:
                v = _product(i, i, p, factor) * _product(j, j, p, factor)
                correlation = _product(i, j, p, factor) / math.sqrt(max(v, 1e-300))
                if correlation < worst:
                    worst = correlation
                    pair = (1 << i) | (1 << j)
    return pair


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
    if z < 0.0 and score >= 12.0:  # erfc will underflow, in single precision soon
        mills = score + 1.0 / (score + 2.0 / (score + 3.0 / score))
        return -0.5 * score * score - math.log(2.5066282746310002 * mills)
    tail = 0.5 * math.erfc(score * 0.7071067811865476)
    return math.log1p(-tail) if z >= 0.0 else math.log(tail)


@kernel
def _mean_excess(z):
    """Mean distance from the cut of a standard normal cut at -z; close enough for a t, too."""
    if z < -8.0:
        return -1.0 / z
    density = math.exp(-0.5 * z * z) / 2.5066282746310002
    return density / (0.5 * math.erfc(-z * 0.7071067811865476)) + z


# What the other constraints leave of the first one's range may be a sliver at its bound (E and A of
# a small exponent are almost opposite): places from the bound in units of the mean distance, and
# their widths.
PLACES = (0.02, 0.09, 0.25, 0.6, 1.1, 1.9)
WIDTHS = (0.05, 0.11, 0.24, 0.45, 0.65, 1.1)


@kernel
def _log_orthant(column, n_fixed, m, rows, base, lower, mean, factor):
    p = n_fixed + m
    root_q = rows[row_of_q(m), column]
    q0 = root_q * root_q
    nu0 = base[BASE_NU]
    _joint(column, n_fixed, m, rows, base, mean, factor)
    pair = _opposite(p, factor, lower)
    first, z0, spread0, least = _tightest(p, 0, pair, mean, factor, lower, math.sqrt(q0 / nu0))
    if first < 0 or _surely_within(least, nu0):
        return real(0.0)
    free = z0 > 4.0  # its cut moves nothing
    distance = _mean_excess(z0)
    norm = real(0.0)
    rest = real(0.0)  # in units of exp(top)
    top = real(-1e300)
    for place in range(1 if free else len(PLACES)):
        if place > 0:
            _joint(column, n_fixed, m, rows, base, mean, factor)
        nu = nu0
        q = q0
        done = 1 << first
        share = real(1.0)
        k = first
        z = z0
        spread = spread0
        move = not free
        excess = distance * PLACES[place]
        if move:
            # The density there relative to that at the bound, or at the mean within it.
            at = excess - z0
            power = excess * (excess - 2.0 * z0) if z0 < 0.0 else at * at
            share = WIDTHS[place] * math.exp(-0.5 * power)
        norm += share
        total = real(0.0)
        for _ in range(1, p):
            if move:
                e = spread * math.sqrt(q / nu) * (excess - z)
                _condition(k, e, spread * spread, p, done, mean, factor)
                q += e * e / (spread * spread)
                nu += 1.0
            k, z, spread, _least = _tightest(p, done, 0, mean, factor, lower, math.sqrt(q / nu))
            if k < 0 or _surely_within(z, nu):
                break
            total += _log_beyond(z, nu)
            done |= 1 << k
            move = z < 4.0
            excess = _mean_excess(z)
        total = max(total, -690.0)
        if total > top:
            rest *= math.exp(top - total)
            top = total
        rest += share * math.exp(total - top)
    return _log_beyond(z0, nu0) + top + math.log(max(rest, 1e-300) / norm)


@inline
def log_orthant(column, n_fixed, m, rows, work):
    """Approximate log probability that the constraints hold, for a column of `rows`.

    The tightest coefficient is put at several places beyond its bound, the following ones at their
    means beyond theirs.  It only guides proposals; the draws' weights make up for it.
    """
    # The work's many arrays are not passed on: that would take longer than the rest.
    return _log_orthant(
        column, n_fixed, m, rows, work.base, work.lower, work.joint_mean, work.joint_factor
    )


@kernel
def _draw_coefficients(column, n_fixed, m, rows, base, lower, mean, factor, draw, stream, key, out):
    c = lane()
    p = n_fixed + m
    _joint(column, n_fixed, m, rows, base, mean, factor)
    q = rows[row_of_q(m), column]
    q = q * q
    nu = base[BASE_NU]
    weight = real(0.0)
    done = 0
    pair = _opposite(p, factor, lower)
    for _ in range(p):
        scale = math.sqrt(q / nu)
        k, z, spread, least = _tightest(p, done, pair, mean, factor, lower, scale)
        if k < 0 or _surely_within(least, nu):
            break
        pair = 0
        weight += student_t_logsf(-z, nu)
        value = mean[k, c] + spread * scale * _cut_t(z, nu, draw, stream, key)
        stream += ONE
        value = max(value, lower[k])
        out[k, column] = value
        done |= 1 << k
        e = value - mean[k, c]
        _condition(k, e, spread * spread, p, done, mean, factor)
        q += e * e / (spread * spread)
        nu += 1.0
    sigma = math.sqrt(0.5 * q / gamma(0.5 * nu, draw, stream, key))
    for k in range(p):
        if not _is_in(done, k):
            stream += ONE
            variance = _product(k, k, p, factor)
            e = sigma * math.sqrt(variance) * _normal(draw, stream, key)
            value = mean[k, c] + e
            out[k, column] = value
            done |= 1 << k
            if variance > 0.0:
                _condition(k, e, variance, p, done, mean, factor)
            if value < lower[k]:
                weight = real(-1e300)
    out[p, column] = sigma
    return weight


@inline
def draw_coefficients(column, n_fixed, m, work, draw, stream, key, out):
    """Draw the coefficients and sigma given the nonlinear parameters in a column of ``work.rows``.

    Parameters
    ----------
    out : float64, shape (>= p + 1, ...)
        Its column is filled with the coefficients (fixed, then varying; centred) and sigma.

    Returns
    -------
    float64
        Log importance weight: its exponential is an unbiased estimate of the probability that the
        constraints hold.
    """
    return _draw_coefficients(
        column,
        n_fixed,
        m,
        work.rows,
        work.base,
        work.lower,
        work.joint_mean,
        work.joint_factor,
        draw,
        stream,
        key,
        out,
    )
