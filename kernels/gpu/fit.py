"""The posterior of laws with one nonlinear parameter: one warp a run, from points to draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..columns import Program
from ..compress import compress
from ..cut import (
    CUT_SHARE,
    LEAST_SHARE,
    cut_density,
    cut_score,
    cut_sigma,
    cut_t,
    keep_score,
    propose_score,
    tightest,
)
from ..draws import (
    BLOCK_CUT,
    FAST_SHARE,
    LEAST_NODES,
    STREAM_FAST,
    cell_fraction,
    draw_fast,
    gamma_candidate,
    product_bend,
)
from ..marginal import BASE_B, BASE_CENTRE, BASE_NU, BASE_SIZE, BASE_U, set_up
from ..maths import exp
from ..orthant import log_orthant
from ..philox import normal_pair, philox, uniform
from ..posterior import bounds, residual_autocorrelation, tabulate_one
from ..records import ACCEPTANCE, BOUND_SHARE, EFFECTIVE_NODES, FIT, RHO1, STATUS
from ..team import lane, real, sync, team_max, team_sum, width
from ..work import (
    BLOCK,
    CHECKS,
    COARSE,
    COARSE_OUTER,
    INNER,
    LANES,
    MAX_ORDER,
    NODES,
    SLACK,
    Model,
    RunPrior,
    Tables,
)
from . import moments, nodes
from .backend import cuda, types, uint64
from .block_work import FitWork, SingleWork
from .columns import law_columns
from .port import Port
from .single import REF_LAST, REF_SIZE, TRUSTED, Exact, single_table
from .spec import Kernel
from .warp import SINGLE_TABLE, TABLE, count_before

__all__ = ["INFO", "ROWS", "build"]

ROWS = 6  # of a node, for one varying column
INFO = (*FIT, "log_evidence", "mean", "sd", "rounding")
LOG_EVIDENCE, MEAN, SD, ROUNDING = range(len(FIT), len(INFO))
LEAST_PRECISE = 0.001  # nats of rounding error from which a run should be done in float64
MASK32 = uint64(0xFFFFFFFF)
WORDS_CUT = uint64(BLOCK_CUT)
# Of interpolated log posteriors and conditional means: float32 has errors of 1e-3 itself.
SINGLE_TOLERANCES = {"TOLERANCE": 0.01, "ROW_TOLERANCE": 0.01}
POINTS = (64, MAX_ORDER + SLACK)  # room for pseudo-points in shared memory


def make_draw_fast(n_fixed: int) -> Any:
    """`draws.draw_fast` for a warp: one lane a candidate, kept in the order of candidates."""
    p = n_fixed + 1

    def draw_fast(n_draws, key, first, step, total, model, work, out):  # type: ignore[no-untyped-def]
        base = work.base
        nu = base[BASE_NU]
        shape = real(0.5) * nu
        d = shape - real(1.0) / real(3.0)
        c = real(1.0) / math.sqrt(real(9.0) * d)
        cut = np.int32(-1)
        share = real(1.0)
        filled = np.int32(0)
        tried = np.int32(0)
        good = np.int32(0)
        kept_total = np.int32(0)
        gave_up = False
        while filled < n_draws and not gave_up:
            left = n_draws - filled
            count = min(BLOCK - tried % BLOCK, (left + left // 16 + 15) // 8 * 8)
            for start in range(0, count, 32):
                i = start + lane()
                draw = uint64(tried + i)
                w0, w1, w2, w3 = philox(
                    draw & MASK32, uint64(0), STREAM_FAST, draw >> uint64(32), key
                )
                u = uniform(w0)
                z_gamma, z0 = normal_pair(w2, w3)
                g, excess = gamma_candidate(d, c, w1, z_gamma)
                valid = i < count and excess < 0.0
                low = np.int32(0)
                high = np.int32(NODES - 2)
                while low < high:
                    middle = (low + high) >> 1
                    if work.cumulative[middle + 1] < u:
                        low = np.int32(middle + 1)
                    else:
                        high = np.int32(middle)
                f = cell_fraction(
                    u, work.cumulative[low], work.density[low], work.density[low + 1], total
                )
                node = work.node
                root_q = lerp(node, 5, low, f)
                sigma = root_q / math.sqrt(real(2.0) * g)
                a = t = scale = z0 - z0
                within = True
                if cut >= 0:
                    # its mean and variance / sigma^2, as `draws._about_cut`
                    mean, spread2 = cut_moments(cut, low, f, n_fixed, base, node)
                    scale = root_q * math.sqrt(spread2 / nu)
                    a = (work.lower[cut] - mean) / scale
                    w0, w1, w2, w3 = philox(
                        draw & MASK32, WORDS_CUT, STREAM_FAST, draw >> uint64(32), key
                    )
                    normal, _spare = normal_pair(w0, w1)
                    bound = cut_score(a, nu)
                    s = propose_score(bound, normal, w2)
                    within = keep_score(s, bound, nu, w3) > 0.0
                    t = cut_t(s, a, nu)
                    sigma = cut_sigma(root_q, t, nu, g)
                z1 = z2 = z3 = z0 - z0
                if p > 1:
                    w0, w1, w2, w3 = philox(
                        draw & MASK32, uint64(1), STREAM_FAST, draw >> uint64(32), key
                    )
                    z1, z2 = normal_pair(w0, w1)
                    if p > 3:
                        z3, _spare = normal_pair(w2, w3)
                cut_value = z0 - z0
                if cut >= 0:
                    f0, f1, f2, f3 = cut_factor(cut, low, f, n_fixed, base, node)
                    shift = t * scale / sigma - (f0 * z0 + f1 * z1 + f2 * z2 + f3 * z3)
                    shift /= f0 * f0 + f1 * f1 + f2 * f2 + f3 * f3
                    z0 += f0 * shift
                    z1 += f1 * shift
                    z2 += f2 * shift
                    z3 += f3 * shift
                    cut_value = work.lower[cut] + (t - a) * scale
                varying = lerp(node, 0, low, f) + lerp(node, 1, low, f) * sigma * z0
                # Fixed coefficients follow from the sum, not from what is put in its place.
                own = cut_value if cut == n_fixed else varying
                kept = valid and within and not own < work.lower[n_fixed]
                b0 = b1 = b2 = z0 - z0
                if n_fixed > 0:
                    noise = base[BASE_U] * z1
                    if n_fixed > 1:
                        noise += base[BASE_U + 1] * z2
                    if n_fixed > 2:
                        noise += base[BASE_U + 2] * z3
                    b0 = base[BASE_B] - product(node, 2, low, f, varying) + sigma * noise
                    b0 = cut_value if cut == 0 else b0
                    kept = kept and not b0 < work.lower[0]
                if n_fixed > 1:
                    noise = base[BASE_U + 4] * z2
                    if n_fixed > 2:
                        noise += base[BASE_U + 5] * z3
                    b1 = base[BASE_B + 1] - product(node, 3, low, f, varying) + sigma * noise
                    b1 = cut_value if cut == 1 else b1
                    kept = kept and not b1 < work.lower[1]
                if n_fixed > 2:
                    noise = base[BASE_U + 8] * z3
                    b2 = base[BASE_B + 2] - product(node, 4, low, f, varying) + sigma * noise
                    b2 = cut_value if cut == 2 else b2
                    kept = kept and not b2 < work.lower[2]
                before, number = count_before(kept)
                place = filled + before
                if kept and place < n_draws:
                    z = first + step * (real(low) + f)
                    out[0, place] = exp(z) if model.log[0] == 1 else z
                    if n_fixed > 0:
                        out[1 + model.order[0], place] = b0 + (
                            base[BASE_CENTRE] if model.constant == 0 else real(0.0)
                        )
                    if n_fixed > 1:
                        out[1 + model.order[1], place] = b1 + (
                            base[BASE_CENTRE] if model.constant == 1 else real(0.0)
                        )
                    if n_fixed > 2:
                        out[1 + model.order[2], place] = b2 + (
                            base[BASE_CENTRE] if model.constant == 2 else real(0.0)
                        )
                    out[1 + model.order[n_fixed], place] = own
                    out[p + 1, place] = sigma
                filled = np.int32(min(filled + number, n_draws))
                kept_total = np.int32(kept_total + number)
                _before, number = count_before(valid)
                good = np.int32(good + number)
            tried = np.int32(tried + count)
            if filled < n_draws and tried % BLOCK == 0:
                if tried == BLOCK and real(kept_total) < CUT_SHARE * real(good):
                    sync()
                    cut = np.int32(tightest(n_fixed, 1, work))
                    total, effective, share = cut_density(cut, n_fixed, 1, work)
                    gave_up = effective < LEAST_NODES or share < LEAST_SHARE
                    d += real(0.5)
                    c = real(1.0) / math.sqrt(real(9.0) * d)
                    good = np.int32(0)
                    kept_total = np.int32(0)
                else:
                    gave_up = real(kept_total) < FAST_SHARE * real(good)
        return (np.int32(-1) if gave_up else filled), real(good), real(kept_total) * share

    return draw_fast


def unconstrained(lane, n_fixed, m, rows, work):  # type: ignore[no-untyped-def]
    """In the place of `orthant.log_orthant`, which this kernel never asks."""
    return work.base[0] - work.base[0]


def lerp(table, row, cell, fraction):
    """A row of a table between two nodes."""
    a = table[row, cell]
    return a + fraction * (table[row, cell + 1] - a)


def cut_factor(cut, cell, fraction, n_fixed, base, node):
    """The row of the coefficient that is cut in the factor of the coefficients' covariance."""
    f0 = lerp(node, 1, cell, fraction)
    f1 = f2 = f3 = f0 - f0
    if cut < n_fixed:
        f0 *= -lerp(node, 2 + cut, cell, fraction)
        f1 = base[BASE_U + 3 * cut]
        f2 = base[BASE_U + 3 * cut + 1]
        f3 = base[BASE_U + 3 * cut + 2]
    return f0, f1, f2, f3


def cut_moments(cut, cell, fraction, n_fixed, base, node):
    """Mean and variance / sigma^2 of the coefficient that is cut."""
    f0, f1, f2, f3 = cut_factor(cut, cell, fraction, n_fixed, base, node)
    mean = lerp(node, 0, cell, fraction)
    if cut < n_fixed:
        mean = base[BASE_B + cut] - product(node, 2 + cut, cell, fraction, mean)
    return mean, f0 * f0 + f1 * f1 + f2 * f2 + f3 * f3


def product(table, row, cell, fraction, value):
    """`draws._subtract_product` of one candidate."""
    h = table[row, cell]
    dh = table[row, cell + 1] - h
    dm = table[0, cell + 1] - table[0, cell]
    return (h + fraction * dh) * value + dh * product_bend(fraction, dm)


def rounding(work):  # type: ignore[no-untyped-def]
    """Largest rounding error of a log posterior near the maximum; 0 in double precision."""
    return real(0.0)


def single_rounding(work):  # type: ignore[no-untyped-def]
    """`rounding` in single precision.

    Nodes of the last scan count too where they seemed likely and could not be trusted: the mass may
    be there.
    """
    last = work.reference[REF_LAST]
    return max(team_max(work.rounding[lane()]), last if last > TRUSTED else real(0.0))


def held(n, order_index, tables, points):  # type: ignore[no-untyped-def]
    """Whether a run's points or pseudo-points have room in shared memory."""
    return n <= points or (order_index >= 0 and tables.orders[order_index] <= points)


def density_moments(first, step, is_log, work):  # type: ignore[no-untyped-def]
    """Mean and sd of the nonlinear parameter, from its tabulated density."""
    mass = one = two = real(0.0)
    for j in range(lane(), NODES, width()):
        z = first + step * real(j)
        v = exp(z) if is_log else z
        mass += work.density[j]
        one += work.density[j] * v
        two += work.density[j] * v * v
    mass = team_sum(mass)
    one = team_sum(one) / mass
    return one, math.sqrt(max(team_sum(two) / mass - one * one, 0.0))


def bound_share(n_draws, low, high, is_log, draws):
    """`driver._bound_share` for one nonlinear parameter."""
    edge0 = low + real(0.01) * (high - low)
    edge1 = high - real(0.01) * (high - low)
    if is_log:
        edge0 = low * exp(real(0.01) * math.log(high / low))
        edge1 = high * exp(real(0.01) * math.log(low / high))
    near = np.int32(0)
    for i in range(lane(), n_draws, width()):
        if draws[0, i] < edge0 or draws[0, i] > edge1:
            near += 1
    return real(team_sum(near)) / real(max(n_draws, 1))


def build(program: Program, single: bool, points: int = POINTS[0]) -> Kernel:
    """The kernel of a law.

    Parameters
    ----------
    program : Program
        Of a law with one nonlinear parameter and one varying column.
    single : bool
        Whether to compute in float32.
    points : int
        Room for pseudo-points in shared memory: at least the largest order, and `SLACK` more.

    Returns
    -------
    Kernel
        Its arguments are x, y, weight (n_points,), offsets (n_runs + 1,), orders and shifts
        (n_runs,), the tables, the priors in the kernels' order, keys (n_runs,), and what it writes:
        draws (n_runs, p + 2, n_draws), info (n_runs, len(INFO)) and, where it has room, the
        tabulated posterior (n_runs, 2 + NODES): first node, step, log density up to a constant.
        Shifts were subtracted from the losses (and from the constant's prior) by the caller, and
        are added to the draws.
    """
    law = law_columns(program)
    n_fixed = program.n_fixed
    p = n_fixed + 1
    number = np.float32 if single else np.float64
    table = {
        **(SINGLE_TABLE if single else TABLE),
        **law.table,
        **nodes.node_table(law, 1, n_fixed),
        compress: moments.compress,
        draw_fast: make_draw_fast(n_fixed),
        log_orthant: unconstrained,
    }
    if single:
        table.update(single_table(law, 1, n_fixed))
        table[rounding] = single_rounding
    log_flags = tuple(int(program.log[k]) if k < len(program.log) else 0 for k in range(4))
    order = (*(int(k) for k in program.order), 0, 0, 0)[:4]
    constant = program.constant
    sizes = (COARSE, COARSE_OUTER, INNER, NODES)
    wide = NODES + CHECKS
    rows_fixed = max(n_fixed, 1)

    def fit_run(r, x, y, w, order_index, shift, priors, keys, out, info, table, work):  # type: ignore[no-untyped-def]
        model = Model(n_fixed, 1, 1, 0, log_flags, order, constant)
        nonlinear, mean, precision, lower, sigma = priors
        prior = RunPrior(nonlinear[r], mean[r], precision[r], lower[r], sigma[r, 0], sigma[r, 1])
        n_draws = out.shape[1]
        n_points, centre, total, mass = compress(x, y, w, order_index, work.tables, work)
        set_up(x.size, n_points, centre, total, mass, model, prior, work)
        low, high = bounds(0, model, prior)
        first, step, tabulated, effective, evidence = tabulate_one(
            low, high, n_points, model, prior, work, False
        )
        if table.shape[1] > 0:
            for j in range(lane(), NODES, width()):
                table[r, 2 + j] = work.scan[j]
            if lane() == 0:
                table[r, 0] = first
                table[r, 1] = step
        doubt = rounding(work)
        mean_of, sd_of = density_moments(first, step, log_flags[0] == 1, work)
        filled, good, kept = draw_fast(n_draws, keys[r], first, step, tabulated, model, work, out)
        sync()
        written = max(filled, 0)
        rho = residual_autocorrelation(x, y, w, written, model, work, out)
        near = bound_share(written, nonlinear[r, 0, 0], nonlinear[r, 0, 1], log_flags[0] == 1, out)
        sync()
        if constant >= 0:
            for i in range(lane(), written, width()):
                out[1 + order[constant], i] += shift
        if lane() == 0:
            info[r, EFFECTIVE_NODES] = effective
            info[r, BOUND_SHARE] = near
            info[r, ACCEPTANCE] = kept / max(good, 1.0)
            info[r, RHO1] = rho
            status = 0.0 if filled == n_draws and effective >= LEAST_NODES else 1.0
            if doubt > LEAST_PRECISE:
                status = 2.0
            info[r, STATUS] = status
            info[r, LOG_EVIDENCE] = evidence
            info[r, MEAN] = mean_of
            info[r, SD] = sd_of
            info[r, ROUNDING] = doubt

    port = Port(table, single, SINGLE_TOLERANCES if single else None)
    run = port.device(fit_run)

    def fit(x, y, weight, offsets, orders, shifts, tables, priors, keys, out, info, table):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        # Staging tiles are done with before nodes are tabulated: they share their memory.
        node = cuda.shared.array((ROWS, wide), number)
        staging = cuda.shared.array((4, points), number)
        work = FitWork(
            staging,
            cuda.shared.array((rows_fixed, points), number),
            cuda.shared.array(BASE_SIZE, number),
            cuda.shared.array(p, number),
            cuda.shared.array(p, number),
            cuda.shared.array((2, LANES), number),
            cuda.shared.array((1, LANES), number),
            cuda.shared.array((ROWS, LANES), number),
            cuda.shared.array(LANES, number),
            cuda.shared.array(NODES, number),
            node,
            cuda.shared.array(wide, number),
            cuda.shared.array(NODES, number),
            cuda.shared.array(NODES, number),
            node,
            cuda.shared.array((2, points), number),
            staging,
            tables,
            sizes,
        )
        a = offsets[r]
        b = offsets[r + 1]
        if held(b - a, orders[r], tables, points):
            run(
                r, x[a:b], y[a:b], weight[a:b], orders[r], shifts[r], priors, keys, out[r], info,
                table, work,
            )  # fmt: skip
        elif lane() == 0:
            info[r, STATUS] = 3.0

    def fit_single(x, y, weight, offsets, orders, shifts, tables, priors, keys, out, info, table):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        node = cuda.shared.array((ROWS, wide), np.float32)
        a = offsets[r]
        b = offsets[r + 1]
        staging = cuda.shared.array((4, points), np.float64)
        work = SingleWork(
            cuda.shared.array((4, points), np.float32),
            cuda.shared.array((rows_fixed, points), np.float32),
            cuda.shared.array(BASE_SIZE, np.float32),
            cuda.shared.array(p, np.float32),
            cuda.shared.array(p, np.float32),
            cuda.shared.array((2, LANES), np.float32),
            cuda.shared.array((1, LANES), np.float32),
            cuda.shared.array((ROWS, LANES), np.float32),
            cuda.shared.array(LANES, np.float32),
            cuda.shared.array(NODES, np.float32),
            node,
            cuda.shared.array(wide, np.float32),
            cuda.shared.array(NODES, np.float32),
            cuda.shared.array(NODES, np.float32),
            node,
            cuda.shared.array((2, points), np.float64),
            staging,
            tables,
            sizes,
            cuda.shared.array(points, np.float32),
            cuda.shared.array(points, np.float32),
            cuda.shared.array((rows_fixed, points), np.float32),
            cuda.shared.array(points, np.float32),
            cuda.shared.array(REF_SIZE, np.float32),
            cuda.shared.array(LANES, np.float32),
            Exact(
                staging,
                cuda.shared.array((rows_fixed, points), np.float64),
                cuda.shared.array(BASE_SIZE, np.float64),
                cuda.shared.array(p, np.float64),
                cuda.shared.array(p, np.float64),
                cuda.shared.array(4, np.float64),
                cuda.shared.array(p, np.float64),
            ),
            x[a:b],
            y[a:b],
            weight[a:b],
            orders[r],
        )
        # What is not set yet may be loaded before it is known to be needed.
        for k in range(lane(), REF_SIZE, width()):
            work.reference[k] = np.float32(0.0)
        if lane() < 4:
            work.exact.theta[lane()] = 0.0
        sync()
        if held(b - a, orders[r], tables, points):
            run(
                r, x[a:b], y[a:b], weight[a:b], orders[r], shifts[r], priors, keys, out[r], info,
                table, work,
            )  # fmt: skip
        elif lane() == 0:
            info[r, STATUS] = 3.0

    r1 = types.Array(types.float32 if single else types.float64, 1, "C")
    r2 = types.Array(r1.dtype, 2, "C")
    r3 = types.Array(r1.dtype, 3, "C")
    u4 = types.Array(types.uint32, 1, "C")
    i4 = types.Array(types.int32, 1, "C")
    tables = types.NamedTuple((i4, r2, r3, r1, r2, r2), Tables)
    priors = types.Tuple((r3, r2, r2, r2, r2))
    signature = (
        r1, r1, r1, u4, i4, r1, tables, priors, types.Array(types.uint64, 1, "C"), r3, r2, r2,
    )  # fmt: skip
    body = Port(TABLE).rebound(fit_single if single else fit)
    return Kernel("fit", body, signature, LANES, single)
