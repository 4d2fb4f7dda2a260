"""Parts of the default forecast that have another form for a warp.

Sums run in the CPU's order where a lane has them for itself, so that most numbers are the same to
the last bit; of the sums and cumulative sums over all cells they are not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import uint64

from ..curve_cells import A_ROW, PRIOR, put_frame
from ..curve_draws import (
    B_MEAN,
    B_PRECISION,
    MASK32,
    STATISTICS,
    STREAM_ORDER,
    STREAM_STRATUM,
    ZERO,
)
from ..curve_law import rows_of_cells
from ..curve_weights import component
from ..philox import philox, uniform
from ..team import count_before, lane, sync, team_sum, width
from .cells import quotient, sum_before
from .warp import broadcast

__all__ = [
    "bin_means_by_bin",
    "choose_by_draw",
    "each_frame_by_lane",
    "list_cells_by_draw",
    "parts_by_draw",
    "permutation_by_one",
    "products_in_one_pass",
    "put_priors_by_frame",
    "strength_by_column",
    "sum_by_lanes",
    "sum_marginals_by_value",
    "sum_of_squares_by_lanes",
    "whiten_by_column",
]


def bin_of(x, low, inverse, n_bins):
    """Which bin a place is in."""
    return min(max(np.int64((x - low) * inverse), 0), n_bins - 1)


def first_in(n, x, low, inverse, n_bins, b):
    """The first point that is in a bin or in a later one, by bisection."""
    first = 0
    last = n
    while first < last:
        half = (first + last) // 2
        if bin_of(x[half], low, inverse, n_bins) < b:
            first = half + 1
        else:
            last = half
    return first


def bin_means_by_bin(n, x, y, weight, low, high, n_bins, sums_of, out):  # type: ignore[no-untyped-def]
    """`curve_points.bin_means`: the points of a bin lie side by side."""
    step = (high - low) / n_bins
    inverse = 1.0 / step if step > 0.0 else 0.0
    sync()
    for b in range(lane(), n_bins, width()):
        first = first_in(n, x, low, inverse, n_bins, b)
        last = first_in(n, x, low, inverse, n_bins, b + 1)
        of_x = 0.0
        of_y = 0.0
        total = 0.0
        for i in range(first, last):
            of_x += weight[i] * x[i]
            of_y += weight[i] * y[i]
            total += weight[i]
        sums_of[0, b] = of_x
        sums_of[1, b] = of_y
        sums_of[2, b] = total
    sync()
    m = 0
    for first in range(0, n_bins, width()):
        b = n_bins - 1 - first - lane()
        used = b >= 0
        if used:
            used = sums_of[2, b] > 0.0
        before, count = count_before(used)
        if used:
            out[0, m + before] = sums_of[0, b] / sums_of[2, b]
            out[1, m + before] = sums_of[1, b] / sums_of[2, b]
            out[2, m + before] = sums_of[2, b]
        m += count
    sync()
    return m


def whiten_by_column(n, n_columns, columns, gain, scale, moments, white):  # type: ignore[no-untyped-def]
    """`curve_cells.whiten`, a column a lane."""
    for c in range(lane(), n_columns, width()):
        moment = 0.0
        for i in range(n):
            e = columns[i, c] - moment
            white[c, i] = e * scale[i]
            moment += gain[i] * e
    sync()


def products_in_one_pass(n, one, y, column):  # type: ignore[no-untyped-def]
    """`curve_cells.products`."""
    of_one = 0.0
    of_y = 0.0
    square = 0.0
    for i in range(n):
        v = column[i]
        of_one += one[i] * v
        of_y += y[i] * v
        square += v * v
    return of_one, of_y, square


def each_frame_by_lane(first, n, n_paths, g00, level, base, grid, white, inner, out):  # type: ignore[no-untyped-def]
    """`curve_cells.each_frame`, a frame a lane."""
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    for at in range(lane(), n_paths * n_alpha * n_response, width()):
        a = quotient(at, n_response)
        q = at - a * n_response
        d = A_ROW + n_paths * n_alpha + quotient(a, n_alpha) * n_response + q
        put_frame(n, A_ROW + a, d, first + at, g00, level, base, white, inner, out)


def place_of(frame, n_paths, n_alpha, n_response):
    """Covariance, hypothesis, exponent and response of a frame."""
    rest = quotient(frame, n_response)
    left = quotient(rest, n_alpha)
    k = quotient(left, n_paths)
    return k, left - k * n_paths, rest - left * n_alpha, frame - rest * n_response


def put_priors_by_frame(n_paths, log_kinds, grid, theta, frame, parts):  # type: ignore[no-untyped-def]
    """`curve_weights.put_priors`; what the frames are of is found again for each draw."""
    at_size, at_noise, _strength, _kind = rows_of_cells(grid)
    n_sizes = grid.sizes.size
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    n = grid.noises.size * n_sizes * n_paths * n_alpha * n_response
    log_share = math.log(n_response)
    for at in range(lane(), n, width()):
        k, h, a, _q = place_of(at, n_paths, n_alpha, n_response)
        noise = quotient(k, n_sizes)
        covariance = theta[at_noise + noise] + theta[at_size + k - noise * n_sizes]
        frame[PRIOR, at] = covariance + log_kinds[h] + theta[a] - log_share
    sync()
    return n


def parts_by_draw(n, n_paths, grid, frames, frame_parts, parts):  # type: ignore[no-untyped-def]
    """`curve_run.parts_of_draws`, from the number of a frame."""
    n_sizes = grid.sizes.size
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    for i in range(lane(), n, width()):
        k, h, a, q = place_of(frames[i], n_paths, n_alpha, n_response)
        noise = quotient(k, n_sizes)
        parts[0, i] = h * n_alpha + a
        parts[1, i] = h * n_response + q
        parts[2, i] = k
        parts[3, i] = k - noise * n_sizes
        parts[4, i] = noise


def sum_by_lanes(n, values):  # type: ignore[no-untyped-def]
    """`curve_weights.sum_of`."""
    total = 0.0
    for i in range(lane(), n, width()):
        total += values[i]
    return team_sum(total)


def sum_of_squares_by_lanes(n, values):  # type: ignore[no-untyped-def]
    """`curve_weights.sum_of_squares`."""
    total = 0.0
    for i in range(lane(), n, width()):
        total += values[i] * values[i]
    return team_sum(total)


def sum_marginals_by_value(n_paths, grid, total, weight, table, covariances, shares, marginals):  # type: ignore[no-untyped-def]
    """`curve_weights.sum_marginals`, a value on an axis a lane.

    Parameters
    ----------
    table : float64, shape (n_strength * n_covariances * n_paths * n_alpha,) or more
        Scratch: probabilities, summed over the responses.
    covariances : float64, shape (n_strength * n_covariances,)
        Scratch: summed over exponents and hypotheses too.
    """
    at_size, at_noise, at_strength, _kind = rows_of_cells(grid)
    n_sizes = grid.sizes.size
    n_noises = grid.noises.size
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    n_both = n_paths * n_alpha
    n = grid.strengths.shape[0] * n_noises * n_sizes
    for t in range(lane(), n * n_both, width()):
        p = 0.0
        for q in range(n_response):
            p += weight[t * n_response + q]
        table[t] = p / total
    sync()
    for t in range(lane(), n, width()):
        p = 0.0
        for i in range(n_both):
            p += table[t * n_both + i]
        covariances[t] = p
    sync()
    for h in range(lane(), n_paths, width()):
        p = 0.0
        for t in range(n):
            for a in range(n_alpha):
                p += table[t * n_both + h * n_alpha + a]
        shares[h] = p
    for i in range(lane(), marginals.size, width()):
        p = 0.0
        if i < at_size:
            for t in range(n * n_paths):
                p += table[t * n_alpha + i]
        elif i < at_noise:
            for t in range(i - at_size, n, n_sizes):
                p += covariances[t]
        elif i < at_strength:
            for first in range((i - at_noise) * n_sizes, n, n_noises * n_sizes):
                for t in range(first, first + n_sizes):
                    p += covariances[t]
        else:
            first = (i - at_strength) * n_noises * n_sizes
            for t in range(first, first + n_noises * n_sizes):
                p += covariances[t]
        marginals[i] = p
    sync()


def choose_by_draw(n, n_strength, n_frames, weight, total, tails, key, frame, strength, tail, flip):  # type: ignore[no-untyped-def]
    """`curve_draws.choose`, a draw a lane; the weights become their cumulative sums."""
    n_cells = n_strength * n_frames
    running = 0.0
    for first in range(0, n_cells, width()):
        c = first + lane()
        w = weight[c] if c < n_cells else 0.0
        here = running + (sum_before(w) + w)
        if c < n_cells:
            weight[c] = here
        running = broadcast(here, 31)
    sync()
    w0, _w1, _w2, _w3 = philox(ZERO, ZERO, STREAM_STRATUM, ZERO, key)
    u = uniform(w0)
    step = total / n
    for i in range(lane(), n, width()):
        value = (i + u) * step
        beyond = value >= running  # rounding: the sum is a little less than the total
        back = i
        while value >= running and back > 0:  # it is in the cell of the last that is not
            back -= 1
            value = (back + u) * step
        low = 0
        high = n_cells - 1
        while low < high:
            half = (low + high) // 2
            if value < weight[half]:
                high = half
            else:
                low = half + 1
        below = weight[low - 1] if low > 0 else 0.0
        # Where in the cell's weight, and then where in the tail's, is uniform too.
        left = (value - below) / max(weight[low] - below, 1e-300)
        t = 0
        start = 0.0
        while t < tails.size - 1 and left >= tails[t]:
            start = tails[t]
            t += 1
        c = quotient(low, n_frames)
        frame[i] = low - c * n_frames
        strength[i] = c
        tail[i] = 0 if beyond else t
        flip[i] = 0.5 if beyond else (left - start) / max(tails[t] - start, 1e-300)
    sync()


def list_cells_by_draw(first, n, window, grid, frame, frames, strengths, given, index):  # type: ignore[no-untyped-def]
    """`curve_draws.list_cells`: each draw has a cell of its own."""
    for i in range(lane(), n, width()):
        f = frames[first + i]
        for row in range(STATISTICS):
            given[row, i] = frame[row, f]
        mean, sd = component(strengths[first + i], window, grid)
        given[B_MEAN, i] = mean
        given[B_PRECISION, i] = 1.0 / (sd * sd)
        index[i] = i
    return n


def strength_by_column(n, responses, strength, out):  # type: ignore[no-untyped-def]
    """`curve_run.strength_by_response`, a column after the other."""
    for q in range(out.size):
        total = 0.0
        for i in range(lane(), n, width()):
            if responses[i] == q:
                total += strength[i]
        total = team_sum(total)
        if lane() == 0:
            out[q] = total
    sync()


def permutation_by_one(n, key, out):  # type: ignore[no-untyped-def]
    """`curve_draws.permutation`: the lanes make the random places, one of them exchanges.

    Meanwhile a number has both: the place that it is exchanged with in its upper half.
    """
    half = np.int64(32)
    for block in range(lane(), (n + 3) // 4, width()):
        w0, w1, w2, w3 = philox(uint64(block), ZERO, STREAM_ORDER, ZERO, key)
        for k in range(4):
            i = 4 * block + k
            word = w0 if k == 0 else w1 if k == 1 else w2 if k == 2 else w3
            if i < n:
                place = np.int64((uint64(word) * uint64(i + 1)) >> uint64(32))
                out[i] = (place << half) | np.int64(i)
    sync()
    low = np.int64(MASK32)
    if lane() == 0:
        for i in range(n - 1, 0, -1):
            own = out[i]
            place = own >> half
            other = out[place]
            out[place] = (other & ~low) | (own & low)
            out[i] = other & low
    sync()
    for i in range(lane(), n, width()):
        out[i] &= low
    sync()
