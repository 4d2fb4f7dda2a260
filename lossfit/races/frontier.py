"""Who leads, and the best loss for the compute, from draws of many curves.

Written against the Python array API standard: the same code runs on NumPy's arrays and on CuPy's.
Curves are NaN where a run does not exist.
"""

from __future__ import annotations

from typing import Any

from .._base.array_glue import array_namespace

Array = Any


def best(
    curves: Array,  # shape (R, G, D)
    first: int = 0,  # number of the first of these runs
) -> tuple[Array, Array]:
    """The lowest loss at every place in every draw, and which run it is.

    Returns
    -------
    loss : array, shape (G, D)
        Infinity where no run exists.
    run : array of int, shape (G, D)
        -1 where no run exists.
    """
    xp = array_namespace(curves)
    filled = xp.where(xp.isnan(curves), xp.inf, curves)
    loss = xp.min(filled, axis=0)
    run = xp.argmin(filled, axis=0) + first
    return loss, xp.where(xp.isinf(loss), -1, run)


def merge_best(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """The better of two results of `best`."""
    xp = array_namespace(first[0], second[0])
    lower = second[0] < first[0]
    return xp.where(lower, second[0], first[0]), xp.where(lower, second[1], first[1])


def leading(
    run: Array,  # shape (G, D)
    n_runs: int,
) -> Array:
    """Share of the draws in which each run is the best: shape (G, R)."""
    xp = array_namespace(run)
    shares = [
        xp.mean(xp.astype(run == r, xp.float64), axis=1) for r in range(n_runs)
    ]  # no R x G x D array
    return xp.stack(shares, axis=1)


def lowest_so_far(loss: Array, run: Array) -> tuple[Array, Array, Array]:
    """The Pareto frontier: the lowest loss at any compute up to here.

    Parameters
    ----------
    loss, run : array, shape (G, D)
        Of `best`.

    Returns
    -------
    loss, run : array, shape (G, D)
        The lowest loss so far, and whose it was.
    place : array of int, shape (G, D)
        Where it was reached.
    """
    xp = array_namespace(loss, run)
    losses, runs, places = [loss[0, ...]], [run[0, ...]], [xp.zeros_like(run[0, ...])]
    for g in range(1, loss.shape[0]):
        better = loss[g, ...] < losses[-1]
        runs.append(xp.where(better, run[g, ...], runs[-1]))
        losses.append(xp.where(better, loss[g, ...], losses[-1]))
        places.append(xp.where(better, places[0] + g, places[-1]))
    return xp.stack(losses), xp.stack(runs), xp.stack(places)


def stopped(curves: Array, margin: Array) -> Array:
    """The curves as they would be had every run been stopped when it was first overtaken.

    A run is overtaken where it is behind a run that is still going and that it had been ahead of,
    or behind a run at that one's first point.  A run that was stopped overtakes nobody any more.

    Parameters
    ----------
    curves : array, shape (R, G, D)
    margin : array, shape (G,)
        Lead that counts, in loss, for having been ahead and for being behind.

    Returns
    -------
    array, shape (R, G, D)
        NaN from the place on where a run was overtaken.
    """
    xp = array_namespace(curves, margin)
    n_runs, n_places, _ = curves.shape
    none = xp.zeros_like(curves[:, 0, :]) > 0
    going, seen = ~none, none
    led = [none] * n_runs  # led[r][o]: run r was ahead of o
    out = []
    for g in range(n_places):
        now = curves[:, g, :]
        here = xp.isfinite(now) & going
        overtaken = []
        for r in range(n_runs):
            gap = now - now[r, ...]  # positive where this run is ahead
            both = here & here[r, ...]
            behind = both & (gap <= -margin[g])
            begins = ~seen & seen[r, ...]
            overtaken.append(xp.any(behind & (led[r] | begins), axis=0))
            led[r] = led[r] | (both & (gap >= margin[g]))
        going = going & ~xp.stack(overtaken)
        seen = seen | here
        out.append(xp.where(here & going, now, xp.nan))
    return xp.stack(out, axis=1)
