"""What a learning-rate schedule does to a loss: LR time and the response to its changes.

A *path* is a relative learning rate rho(t) (1 at the peak), piecewise linear between nodes and held
beyond them; the warm-up counts at the peak.  Many paths share a *shape*: nodes z and values rho,
placed on the axis by ``t = start + z * stretch``.

Features of a path at times t:

* LR time x(t), the integral of rho from 0 (Tissue et al. 2024, arXiv 2408.11029: S1);
* the annealing response on rho^p with time constant tau (Tissue's S2 with lambda = 1 - 1/tau, made
  concave), ``D(t) = integral of -d(rho^p)/ds (1 - exp(-(t - s)/tau)) ds``;
* the multi-power response (Luo et al. 2025, arXiv 2503.12811: LD) in relative units,
  ``sum_k (rho_{k-1}^q - rho_k^q) (1 - (1 + C rho_k^-gamma (x(t) - x_k))^-beta)``, with q = 1 there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .entries import entry
from .maths import exp, kernel
from .records import contiguous, writable
from .team import lane, sync, width

__all__ = [
    "ANNEALING",
    "LOWEST_RATE",
    "MULTI_POWER",
    "NODE_ROWS",
    "Paths",
    "Shapes",
    "feature_table",
    "features",
    "multi_power",
    "multi_power_nodes",
    "relative_power",
]

ANNEALING = 0
MULTI_POWER = 1
NODE_ROWS = 3  # numbers a node that `features` needs
LOWEST_RATE = 0.003  # rho_k in rho_k^-gamma: the multi-power response has a pole at 0


class Shapes(NamedTuple):
    """Shapes end to end.

    Attributes
    ----------
    z, rho : float64, shape (n_nodes,)
        Nodes (not decreasing; two at one place are a jump) and values.
    offsets : int64, shape (n_shapes + 1,)
    """

    z: NDArray[np.float64]
    rho: NDArray[np.float64]
    offsets: NDArray[np.int64]


class Paths(NamedTuple):
    """Shapes placed on the axis of a run.

    Attributes
    ----------
    shape : int64, shape (n_paths,)
    start, stretch : float64, shape (n_paths,)
        ``t = start + z * stretch``.
    """

    shape: NDArray[np.int64]
    start: NDArray[np.float64]
    stretch: NDArray[np.float64]


@kernel
def relative_power(rho, p):
    """rho^p, and 0 where rho is 0."""
    return math.exp(p * math.log(rho)) if rho > 0.0 else 0.0


@kernel
def _lr_time(z, rho, start, stretch, n_times, times, x):
    """LR time at increasing times."""
    n = z.size
    k = 0  # nodes behind us
    at = 0.0
    area = 0.0
    level = rho[0]
    for i in range(n_times):
        t = times[i]
        while k < n and start + z[k] * stretch <= t:
            node = max(start + z[k] * stretch, 0.0)
            area += 0.5 * (level + rho[k]) * (node - at)
            at = node
            level = rho[k]
            k += 1
        here = level
        if k < n and k > 0:
            node = start + z[k] * stretch
            here = level + (rho[k] - level) * (t - at) / (node - at)
        if lane() == 0:
            x[i] = area + 0.5 * (level + here) * (t - at)


@kernel
def _annealing(z, powered, start, stretch, n_times, times, n_taus, taus, memory, out, first):
    """Annealing responses at increasing times: out[time, first + tau].

    ``memory`` is what the response still owes for earlier changes, M(t) = D(infinity) - D(t); it
    decays with tau and grows by -d(rho^p).  Every lane walks the path, for some time constants.
    """
    n = z.size
    k = 0
    at = 0.0
    level = powered[0]
    for j in range(lane(), n_taus, width()):
        memory[j] = 0.0
    quiet = True  # nothing is owed
    for i in range(n_times):
        t = times[i]
        while k < n and start + z[k] * stretch <= t:
            node = max(start + z[k] * stretch, 0.0)
            gap = node - at
            if gap > 0.0:
                rate = (level - powered[k]) / gap
                if not quiet or rate != 0.0:
                    for j in range(lane(), n_taus, width()):
                        e = exp(-gap / taus[j])
                        memory[j] = memory[j] * e + rate * taus[j] * (1.0 - e)
                    quiet = False
            elif level != powered[k]:
                for j in range(lane(), n_taus, width()):
                    memory[j] += level - powered[k]
                quiet = False
            at = node
            level = powered[k]
            k += 1
        gap = t - at
        here = level
        rate = 0.0
        if k < n and k > 0:
            rate = (level - powered[k]) / (start + z[k] * stretch - at)
            here = level - rate * gap
        fallen = powered[0] - here
        if quiet and rate == 0.0:
            for j in range(lane(), n_taus, width()):
                out[i, first + j] = fallen
        else:
            for j in range(lane(), n_taus, width()):
                e = exp(-gap / taus[j])
                out[i, first + j] = fallen - memory[j] * e - rate * taus[j] * (1.0 - e)


@kernel
def multi_power_nodes(z, rho, start, stretch, gamma, area, steep):
    """LR time at the nodes, and rho_k^-gamma of the changes that lead to them."""
    total = max(start + z[0] * stretch, 0.0) * rho[0]
    if lane() == 0:
        area[0] = total
    for k in range(1, z.size):
        total = total + 0.5 * (rho[k] + rho[k - 1]) * (z[k] - z[k - 1]) * stretch
        if lane() == 0:
            area[k] = total
    for k in range(1 + lane(), z.size, width()):
        # The law has the rate after a step; on a slope the middle of a node interval is nearer.
        level = rho[k] if z[k] == z[k - 1] else 0.5 * (rho[k - 1] + rho[k])
        level = max(level, LOWEST_RATE)
        steep[k] = math.exp(-gamma * math.log(level))
    sync()


@kernel
def multi_power(rho, n_times, x, area, steep, rate, beta, out, column):
    """The multi-power response at LR times x, one a lane: out[time, column].

    ``rho`` is the rate at the nodes, or its power q.
    ``area`` and ``steep`` are those of `multi_power_nodes`.
    """
    n = rho.size
    for i in range(lane(), n_times, width()):
        total = 0.0
        for k in range(1, n):
            drop = rho[k - 1] - rho[k]
            if drop == 0.0:
                continue
            since = x[i] - 0.5 * (area[k] + area[k - 1])
            if since <= 0.0:
                break
            grown = 1.0 + rate * steep[k] * since
            total += drop * (1.0 - math.exp(-beta * math.log(grown)))
        out[i, column] = total


@kernel
def features(path, shapes, paths, n_times, times, groups, units, step_size, work, x, out):
    """LR time and responses of one path at increasing times.

    Parameters
    ----------
    path : int
        Which of the paths.
    times : float64, shape (n_times,)
        Axis values.
    groups : int64, shape (n_groups + 1,)
        Units ``groups[g]:groups[g + 1]`` differ in their first number only.
    units : float64, shape (n_units, 4) or (n_units, 5)
        Kind, tau in steps (or C per step), p (or beta), and gamma; then q of a multi-power
        response, 1 where there is no such column.
    step_size : float
        Axis units in a step.
    work : tuple
        ``nodes`` (`NODE_ROWS` times the most nodes of a shape), ``taus`` and ``memory``
        (n_units,).
    x : float64, shape (n_times,)
        LR time, written.
    out : float64, shape (n_times, n_units)
        Responses, written.
    """
    first = shapes.offsets[paths.shape[path]]
    last = shapes.offsets[paths.shape[path] + 1]
    z = shapes.z[first:last]
    rho = shapes.rho[first:last]
    start = paths.start[path]
    stretch = paths.stretch[path]
    nodes, taus, memory = work
    n = z.size
    _lr_time(z, rho, start, stretch, n_times, times, x)
    sync()
    for g in range(groups.size - 1):
        a = groups[g]
        b = groups[g + 1]
        if units[a, 0] == ANNEALING:
            for k in range(lane(), n, width()):
                nodes[k] = relative_power(rho[k], units[a, 2])
            sync()
            for j in range(lane(), b - a, width()):
                taus[j] = units[a + j, 1] * step_size
            _annealing(
                z, nodes[:n], start, stretch, n_times, times, b - a, taus, memory, out, a,
            )  # fmt: skip
        else:
            multi_power_nodes(z, rho, start, stretch, units[a, 3], nodes, nodes[n:])
            powered = nodes[2 * n : 3 * n]
            for j in range(a, b):
                q = units[j, 4] if units.shape[1] > 4 else 1.0
                for k in range(lane(), n, width()):
                    powered[k] = rho[k] if q == 1.0 else relative_power(rho[k], q)
                sync()
                multi_power(
                    powered, n_times, x, nodes, nodes[n:], units[j, 1] / step_size, units[j, 2],
                    out, j,
                )  # fmt: skip
                sync()  # the nodes have been read
        sync()


@entry
def _feature_table(
    path, shapes, paths, times, groups, units, step_size, nodes, taus, memory, x, out
):
    """See `feature_table`; `nodes`, `taus` and `memory` are scratch."""
    work = (nodes, taus, memory)
    features(path, shapes, paths, times.size, times, groups, units, step_size, work, x, out)


def feature_table(
    path: int,
    shapes: Shapes,
    paths: Paths,
    times: NDArray[np.float64],
    groups: NDArray[np.int64],
    units: NDArray[np.float64],
    step_size: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LR time, shape (n_times,), and responses, shape (n_times, n_units), of one path."""
    shapes, paths = contiguous(shapes), contiguous(paths)
    shape = paths.shape[path]
    n_nodes = int(shapes.offsets[shape + 1] - shapes.offsets[shape])
    x, out = np.empty(times.size), np.empty((times.size, len(units)))
    _feature_table(
        path, shapes, paths, writable(times), writable(groups, np.int64), writable(units),
        float(step_size), np.empty(NODE_ROWS * n_nodes), *np.empty((2, len(units))), x, out,
    )  # fmt: skip
    return x, out
