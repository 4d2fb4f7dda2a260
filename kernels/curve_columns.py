"""Columns of the cells' regressions: at the bins, at the targets, and between them."""

from __future__ import annotations

import math

from .curve_cells import A_ROW, clock, dot, exponent_column, put_rows
from .curve_window import LOG_T
from .maths import kernel
from .paths import features as path_features
from .team import lane, sync, width

__all__ = ["past_rows", "responses_of", "tabulate"]


@kernel
def responses_of(plan, step_size, grid, out):
    """The grid's responses with the time constants of a run; they are short in a short plan."""
    for q in range(lane(), out.shape[0], width()):
        for i in range(out.shape[1]):
            out[q, i] = grid.responses[q, i]
        out[q, 1] = min(out[q, 1], max(grid.most_tau[q] * plan, 1e-9) / step_size)
    sync()


@kernel
def _put_target(j, h, row, x_end, response_end, x, response, grid, phi_at, response_at):
    """Columns of one target, from the features in that row."""
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    log_ratio = math.log(max(x[row] / x_end, 1e-9))
    for a in range(lane(), n_alpha, width()):
        phi_at[j, h * n_alpha + a] = exponent_column(grid.alphas[a], log_ratio)
    for q in range(lane(), n_response, width()):
        response_at[j, h * n_response + q] = response_end[q] - response[row, q]


@kernel
def _append(j, m, path, h, n_paths, at, end, history, future, times):
    """Append targets from the j-th on to m times, while they follow and lie on the path.

    Gives the first target that does not, and how many times there are.
    """
    before = times[m - 1] if m > 0 else -math.inf
    while j < at.size and at[j] > before:
        own = future[j * n_paths + h] if at[j] > end else history[h]
        if own != path:
            break
        before = at[j]
        if lane() == 0:
            times[m] = before
        m += 1
        j += 1
    sync()  # the times are there, and what was made for those before has been read
    return j, m


@kernel
def tabulate(
    window, bins, at, history, future, units, step_size, shapes, paths, grid, work, times, x,
    response, response_end, columns, phi_at, response_at,
):  # fmt: skip
    """Columns of all hypotheses at the bins, and those at the targets.

    A path is walked from its beginning for all times on it that follow one another: for targets
    beyond the data and no other schedule once, bins and targets together.

    Parameters
    ----------
    window, bins
        Of `curve_window.prepare`.
    at : float64, shape (n_at,)
        Targets.
    history : int64, shape (n_paths,)
    future : int64, shape (n_at * n_paths,)
    units : float64, shape of ``grid.responses``
        Of `responses_of`.
    work : tuple
        Scratch of `paths.features`.
    times, x : float64, shape (n + 1 + n_at,)
        Scratch.
    response : float64, shape (n + 1 + n_at, n_response)
        Scratch.
    response_end : float64, shape (n_response,)
        Scratch.
    columns : float64, shape (n, n_columns + n_past)
        Written: the cells' columns at the bins, and for every target within the data the covariance
        of g there with g at the bins, per unit of its size squared.
    phi_at : float64, shape (n_at, n_paths * n_alpha)
        Written.
    response_at : float64, shape (n_at, n_paths * n_response)
        Written.

    Returns
    -------
    int
        How many targets lie within the data.
    """
    n = window.n
    end = window.end
    n_at = at.size
    n_paths = history.size
    n_response = grid.responses.shape[0]
    for h in range(n_paths):
        j = 0
        x_end = 0.0
        first = n + 1  # times before those of the targets: the bins and the end
        while first > 0 or j < n_at:
            path = history[h]
            if first > 0:
                for i in range(lane(), n, width()):
                    times[i] = math.exp(bins[LOG_T, n - 1 - i])
                if lane() == 0:
                    times[n] = end
                sync()
            elif at[j] > end:
                path = future[j * n_paths + h]
            last, m = _append(j, first, path, h, n_paths, at, end, history, future, times)
            path_features(
                path, shapes, paths, m, times, grid.groups, units, step_size, work, x, response
            )
            if first > 0:
                put_rows(h, n_paths, n, bins, x, response, grid, columns)
                x_end = x[n]
                for q in range(lane(), n_response, width()):
                    response_end[q] = response[n, q]
            for i in range(j, last):
                _put_target(
                    i, h, first + i - j, x_end, response_end, x, response, grid, phi_at, response_at
                )
            first = 0
            j = last
    first = A_ROW + n_paths * (grid.alphas.size + n_response)
    n_past = 0
    for j in range(n_at):
        if at[j] <= end:
            u = clock(window.log_end - math.log(at[j]), grid.doubt)
            for i in range(lane(), n, width()):
                columns[i, first + n_past] = min(
                    u, clock(window.log_end - bins[LOG_T, i], grid.doubt)
                )
            n_past += 1
    sync()
    return n_past


@kernel
def past_rows(k, window, at, wander, n_columns, white, grid, out):
    """What the bins say of g at the targets within the data, for covariance k.

    Parameters
    ----------
    wander : float
        Size of g, squared.
    white : float64, shape (n_columns + n_past, n)
        Whitened columns of `tabulate`.
    out : float64, shape (n_past, n_covariances, 1 + n_columns)
        Written: standard deviation, and coefficients on the columns.
    """
    n = window.n
    p = 0
    for j in range(at.size):
        if at[j] <= window.end:
            column = white[n_columns + p]
            u = clock(window.log_end - math.log(at[j]), grid.doubt)
            variance = wander * u - wander * wander * dot(n, column, column)
            if lane() == 0:
                out[p, k, 0] = math.sqrt(max(variance, 0.0))
            for c in range(lane(), n_columns, width()):
                out[p, k, 1 + c] = wander * dot(n, column, white[c])
            p += 1
