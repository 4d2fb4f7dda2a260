"""Evaluation of the collapsed posterior by a warp: one lane a node, sums in registers."""

from __future__ import annotations

import math

import numpy as np

from .. import marginal, posterior, quadrature
from ..marginal import (
    BASE_FLOOR,
    BASE_INVERSE,
    BASE_NU,
    BASE_Q,
    log_prior,
    on_fixed,
    schur_pivot,
)
from ..maths import exp, log
from ..posterior import MEAN_DRAWS, MEAN_WORK
from ..team import lane, real, sync, team_sum
from .columns import LawColumns
from .warp import broadcast, lane_up

__all__ = ["loss_curve", "node_table"]


def node_prior(z, theta, k, model, prior):
    """Log prior density of coordinate k."""
    kind = prior.nonlinear[k, 2]
    first = prior.nonlinear[k, 3]
    second = prior.nonlinear[k, 4]
    inverse = real(1.0) / second if second != 0.0 else real(0.0)
    if kind == 2.0:
        first = log(first)
    return log_prior(model.log[k] == 1, kind, first, inverse, z, theta)


def interpolate(n_in, n_out, matrix, n_rows, work):
    """`quadrature.interpolate`, all rows in one pass over the matrix."""
    one = np.uint32(1)
    stop = np.uint32(n_in)
    j = np.uint32(lane())
    while j < np.uint32(n_out):
        top = r0 = r1 = r2 = r3 = r4 = r5 = real(0.0)
        k = np.uint32(0)
        while k < stop:
            c = matrix[k, j]
            top += c * work.logp[k]
            if n_rows > 0:
                r0 += c * work.rows[0, k]
                r1 += c * work.rows[1, k]
                r2 += c * work.rows[2, k]
                r3 += c * work.rows[3, k]
                r4 += c * work.rows[4, k]
                r5 += c * work.rows[5, k]
            k = np.uint32(k + one)
        work.wide_logp[j] = top
        if n_rows > 0:
            work.node[0, j] = r0
            work.node[1, j] = r1
            work.node[2, j] = r2
            work.node[3, j] = r3
            work.node[4, j] = r4
            work.node[5, j] = r5
        j = np.uint32(j + np.uint32(32))


def distribution(n, density, cumulative):
    """`quadrature.distribution`: a scan by 32 lanes, one stretch of nodes each."""
    j = lane()
    each = (n + 31) // 32
    start = j * each
    stop = min(start + each, n)
    s = real(0.0)
    for i in range(start, stop):
        if i > 0:
            s += real(0.5) * (density[i - 1] + density[i])
        cumulative[i] = s
    before = s
    for distance in (1, 2, 4, 8, 16):
        other = lane_up(before, distance)
        if j >= distance:
            before += other
    total = broadcast(before, 31)
    before -= s
    for i in range(start, stop):
        cumulative[i] = (cumulative[i] + before) / total
    sync()
    return total


def node_table(law: LawColumns, n_nonlinear: int, n_fixed: int) -> dict[object, object]:
    """What a port puts in the place of the CPU's evaluation, for one law."""
    column = law.varying
    first, second, third = law.fixed

    def evaluate(lanes, n_points, model, prior, work):  # type: ignore[no-untyped-def]
        """`marginal.evaluate` for one varying column: lane j does node j."""
        j = lane()
        if j < lanes:
            z = work.z[0, j]
            t0 = exp(z) if model.log[0] == 1 else z
            work.theta[0, j] = t0
            log_posterior = node_prior(z, t0, 0, model, prior)
            t1 = t2 = t3 = t0 - t0
            if n_nonlinear > 1:
                z = work.z[1, j]
                t1 = exp(z) if model.log[1] == 1 else z
                work.theta[1, j] = t1
                log_posterior += node_prior(z, t1, 1, model, prior)
            if n_nonlinear > 2:
                z = work.z[2, j]
                t2 = exp(z) if model.log[2] == 1 else z
                work.theta[2, j] = t2
                log_posterior += node_prior(z, t2, 2, model, prior)
            if n_nonlinear > 3:
                z = work.z[3, j]
                t3 = exp(z) if model.log[3] == 1 else z
                work.theta[3, j] = t3
                log_posterior += node_prior(z, t3, 3, model, prior)
            points = work.points
            fixed = work.fixed
            sy = s0 = s1 = s2 = sv = real(0.0)
            i = np.uint32(0)
            while i < np.uint32(n_points):
                phi = column(points[0, i], points[1, i], t0, t1, t2, t3)
                sy += phi * points[3, i]
                sv += points[2, i] * phi * phi
                if n_fixed > 0:
                    s0 += phi * fixed[0, i]
                if n_fixed > 1:
                    s1 += phi * fixed[1, i]
                if n_fixed > 2:
                    s2 += phi * fixed[2, i]
                i = np.uint32(i + np.uint32(1))
            base = work.base
            i00, i10, i11 = base[BASE_INVERSE], base[BASE_INVERSE + 3], base[BASE_INVERSE + 4]
            i20, i21 = base[BASE_INVERSE + 6], base[BASE_INVERSE + 7]
            i22 = base[BASE_INVERSE + 8]
            precision = prior.precision[n_fixed]
            right = sy + precision * work.mean[n_fixed]
            pivot = schur_pivot(s0, s1, s2, sv, i00, i10, i11, i20, i21, i22, precision)
            coefficient = right / pivot
            left = max(base[BASE_Q] - right * coefficient, base[BASE_FLOOR])
            work.logp[j] = log_posterior - (
                real(0.5) * log(pivot) + real(0.5) * base[BASE_NU] * log(left)
            )
            h0, h1, h2 = on_fixed(s0, s1, s2, i00, i10, i11, i20, i21, i22)
            work.rows[0, j] = coefficient
            work.rows[1, j] = real(1.0) / math.sqrt(pivot)
            work.rows[2, j] = h0
            work.rows[3, j] = h1
            work.rows[4, j] = h2
            work.rows[5, j] = math.sqrt(left)
        sync()

    def curve(x, log_x, draw, model, draws):  # type: ignore[no-untyped-def]
        """The loss at a point for one draw, linear parameters in the law's order."""
        t0 = draws[0, draw]
        t1 = draws[1, draw] if n_nonlinear > 1 else t0 - t0
        t2 = draws[2, draw] if n_nonlinear > 2 else t0 - t0
        t3 = draws[3, draw] if n_nonlinear > 3 else t0 - t0
        d = n_nonlinear
        value = draws[d + model.order[n_fixed], draw] * column(x, log_x, t0, t1, t2, t3)
        if n_fixed > 0:
            value += draws[d + model.order[0], draw] * first(x, log_x, t0, t1, t2, t3)
        if n_fixed > 1:
            value += draws[d + model.order[1], draw] * second(x, log_x, t0, t1, t2, t3)
        if n_fixed > 2:
            value += draws[d + model.order[2], draw] * third(x, log_x, t0, t1, t2, t3)
        return value

    def residual_autocorrelation(x, y, w, n_draws, model, work, draws):  # type: ignore[no-untyped-def]
        """`posterior.residual_autocorrelation`, 32 neighbouring points at a time."""
        n = x.size
        some = min(min(max(MEAN_WORK // n, 1), MEAN_DRAWS), n_draws)
        s0 = s1 = last = real(0.0)
        share = real(1.0) / real(max(some, 1))
        for start in range(0, n, 32):
            i = start + lane()
            e = real(0.0)
            if i < n:
                log_x = log(x[i])
                fitted = real(0.0)
                for k in range(some):
                    draw = ((2 * k + 1) * n_draws) // (2 * some)
                    fitted += share * curve(x[i], log_x, draw, model, draws)
                e = (y[i] - fitted) * math.sqrt(w[i])
            before = lane_up(e, 1)
            if lane() == 0:
                before = last
            last = broadcast(e, 31)
            if i < n:
                s0 += e * e
                s1 += e * before
        s0 = team_sum(s0)
        s1 = team_sum(s1)
        return s1 / s0 if s0 > 0.0 else real(0.0)

    return {
        marginal.evaluate: evaluate,
        quadrature.interpolate: interpolate,
        quadrature.distribution: distribution,
        posterior.residual_autocorrelation: residual_autocorrelation,
        loss_curve: curve,
    }


def loss_curve(x, log_x, draw, model, draws):
    """The loss at a point for one draw; a stand-in that `node_table` replaces."""
    raise NotImplementedError
