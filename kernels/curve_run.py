"""The forecast of one run: points to bins, bins to cells, cells to draws, draws to curves."""

from __future__ import annotations

import math

from .curve_cells import A_ROW, filters, frames, whiten
from .curve_columns import past_rows, responses_of, tabulate
from .curve_data import FIRST_FEATURE
from .curve_draws import (
    OFF_A,
    OFF_B,
    OFF_C,
    OFF_COMING,
    PROBABILITY,
    A,
    B,
    C,
    choose,
    choose_sides,
    describe_tails,
    draw_parameters,
    permutation,
)
from .curve_futures import (
    back,
    describe_futures,
    evaluate,
    evaluate_past,
    shorten_gains,
    widen,
)
from .curve_law import FEATURES, LIKE, RESPONSE, rows_of_draws
from .curve_weights import hyper_parameters, sum_marginals, weigh
from .curve_window import VALUE, features, prepare
from .maths import inline, kernel, missing
from .team import lane, sync, team_sum, width

__all__ = [
    "describe_curves",
    "draw_run",
    "evaluate_target",
    "forecast_run",
    "keep_parameters",
    "measured",
    "parts_of_draws",
    "put_record",
    "strength_by_response",
    "tabulate_run",
    "weigh_run",
]


@kernel
def keep_parameters(n, order, parts, drawn, tail, units, grid, out):
    """Write the parameters of the draws."""
    for i in range(lane(), n, width()):
        slot = order[i]
        a = parts[0, i]
        q = parts[1, i] % grid.responses.shape[0]
        out[0, slot] = drawn[C, i] + drawn[OFF_C, i]
        out[1, slot] = drawn[A, i] + drawn[OFF_A, i]
        out[2, slot] = drawn[B, i] + drawn[OFF_B, i]
        out[3, slot] = drawn[B, i] + drawn[OFF_COMING, i]
        out[4, slot] = grid.alphas[a % grid.alphas.size]
        out[5, slot] = units[q, 1]
        out[6, slot] = units[q, 2]
        out[7, slot] = grid.sizes[parts[3, i]]
        out[8, slot] = grid.noises[parts[4, i]]
        out[9, slot] = a // grid.alphas.size
        out[10, slot] = tail[i]
        out[11, slot] = q


@kernel
def put_record(window, n, drawn, feature, total, squares, best, record):
    """Write what is found of a run: `RECORD`."""
    unit = window.level if window.positive else window.scale
    mean = 0.0
    for i in range(lane(), n, width()):
        mean += drawn[B, i] + drawn[OFF_B, i]
    mean = team_sum(mean) / n
    square = 0.0
    for i in range(lane(), n, width()):
        square += (drawn[B, i] + drawn[OFF_B, i] - mean) ** 2
    square = team_sum(square)
    if lane() > 0:
        return
    record[0] = window.n
    record[1] = 1.0 if window.positive else 0.0
    record[2] = window.points
    record[3] = window.level
    record[4] = window.scale
    record[5] = window.noise
    record[6] = window.trend
    record[7] = window.trend_error
    record[8] = window.own_error
    record[9] = window.slope
    record[10] = window.last
    record[11] = window.top
    record[12] = best + math.log(total)
    record[13] = total * total / squares
    record[14] = unit * mean
    record[15] = unit * math.sqrt(square / n)
    for i in range(len(FEATURES)):
        record[FIRST_FEATURE + i] = feature[i]


@kernel
def tabulate_run(window, asked, r, step_size, grid, hyper, shapes, paths, w):
    """Hyper-prior of a run, columns of its cells and filters; gives how many targets are past."""
    h0 = asked.hypotheses[r]
    h1 = asked.hypotheses[r + 1]
    at = asked.at[asked.targets[r] : asked.targets[r + 1]]
    features(window, asked.plan[r], asked.knowledge[r], asked.like[r], w.feature)
    hyper_parameters(w.feature, hyper, w.theta)
    responses_of(asked.plan[r], step_size, grid, w.units)
    n_past = tabulate(
        window, w.bins, at, asked.history[h0:h1],
        asked.future[asked.futures[r] : asked.futures[r + 1]], w.units, step_size, shapes, paths,
        grid, (w.nodes, w.taus, w.memory), w.times, w.x, w.response, w.response_end, w.columns,
        w.phi_at, w.response_at,
    )  # fmt: skip
    filters(window, w.bins, grid, w.gains, w.scales, w.log_dets)
    return n_past


@kernel
def weigh_run(window, asked, r, n_past, grid, hyper, w):
    """Weights of a run's cells; gives what `curve_weights.weigh` does."""
    h0 = asked.hypotheses[r]
    h1 = asked.hypotheses[r + 1]
    n_paths = h1 - h0
    at = asked.at[asked.targets[r] : asked.targets[r + 1]]
    n_sizes = grid.sizes.size
    n_response = grid.responses.shape[0]
    n_columns = A_ROW + n_paths * (grid.alphas.size + n_response)
    n_covariances = grid.noises.size * n_sizes
    for k in range(n_covariances):
        whiten(window.n, n_columns + n_past, w.columns, w.gains[k], w.scales[k], w.moments, w.white)
        frames(k, window.n, n_paths, w.log_dets[k], grid, w.white, w.inner, w.frame)
        if n_past > 0:
            wander = grid.sizes[k % n_sizes] * window.slope
            past_rows(k, window, at, wander * wander, n_columns, w.white, grid, w.past)
            sync()  # the whitened columns have been read
    n_cells = n_covariances * n_paths * grid.alphas.size * n_response * grid.strengths.shape[0]
    return weigh(
        window, n_paths, asked.kind[h0:h1], asked.log_weight[h0:h1], asked.strengths[r], grid,
        hyper, w.theta,
        w.log_kinds, w.frame, w.frame_parts, w.cells[:n_cells],
    )  # fmt: skip


@kernel
def parts_of_draws(n, n_paths, grid, frames, frame_parts, parts):
    """What the draws' cells are of."""
    for row in range(parts.shape[0]):
        for i in range(n):
            parts[row, i] = frame_parts[row, frames[i]]


@kernel
def draw_run(window, n_paths, n_draws, longer, total, key, grid, hyper, w):
    """Cells, parameters and order of the draws of a run."""
    at_numbers, at_tail, at_jitter, at_size, at_lean = rows_of_draws(grid, hyper)
    describe_tails(
        hyper.n_tails, w.theta[at_tail:at_jitter], w.theta[at_size:at_lean], w.theta[at_lean:],
        w.tails,
    )  # fmt: skip
    n_frames = (
        grid.noises.size * grid.sizes.size * n_paths * grid.alphas.size * grid.responses.shape[0]
    )
    choose(
        n_draws, grid.strengths.shape[0], n_frames, w.cells, total, w.tails[PROBABILITY], key,
        w.frames, w.strengths, w.tail, w.flip,
    )  # fmt: skip
    draw_parameters(
        n_draws, window, grid, math.exp(w.theta[at_numbers + RESPONSE]), longer, w.frame, w.frames,
        w.strengths, key, w.words, w.z, w.given, w.of_cell, w.of_draw, w.cell, w.gain, w.drawn,
    )  # fmt: skip
    choose_sides(n_draws, w.tails, w.tail, w.flip, w.sides)
    parts_of_draws(n_draws, n_paths, grid, w.frames, w.frame_parts, w.parts)
    permutation(n_draws, key, w.order)


@kernel
def strength_by_response(n, responses, strength, out):
    """Sums over the draws by column of the response."""
    for q in range(out.size):
        out[q] = 0.0
    for i in range(n):
        out[responses[i]] += strength[i]


@kernel
def describe_curves(window, at, grid, hyper, w, falls):
    """What the targets of a run have of their own, and how far the response falls until each."""
    n = w.order.size
    n_at = at.size
    at_numbers, at_tail, at_jitter, _size, _lean = rows_of_draws(grid, hyper)
    for j in range(lane(), n_at, width()):
        w.log_ratio[j] = math.log(at[j] / window.end) if at[j] > window.end else 0.0
    sync()
    describe_futures(
        n_at, w.log_ratio, window, grid, w.theta[at_numbers:at_tail], w.theta[at_jitter],
        w.discrepancy, w.slow,
    )  # fmt: skip
    unit = window.level if window.positive else window.scale
    n_responses = w.response_at.shape[1]
    strength = w.moments[:n_responses]
    strength_by_response(n, w.parts[1], w.drawn[B], strength)
    for j in range(lane(), n_at, width()):
        fall = 0.0
        if at[j] > window.end:
            for q in range(n_responses):
                if strength[q] != 0.0:
                    fall -= strength[q] * w.response_at[j, q]
        falls[j] = unit * fall / n


@kernel
def evaluate_target(
    j, p, at, longer, siblings, window, n_exponents, knowledge, like, hyper, w, draws
):
    """The curves of all draws at target j of a run, or at the p-th of those within the data."""
    n = draws.size
    if at > window.end:
        evaluate(
            n, w.phi_at[j], w.response_at[j], w.discrepancy[j], w.slow[j], w.drawn, w.parts,
            w.sides, w.values,
        )  # fmt: skip
        widen(
            n, w.log_ratio[j], knowledge, like, hyper, siblings, w.values, w.work[0], w.counts
        )  # fmt: skip
        if longer > 0:
            shorten_gains(n, w.bins[VALUE, 0], hyper.longer, w.gain, w.values)
        back(n, window, w.values)
    else:
        evaluate_past(
            n, n_exponents, w.phi_at[j], w.response_at[j], w.past[p], w.drawn, w.parts, w.values
        )  # fmt: skip
        for i in range(lane(), n, width()):
            v = w.values[i]
            w.values[i] = math.exp(v) if window.positive else window.level + window.scale * v
    for i in range(lane(), n, width()):
        draws[w.order[i]] = w.values[i]


@inline
def measured(value):
    """What is given, or negative where it is to be measured."""
    return -1.0 if missing(value) else value


@kernel
def forecast_run(
    r, observed, asked, grid, hyper, shapes, paths, w, draws, parameters, shares, marginals, falls,
    record,
):  # fmt: skip
    """Forecast run r; arguments as of `curve_forecast.forecast_curves`."""
    n_draws = draws.shape[1]
    a = observed.offsets[r]
    b = observed.offsets[r + 1]
    t0 = asked.targets[r]
    t1 = asked.targets[r + 1]
    h0 = asked.hypotheses[r]
    h1 = asked.hypotheses[r + 1]
    n_paths = h1 - h0
    window = prepare(
        observed.t[a:b], observed.loss[a:b], observed.weight[a:b], observed.warmup[r],
        observed.floor[r], measured(observed.noise[r]), measured(observed.slope[r]), grid,
        w.points, w.work, w.counts, w.slopes, w.bins,
    )  # fmt: skip
    n_past = tabulate_run(
        window, asked, r, observed.step_size[r], grid, hyper, shapes, paths, w
    )  # fmt: skip
    total, squares, best = weigh_run(window, asked, r, n_past, grid, hyper, w)
    sum_marginals(n_paths, grid, total, w.cells, shares[h0:h1], marginals)
    longer = False
    for j in range(t0, t1):
        longer = longer or asked.longer[j] > 0
    draw_run(window, n_paths, n_draws, longer, total, observed.keys[r], grid, hyper, w)
    like = w.feature[LIKE] if missing(asked.like[r]) else asked.like[r]
    describe_curves(window, asked.at[t0:t1], grid, hyper, w, falls[t0:t1])
    p = 0
    for j in range(t0, t1):
        evaluate_target(
            j - t0, p, asked.at[j], asked.longer[j], asked.siblings[j], window,
            n_paths * grid.alphas.size, asked.knowledge[r], like, hyper, w, draws[j],
        )  # fmt: skip
        p += 1 if asked.at[j] <= window.end else 0
    if parameters.shape[0] > 0:
        keep_parameters(n_draws, w.order, w.parts, w.drawn, w.tail, w.units, grid, parameters[r])
    put_record(window, n_draws, w.drawn, w.feature, total, squares, best, record)
