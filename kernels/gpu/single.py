"""The collapsed posterior in single precision: residualised about a reference.

Sums of squares cancel: float32 would leave errors of many nats.  So the losses are replaced by
their residuals r from a reference, the best fit at one value of the nonlinear parameters, and with
delta = phi - phi_reference and A_0 the reference's coefficient, in inner products of what the fixed
columns leave over,

    <w, w> = <r, r> - 2 A_0 <r, delta> + A_0^2 <delta, delta>
    <w, phi> = <r, phi> - A_0 <delta, phi>

are the sums of squares and products of w = r - A_0 delta: all of them small near the reference.
What is added to A_0 is (<w, phi> + lambda (mu - A_0)) / (<phi, phi> + lambda).

Far from it, where delta is as large as the losses, they are used as they are: the errors of both
forms are about 1e-7 of what cancels.

What the fixed columns explain of phi and of delta is most of them, and would cancel in every inner
product.  It is subtracted point by point before anything is summed: of phi at the reference
exactly, of delta by two derivatives.  Whatever is subtracted, the products of what is left over
only change by the priors' precisions times coefficients, which are added again.

The reference is found in rounds.  A first staging gives pseudo-points of the losses themselves, and
a coarse search over them in float64 a place to start from.  Each scan moves the reference to its
best node (in float64, at the few pseudo-points only).  When the window is found, the data are
staged once more as residuals from the reference there, so that nothing of the losses' own size is
left in the sums.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import marginal, quadrature
from ..compress import compress
from ..marginal import (
    BASE_B,
    BASE_FLOOR,
    BASE_INVERSE,
    BASE_NU,
    BASE_Q,
    BASE_SIZE,
    on_fixed,
    schur_pivot,
    set_up,
)
from ..maths import exp, log
from ..posterior import bounds
from ..team import lane, real, sync, team_argbest, team_max, team_sum, width
from ..work import COARSE, RunPrior
from . import moments
from .columns import LawColumns
from .moments import weighted_mean
from .nodes import node_prior
from .port import Port
from .warp import TABLE

__all__ = ["REF_LAST", "REF_SIZE", "REF_STAGED", "TRUSTED", "Exact", "single_table"]

# Places in Work.reference (float32)
REF_A = 0  # the reference's coefficient of the varying column
REF_Q = 1  # RSS + 2b of its residuals, fixed columns eliminated
REF_MEAN = 2  # prior mean of what is added to the coefficient
REF_PIVOT = 3  # pivot and RSS + 2b of the best fit there: logarithms are relative to these
REF_LEFT = 4
REF_CENTRE = 5  # what was subtracted from the losses
REF_STAGED = 6  # 1 while residuals are staged
REF_FIXED = 7  # coefficients of the fixed columns at the reference (3)
REF_ON = 10  # coefficients of the varying column there on the fixed ones (3)
REF_FIRST = 13  # the same of its first derivative by the first nonlinear parameter (3) ...
REF_SECOND = 16  # ... and of half the second (3)
REF_LEFT_OVER = 19  # sums of the fixed columns with what is left of the losses (3)
REF_RAW = 22  # ... and with the losses that are no residuals (3)
REF_LAST = 25  # rounding error of likely nodes in the last scan
REF_SIZE = 26

ROUNDING = 1.2e-7  # of a float32
CLOSE = 1.5  # changes of the exponent for which two derivatives tell the column's projection
TRUSTED = 0.5  # nats; a node that may be off by more is taken at its worst
NEAR = 3.0  # nats below the best fit at the reference within which rounding errors are judged


class Exact(NamedTuple):
    """Arrays of a run in float64, of the size of the pseudo-points."""

    points: Any  # (4, n): x, log x, weight, weighted residual of the fixed columns
    fixed: Any  # (n_fixed, n)
    base: Any  # (40,)
    mean: Any  # (p,)
    lower: Any  # (p,)
    theta: Any  # (4,): where the reference is
    prior_mean: Any  # (p,)


def single_table(law: LawColumns, n_nonlinear: int, n_fixed: int) -> dict[Any, Any]:
    """What a port to single precision puts in the place of the CPU's functions, for one law.

    The float64 parts are ported by themselves and stand in the table as they are.
    """
    column = law.varying
    exponential = law.exponent is not None
    exponent = law.exponent or law.varying
    first, second, third = law.fixed
    double = Port({**TABLE, **law.table})
    set_up_double = double.device(set_up)

    def reference_sums(n_points, exact, phi0):  # type: ignore[no-untyped-def]
        """Sums of the varying column with losses, fixed columns and itself, in float64."""
        t0, t1, t2, t3 = exact.theta[0], exact.theta[1], exact.theta[2], exact.theta[3]
        sy = s0 = s1 = s2 = sv = 0.0
        for i in range(lane(), n_points, width()):
            phi = column(exact.points[0, i], exact.points[1, i], t0, t1, t2, t3)
            phi0[i] = phi
            sy += phi * exact.points[3, i]
            sv += exact.points[2, i] * phi * phi
            if n_fixed > 0:
                s0 += phi * exact.fixed[0, i]
            if n_fixed > 1:
                s1 += phi * exact.fixed[1, i]
            if n_fixed > 2:
                s2 += phi * exact.fixed[2, i]
        return team_sum(sy), team_sum(s0), team_sum(s1), team_sum(s2), team_sum(sv)

    def reference_fit(n_points, precision, exact, phi0):  # type: ignore[no-untyped-def]
        """Coefficients of the varying column on the fixed ones, its pivot, and its right side."""
        sy, s0, s1, s2, sv = reference_sums(n_points, exact, phi0)
        base = exact.base
        i00, i10, i11 = base[BASE_INVERSE], base[BASE_INVERSE + 3], base[BASE_INVERSE + 4]
        i20, i21 = base[BASE_INVERSE + 6], base[BASE_INVERSE + 7]
        i22 = base[BASE_INVERSE + 8]
        pivot = schur_pivot(s0, s1, s2, sv, i00, i10, i11, i20, i21, i22, precision)
        h0, h1, h2 = on_fixed(s0, s1, s2, i00, i10, i11, i20, i21, i22)
        return h0, h1, h2, pivot, sy + precision * exact.mean[n_fixed]

    def derivatives(n_points, exact):  # type: ignore[no-untyped-def]
        """Coefficients on the fixed columns of the varying one's derivatives."""
        t0, t1, t2, t3 = exact.theta[0], exact.theta[1], exact.theta[2], exact.theta[3]
        a0 = a1 = a2 = b0 = b1 = b2 = 0.0
        for i in range(lane(), n_points, width()):
            x = exact.points[0, i]
            log_x = exact.points[1, i]
            phi = column(x, log_x, t0, t1, t2, t3)
            g = exponent(x, log_x, t0 / t0, t1, t2, t3)
            first = g * phi
            second = 0.5 * g * first
            if n_fixed > 0:
                a0 += first * exact.fixed[0, i]
                b0 += second * exact.fixed[0, i]
            if n_fixed > 1:
                a1 += first * exact.fixed[1, i]
                b1 += second * exact.fixed[1, i]
            if n_fixed > 2:
                a2 += first * exact.fixed[2, i]
                b2 += second * exact.fixed[2, i]
        base = exact.base
        i00, i10, i11 = base[BASE_INVERSE], base[BASE_INVERSE + 3], base[BASE_INVERSE + 4]
        i20, i21 = base[BASE_INVERSE + 6], base[BASE_INVERSE + 7]
        i22 = base[BASE_INVERSE + 8]
        a0, a1, a2 = on_fixed(
            team_sum(a0), team_sum(a1), team_sum(a2), i00, i10, i11, i20, i21, i22
        )
        b0, b1, b2 = on_fixed(
            team_sum(b0), team_sum(b1), team_sum(b2), i00, i10, i11, i20, i21, i22
        )
        return a0, a1, a2, b0, b1, b2

    def sums_with_fixed(n_points, losses, exact, at, reference):  # type: ignore[no-untyped-def]
        """Sums of the fixed columns with weighted losses, in ``reference[at : at + 3]``."""
        f0 = f1 = f2 = 0.0
        for i in range(lane(), n_points, width()):
            x = exact.points[0, i]
            log_x = exact.points[1, i]
            v = losses[i] * 1.0
            f0 += v * first(x, log_x, x, x, x, x)
            f1 += v * second(x, log_x, x, x, x, x)
            f2 += v * third(x, log_x, x, x, x, x)
        f0, f1, f2 = team_sum(f0), team_sum(f1), team_sum(f2)
        if lane() == 0:
            reference[at] = f0
            reference[at + 1] = f1
            reference[at + 2] = f2

    def move(n_points, precision, exact, phi0, rest, points, reference):  # type: ignore[no-untyped-def]
        """Put the reference at ``exact.theta``, with residuals of the pseudo-points."""
        h0, h1, h2, pivot, right = reference_fit(n_points, precision, exact, phi0)
        a = right / pivot
        mean = exact.mean[n_fixed]
        t0, t1, t2, t3 = exact.theta[0], exact.theta[1], exact.theta[2], exact.theta[3]
        for i in range(lane(), n_points, width()):
            phi = column(exact.points[0, i], exact.points[1, i], t0, t1, t2, t3)
            left_over = exact.points[2, i] * phi
            if n_fixed > 0:
                left_over -= h0 * exact.fixed[0, i]
            if n_fixed > 1:
                left_over -= h1 * exact.fixed[1, i]
            if n_fixed > 2:
                left_over -= h2 * exact.fixed[2, i]
            points[3, i] = exact.points[3, i] - a * left_over
            x = exact.points[0, i]
            log_x = exact.points[1, i]
            rest[i] = (
                phi
                - h0 * first(x, log_x, x, x, x, x)
                - h1 * second(x, log_x, x, x, x, x)
                - h2 * third(x, log_x, x, x, x, x)
            )
        sync()
        sums_with_fixed(n_points, points[3], exact, REF_LEFT_OVER, reference)
        a0 = a1 = a2 = b0 = b1 = b2 = 0.0
        if exponential:
            a0, a1, a2, b0, b1, b2 = derivatives(n_points, exact)
        if lane() == 0:
            reference[REF_ON] = h0
            reference[REF_ON + 1] = h1
            reference[REF_ON + 2] = h2
            reference[REF_FIRST] = a0
            reference[REF_FIRST + 1] = a1
            reference[REF_FIRST + 2] = a2
            reference[REF_SECOND] = b0
            reference[REF_SECOND + 1] = b1
            reference[REF_SECOND + 2] = b2
            base = exact.base
            # <r, r> = <y, y> - 2 a <y, phi> + a^2 <phi, phi>, and the prior's own term
            reference[REF_Q] = base[BASE_Q] - 2.0 * a * right + a * a * pivot
            reference[REF_A] = a
            reference[REF_MEAN] = mean - a
            reference[REF_PIVOT] = pivot
            reference[REF_LEFT] = max(base[BASE_Q] - right * a, base[BASE_FLOOR])
            reference[REF_FIXED] = base[BASE_B] - h0 * a
            reference[REF_FIXED + 1] = base[BASE_B + 1] - h1 * a
            reference[REF_FIXED + 2] = base[BASE_B + 2] - h2 * a
        sync()

    def settled(n_points, precision, exact, phi0, reference):  # type: ignore[no-untyped-def]
        """What the reference is once the residuals themselves were staged."""
        _h0, _h1, _h2, _pivot, right = reference_fit(n_points, precision, exact, phi0)
        sums_with_fixed(n_points, exact.points[3], exact, REF_LEFT_OVER, reference)
        # Of the best fit at the reference: its coefficient adds right / pivot, which is nearly 0.
        if lane() == 0:
            reference[REF_Q] = exact.base[BASE_Q]
            reference[REF_MEAN] = exact.mean[n_fixed]
            reference[REF_LEFT] = max(
                exact.base[BASE_Q] - right * right / reference[REF_PIVOT], exact.base[BASE_FLOOR]
            )
        sync()

    def search(n_points, low, high, model, prior, exact):  # type: ignore[no-untyped-def]
        """The best of `COARSE` even values of the first nonlinear parameter, in float64.

        Steep columns far from a reference are beyond float32: a reference that is off by much would
        look better than the true one.
        """
        is_log = model.log[0] == 1
        z = low + (high - low) / (COARSE - 1) * lane()
        t0 = exp(z) if is_log else z
        t1, t2, t3 = exact.theta[1], exact.theta[2], exact.theta[3]
        sy = s0 = s1 = s2 = sv = 0.0
        for i in range(n_points):
            phi = column(exact.points[0, i], exact.points[1, i], t0, t1, t2, t3)
            sy += phi * exact.points[3, i]
            sv += exact.points[2, i] * phi * phi
            if n_fixed > 0:
                s0 += phi * exact.fixed[0, i]
            if n_fixed > 1:
                s1 += phi * exact.fixed[1, i]
            if n_fixed > 2:
                s2 += phi * exact.fixed[2, i]
        base = exact.base
        i00, i10, i11 = base[BASE_INVERSE], base[BASE_INVERSE + 3], base[BASE_INVERSE + 4]
        i20, i21 = base[BASE_INVERSE + 6], base[BASE_INVERSE + 7]
        i22 = base[BASE_INVERSE + 8]
        precision = prior.precision[n_fixed] * 1.0
        pivot = schur_pivot(s0, s1, s2, sv, i00, i10, i11, i20, i21, i22, precision)
        right = sy + precision * exact.mean[n_fixed]
        left = max(base[BASE_Q] - right * right / pivot, base[BASE_FLOOR])
        value = node_prior(z, t0, 0, model, prior) - (
            0.5 * log(pivot) + 0.5 * base[BASE_NU] * log(left)
        )
        best = team_argbest(value, np.int32(lane()))
        z = low + (high - low) / (COARSE - 1) * best
        return exp(z) if is_log else z

    search_double = double.device(search)
    move_double = double.device(move)
    settled_double = double.device(settled)
    sums_double = double.device(sums_with_fixed)

    def copy(n_points, with_residuals, work):  # type: ignore[no-untyped-def]
        """From the float64 arrays to those of the inner loops."""
        exact = work.exact
        for i in range(lane(), n_points, width()):
            work.points[0, i] = exact.points[0, i]
            work.points[1, i] = exact.points[1, i]
            work.points[2, i] = exact.points[2, i]
            if with_residuals:
                work.points[3, i] = exact.points[3, i]
            x = work.points[0, i]
            log_x = work.points[1, i]
            if n_fixed > 0:
                work.fixed[0, i] = exact.fixed[0, i]
                work.columns[0, i] = first(x, log_x, x, x, x, x)
            if n_fixed > 1:
                work.fixed[1, i] = exact.fixed[1, i]
                work.columns[1, i] = second(x, log_x, x, x, x, x)
            if n_fixed > 2:
                work.fixed[2, i] = exact.fixed[2, i]
                work.columns[2, i] = third(x, log_x, x, x, x, x)

    def set_up_single(n_data, n_points, centre, total, mass, model, prior, work):  # type: ignore[no-untyped-def]
        exact = work.exact
        for k in range(lane(), n_fixed + 1, width()):
            exact.prior_mean[k] = prior.mean[k]
        sync()
        set_up_double(
            n_data, n_points, centre, total, mass, model,
            RunPrior(
                prior.nonlinear, exact.prior_mean, prior.precision, prior.lower, prior.shape,
                prior.scale,
            ),
            exact,
        )  # fmt: skip
        copy(n_points, False, work)
        for i in range(lane(), n_points, width()):
            work.raw[i] = exact.points[3, i]
        sums_double(n_points, exact.points[3], exact, REF_RAW, work.reference)
        for k in range(lane(), BASE_SIZE, width()):
            work.base[k] = exact.base[k]
        for k in range(lane(), n_fixed + 1, width()):
            work.mean[k] = exact.mean[k]
            work.lower[k] = exact.lower[k]
        work.rounding[lane()] = 0.0
        # To start from: the best of a coarse search, others in the middle of their range.
        for k in range(lane(), 4, width()):
            value = real(0.0)
            if k < n_nonlinear:
                low = prior.nonlinear[k, 0]
                high = prior.nonlinear[k, 1]
                value = math.sqrt(low * high) if model.log[k] == 1 else 0.5 * (low + high)
            exact.theta[k] = value
        if lane() == 0:
            work.reference[REF_STAGED] = 0.0
            work.reference[REF_CENTRE] = centre if model.constant >= 0 else centre - centre
        sync()
        low, high = bounds(0, model, prior)
        found = search_double(n_points, low, high, model, prior, exact)
        if lane() == 0:
            exact.theta[0] = real(found)
        sync()
        move_double(
            n_points,
            prior.precision[n_fixed],
            exact,
            work.phi0,
            work.rest,
            work.points,
            work.reference,
        )

    def refer(attempt, first_node, step, n, n_points, model, prior, work, out, top):  # type: ignore[no-untyped-def]
        """Move the reference to the best node of a scan; the scan itself will do."""
        best = real(-1e300)
        index = np.int32(0)
        for j in range(lane(), n, width()):
            if out[j] > best:
                best = out[j]
                index = np.int32(j)
        index = team_argbest(best, index)
        exact = work.exact
        last = team_max(work.rounding[lane()])
        work.rounding[lane()] = 0.0
        if lane() == 0:
            work.reference[REF_LAST] = last
            z = first_node + step * real(index)
            exact.theta[0] = exp(z) if model.log[0] == 1 else z
            if n_nonlinear > 1:
                z = work.z[1, 0]
                exact.theta[1] = exp(z) if model.log[1] == 1 else z
        sync()
        move_double(
            n_points,
            prior.precision[n_fixed],
            exact,
            work.phi0,
            work.rest,
            work.points,
            work.reference,
        )
        return False

    def settle(n_points, model, prior, work):  # type: ignore[no-untyped-def]
        """Stage the residuals from the reference, point by point."""
        exact = work.exact
        reference = work.reference
        n = work.x.size
        for k in range(lane(), n_fixed + 1, width()):
            mean = prior.mean[k] - (reference[REF_CENTRE] if k == model.constant else real(0.0))
            at = reference[REF_A] if k == n_fixed else reference[REF_FIXED + k]
            exact.prior_mean[k] = mean - at
        if lane() == 0:
            reference[REF_STAGED] = 1.0
        sync()
        _n, centre, total, mass = compress(work.x, work.y, work.w, work.order, work.tables, work)
        set_up_double(
            n, n_points, centre - centre, total, mass, model,
            RunPrior(
                prior.nonlinear, exact.prior_mean, prior.precision, prior.lower, prior.shape,
                prior.scale,
            ),
            exact,
        )  # fmt: skip
        copy(n_points, True, work)
        if lane() < 3:
            work.base[BASE_B + lane()] += exact.base[BASE_B + lane()]
        if lane() == 0:
            work.base[BASE_FLOOR] = exact.base[BASE_FLOOR]
        sync()
        settled_double(n_points, prior.precision[n_fixed], exact, work.phi0, reference)

    def deviation(i, x, log_x, y, centre, work):  # type: ignore[no-untyped-def]
        reference = work.reference
        e = y[i] - centre
        if reference[REF_STAGED] != 0.0:
            theta = work.exact.theta
            t0, t1, t2, t3 = real(theta[0]), real(theta[1]), real(theta[2]), real(theta[3])
            e -= reference[REF_A] * column(x, log_x, t0, t1, t2, t3)
            if n_fixed > 0:
                e -= reference[REF_FIXED] * first(x, log_x, t0, t1, t2, t3)
            if n_fixed > 1:
                e -= reference[REF_FIXED + 1] * second(x, log_x, t0, t1, t2, t3)
            if n_fixed > 2:
                e -= reference[REF_FIXED + 2] * third(x, log_x, t0, t1, t2, t3)
        return e

    def centre_once(x, y, w, work):  # type: ignore[no-untyped-def]
        """The centre of the first staging holds for the second."""
        if work.reference[REF_STAGED] != 0.0:
            return work.reference[REF_CENTRE], real(0.0)
        return weighted_mean(x, y, w)

    def evaluate(lanes, n_points, model, prior, work):  # type: ignore[no-untyped-def]
        """`marginal.evaluate` about the reference: lane j does node j."""
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
            reference = work.reference
            change = t0 - real(work.exact.theta[0])
            # Coefficients on the fixed columns that are subtracted from delta ...
            c0 = c1 = c2 = real(0.0)
            steepest = exponent(
                work.points[0, n_points - 1], work.points[1, n_points - 1], change, t1, t2, t3
            )
            steepest = max(
                abs(steepest),
                abs(exponent(work.points[0, 0], work.points[1, 0], change, t1, t2, t3)),
            )
            if exponential and steepest < CLOSE:
                c0 = change * (reference[REF_FIRST] + change * reference[REF_SECOND])
                c1 = change * (reference[REF_FIRST + 1] + change * reference[REF_SECOND + 1])
                c2 = change * (reference[REF_FIRST + 2] + change * reference[REF_SECOND + 2])
            points = work.points
            fixed = work.fixed
            s0 = s1 = s2 = sv = real(0.0)
            d0 = d1 = d2 = dy = dd = dv = ay = yv = real(0.0)
            i = np.uint32(0)
            while i < np.uint32(n_points):
                if exponential:
                    g = exponent(points[0, i], points[1, i], change, t1, t2, t3)
                    delta = work.phi0[i] * math.expm1(g)
                else:
                    phi = column(points[0, i], points[1, i], t0, t1, t2, t3)
                    delta = phi - work.phi0[i]
                if n_fixed > 0:
                    delta -= c0 * work.columns[0, i]
                if n_fixed > 1:
                    delta -= c1 * work.columns[1, i]
                if n_fixed > 2:
                    delta -= c2 * work.columns[2, i]
                phi = work.rest[i] + delta
                weighted = points[2, i] * phi
                sv += weighted * phi
                dv += weighted * delta
                dd += points[2, i] * delta * delta
                dy += points[3, i] * delta
                ay += points[3, i] * phi
                yv += work.raw[i] * phi
                if n_fixed > 0:
                    s0 += phi * fixed[0, i]
                    d0 += delta * fixed[0, i]
                if n_fixed > 1:
                    s1 += phi * fixed[1, i]
                    d1 += delta * fixed[1, i]
                if n_fixed > 2:
                    s2 += phi * fixed[2, i]
                    d2 += delta * fixed[2, i]
                i = np.uint32(i + np.uint32(1))
            base = work.base
            i00, i10, i11 = base[BASE_INVERSE], base[BASE_INVERSE + 3], base[BASE_INVERSE + 4]
            i20, i21 = base[BASE_INVERSE + 6], base[BASE_INVERSE + 7]
            i22 = base[BASE_INVERSE + 8]
            precision = prior.precision[n_fixed]
            h0, h1, h2 = on_fixed(s0, s1, s2, i00, i10, i11, i20, i21, i22)
            g0, g1, g2 = on_fixed(d0, d1, d2, i00, i10, i11, i20, i21, i22)
            # ... and from phi.
            e0 = reference[REF_ON] + c0
            e1 = reference[REF_ON + 1] + c1
            e2 = reference[REF_ON + 2] + c2
            # Priors' precisions times what was subtracted; the last two are 0 without columns.
            l0 = prior.precision[0] if n_fixed > 0 else real(0.0)
            l1 = prior.precision[1] if n_fixed > 1 else real(0.0)
            l2 = prior.precision[2] if n_fixed > 2 else real(0.0)
            # What they take off coefficients on the fixed columns.
            p0, p1, p2 = on_fixed(l0 * e0, l1 * e1, l2 * e2, i00, i10, i11, i20, i21, i22)
            q0, q1, q2 = on_fixed(l0 * c0, l1 * c1, l2 * c2, i00, i10, i11, i20, i21, i22)
            pivot = schur_pivot(s0, s1, s2, sv, i00, i10, i11, i20, i21, i22, precision) + (
                l0 * e0 * (2.0 * h0 + e0 - p0)
                + l1 * e1 * (2.0 * h1 + e1 - p1)
                + l2 * e2 * (2.0 * h2 + e2 - p2)
            )
            pivot = max(pivot, precision)  # it is no less, but for rounding
            a = reference[REF_A]
            # inner products of what the fixed columns leave over
            moved = (
                dd
                - (g0 * d0 + g1 * d1 + g2 * d2)
                + (
                    l0 * c0 * (2.0 * g0 + c0 - q0)
                    + l1 * c1 * (2.0 * g1 + c1 - q1)
                    + l2 * c2 * (2.0 * g2 + c2 - q2)
                )
            )
            moved *= a * a
            dv += -(h0 * d0 + h1 * d1 + h2 * d2) + (
                l0 * (c0 * (h0 + e0 - p0) + e0 * g0)
                + l1 * (c1 * (h1 + e1 - p1) + e1 * g1)
                + l2 * (c2 * (h2 + e2 - p2) + e2 * g2)
            )
            dy += (
                c0 * reference[REF_LEFT_OVER]
                + c1 * reference[REF_LEFT_OVER + 1]
                + c2 * reference[REF_LEFT_OVER + 2]
            )
            ay += (
                e0 * reference[REF_LEFT_OVER]
                + e1 * reference[REF_LEFT_OVER + 1]
                + e2 * reference[REF_LEFT_OVER + 2]
            )
            right = ay - a * dv + precision * reference[REF_MEAN]
            added = right / pivot
            left = reference[REF_Q] - 2.0 * a * dy + moved - right * added
            if moved > base[BASE_Q]:  # far from the reference the losses themselves cancel less
                a = real(0.0)
                yv += (
                    e0 * reference[REF_RAW]
                    + e1 * reference[REF_RAW + 1]
                    + e2 * reference[REF_RAW + 2]
                )
                right = yv + precision * work.mean[n_fixed]
                added = right / pivot
                left = base[BASE_Q] - right * added
            left = max(left, base[BASE_FLOOR])
            likelihood = -(
                0.5 * log(pivot / reference[REF_PIVOT])
                + 0.5 * base[BASE_NU] * log(left / reference[REF_LEFT])
            )
            # What rounding may do to it where there is mass, by the size of what cancels.
            cancels = a * a * dd + 2.0 * abs(a * added) * math.sqrt(sv * dd) + added * added * sv
            if a == 0.0:
                cancels = base[BASE_Q] + added * added * sv
            error = ROUNDING * (0.5 * sv / pivot + 0.5 * base[BASE_NU] * (cancels / left + 1.0))
            if likelihood > -NEAR:
                work.rounding[j] = max(work.rounding[j], error)
            if error > TRUSTED:
                likelihood -= error
            work.logp[j] = log_posterior + likelihood
            work.rows[0, j] = a + added
            work.rows[1, j] = 1.0 / math.sqrt(pivot)
            work.rows[2, j] = e0 + h0 - p0
            work.rows[3, j] = e1 + h1 - p1
            work.rows[4, j] = e2 + h2 - p2
            work.rows[5, j] = math.sqrt(left)
        sync()

    return {
        set_up: set_up_single,
        marginal.evaluate: evaluate,
        quadrature.refer: refer,
        quadrature.settle: settle,
        moments.deviation: deviation,
        moments.first_centre: centre_once,
        moments.to_weights: double.device(moments.to_weights),
        compress: moments.compress,
    }
