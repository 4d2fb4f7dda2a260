"""Lossless compression of a run to a few weighted pseudo-points.

A law's columns are smooth in log x, so sums over the data such as sum_i w_i f(x_i) are reproduced
by sum_p W_p f(x_p) over P Chebyshev nodes of log x.  With u in [-1, 1] the scaled log x, the
weights come from moments: M_k = sum_i w_i T_k(u_i), W_p = sum_k M_k D_kp, D_kp = (2 - [k = 0])
T_k(u_p) / P; then sum_p W_p f(u_p) = sum_i w_i (I f)(u_i), with I f the interpolant of f at the
nodes.  The moments need no transcendental function, do not depend on the law, and everything after
them does not depend on the number of data.  W may be negative: these are quadrature weights, not
data.
"""

from __future__ import annotations

from .maths import exp, kernel, log, sums
from .work import SLACK

__all__ = ["compress", "prefix_moments"]


@sums
def _log(n, x, out):
    for i in range(n):
        out[i] = log(x[i])


@sums
def _weighted_mean(n, y, w):
    s = 0.0
    t = 0.0
    for i in range(n):
        s += w[i]
        t += w[i] * y[i]
    return t / s, s


@sums
def _centre(n, y, w, centre, weight, weighted):
    total = 0.0
    for i in range(n):
        e = y[i] - centre
        v = w[i] * e
        weight[i] = w[i]
        weighted[i] = v
        total += v * e
    return total


@sums
def _start(n, log_x, middle, inv_half, u2, t0, t1):
    for i in range(n):
        u = (log_x[i] - middle) * inv_half
        u2[i] = 2.0 * u
        t0[i] = 1.0
        t1[i] = u


@sums
def _four_moments(n, u2, t0, t1, w, v, out, k):
    """Moments k to k + 3 of w and of v, by T_{k+1} = 2u T_k - T_{k-1}."""
    a0 = a1 = a2 = a3 = 0.0
    b0 = b1 = b2 = b3 = 0.0
    for i in range(n):
        d = u2[i]
        p = t0[i]
        q = t1[i]
        wi = w[i]
        vi = v[i]
        p1 = d * q - p
        q1 = d * p1 - q
        a0 += p * wi
        a1 += q * wi
        a2 += p1 * wi
        a3 += q1 * wi
        b0 += p * vi
        b1 += q * vi
        b2 += p1 * vi
        b3 += q1 * vi
        p = d * q1 - p1
        t0[i] = p
        t1[i] = d * p - q1
    out[0, k] = a0
    out[0, k + 1] = a1
    out[0, k + 2] = a2
    out[0, k + 3] = a3
    out[1, k] = b0
    out[1, k + 1] = b1
    out[1, k + 2] = b2
    out[1, k + 3] = b3


@sums
def _to_weights(order, moments, matrix, w, v):
    for p in range(order):
        w[p] = 0.0
        v[p] = 0.0
    for k in range(order):
        m0 = moments[0, k]
        m1 = moments[1, k]
        row = matrix[k]
        for p in range(order):
            w[p] += m0 * row[p]
            v[p] += m1 * row[p]


@kernel
def compress(x, y, w, order_index, tables, work):
    """Fill ``work.points`` from a run's data.

    Parameters
    ----------
    x, y, w : float64, shape (n,)
        Axis values (positive and increasing), losses and weights.
    order_index : int64
        Entry of ``tables`` to compress with, or -1 to keep the points as they are.

    Returns
    -------
    n_points : int64
        Columns of ``work.points`` filled: x, log x, weight, weight times (y - centre).
    centre, total, mass : float64
        Weighted mean of y, weighted sum of squares about it, and sum of the weights.
    """
    n = x.size
    log_x = work.data[0]
    weight = work.data[1]
    weighted = work.data[2]
    _log(n, x, log_x)
    centre, mass = _weighted_mean(n, y, w)
    total = _centre(n, y, w, centre, weight, weighted)
    order = tables.orders[order_index] if order_index >= 0 else n
    half = 0.5 * (log_x[n - 1] - log_x[0])
    if order_index < 0 or n <= order + SLACK or not half > 0.0:
        for i in range(n):
            work.points[0, i] = x[i]
            work.points[1, i] = log_x[i]
            work.points[2, i] = weight[i]
            work.points[3, i] = weighted[i]
        return n, centre, total, mass
    middle = 0.5 * (log_x[n - 1] + log_x[0])
    _start(n, log_x, middle, 1.0 / half, work.data[3], work.data[4], work.data[5])
    for k in range(0, order, 4):
        _four_moments(
            n, work.data[3], work.data[4], work.data[5], weight, weighted, work.moments, k
        )
    _to_weights(order, work.moments, tables.matrix[order_index], work.points[2], work.points[3])
    u = tables.u[order_index]
    for p in range(order):
        work.points[1, p] = middle + half * u[p]
        work.points[0, p] = exp(work.points[1, p])
    return order, centre, total, mass


@sums
def _segment_sums(n, weight, y, centre, weighted):
    """Weighted deviations; sums of the weights, of these, and of their squares."""
    s0 = s1 = s2 = 0.0
    for i in range(n):
        e = y[i] - centre
        v = weight[i] * e
        weighted[i] = v
        s0 += weight[i]
        s1 += v
        s2 += v * e
    return s0, s1, s2


@kernel
def prefix_moments(x, y, w, centre, cutoffs, order, data, moments, totals):
    """Moments of every prefix of a run, in one pass over it.

    Moments are additive: those of a prefix, of what lies between two cutoffs, or of a run that goes
    on, follow by adding and subtracting.  With u scaled by the whole run, the pseudo-points of
    `compress` that follow from a prefix's moments reproduce the sums over that prefix.

    Parameters
    ----------
    x, y, w : float64, shape (n,)
        Axis values (positive and increasing), losses and weights.
    centre : float64
        What is subtracted from the losses.
    cutoffs : int64, shape (n_cutoffs,)
        Points of each prefix, not decreasing.
    order : int64
        A multiple of 4.
    data : float64, shape (7, n)
        Scratch.
    moments : float64, shape (n_cutoffs, 2, order)
        Written: of the weights and of the weighted losses.
    totals : float64, shape (n_cutoffs, 3)
        Written: sums of w, w (y - centre), w (y - centre)^2.
    """
    n = x.size
    _log(n, x, data[0])
    half = 0.5 * (data[0, n - 1] - data[0, 0])
    middle = 0.5 * (data[0, n - 1] + data[0, 0])
    start = 0
    for c in range(cutoffs.size):
        part = moments[c]  # of the segment first, then with all before
        stop = cutoffs[c]
        m = stop - start
        s0, s1, s2 = _segment_sums(m, w[start:stop], y[start:stop], centre, data[2])
        totals[c, 0], totals[c, 1], totals[c, 2] = s0, s1, s2
        _start(m, data[0, start:stop], middle, 1.0 / half, data[3], data[4], data[5])
        for k in range(0, order, 4):
            _four_moments(m, data[3], data[4], data[5], w[start:stop], data[2], part, k)
        if c > 0:
            for k in range(order):
                part[0, k] += moments[c - 1, 0, k]
                part[1, k] += moments[c - 1, 1, k]
            for i in range(3):
                totals[c, i] += totals[c - 1, i]
        start = stop
