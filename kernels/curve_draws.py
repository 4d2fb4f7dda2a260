"""Draws of whole curves: a draw is one cell, one (c, a, B) and one future, at every target.

Draws are stratified over the cells: draw i takes the cell at the (i + u)-th of n even steps of
their cumulative weight, with one u for a run, and where it falls within that cell's weight chooses
the component of the tail.  Which place among the draws it then gets is a random permutation, of the
run's own.

Random numbers are keyed by (run key, draw): a draw at a target depends neither on other targets nor
on other runs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import uint64

from .curve_cells import (
    G00,
    LEVEL,
    LEVEL_A,
    LEVEL_B,
    RHS_A,
    RHS_B,
    S_AA,
    S_AB,
    S_BB,
    phi_parts,
)
from .curve_law import KNOTS
from .curve_weights import LEAST_DET, component
from .maths import exp, kernel
from .normal import positive_normal
from .philox import normal_pair, philox, uniform
from .team import lane, sync, width

__all__ = [
    "BLOCK",
    "CELL_ROWS",
    "DRAW_ROWS",
    "GIVEN_ROWS",
    "N_KNOTS",
    "choose",
    "choose_sides",
    "draw_parameters",
    "list_cells",
    "permutation",
]

BLOCK = 256  # draws whose random numbers are made together
N_KNOTS = len(KNOTS)
ZERO = uint64(0)
STREAM_NORMALS = uint64(0)
STREAM_CUT = uint64(1)
STREAM_ORDER = uint64(2)
STREAM_STRATUM = uint64(3)
MASK32 = uint64(0xFFFFFFFF)

# Rows of what a draw needs of its cell
MEAN_A = 0
SD_A = 1
CUT = 2  # mean over sd: where a is cut, in standard deviations below the mean
EXPECTED = 3  # mean of the cut normal, in standard deviations above the mean
MEAN_B = 4
B_ON_A = 5  # mean of B per standard deviation of a
SD_B = 6  # of B given a
OF_ONE = 7  # c given a and B
OF_A = 8
OF_B = 9
SD_C = 10
RESPONSE_SD = 11  # of the coming response
CELL_ROWS = 12

# Rows of what is given of a cell: statistics of its frame (`curve_cells`), then its component of
# B's prior
STATISTICS = G00 + 1
B_MEAN = STATISTICS
B_PRECISION = STATISTICS + 1
GIVEN_ROWS = STATISTICS + 2

# Rows of a draw: the middle of its cell, and how far it is from there
C = 0
A = 1
B = 2
OFF_C = 3
OFF_A = 4
OFF_B = 5  # of the time that is seen
OFF_COMING = 6  # ... and of the time to come
NORMALS = 7  # of the discrepancy between the knots, then of slow noise
DRAW_ROWS = NORMALS + N_KNOTS + 1

# Rows of the tail's components
PROBABILITY = 0  # cumulative
BELOW = 1  # factors on the distance of a draw from the middle of its cell
ABOVE = 2
FLIP_UP = 3  # probability that a draw below the middle is mirrored to above it
FLIP_DOWN = 4
TAIL_ROWS = 5


@kernel
def describe_tails(n, logits, sizes, leans, out):
    """Probabilities and factors of the tail's components.

    A component is a normal of size e^size in two pieces: its standard deviation is e^lean times as
    large below the middle and e^-lean times above, its density has no jump there.  Such a draw is a
    normal's distance from the middle, mirrored with the probability that makes the parts' shares
    right.

    Parameters
    ----------
    logits : float64, shape (n - 1,)
        Of all components but the first.
    sizes, leans : float64, shape (n,)
    out : float64, shape (TAIL_ROWS, n)
        Written.
    """
    total = 1.0
    for i in range(n - 1):
        total += math.exp(logits[i])
    probability = 0.0
    for i in range(n):
        probability += (1.0 if i == 0 else math.exp(logits[i - 1])) / total
        below = math.exp(leans[i])
        above = 1.0 / below
        more = (below - above) / (below + above)
        if lane() == 0:
            out[PROBABILITY, i] = probability
            out[BELOW, i] = math.exp(sizes[i]) * below
            out[ABOVE, i] = math.exp(sizes[i]) * above
            out[FLIP_UP, i] = max(-more, 0.0)
            out[FLIP_DOWN, i] = max(more, 0.0)
    sync()


@kernel
def permutation(n, key, out):
    """A random order of n numbers (Fisher & Yates), four random words at a time."""
    for i in range(n):
        out[i] = i
    words = (ZERO, ZERO, ZERO, ZERO)
    for i in range(n - 1, 0, -1):
        place = i & 3
        if place == 3 or i == n - 1:
            words = philox(uint64(i >> 2), ZERO, STREAM_ORDER, ZERO, key)
        word = words[0]
        if place == 1:
            word = words[1]
        elif place == 2:
            word = words[2]
        elif place == 3:
            word = words[3]
        j = np.int64((word * uint64(i + 1)) >> uint64(32))
        other = out[j]
        out[j] = out[i]
        out[i] = other


@kernel
def choose(n, n_strength, n_frames, weight, total, tails, key, frame, strength, tail, flip):
    """Cells (frame and component of the strength) of n draws, in the order of the cells.

    Parameters
    ----------
    weight : float64, shape (n_strength * n_frames,)
        Of the cells, with the sum `total`.
    tails : float64, shape (n_tails,)
        Cumulative probabilities of the tail's components.
    frame, strength, tail : int64, shape (n,)
        Written.
    flip : float64, shape (n,)
        Written: a uniform of each draw, for the tail's lean.
    """
    w0, _w1, _w2, _w3 = philox(ZERO, ZERO, STREAM_STRATUM, ZERO, key)
    step = total / n
    value = uniform(w0) * step
    i = 0
    below = 0.0
    for c in range(n_strength):
        for f in range(n_frames):
            w = weight[c * n_frames + f]
            above = below + w
            while i < n and value < above:
                # Where in the cell's weight, and then where in the tail's, is uniform too.
                left = (value - below) / w
                t = 0
                start = 0.0
                while t < tails.size - 1 and left >= tails[t]:
                    start = tails[t]
                    t += 1
                frame[i] = f
                strength[i] = c
                tail[i] = t
                flip[i] = (left - start) / max(tails[t] - start, 1e-300)
                i += 1
                value = (i + uniform(w0)) * step
            below = above
    last = max(i - 1, 0)
    while i < n:  # rounding: the sum is a little less than the total
        frame[i] = frame[last]
        strength[i] = strength[last]
        tail[i] = 0
        flip[i] = 0.5
        i += 1


@kernel
def choose_sides(n, tails, tail, flip, out):
    """What the distance of each draw from the middle of its cell is multiplied with.

    Row 0 where it is below the middle, row 1 where it is above; negative if it is mirrored.
    """
    for i in range(lane(), n, width()):
        t = tail[i]
        below = tails[BELOW, t]
        above = tails[ABOVE, t]
        out[0, i] = -above if flip[i] < tails[FLIP_UP, t] else below
        out[1, i] = -below if flip[i] < tails[FLIP_DOWN, t] else above


@kernel
def _words(n, first, block, key, out):
    a, b, c, d = out[0], out[1], out[2], out[3]
    for i in range(lane(), n, width()):
        draw = uint64(first + i)
        a[i], b[i], c[i], d[i] = philox(
            draw & MASK32, uint64(block), STREAM_NORMALS, draw >> uint64(32), key
        )


@kernel
def _normals(n, word0, word1, first, second):
    for i in range(lane(), n, width()):
        first[i], second[i] = normal_pair(word0[i], word1[i])


@kernel
def list_cells(first, n, window, grid, frame, frames, strengths, given, index):
    """The different cells among n draws, and which of them each draw has; gives how many."""
    count = 0
    before_f = np.int64(-1)
    before_c = np.int64(-1)
    for i in range(n):
        f = frames[first + i]
        c = strengths[first + i]
        if f != before_f or c != before_c:
            before_f = f
            before_c = c
            for row in range(STATISTICS):
                given[row, count] = frame[row, f]
            mean, sd = component(c, window, grid)
            given[B_MEAN, count] = mean
            given[B_PRECISION, count] = 1.0 / (sd * sd)
            count += 1
        index[i] = count - 1
    return count


@kernel
def _describe_cells(n, b, a_precision, response_sd, given, out):
    """What draws need of their cells."""
    for i in range(lane(), n, width()):
        a11 = given[S_AA, i] + a_precision
        a22 = given[S_BB, i] + given[B_PRECISION, i]
        a12 = given[S_AB, i]
        r1 = given[RHS_A, i] + b * a_precision
        r2 = given[RHS_B, i] + given[B_MEAN, i] * given[B_PRECISION, i]
        det = max(a11 * a22 - a12 * a12, LEAST_DET * a11 * a22)
        mean_a = (a22 * r1 - a12 * r2) / det
        mean_b = (a11 * r2 - a12 * r1) / det
        sd_a = math.sqrt(a22 / det)
        cut = mean_a / sd_a
        factor, square = phi_parts(cut)
        out[MEAN_A, i] = mean_a
        out[SD_A, i] = sd_a
        out[CUT, i] = cut
        out[EXPECTED, i] = 0.3989422804014327 * exp(square - 0.5 * cut * cut) / factor
        out[MEAN_B, i] = mean_b
        out[B_ON_A, i] = -a12 / a22 * sd_a
        out[SD_B, i] = 1.0 / math.sqrt(a22)
        out[OF_ONE, i] = given[LEVEL, i]
        out[OF_A, i] = given[LEVEL_A, i]
        out[OF_B, i] = given[LEVEL_B, i]
        out[SD_C, i] = 1.0 / math.sqrt(given[G00, i])
        out[RESPONSE_SD, i] = response_sd * mean_b


@kernel
def _spread_cells(n, index, cells, out):
    """Cells to the draws that have them."""
    for row in range(CELL_ROWS):
        for i in range(lane(), n, width()):
            out[row, i] = cells[row, index[i]]


@kernel
def _assemble(n, of_cell, z, out):
    """Parameters of n draws from their cells and their normals."""
    mean_a = of_cell[MEAN_A]
    sd_a = of_cell[SD_A]
    expected = of_cell[EXPECTED]
    mean_b = of_cell[MEAN_B]
    b_on_a = of_cell[B_ON_A]
    sd_b = of_cell[SD_B]
    of_one = of_cell[OF_ONE]
    of_a = of_cell[OF_A]
    of_b = of_cell[OF_B]
    sd_c = of_cell[SD_C]
    response_sd = of_cell[RESPONSE_SD]
    for i in range(lane(), n, width()):
        e = expected[i]
        a = mean_a[i] + sd_a[i] * e
        b = mean_b[i] + b_on_a[i] * e
        off = z[0, i] - e
        off_a = sd_a[i] * off
        off_b = b_on_a[i] * off + sd_b[i] * z[1, i]
        out[C, i] = of_one[i] - of_a[i] * a - of_b[i] * b
        out[A, i] = a
        out[B, i] = b
        out[OFF_C, i] = sd_c[i] * z[2, i] - of_a[i] * off_a - of_b[i] * off_b
        out[OFF_A, i] = off_a
        out[OFF_B, i] = off_b
        out[OFF_COMING, i] = off_b + response_sd[i] * z[3, i]
        out[NORMALS, i] = z[4, i]
        out[NORMALS + 1, i] = z[5, i]
        out[NORMALS + 2, i] = z[6, i]
        out[NORMALS + 3, i] = z[7, i]


@kernel
def draw_parameters(
    n, window, grid, response_sd, longer, frame, frames, strengths, key, words, z, given, cells,
    of_draw, index, gain, out,
):  # fmt: skip
    """Parameters of n draws: rows of ``out``.

    A draw is one lane's from its cell on: nothing has to be waited for.

    Parameters
    ----------
    response_sd : float
        Relative difference of the coming response from that of the past.
    longer : bool
        Whether a finished run is asked for a longer plan.
    frame : float64, shape (curve_cells.FRAME_ROWS, at least n_frames)
    frames, strengths : int64, shape (n,)
        Of `choose`.
    words, z, given, cells, of_draw, index
        Scratch: uint64 (4, BLOCK), float64 (8, BLOCK), (GIVEN_ROWS, BLOCK), (CELL_ROWS, BLOCK)
        twice, int64 (BLOCK,).
    gain : float64, shape (n,)
        Written where there is a longer plan: a normal of each draw.
    out : float64, shape (DRAW_ROWS, n)
        Written.
    """
    b = window.slope
    a_precision = 1.0 / (grid.slope_sd * b * grid.slope_sd * b)
    for first in range(0, n, BLOCK):
        m = min(BLOCK, n - first)
        count = list_cells(first, m, window, grid, frame, frames, strengths, given, index)
        _describe_cells(count, b, a_precision, response_sd, given, cells)
        _spread_cells(m, index, cells, of_draw)
        if longer:
            _words(m, first, 2, key, words)
            _normals(m, words[0], words[1], gain[first : first + m], z[0])
        for block in range(2):
            _words(m, first, block, key, words)
            _normals(m, words[0], words[1], z[4 * block], z[4 * block + 1])
            _normals(m, words[2], words[3], z[4 * block + 2], z[4 * block + 3])
        for i in range(lane(), m, width()):
            if z[0, i] <= -of_draw[CUT, i]:  # rejected: by inversion
                draw = uint64(first + i)
                w0, _w1, _w2, _w3 = philox(draw & MASK32, ZERO, STREAM_CUT, draw >> uint64(32), key)
                a = positive_normal(of_draw[MEAN_A, i], of_draw[SD_A, i], uniform(w0))
                z[0, i] = a / of_draw[SD_A, i] - of_draw[CUT, i]
        _assemble(m, of_draw, z, out[:, first : first + m])
