"""Cells of the default forecast: one closed-form regression on a grid.

For a run observed up to tc, on the fitted scale, with x the LR time and D the response of `paths`:

    y(t) = c - a phi(x) - B [D(t) - D(tc)] + g(t) + noise,   phi = (1 - (x/x(tc))^-alpha) / alpha

g is a Brownian motion in log t (sd k b per square root of an e-fold, b the local slope) that is 0
at tc and independent before and after it.  (c, a, B) are normal given the cell (noise factor, size
k, hypothesis on the learning rate, alpha, response, component of B's prior): c flat, a ~ N(b,
(slope_sd b)^2) cut exactly to a > 0.  g plus white noise is a Markov process, so whitening is a
Kalman filter that runs from tc into the past, and it does not depend on the hypothesis: its gains
are found once for every (noise factor, size) of a run.

A *frame* is a cell without its component of B's prior.  Frames are numbered by covariance (noise
factor, then size), hypothesis, exponent and response, the last the fastest; cells by component,
then frame.
"""

from __future__ import annotations

import math

from .curve_window import LOG_T, POINTS, VALUE
from .maths import exp, inline, kernel, log
from .team import lane, sync, width

__all__ = [
    "A_ROW",
    "BASE",
    "FRAME_ROWS",
    "G00",
    "LEVEL",
    "LEVEL_A",
    "LEVEL_B",
    "PRIOR",
    "RHS_A",
    "RHS_B",
    "S_AA",
    "S_AB",
    "S_BB",
    "clock",
    "dot",
    "each_frame",
    "exponent_column",
    "filters",
    "frames",
    "log_phi",
    "phi_parts",
    "products",
    "put_frame",
    "put_rows",
    "whiten",
]

# Rows of the frames: precision and right-hand side of (a, B) with c integrated out, c given them
# (LEVEL - LEVEL_A a - LEVEL_B B, precision G00), log evidence of what is common to the components,
# log prior weight.
S_AA = 0
S_AB = 1
S_BB = 2
RHS_A = 3
RHS_B = 4
LEVEL = 5
LEVEL_A = 6
LEVEL_B = 7
G00 = 8
BASE = 9
PRIOR = 10
FRAME_ROWS = 11

A_ROW = 2  # column of the first exponent; before it are 1 and y
JITTER = 1e-14  # of the variance of a bin
HALF = 0.7071067811865476


@inline
def phi_parts(z):
    """The standard normal distribution function as f exp(-s): f and s, error 1e-10, no branch.

    (1 + 2 x) erfcx(x) / 2 is a polynomial in (x - 3.75) / (x + 3.75) (Shepherd & Laframboise 1981,
    Math. Comp. 36); the coefficients are those of a Chebyshev fit of degree 14 to SciPy's erfcx.
    """
    x = abs(z) * HALF
    u = (x - 3.75) / (x + 3.75)
    p = -3.1762023458642634e-06
    p = 9.260973693741266e-06 + u * p
    p = 2.214006765990104e-05 + u * p
    p = -0.00014215653789010648 + u * p
    p = 0.00014979825436739507 + u * p
    p = 0.0008755788146552125 + u * p
    p = -0.004874621677775 + u * p
    p = 0.01418205255865394 + u * p
    p = -0.029346367916667036 + u * p
    p = 0.04615196876915009 + u * p
    p = -0.05440200582977994 + u * p
    p = 0.04113838699504739 + u * p
    p = 0.0017927096604716738 + u * p
    p = -0.07012029976795439 + u * p
    p = 0.6187563154040695 + u * p
    tail = p / (1.0 + 2.0 * x)
    square = x * x
    inside = 1.0 - tail * exp(-square)
    return tail if z < 0.0 else inside, square if z < 0.0 else 0.0


@inline
def log_phi(z):
    """Log of the standard normal distribution function."""
    factor, square = phi_parts(z)
    return log(factor) - square


@inline
def clock(u, doubt):
    """Time of the Brownian motion of the past, u e-folds before the end."""
    u = max(u, 0.0)
    return u * (1.0 + doubt * u)


@kernel
def filters(window, bins, grid, gains, scales, log_dets):
    """Gains of the Kalman filter from tc into the past, for every (noise factor, size).

    Parameters
    ----------
    gains, scales : float64, shape (n_noise * n_size, n_bins)
        Written: gain, and one over the standard deviation of the innovation, of every bin.
    log_dets : float64, shape (n_noise * n_size,)
        Written: half the log determinant of the bins' covariance.
    """
    n_sizes = grid.sizes.size
    for k in range(lane(), grid.noises.size * n_sizes, width()):
        noise = grid.noises[k // n_sizes] * window.noise * window.noise
        wander = grid.sizes[k % n_sizes] * window.slope
        wander *= wander
        variance = 0.0
        before = 0.0
        log_det = 0.0
        product = 1.0
        for i in range(window.n):
            now = clock(window.log_end - bins[LOG_T, i], grid.doubt)
            variance += wander * max(now - before, 0.0)
            before = now
            r = noise / bins[POINTS, i] + JITTER
            total = variance + r
            gains[k, i] = variance / total
            scales[k, i] = 1.0 / math.sqrt(total)
            variance *= r / total
            product *= total
            if not 1e-100 < product < 1e100:
                log_det += math.log(product)
                product = 1.0
        log_dets[k] = 0.5 * (log_det + math.log(product))
    sync()


@inline
def exponent_column(alpha, log_ratio):
    """-phi for x/x(tc) = exp(log_ratio)."""
    return (exp(-alpha * log_ratio) - 1.0) / alpha if alpha != 0.0 else -log_ratio


@kernel
def put_rows(h, n_paths, n, bins, x, response, grid, columns):
    """Columns of one hypothesis at the bins, from features at increasing times (bins, then tc)."""
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    x_end = x[n]
    first = A_ROW + h * n_alpha
    second = A_ROW + n_paths * n_alpha + h * n_response
    for i in range(lane(), n, width()):
        row = n - 1 - i  # the features lie in the order of time, the bins latest first
        log_ratio = log(max(x[row] / x_end, 1e-9))
        columns[i, 0] = 1.0
        columns[i, 1] = bins[VALUE, i]
        for a in range(n_alpha):
            columns[i, first + a] = exponent_column(grid.alphas[a], log_ratio)
        for q in range(n_response):
            columns[i, second + q] = response[n, q] - response[row, q]


@kernel
def whiten(n, n_columns, columns, gain, scale, moments, white):
    """Whiten columns by the filter of one covariance; written by columns."""
    for c in range(n_columns):
        moments[c] = 0.0
    for i in range(n):
        g = gain[i]
        s = scale[i]
        for c in range(n_columns):
            e = columns[i, c] - moments[c]
            white[c, i] = e * s
            moments[c] += g * e


@kernel
def dot(n, x, y):
    """Inner product.

    In four sums, which a CPU adds side by side; `maths.sums` may group them otherwise at another
    place in memory.
    """
    a = 0.0
    b = 0.0
    c = 0.0
    d = 0.0
    even = n - n % 4
    for i in range(0, even, 4):
        a += x[i] * y[i]
        b += x[i + 1] * y[i + 1]
        c += x[i + 2] * y[i + 2]
        d += x[i + 3] * y[i + 3]
    for i in range(even, n):
        a += x[i] * y[i]
    return (a + b) + (c + d)


@kernel
def products(n, one, y, column):
    """Inner products of a column with one, with y and with itself."""
    return dot(n, one, column), dot(n, y, column), dot(n, column, column)


@kernel
def each_frame(first, n, n_paths, g00, level, base, grid, white, inner, out):
    """Statistics of all frames of a covariance, of which ``first`` is the first."""
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    at = first
    for h in range(n_paths):
        for a in range(n_alpha):
            f = A_ROW + h * n_alpha + a
            for q in range(n_response):
                d = A_ROW + n_paths * n_alpha + h * n_response + q
                put_frame(n, f, d, at, g00, level, base, white, inner, out)
                at += 1


@inline
def put_frame(n, f, d, at, g00, level, base, white, inner, out):
    """Statistics of the frame of two columns."""
    cross = dot(n, white[f], white[d])
    out[S_AA, at] = inner[2, f]
    out[S_AB, at] = cross - g00 * inner[0, f] * inner[0, d]
    out[S_BB, at] = inner[2, d]
    out[RHS_A, at] = inner[1, f]
    out[RHS_B, at] = inner[1, d]
    out[LEVEL, at] = level
    out[LEVEL_A, at] = inner[0, f]
    out[LEVEL_B, at] = inner[0, d]
    out[G00, at] = g00
    out[BASE, at] = base


@kernel
def frames(k, n, n_paths, log_det, grid, white, inner, out):
    """Statistics of all frames of covariance k, from whitened columns.

    ``inner`` is scratch of shape (3, n_columns) or more.
    """
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    n_columns = A_ROW + n_paths * (n_alpha + n_response)
    for c in range(lane(), n_columns, width()):
        inner[0, c], inner[1, c], inner[2, c] = products(n, white[0], white[1], white[c])
    sync()
    g00 = inner[0, 0]
    level = inner[0, 1] / g00
    base = -log_det - 0.5 * math.log(g00) - 0.5 * (inner[1, 1] - g00 * level * level)
    for c in range(A_ROW + lane(), n_columns, width()):
        inner[0, c] /= g00
        inner[1, c] -= g00 * level * inner[0, c]
        inner[2, c] -= g00 * inner[0, c] * inner[0, c]
    sync()
    first = k * n_paths * n_alpha * n_response
    each_frame(first, n, n_paths, g00, level, base, grid, white, inner, out)
    sync()
