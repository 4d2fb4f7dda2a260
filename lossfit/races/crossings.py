"""Where curves cross: changes of the lead between draws of two curves.

Written against the Python array API standard: the same code runs on NumPy's arrays and on CuPy's.

A *crossing* is a sign change of the difference of two draws, dated where it is 0 by linear
interpolation.  It counts once the new leader's lead has reached a margin, and only if the other's
had before: curves that run together, or a rough path that touches 0 several times, make no
crossings.  Differences of less than the margin are a tie.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .._base.array_glue import array_namespace

RANKS = 3  # overtakings of one kind that are dated; further ones are counted

Array = Any


class Crossings(NamedTuple):
    """Changes of the lead in P pairs (a, b) and D draws."""

    # shape (2, RANKS, P, D): places of the first overtakings of b by a (first index 0) and of a by
    # b (1); NaN for none
    times: Array
    counts: Array  # shape (2, P, D): how many there are
    # first, last: shape (P, D): who was ahead at first, and at the end: -1 for a, 1 for b, 0 for a
    # tie throughout
    first: Array
    last: Array


def crossings(
    # shape (P, G, D): loss of a less that of b: negative where a leads.  NaN where one of them does
    # not exist
    gap: Array,
    # shape (G,): increasing places, in the unit of the times (say, the logarithm of compute)
    place: Array,
    margin: Array,  # shape (P, G): lead that counts, in loss
) -> Crossings:
    """Find changes of the lead."""
    xp = array_namespace(gap, place, margin)
    n_places = gap.shape[1]
    zero = xp.zeros_like(gap[:, 0, :])
    nan = zero + xp.nan
    sign, state, first = zero, zero, zero
    at = nan
    counts = [zero, zero]
    times = [[nan] * RANKS, [nan] * RANKS]
    before = nan
    for g in range(n_places):
        now = gap[:, g, :]
        finite = xp.isfinite(now)
        new = xp.where(finite, xp.sign(now), sign)
        new = xp.where(new == 0, sign, new)
        if g > 0:
            # Where the earlier one is missing the lead changed unseen, and is dated here.
            part = xp.where(xp.isfinite(before), before / (before - now), 1.0)
            part = xp.where(xp.isfinite(part), part, 0.0)
            here = place[g - 1] + part * (place[g] - place[g - 1])
            at = xp.where(new * sign < 0, here, at)
        sign = new
        reached = finite & (xp.abs(now) >= margin[:, g, None]) & (sign != state)
        crossed = reached & (state != 0)
        for side, ahead in enumerate((-1, 1) if bool(xp.any(crossed)) else ()):
            of_rank = crossed & (sign == ahead)
            for k in range(RANKS):
                times[side][k] = xp.where(of_rank & (counts[side] == k), at, times[side][k])
            counts[side] = xp.where(of_rank, counts[side] + 1, counts[side])
        first = xp.where(reached & (state == 0), sign, first)
        state = xp.where(reached, sign, state)
        before = now
    stacked = xp.stack([xp.stack(side) for side in times])
    return Crossings(stacked, xp.stack(counts), first, state)


def interpolated(
    curves: Array,  # shape (R, G, D)
    place: Array,  # shape (G,): increasing
    where: Array,  # shape (T,)
) -> Array:
    """Curves at other places, by linear interpolation; NaN beyond them.

    Returns
    -------
    array, shape (R, T, D)
    """
    xp = array_namespace(curves, place, where)
    n = place.shape[0]
    above = xp.clip(xp.searchsorted(place, where), 1, n - 1)
    below = above - 1
    low, high = xp.take(place, below), xp.take(place, above)
    part = ((where - low) / (high - low))[None, :, None]
    before, after = xp.take(curves, below, axis=1), xp.take(curves, above, axis=1)
    mixed = (1 - part) * before + part * after
    # A curve that begins or ends at a place is known there.
    mixed = xp.where(part == 0, before, mixed)
    mixed = xp.where(part == 1, after, mixed)
    inside = (where >= place[0]) & (where <= place[-1])
    return xp.where(inside[None, :, None], mixed, mixed + xp.nan)
