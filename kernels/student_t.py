"""Student-t noise: Gibbs sampling over the points' precisions.

A t is a normal whose precision is gamma distributed (Andrews & Mallows 1974).  Given the
precisions, the noise is Gaussian with known weights and all parameters are drawn together, exactly,
by quadrature; given the parameters, each precision is an independent gamma variate.  Only the
precisions are a Markov chain.
"""

from __future__ import annotations

from numpy import uint64

from .columns import call_column
from .compress import compress
from .maths import kernel
from .philox import gamma, philox
from .posterior import draw_quadrature
from .work import LANES

__all__ = ["chain_key", "draw_student_t"]

STREAM_PRECISION = uint64(1 << 16)
STREAM_CHAIN = uint64(1 << 17)


@kernel
def chain_key(key, chain, sweep):
    """A new 64-bit key for a sweep of a chain."""
    w0, w1, _w2, _w3 = philox(uint64(chain), uint64(sweep), STREAM_CHAIN, uint64(0), key)
    return w0 | (w1 << uint64(32))


@kernel
def draw_student_t(
    n_draws, tune, chains, dof, x, y, weight, order, key, tables, model, prior, work, out
):
    """Draws of one run under Student-t noise.

    Parameters
    ----------
    n_draws, tune, chains : int64
        Kept and discarded sweeps of each chain, and chains.
    dof : float64
        Degrees of freedom of the noise; sigma is its scale, not its standard deviation.
    out : float64, shape (d + p + 1, chains * n_draws)
        Chain-major.

    Returns
    -------
    filled : int64
    effective, share : float64
        As `draw_quadrature`, averages over sweeps.
    """
    n = x.size
    d = model.n_nonlinear
    p = model.n_fixed + model.n_varying
    precision = work.precisions[0, :n]
    weighted = work.precisions[1, :n]
    fitted = work.precisions[2, :n]
    column = work.precisions[3, :n]
    one = work.sweep[: d + p + 1]
    effective_sum = 0.0
    share_sum = 0.0
    filled_all = 0
    for chain in range(chains):
        for i in range(n):
            precision[i] = 1.0
        for sweep in range(tune + n_draws):
            sweep_key = chain_key(key, chain, sweep)
            for i in range(n):
                weighted[i] = weight[i] * precision[i]
            n_points, centre, total, mass = compress(x, y, weighted, order, tables, work)
            filled, effective, share = draw_quadrature(
                1, n, sweep_key, n_points, centre, total, mass, model, prior, work, one
            )
            if filled < 1:
                return filled_all, effective, share
            effective_sum += effective
            share_sum += share
            for k in range(d):
                work.theta[k, 0] = one[k, 0]
            for i in range(n):
                fitted[i] = 0.0
            for k in range(p):
                call_column(model.columns[k], 1, n, 1, x, work.data[0], work.theta, LANES, column)
                c = one[d + model.order[k], 0]
                for i in range(n):
                    fitted[i] += c * column[i]
            sigma = one[d + p, 0]
            for i in range(n):
                e = (y[i] - fitted[i]) / sigma
                rate = 0.5 * (dof + weight[i] * e * e)
                shape = 0.5 * (dof + 1.0)
                precision[i] = gamma(shape, uint64(i), STREAM_PRECISION, sweep_key) / rate
            if sweep >= tune:
                column_out = chain * n_draws + sweep - tune
                for k in range(d + p + 1):
                    out[k, column_out] = one[k, 0]
                filled_all += 1
    sweeps = chains * (tune + n_draws)
    return filled_all, effective_sum / sweeps, share_sum / sweeps
