"""One coefficient cut at its bound, for `draws`.

Given the nonlinear parameter, a coefficient follows Student's t.  Where its bound cuts off most of
that, it is drawn first, from the t beyond the bound; then sigma, with one more degree of freedom,
and the other coefficients given both.

With y = T^2 / nu and the score S = sign(T) sqrt((nu - 1) log(1 + y)), the t's density in S is that
of a standard normal times sqrt(log(1 + y) / y) <= 1.  A normal beyond the bound's score b is drawn
from an exponential beyond b, of the rate r = (b + sqrt(b^2 + 4)) / 2 (Robert 1995, "Simulation of
truncated normal variables"), whose density it touches at r: both products are the share of
proposals that are kept.  Where the bound cuts off little, normals are proposed.  What is proposed
has the mass exp(r^2 / 2 - r b) / (r sqrt(2 pi)), or 1: the nonlinear parameter is drawn from its
density times that, and keeping proposals makes it right.
"""

from __future__ import annotations

import math

from .marginal import BASE_B, BASE_NU, BASE_U, row_of_h, row_of_q, row_of_u
from .maths import TINY, exp, inline, kernel, log, log_gamma_ratio, sums
from .philox import uniform
from .quadrature import distribution
from .team import lane, real, sync, team_sum, width
from .work import NODES

__all__ = [
    "CUT_SHARE", "LEAST_SHARE", "cut_density", "cut_rows", "cut_score", "cut_sigma", "cut_t",
    "draw_cut", "fill", "keep_score", "less_product",
    "propose_score", "tightest",
]  # fmt: skip

# Below this share of kept candidates a coefficient is cut: that is quicker then.
CUT_SHARE = 0.5
# Below this probability of the bound the table might miss a part of the posterior: it reaches only
# as far as the one without constraints.
LEAST_SHARE = 0.01
FEW = -0.469839350257166  # scores of bounds below this cut off little: both masses are 1 there
ROOT_2PI = 2.5066282746310002
RESOLVED = 1e-12  # densities below this part of the largest have no mass


@inline
def cut_score(t, nu):
    """The score of a value of Student's t."""
    s = math.sqrt((nu - 1.0) * log(1.0 + t * t / nu))
    return s if t >= 0.0 else -s


@inline
def proposed_mass(bound):
    """The mass of what is proposed, in units of that of a standard normal."""
    rate = 0.5 * (bound + math.sqrt(bound * bound + 4.0))
    mass = exp(0.5 * rate * rate - rate * bound) / (rate * ROOT_2PI)
    return mass if bound > FEW else 1.0


@inline
def propose_score(bound, normal, word):
    """A score beyond the bound, or the normal."""
    rate = 0.5 * (bound + math.sqrt(bound * bound + 4.0))
    return bound - log(uniform(word)) / rate if bound > FEW else normal


@inline
def keep_score(s, bound, nu, word):
    """1 where a proposed score is kept, else 0."""
    rate = 0.5 * (bound + math.sqrt(bound * bound + 4.0))
    e = s - rate if bound > FEW else real(0.0)
    q = s * s / (nu - 1.0)
    y = max(exp(q) - 1.0, q)
    accepted = uniform(word) < exp(-0.5 * e * e) * math.sqrt((q + TINY) / (y + TINY))
    return 1.0 if accepted and s >= bound else 0.0


@inline
def cut_t(s, a, nu):
    """The value of Student's t, beyond a, that has the score s."""
    q = s * s / (nu - 1.0)
    t = math.sqrt(nu * max(exp(q) - 1.0, q))
    return max(t if s >= 0.0 else -t, a)


@inline
def cut_sigma(root_q, t, nu, g):
    """Sigma given the coefficient, with g a gamma variate of shape (nu + 1) / 2."""
    return root_q * math.sqrt((1.0 + t * t / nu) / (2.0 * g))


@inline
def _standardised(lower, mean, spread2, root_q, nu):
    """The bound in units of the t's scale."""
    return (lower - mean) * math.sqrt(nu) / (math.sqrt(max(spread2, TINY)) * root_q)


@kernel
def _bound_at(k, j, n_fixed, m, work):
    """The standardised bound of coefficient k at node j."""
    node = work.node
    base = work.base
    mean = base[BASE_B + k] if k < n_fixed else node[max(k - n_fixed, 0), j]
    spread2 = real(0.0)
    for b in range(m):
        f = real(0.0)
        if k >= n_fixed:
            if b >= k - n_fixed:
                f = node[row_of_u(m, k - n_fixed, b), j]
        else:
            for a in range(b + 1):
                f -= node[row_of_h(m, a, k), j] * node[row_of_u(m, a, b), j]
            mean -= node[row_of_h(m, b, k), j] * node[b, j]
        spread2 += f * f
    if k < n_fixed:
        for i in range(k, n_fixed):
            spread2 += base[BASE_U + 3 * k + i] * base[BASE_U + 3 * k + i]
    return _standardised(work.lower[k], mean, spread2, node[row_of_q(m), j], base[BASE_NU])


@kernel
def tightest(n_fixed, m, work):
    """The coefficient whose bound is the farthest beyond its mean, averaged over the nodes."""
    which = 0
    most = real(-1e300)
    for k in range(n_fixed + m):
        if work.lower[k] > -1e299:
            mean = real(0.0)
            mass = real(0.0)
            for j in range(lane(), NODES, width()):
                if work.density[j] > RESOLVED:
                    mean += work.density[j] * _bound_at(k, j, n_fixed, m, work)
                    mass += work.density[j]
            mean = team_sum(mean) / team_sum(mass)
            if mean > most:
                most = mean
                which = k
    return which


@kernel
def cut_density(k, n_fixed, m, work):
    """Multiply the tabulated density by the mass of what is proposed for coefficient k.

    Returns
    -------
    total : float64
        Mass of the new density.
    effective : float64
        How many nodes share it.
    share : float64
        What the share of kept candidates has to be multiplied by for the probability that the
        constraints hold by themselves.
    """
    nu = work.base[BASE_NU]
    before = real(0.0)
    after = real(0.0)
    squares = real(0.0)
    for j in range(lane(), NODES, width()):
        density = work.density[j]
        left = real(0.0)
        if density > RESOLVED:
            left = density * proposed_mass(cut_score(_bound_at(k, j, n_fixed, m, work), nu))
        before += density
        after += left
        squares += left * left
        work.density[j] = left
    before = team_sum(before)
    after = team_sum(after)
    squares = team_sum(squares)
    sync()
    total = distribution(NODES, work.density, work.cumulative)
    # of the t's density in S, of which the normal's is multiplied by too little
    norm = math.sqrt(0.5 * (nu - 1.0)) * math.exp(log_gamma_ratio(0.5 * nu))
    return total, after * after / max(squares, TINY), after / (before * norm)


# Loops over candidates.  Rows of ``work.value`` from `cut_rows` on: mean of the coefficient, its
# variance / sigma^2, bound, score, and its row of the factor F of the coefficients' covariance /
# sigma^2 = F F' (varying, then fixed).


@inline
def cut_rows(p):
    """First row of ``work.value`` that is used here, for p coefficients."""
    return p + 8


@sums
def fill(count, value, out):
    """Fill a row."""
    for i in range(count):
        out[i] = value


@sums
def less_product(count, a, b, out):
    """Subtract the products of two rows."""
    for i in range(count):
        out[i] -= a[i] * b[i]


@sums
def _add_product(count, a, b, out):
    for i in range(count):
        out[i] += a[i] * b[i]


@sums
def _bounds(count, lower, nu, mean, spread2, root_q, out):
    for i in range(count):
        out[i] = _standardised(lower, mean[i], spread2[i], root_q[i], nu)


@sums
def _scores_of_bounds(count, nu, a, out):
    for i in range(count):
        out[i] = cut_score(a[i], nu)


@sums
def _propose(count, bound, normal, word, out):
    for i in range(count):
        out[i] = propose_score(bound[i], normal[i], word[i])


@sums
def _keep(count, nu, s, bound, word, kept):
    for i in range(count):
        kept[i] *= keep_score(s[i], bound[i], nu, word[i])


@sums
def _values(count, nu, a, s):
    for i in range(count):
        s[i] = cut_t(s[i], a[i], nu)


@sums
def _sigmas(count, nu, root_q, t, g, out):
    for i in range(count):
        out[i] = cut_sigma(root_q[i], t[i], nu, g[i])


@sums
def _shifts(count, nu, root_q, t, spread2, sigma, out):
    """By how much of its row of F the normals move: `out` holds their product with it."""
    for i in range(count):
        e = t[i] * root_q[i] * math.sqrt(spread2[i] / nu) / sigma[i]
        out[i] = (e - out[i]) / spread2[i]


@sums
def _coefficient(count, lower, nu, root_q, spread2, a, t, out):
    for i in range(count):
        out[i] = lower + (t[i] - a[i]) * root_q[i] * math.sqrt(spread2[i] / nu)


@kernel
def draw_cut(count, k, model, work, root_q, sigma, scratch):
    """Draw sigma, and normals for which coefficient k is beyond its bound, of `count` candidates.

    The coefficient's mean and row of F are in their rows already, and random words in
    ``work.words``.  ``work.candidates`` has gamma variates of shape (nu + 1) / 2.
    """
    p = model.n_fixed + model.n_varying
    nu = work.base[BASE_NU]
    row = cut_rows(p)
    value = work.value
    mean = value[row]
    spread2 = value[row + 1]
    a = value[row + 2]
    t = value[row + 3]
    fill(count, 0.0, spread2)
    for b in range(p):
        _add_product(count, value[row + 4 + b], value[row + 4 + b], spread2)
    _bounds(count, work.lower[k], nu, mean, spread2, root_q, a)
    _scores_of_bounds(count, nu, a, scratch)
    _propose(count, scratch, work.candidates[9], work.words[2], t)
    _keep(count, nu, t, scratch, work.words[3], work.candidates[2])
    _values(count, nu, a, t)
    _sigmas(count, nu, root_q, t, work.candidates[1], sigma)
    fill(count, 0.0, scratch)
    for b in range(p):
        _add_product(count, value[row + 4 + b], work.candidates[3 + b], scratch)
    _shifts(count, nu, root_q, t, spread2, sigma, scratch)
    for b in range(p):
        _add_product(count, value[row + 4 + b], scratch, work.candidates[3 + b])
    _coefficient(count, work.lower[k], nu, root_q, spread2, a, t, mean)
