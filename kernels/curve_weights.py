"""Weights of the cells: a hyper-prior that knows what the run looks like, and the evidence."""

from __future__ import annotations

import math

from .curve_cells import BASE, PRIOR, RHS_A, RHS_B, S_AA, S_AB, S_BB, dot, log_phi, phi_parts
from .curve_law import ETA, rows_of_cells
from .maths import exp, kernel, log
from .team import lane, sync, team_max, width

__all__ = [
    "LEAST_DET",
    "component",
    "hyper_parameters",
    "put_priors",
    "sum_marginals",
    "sum_of",
    "sum_of_squares",
    "weigh",
]

LEAST_DET = 1e-14  # of the product of the diagonal: rounding
LEAST_WEIGHT = -25.0  # cells below exp(-25) of the best one are not drawn


@kernel
def hyper_parameters(f, hyper, out):
    """The hyper-prior's numbers of a run with features f."""
    for i in range(lane(), out.size, width()):
        total = 0.0
        for k in range(f.size):
            total += hyper.matrix[i, k] * f[k]
        out[i] = total
    sync()


@kernel
def _log_softmax(values):
    high = values[0]
    for i in range(values.size):
        high = max(high, values[i])
    total = 0.0
    for i in range(values.size):
        total += math.exp(values[i] - high)
    shift = high + math.log(total)
    sync()  # all have read them
    for i in range(lane(), values.size, width()):
        values[i] -= shift
    sync()


@kernel
def component(c, window, grid):
    """Mean and standard deviation of a component of B's prior, on the fitted scale."""
    unit = window.slope
    if grid.strengths[c, 0] == 0.0:
        unit = grid.text_share
        if window.positive and window.level > 0.0:
            unit = min(unit, grid.text_nats / window.level)
        unit = min(unit, grid.text_slopes * window.slope)
    return grid.strengths[c, 1] * unit, grid.strengths[c, 2] * unit


@kernel
def _component_weights(
    n, frame, b, a_precision, b_mean, b_precision, constant, log_prior, eta, log_weight
):
    """Log weights of the cells of one component of B's prior.

    The largest is found elsewhere: a loop that looks for it does not vectorise.
    """
    s_aa = frame[S_AA]
    s_ab = frame[S_AB]
    s_bb = frame[S_BB]
    rhs_a = frame[RHS_A]
    rhs_b = frame[RHS_B]
    base = frame[BASE]
    prior = frame[PRIOR]
    for i in range(lane(), n, width()):
        a11 = s_aa[i] + a_precision
        a22 = s_bb[i] + b_precision
        a12 = s_ab[i]
        r1 = rhs_a[i] + b * a_precision
        r2 = rhs_b[i] + b_mean * b_precision
        det = max(a11 * a22 - a12 * a12, LEAST_DET * a11 * a22)
        mean_a = (a22 * r1 - a12 * r2) / det
        mean_b = (a11 * r2 - a12 * r1) / det
        factor, square = phi_parts(mean_a * math.sqrt(det / a22))  # that a > 0
        value = (
            base[i] + constant + 0.5 * (mean_a * r1 + mean_b * r2 + log(factor * factor / det))
            - square
        )  # fmt: skip
        log_weight[i] = prior[i] + log_prior + eta * value


@kernel
def _largest(n, values):
    best = values[0]
    for i in range(lane(), n, width()):
        best = max(best, values[i])
    sync()  # all have read the first
    return team_max(best)


@kernel
def _exponentials(n, best, values):
    """Weights from their logarithms, in place."""
    for i in range(lane(), n, width()):
        d = values[i] - best
        values[i] = exp(d) if d > LEAST_WEIGHT else 0.0
    sync()


@kernel
def sum_of(n, values):
    """Sum, in four parts; see `dot`."""
    a = 0.0
    b = 0.0
    c = 0.0
    d = 0.0
    even = n - n % 4
    for i in range(0, even, 4):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
    for i in range(even, n):
        a += values[i]
    return (a + b) + (c + d)


@kernel
def sum_of_squares(n, values):
    """Sum of squares."""
    return dot(n, values, values)


@kernel
def _count_in(n, counts, log_prior):
    """Log probabilities with what was seen of each, as a Dirichlet prior is updated."""
    total = 1.0
    for i in range(n):
        total += counts[i]
    if total == 1.0:
        return
    for i in range(lane(), n, width()):
        log_prior[i] = math.log((exp(log_prior[i]) + counts[i]) / total)
    sync()


@kernel
def _log_priors(n_paths, kinds, log_kind, seen, grid, theta, log_kinds):
    """Turn logits into log probabilities: those of the cells in theta, of the hypotheses beside."""
    at_size, at_noise, at_strength, at_kind = rows_of_cells(grid)
    _log_softmax(theta[:at_size])
    _log_softmax(theta[at_size:at_noise])
    _log_softmax(theta[at_noise:at_strength])
    _log_softmax(theta[at_strength:at_kind])
    _count_in(grid.strengths.shape[0], seen, theta[at_strength:at_kind])
    for h in range(lane(), n_paths, width()):
        log_kinds[h] = theta[at_kind + kinds[h]] + log_kind[h]
    sync()
    _log_softmax(log_kinds[:n_paths])


@kernel
def put_priors(n_paths, log_kinds, grid, theta, frame, parts):
    """Log prior weights of the frames, and what parts they are of; gives how many there are."""
    at_size, at_noise, _strength, _kind = rows_of_cells(grid)
    n_sizes = grid.sizes.size
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    at = 0
    for k in range(grid.noises.size * n_sizes):
        covariance = theta[at_noise + k // n_sizes] + theta[at_size + k % n_sizes]
        for h in range(n_paths):
            for a in range(n_alpha):
                value = covariance + log_kinds[h] + theta[a] - math.log(n_response)
                for q in range(n_response):
                    frame[PRIOR, at] = value
                    parts[0, at] = h * n_alpha + a
                    parts[1, at] = h * n_response + q
                    parts[2, at] = k
                    parts[3, at] = k % n_sizes
                    parts[4, at] = k // n_sizes
                    at += 1
    return at


@kernel
def weigh(
    window, n_paths, kinds, log_kind, seen, grid, hyper, theta, log_kinds, frame, parts, weight
):  # fmt: skip
    """Weights of all cells: hyper-prior times evidence^eta.

    Parameters
    ----------
    kinds : int64, shape (n_paths,)
        Kind of each hypothesis: which of the hyper-prior's logits.
    log_kind : float64, shape (n_paths,)
        Added to that logit.
    seen : float64, shape (n_strength,)
        Of `curve_data.Asked.strengths`.
    theta : float64, shape (n_rows,)
        The hyper-prior's numbers; logits become log probabilities.
    log_kinds : float64, shape (n_paths,)
        Written: log prior probabilities of the hypotheses.
    frame : float64, shape (FRAME_ROWS, at least n_frames)
        Statistics of the frames; log prior weights are written.
    parts : int64, shape (5, at least n_frames)
        Written: column of the exponent, column of the response, covariance, size and noise factor.
    weight : float64, shape (n_strength * n_frames,)
        Written: weights of the cells, the largest 1.

    Returns
    -------
    total, squares, best : float64
        Sum of the weights, and of their squares; log weight of the best cell.
    """
    _log_priors(n_paths, kinds, log_kind, seen, grid, theta, log_kinds)
    n = put_priors(n_paths, log_kinds, grid, theta, frame, parts)
    _size, _noise, at_strength, at_kind = rows_of_cells(grid)
    eta = 1.0 / (1.0 + math.exp(-theta[at_kind + hyper.n_kinds + ETA]))
    b = window.slope
    a_sd = grid.slope_sd * b
    a_precision = 1.0 / (a_sd * a_sd)
    for c in range(grid.strengths.shape[0]):
        mean, sd = component(c, window, grid)
        precision = 1.0 / (sd * sd)
        constant = (
            -0.5 * (b * b * a_precision + mean * mean * precision) - math.log(a_sd * sd)
            - log_phi(1.0 / grid.slope_sd)
        )  # fmt: skip
        _component_weights(
            n, frame, b, a_precision, mean, precision, constant, theta[at_strength + c], eta,
            weight[c * n : (c + 1) * n],
        )  # fmt: skip
    sync()
    best = _largest(weight.size, weight)
    _exponentials(weight.size, best, weight)
    return sum_of(weight.size, weight), sum_of_squares(weight.size, weight), best


@kernel
def sum_marginals(n_paths, grid, total, weight, shares, marginals):
    """Posterior probabilities of the hypotheses, and of the values on each axis of the grid."""
    at_size, at_noise, at_strength, _kind = rows_of_cells(grid)
    n_sizes = grid.sizes.size
    n_response = grid.responses.shape[0]
    for h in range(n_paths):
        shares[h] = 0.0
    for i in range(marginals.size):
        marginals[i] = 0.0
    at = 0
    for c in range(grid.strengths.shape[0]):
        for k in range(grid.noises.size * n_sizes):
            of_covariance = 0.0
            for h in range(n_paths):
                for a in range(grid.alphas.size):
                    p = 0.0
                    for _ in range(n_response):
                        p += weight[at]
                        at += 1
                    p /= total
                    shares[h] += p
                    marginals[a] += p
                    of_covariance += p
            marginals[at_size + k % n_sizes] += of_covariance
            marginals[at_noise + k // n_sizes] += of_covariance
            marginals[at_strength + c] += of_covariance
