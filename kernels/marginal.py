"""The collapsed posterior: linear parameters and sigma integrated out in closed form.

With y = X beta + eps, beta ~ N(mu, sigma^2 diag(lambda)^-1) and sigma^2 ~ IG(a, b), the marginal
density of the nonlinear parameters is proportional to |X'WX + lambda|^(-1/2) (RSS + 2b)^(-nu/2), nu
= n + 2a, with RSS the penalised residual sum of squares (conjugate linear regression; O'Hagan &
Forster 2004, ch. 11).

Columns that do not depend on nonlinear parameters ("fixed") are eliminated once per run.  What is
left to do for a parameter value are a few sums over points and a solve in the varying columns.

Rows of a node, for m varying columns (`row_of_*` give their numbers):
    mean of the varying coefficients (m), upper factor U of their covariance / sigma^2 = U U'
    (m(m+1)/2), coefficients H of the varying columns on the fixed ones (3 m), square root of RSS +
    2b.
Given these, beta_V = mean + sigma U z, beta_F = b - H beta_V + sigma U_F z', sigma^2 = (RSS + 2b) /
chi2_nu.
"""

from __future__ import annotations

import math

from .columns import call_column
from .maths import TINY, exp, inline, kernel, log, sums
from .team import lane, real, sync, team_sum, width
from .work import LANES, TILE

__all__ = [
    "BASE_B",
    "BASE_NU",
    "BASE_U",
    "evaluate",
    "fill_fixed",
    "log_prior",
    "on_fixed",
    "row_of_h",
    "row_of_q",
    "row_of_u",
    "schur_pivot",
    "set_up",
    "solve",
    "values",
]

# Places in work.base; 3 x 3 matrices by rows, padded with the identity.
BASE_B = 0  # coefficients of the fixed columns alone
BASE_INVERSE = 3  # inverse of the Cholesky factor of the fixed block
BASE_U = 12  # its transpose
BASE_Q = 21  # RSS + 2b of the fixed columns alone
BASE_NU = 22
BASE_CENTRE = 23
BASE_FLOOR = 24
BASE_GRAM = 25  # scratch of `set_up`: Gram matrix of the fixed columns, then its Cholesky factor
BASE_RHS = 34
BASE_HALF = 37
BASE_SIZE = 40

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
def fill_fixed(k, n_points, model, work):
    """Fixed column k at the points, in ``work.fixed[k]``."""
    points = work.points
    call_column(
        model.columns[k], 1, n_points, 1, points[0], points[1], work.theta, LANES, work.fixed[k]
    )


@kernel
def set_up(n_data, n_points, centre, total, mass, model, prior, work):
    """Eliminate the fixed columns.

    Fills ``work.base`` and ``work.fixed``, and turns the weighted losses in ``work.points`` into
    weighted residuals of the fixed columns.
    """
    q = model.n_fixed
    p = q + model.n_varying
    base = work.base
    points = work.points
    for i in range(lane(), BASE_SIZE, width()):
        base[i] = 0.0
    sync()
    for k in range(lane(), p, width()):
        work.mean[k] = prior.mean[k] - (centre if k == model.constant else 0.0)
        work.lower[k] = prior.lower[k] - (centre if k == model.constant else 0.0)
    if model.constant < 0:  # no constant to absorb the centre
        for i in range(lane(), n_points, width()):
            points[3, i] += centre * points[2, i]
        # sum w y^2 = sum w (y - c)^2 + c^2 sum w
        total = total + centre * centre * mass
    for k in range(q):
        fill_fixed(k, n_points, model, work)
    sync()
    for k in range(q):
        for j in range(k + 1):
            s = real(0.0)
            for i in range(lane(), n_points, width()):
                s += points[2, i] * work.fixed[k, i] * work.fixed[j, i]
            s = team_sum(s)
            if lane() == 0:
                base[BASE_GRAM + 3 * k + j] = s
        s = real(0.0)
        for i in range(lane(), n_points, width()):
            s += points[3, i] * work.fixed[k, i]
        s = team_sum(s)
        if lane() == 0:
            base[BASE_GRAM + 4 * k] += prior.precision[k]
            base[BASE_RHS + k] = s + prior.precision[k] * work.mean[k]
    sync()
    if lane() == 0:
        if model.constant >= 0:
            base[BASE_CENTRE] = centre
        _eliminate(n_data, q, p, total, prior, work)
    sync()
    for i in range(lane(), n_points, width()):
        fitted = real(0.0)
        for k in range(q):
            fitted += base[BASE_B + k] * work.fixed[k, i]
        points[3, i] -= points[2, i] * fitted
        for k in range(q):
            work.fixed[k, i] *= points[2, i]
        for k in range(q, work.fixed.shape[0]):
            work.fixed[k, i] = 0.0
    sync()


@kernel
def _eliminate(n_data, q, p, total, prior, work):
    """Factor the fixed block and solve for its coefficients, in ``work.base``."""
    base = work.base
    for k in range(q, 3):
        base[BASE_GRAM + 4 * k] = 1.0
    # Cholesky factor, in place, and its inverse
    for k in range(3):
        for j in range(k + 1):
            s = base[BASE_GRAM + 3 * k + j]
            for i in range(j):
                s -= base[BASE_GRAM + 3 * k + i] * base[BASE_GRAM + 3 * j + i]
            if j < k:
                base[BASE_GRAM + 3 * k + j] = s / base[BASE_GRAM + 4 * j]
            else:
                base[BASE_GRAM + 4 * k] = math.sqrt(max(s, 1e-14 * base[BASE_GRAM + 4 * k]))
    for j in range(3):
        for k in range(j, 3):
            s = real(1.0) if k == j else real(0.0)
            for i in range(j, k):
                s -= base[BASE_GRAM + 3 * k + i] * base[BASE_INVERSE + 3 * i + j]
            base[BASE_INVERSE + 3 * k + j] = s / base[BASE_GRAM + 4 * k]
            base[BASE_U + 3 * j + k] = s / base[BASE_GRAM + 4 * k]
    rss = total
    for k in range(p):
        rss += prior.precision[k] * work.mean[k] * work.mean[k]
    for k in range(3):
        s = real(0.0)
        for j in range(k + 1):
            s += base[BASE_INVERSE + 3 * k + j] * base[BASE_RHS + j]
        base[BASE_HALF + k] = s
        rss -= s * s
    for k in range(3):
        s = real(0.0)
        for j in range(k, 3):
            s += base[BASE_U + 3 * k + j] * base[BASE_HALF + j]
        base[BASE_B + k] = s
    base[BASE_FLOOR] = FLOOR * total + 2.0 * prior.shape * prior.scale * prior.scale
    base[BASE_Q] = rss + base[BASE_FLOOR]
    base[BASE_NU] = real(n_data) + 2.0 * prior.shape


# LLVM compares pointers at run time before it vectorises a loop, and gives up beyond 8 comparisons:
# so every loop below has one output and few inputs.


@sums
def _sums_linear(n, start, lanes, phi, coefficient, s):
    """s[j] += sum_p coefficient[start + p] phi[p, j].

    Four points at a time, so that s is loaded and stored less often.
    """
    stop = n - n % 4
    for p in range(0, stop, 4):
        i = start + p
        c0, c1, c2, c3 = coefficient[i], coefficient[i + 1], coefficient[i + 2], coefficient[i + 3]
        o = p * lanes
        o1 = o + lanes
        o2 = o1 + lanes
        o3 = o2 + lanes
        for j in range(lanes):
            s[j] += c0 * phi[o + j] + c1 * phi[o1 + j] + c2 * phi[o2 + j] + c3 * phi[o3 + j]
    for p in range(stop, n):
        c0 = coefficient[start + p]
        o = p * lanes
        for j in range(lanes):
            s[j] += c0 * phi[o + j]


@sums
def _sums_pair(n, start, lanes, phi_a, phi_b, weight, s):
    """s[j] += sum_p weight[start + p] phi_a[p, j] phi_b[p, j]."""
    stop = n - n % 4
    for p in range(0, stop, 4):
        i = start + p
        c0, c1, c2, c3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        o = p * lanes
        o1 = o + lanes
        o2 = o1 + lanes
        o3 = o2 + lanes
        for j in range(lanes):
            s[j] += (
                c0 * phi_a[o + j] * phi_b[o + j]
                + c1 * phi_a[o1 + j] * phi_b[o1 + j]
                + c2 * phi_a[o2 + j] * phi_b[o2 + j]
                + c3 * phi_a[o3 + j] * phi_b[o3 + j]
            )
    for p in range(stop, n):
        c0 = weight[start + p]
        o = p * lanes
        for j in range(lanes):
            s[j] += c0 * phi_a[o + j] * phi_b[o + j]


@inline
def schur_pivot(s0, s1, s2, sv, i00, i10, i11, i20, i21, i22, precision):
    """Squared norm of a varying column that the fixed columns do not explain."""
    k0 = i00 * s0
    k1 = i10 * s0 + i11 * s1
    k2 = i20 * s0 + i21 * s1 + i22 * s2
    square = sv + precision
    return max(square - k0 * k0 - k1 * k1 - k2 * k2, 1e-15 * square)


@inline
def on_fixed(s0, s1, s2, i00, i10, i11, i20, i21, i22):
    """Coefficients of a varying column on the three fixed columns, from its sums with them."""
    k0 = i00 * s0
    k1 = i10 * s0 + i11 * s1
    k2 = i20 * s0 + i21 * s1 + i22 * s2
    return i00 * k0 + i10 * k1 + i20 * k2, i11 * k1 + i21 * k2, i22 * k2


@sums
def _pivots(lanes, s, base, precision, out):
    i00, i10, i11 = base[BASE_INVERSE], base[BASE_INVERSE + 3], base[BASE_INVERSE + 4]
    i20, i21, i22 = base[BASE_INVERSE + 6], base[BASE_INVERSE + 7], base[BASE_INVERSE + 8]
    s0, s1, s2, sv = s[1], s[2], s[3], s[4]
    for j in range(lanes):
        out[j] = schur_pivot(s0[j], s1[j], s2[j], sv[j], i00, i10, i11, i20, i21, i22, precision)


@sums
def _on_fixed(lanes, k, s, base, out):
    i00, i10, i11 = base[BASE_INVERSE], base[BASE_INVERSE + 3], base[BASE_INVERSE + 4]
    i20, i21, i22 = base[BASE_INVERSE + 6], base[BASE_INVERSE + 7], base[BASE_INVERSE + 8]
    s0, s1, s2 = s[1], s[2], s[3]
    if k == 0:
        for j in range(lanes):
            out[j] = on_fixed(s0[j], s1[j], s2[j], i00, i10, i11, i20, i21, i22)[0]
    elif k == 1:
        for j in range(lanes):
            out[j] = on_fixed(s0[j], s1[j], s2[j], i00, i10, i11, i20, i21, i22)[1]
    else:
        for j in range(lanes):
            out[j] = on_fixed(s0[j], s1[j], s2[j], i00, i10, i11, i20, i21, i22)[2]


@sums
def _coefficients(lanes, shift, sy, pivot, out):
    for j in range(lanes):
        out[j] = (sy[j] + shift) / pivot[j]


@sums
def _squares(lanes, q0, floor, shift, sy, coefficient, out):
    for j in range(lanes):
        out[j] = max(q0 - (sy[j] + shift) * coefficient[j], floor)


@sums
def _add_log_marginal(lanes, half_nu, pivot, q, out):
    for j in range(lanes):
        out[j] -= 0.5 * log(pivot[j]) + half_nu * log(q[j])


@sums
def _square_roots(lanes, pivot, q):
    for j in range(lanes):
        q[j] = math.sqrt(q[j])
        pivot[j] = 1.0 / math.sqrt(pivot[j])


@kernel
def _solve_lanes_one(lanes, s, base, precision, mean, rows, out):
    """Conditional posteriors of a law with one varying column; adds the log marginal to `out`."""
    shift = precision * mean
    _pivots(lanes, s, base, precision, rows[1])
    _coefficients(lanes, shift, s[0], rows[1], rows[0])
    _squares(lanes, base[BASE_Q], base[BASE_FLOOR], shift, s[0], rows[0], rows[5])
    _add_log_marginal(lanes, 0.5 * base[BASE_NU], rows[1], rows[5], out)
    _square_roots(lanes, rows[1], rows[5])
    for k in range(3):
        _on_fixed(lanes, k, s, base, rows[2 + k])


@kernel
def _solve_lane(j, m, s, base, precision, mean, rows, q_fixed, small):
    """The same for m varying columns, one lane; returns the log marginal likelihood."""
    small[:] = 0.0
    k = small[0]  # inverse factor of the fixed block times the cross sums
    for a in range(m):
        for i in range(3):
            t = 0.0
            for b in range(i + 1):
                t += base[BASE_INVERSE + 3 * i + b] * s[m + 3 * a + b, j]
            k[i, a] = t
    c = small[1]
    inverse = small[2]
    rhs = small[3, 0]
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
            for b in range(i, 3):
                h += base[BASE_U + 3 * i + b] * k[b, a]
            rows[row_of_h(m, a, i), j] = h
    rows[row_of_q(m), j] = math.sqrt(q)
    return -0.5 * log_det - 0.5 * base[BASE_NU] * math.log(q)


@sums
def values(lanes, is_log, z, theta):
    """Values of a nonlinear parameter from its coordinate."""
    if is_log:
        for j in range(lanes):
            theta[j] = exp(z[j])
    else:
        for j in range(lanes):
            theta[j] = z[j]


@inline
def log_prior(is_log, kind, first, inverse, z, theta):
    """Log prior density of a coordinate (kinds: `lossfit.priors.KIND_CODES`).

    ``first`` is the logarithm of the prior's first number for a log-normal, ``inverse`` one over
    the second.
    """
    if kind == 2.0:
        if is_log:  # the Jacobian is theta; it cancels the 1/theta of a log-normal
            e = (z - first) * inverse
            return -0.5 * e * e
        log_value = log(max(theta, TINY))
        e = (log_value - first) * inverse
        return -0.5 * e * e - log_value if theta > 0.0 else -1e300
    density = z if is_log else z - z
    if kind == 1.0:
        e = (theta - first) * inverse
        density -= 0.5 * e * e
    return density


@sums
def _add_log_prior(lanes, is_log, kind, first, second, z, theta, out):
    inverse = 1.0 / second if second != 0.0 else 0.0
    if kind == 2.0:
        first = log(first)
    # Branches that do not depend on the lane stay outside: the loops then vectorise.
    if is_log:
        if kind == 2.0:
            for j in range(lanes):
                out[j] += log_prior(True, 2.0, first, inverse, z[j], theta[j])
        elif kind == 1.0:
            for j in range(lanes):
                out[j] += log_prior(True, 1.0, first, inverse, z[j], theta[j])
        else:
            for j in range(lanes):
                out[j] += log_prior(True, 0.0, first, inverse, z[j], theta[j])
    elif kind == 2.0:
        for j in range(lanes):
            out[j] += log_prior(False, 2.0, first, inverse, z[j], theta[j])
    elif kind == 1.0:
        for j in range(lanes):
            out[j] += log_prior(False, 1.0, first, inverse, z[j], theta[j])


@kernel
def solve(lanes, s, z, theta, model, prior, base, mean, rows, small, out):
    """From sums to log posteriors and conditional posteriors.

    ``theta`` holds the values at the coordinates ``z``; ``out`` is filled with the log posterior
    density with respect to z, ``rows`` with the conditional posteriors.
    """
    m = model.n_varying
    q = model.n_fixed
    for j in range(lanes):
        out[j] = 0.0
    for i in range(model.n_nonlinear):
        kind = prior.nonlinear[i, 2]
        first = prior.nonlinear[i, 3]
        second = prior.nonlinear[i, 4]
        _add_log_prior(lanes, model.log[i] == 1, kind, first, second, z[i], theta[i], out)
    if m == 1:
        precision = prior.precision[q]
        _solve_lanes_one(lanes, s, base, precision, mean[q], rows, out)
    else:
        for j in range(lanes):
            out[j] += _solve_lane(j, m, s, base, prior.precision, mean, rows, q, small)


@kernel
def evaluate(lanes, n_points, model, prior, work):
    """Collapsed log posterior and conditional posteriors at the coordinates ``work.z[:, :lanes]``.

    Fills ``work.theta``, ``work.sums``, ``work.rows`` and ``work.logp`` (up to a constant of the
    run; the density is with respect to z).
    """
    m = model.n_varying
    q = model.n_fixed
    points = work.points
    s = work.sums
    for i in range(model.n_nonlinear):
        values(lanes, model.log[i] == 1, work.z[i], work.theta[i])
    n_sums = 4 * m + (m * (m + 1)) // 2
    for r in range(n_sums):
        for j in range(lanes):
            s[r, j] = 0.0
    for start in range(0, n_points, TILE):
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
        for a in range(m):
            _sums_linear(n, start, lanes, work.phi[a], points[3], s[a])
            for k in range(q):
                _sums_linear(n, start, lanes, work.phi[a], work.fixed[k], s[m + 3 * a + k])
            for b in range(a + 1):
                r = 4 * m + (a * (a + 1)) // 2 + b
                _sums_pair(n, start, lanes, work.phi[a], work.phi[b], points[2], s[r])
    solve(
        lanes, s, work.z, work.theta, model, prior, work.base, work.mean, work.rows, work.small,
        work.logp,
    )  # fmt: skip
