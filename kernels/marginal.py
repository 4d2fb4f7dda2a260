"""The collapsed posterior: linear parameters and sigma integrated out in closed form.

With y = X beta + eps, beta ~ N(mu, sigma^2 diag(lambda)^-1) and sigma^2 ~ IG(a, b), the marginal density of
the nonlinear parameters is proportional to |X'WX + lambda|^(-1/2) (RSS + 2b)^(-nu/2), nu = n + 2a, with RSS
the penalised residual sum of squares (conjugate linear regression; O'Hagan & Forster 2004, ch. 11).

Columns that do not depend on nonlinear parameters ("fixed") are eliminated once per run.  What is
left to do for a parameter value are a few sums over points and a solve in the varying columns.

Rows of a node, for m varying columns (`row_of_*` give their numbers):
    mean of the varying coefficients (m), upper factor U of their covariance / sigma^2 = U U' (m(m+1)/2),
    coefficients H of the varying columns on the fixed ones (3 m), square root of RSS + 2b.
Given these, beta_V = mean + sigma U z, beta_F = b - H beta_V + sigma U_F z', sigma^2 = (RSS + 2b) / chi2_nu.
"""

from __future__ import annotations

import math

import numpy as np

from .columns import call_column
from .maths import TINY, exp, inline, kernel, log, sums
from .work import LANES, TILE

__all__ = [
    "BASE_B",
    "BASE_NU",
    "BASE_U",
    "evaluate",
    "row_of_h",
    "row_of_q",
    "row_of_u",
    "set_up",
    "solve_one",
]

# Places in work.base; 3 x 3 matrices by rows, padded with the identity.
BASE_B = 0  # coefficients of the fixed columns alone
BASE_INVERSE = 3  # inverse of the Cholesky factor of the fixed block
BASE_U = 12  # its transpose
BASE_Q = 21  # RSS + 2b of the fixed columns alone
BASE_NU = 22
BASE_CENTRE = 23
BASE_FLOOR = 24

# Sums of squares below this share of the total are rounding errors of float64, not information: the
# noise cannot be resolved below 1e-5 of the losses' own spread.
FLOOR = 1e-10


@inline
def row_of_u(m, a, b):
    """Row of U[a, b], a <= b."""
    return m + a * m - (a * (a - 1)) // 2 + (b - a)


@inline
def row_of_h(m, a, k):
    """Row of the coefficient of varying column a on fixed column k."""
    return m + (m * (m + 1)) // 2 + 3 * a + k


@inline
def row_of_q(m):
    """Row of the square root of RSS + 2b."""
    return m + (m * (m + 1)) // 2 + 3 * m


@kernel
def set_up(n_data, n_points, centre, total, model, prior, work):
    """Eliminate the fixed columns: fills ``work.base``, ``work.fixed`` and turns the weighted losses in
    ``work.points`` into weighted residuals of the fixed columns."""
    q = model.n_fixed
    p = q + model.n_varying
    base = work.base
    points = work.points
    for i in range(32):
        base[i] = 0.0
    for k in range(p):
        work.mean[k] = prior.mean[k]
        work.lower[k] = prior.lower[k]
    if model.constant >= 0:
        work.mean[model.constant] -= centre
        work.lower[model.constant] -= centre
        base[BASE_CENTRE] = centre
    else:  # no constant to absorb the centre
        for i in range(n_points):
            points[3, i] += centre * points[2, i]
        # sum w y^2 = sum w (y - c)^2 + c^2 sum w
        weight = 0.0
        for i in range(n_data):
            weight += work.data[1, i]
        total = total + centre * centre * weight
    gram = np.zeros((3, 3))
    rhs = np.zeros(3)
    for k in range(q):
        call_column(
            model.columns[k],
            1,
            n_points,
            1,
            points[0],
            points[1],
            work.theta,
            LANES,
            work.fixed[k],
        )
    for k in range(q):
        for j in range(k + 1):
            s = 0.0
            for i in range(n_points):
                s += points[2, i] * work.fixed[k, i] * work.fixed[j, i]
            gram[k, j] = s
        s = 0.0
        for i in range(n_points):
            s += points[3, i] * work.fixed[k, i]
        gram[k, k] += prior.precision[k]
        rhs[k] = s + prior.precision[k] * work.mean[k]
    for k in range(q, 3):
        gram[k, k] = 1.0
    # Cholesky factor, in place, and its inverse
    for k in range(3):
        for j in range(k + 1):
            s = gram[k, j]
            for i in range(j):
                s -= gram[k, i] * gram[j, i]
            if j < k:
                gram[k, j] = s / gram[j, j]
            else:
                gram[k, k] = math.sqrt(max(s, 1e-14 * gram[k, k]))
    for j in range(3):
        for k in range(j, 3):
            s = 1.0 if k == j else 0.0
            for i in range(j, k):
                s -= gram[k, i] * base[BASE_INVERSE + 3 * i + j]
            base[BASE_INVERSE + 3 * k + j] = s / gram[k, k]
            base[BASE_U + 3 * j + k] = s / gram[k, k]
    rss = total
    for k in range(p):
        rss += prior.precision[k] * work.mean[k] * work.mean[k]
    half = np.zeros(3)
    for k in range(3):
        s = 0.0
        for j in range(k + 1):
            s += base[BASE_INVERSE + 3 * k + j] * rhs[j]
        half[k] = s
        rss -= s * s
    for k in range(3):
        s = 0.0
        for j in range(k, 3):
            s += base[BASE_U + 3 * k + j] * half[j]
        base[BASE_B + k] = s
    base[BASE_FLOOR] = FLOOR * total + 2.0 * prior.shape * prior.scale * prior.scale
    base[BASE_Q] = rss + base[BASE_FLOOR]
    base[BASE_NU] = n_data + 2.0 * prior.shape
    for i in range(n_points):
        fitted = 0.0
        for k in range(q):
            fitted += base[BASE_B + k] * work.fixed[k, i]
        points[3, i] -= points[2, i] * fitted
    for k in range(q):
        for i in range(n_points):
            work.fixed[k, i] *= points[2, i]
    for k in range(q, 3):
        for i in range(n_points):
            work.fixed[k, i] = 0.0


@sums
def _sums_one(n, start, lanes, phi, weight, residual, f0, f1, f2, s):
    """Sums of one varying column: with the residual, with the fixed columns, with itself.

    Four points at a time: each accumulator is then loaded and stored once for four additions.
    """
    sy = s[0]
    s0 = s[1]
    s1 = s[2]
    s2 = s[3]
    sv = s[4]
    stop = n - n % 4
    for p in range(0, stop, 4):
        i = start + p
        w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        r0, r1, r2, r3 = residual[i], residual[i + 1], residual[i + 2], residual[i + 3]
        a0, a1, a2, a3 = f0[i], f0[i + 1], f0[i + 2], f0[i + 3]
        b0, b1, b2, b3 = f1[i], f1[i + 1], f1[i + 2], f1[i + 3]
        c0, c1, c2, c3 = f2[i], f2[i + 1], f2[i + 2], f2[i + 3]
        o = p * lanes
        for j in range(lanes):
            v0 = phi[o + j]
            v1 = phi[o + lanes + j]
            v2 = phi[o + 2 * lanes + j]
            v3 = phi[o + 3 * lanes + j]
            sy[j] += r0 * v0 + r1 * v1 + r2 * v2 + r3 * v3
            s0[j] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
            s1[j] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3
            s2[j] += c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
            sv[j] += w0 * v0 * v0 + w1 * v1 * v1 + w2 * v2 * v2 + w3 * v3 * v3
    for p in range(stop, n):
        i = start + p
        o = p * lanes
        for j in range(lanes):
            v = phi[o + j]
            sy[j] += residual[i] * v
            s0[j] += f0[i] * v
            s1[j] += f1[i] * v
            s2[j] += f2[i] * v
            sv[j] += weight[i] * v * v


@sums
def _sums_pair(n, start, lanes, phi_a, phi_b, weight, s):
    for p in range(n):
        w = weight[start + p]
        o = p * lanes
        for j in range(lanes):
            s[j] += w * phi_a[o + j] * phi_b[o + j]


@sums
def _sums_linear(n, start, lanes, phi, coefficient, s):
    for p in range(n):
        c = coefficient[start + p]
        o = p * lanes
        for j in range(lanes):
            s[j] += c * phi[o + j]


@inline
def solve_one(sy, s0, s1, s2, sv, i00, i10, i11, i20, i21, i22, precision, mean, q0, floor):
    """Conditional posterior of a law with one varying column, from its five sums.

    Returns the coefficient, its sd / sigma, its coefficients on the fixed columns, RSS + 2b, and the
    pivot whose logarithm enters the determinant.
    """
    k0 = i00 * s0
    k1 = i10 * s0 + i11 * s1
    k2 = i20 * s0 + i21 * s1 + i22 * s2
    square = sv + precision
    pivot = max(square - k0 * k0 - k1 * k1 - k2 * k2, 1e-15 * square)
    rhs = sy + precision * mean
    a = rhs / pivot
    q = max(q0 - rhs * a, floor)
    h0 = i00 * k0 + i10 * k1 + i20 * k2
    h1 = i11 * k1 + i21 * k2
    h2 = i22 * k2
    return a, 1.0 / math.sqrt(pivot), h0, h1, h2, q, pivot


@sums
def _solve_lanes_one(lanes, s, base, precision, mean, prior, rows, out):
    i00 = base[BASE_INVERSE]
    i10 = base[BASE_INVERSE + 3]
    i11 = base[BASE_INVERSE + 4]
    i20 = base[BASE_INVERSE + 6]
    i21 = base[BASE_INVERSE + 7]
    i22 = base[BASE_INVERSE + 8]
    q0 = base[BASE_Q]
    floor = base[BASE_FLOOR]
    half_nu = 0.5 * base[BASE_NU]
    f0, f1, f2, f3, f4, f5 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    t0, t1, t2, t3, t4 = s[0], s[1], s[2], s[3], s[4]
    for j in range(lanes):
        a, sd, h0, h1, h2, q, pivot = solve_one(
            t0[j],
            t1[j],
            t2[j],
            t3[j],
            t4[j],
            i00,
            i10,
            i11,
            i20,
            i21,
            i22,
            precision,
            mean,
            q0,
            floor,
        )
        f0[j] = a
        f1[j] = sd
        f2[j] = h0
        f3[j] = h1
        f4[j] = h2
        f5[j] = math.sqrt(q)
        out[j] = prior[j] - 0.5 * log(pivot) - half_nu * log(q)


@kernel
def _solve_lane(j, m, s, base, precision, mean, rows, q_fixed):
    """The same for m varying columns, one lane; returns the log marginal likelihood."""
    k = np.zeros((3, 3))  # inverse factor of the fixed block times the cross sums
    for a in range(m):
        for i in range(3):
            t = 0.0
            for l in range(i + 1):
                t += base[BASE_INVERSE + 3 * i + l] * s[m + 3 * a + l, j]
            k[i, a] = t
    c = np.zeros((3, 3))
    rhs = np.zeros(3)
    log_det = 0.0
    for a in range(m):
        for b in range(a + 1):
            t = s[4 * m + (a * (a + 1)) // 2 + b, j]
            if a == b:
                t += precision[q_fixed + a]
            top = t
            for i in range(3):
                t -= k[i, a] * k[i, b]
            for i in range(b):
                t -= c[a, i] * c[b, i]
            if a == b:
                t = max(t, 1e-15 * top)
                log_det += math.log(t)
                c[a, a] = math.sqrt(t)
            else:
                c[a, b] = t / c[b, b]
        rhs[a] = s[a, j] + precision[q_fixed + a] * mean[q_fixed + a]
    # forward solve, RSS, and U = c^-T
    q = base[BASE_Q]
    for a in range(m):
        t = rhs[a]
        for b in range(a):
            t -= c[a, b] * rhs[b]
        rhs[a] = t / c[a, a]
        q -= rhs[a] * rhs[a]
    q = max(q, base[BASE_FLOOR])
    inverse = np.zeros((3, 3))
    for b in range(m):
        for a in range(b, m):
            t = 1.0 if a == b else 0.0
            for i in range(b, a):
                t -= c[a, i] * inverse[i, b]
            inverse[a, b] = t / c[a, a]
            rows[row_of_u(m, b, a), j] = inverse[a, b]
    for a in range(m):
        t = 0.0
        for b in range(a, m):
            t += inverse[b, a] * rhs[b]
        rows[a, j] = t
        for i in range(3):
            h = 0.0
            for l in range(i, 3):
                h += base[BASE_U + 3 * i + l] * k[l, a]
            rows[row_of_h(m, a, i), j] = h
    rows[row_of_q(m), j] = math.sqrt(q)
    return -0.5 * log_det - 0.5 * base[BASE_NU] * math.log(q)


@kernel
def _log_prior(lanes, d, log_flags, nonlinear, z, theta, out):
    """Log prior density of the coordinates z, and the values of the parameters."""
    for j in range(lanes):
        out[j] = 0.0
    for i in range(d):
        kind = nonlinear[i, 2]
        first = nonlinear[i, 3]
        second = nonlinear[i, 4]
        is_log = log_flags[i] == 1
        for j in range(lanes):
            value = exp(z[i, j]) if is_log else z[i, j]
            theta[i, j] = value
            if is_log:
                out[j] += z[i, j]  # Jacobian
            if kind == 1.0:
                e = (value - first) / second
                out[j] -= 0.5 * e * e
            elif kind == 2.0:
                if value > 0.0:
                    log_value = z[i, j] if is_log else log(max(value, TINY))
                    e = (log_value - math.log(first)) / second
                    out[j] -= 0.5 * e * e + log_value
                else:
                    out[j] = -1e300


@kernel
def evaluate(lanes, n_points, model, prior, work):
    """Collapsed log posterior and conditional posteriors at the coordinates ``work.z[:, :lanes]``.

    Fills ``work.theta``, ``work.rows`` and ``work.logp`` (up to a constant of the run; the density is
    with respect to z).
    """
    m = model.n_varying
    q = model.n_fixed
    points = work.points
    s = work.sums
    _log_prior(lanes, model.n_nonlinear, model.log, prior.nonlinear, work.z, work.theta, work.logp)
    n_sums = 4 * m + (m * (m + 1)) // 2
    for r in range(n_sums):
        for j in range(lanes):
            s[r, j] = 0.0
    start = 0
    while start < n_points:
        n = min(TILE, n_points - start)
        for a in range(m):
            call_column(
                model.columns[q + a],
                0,
                n,
                lanes,
                points[0, start:],
                points[1, start:],
                work.theta,
                LANES,
                work.phi[a],
            )
        if m == 1:
            _sums_one(
                n,
                start,
                lanes,
                work.phi[0],
                points[2],
                points[3],
                work.fixed[0],
                work.fixed[1],
                work.fixed[2],
                s,
            )
        else:
            for a in range(m):
                _sums_linear(n, start, lanes, work.phi[a], points[3], s[a])
                for k in range(q):
                    _sums_linear(n, start, lanes, work.phi[a], work.fixed[k], s[m + 3 * a + k])
                for b in range(a + 1):
                    r = 4 * m + (a * (a + 1)) // 2 + b
                    _sums_pair(n, start, lanes, work.phi[a], work.phi[b], points[2], s[r])
        start += n
    if m == 1:
        _solve_lanes_one(
            lanes,
            s,
            work.base,
            prior.precision[q],
            work.mean[q],
            work.logp,
            work.rows,
            work.logp,
        )
    else:
        for j in range(lanes):
            work.logp[j] += _solve_lane(
                j, m, s, work.base, prior.precision, work.mean, work.rows, q
            )
