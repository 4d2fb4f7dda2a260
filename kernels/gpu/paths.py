"""Features of a path on a GPU: a response a lane, all in one walk of the path."""

from __future__ import annotations

import numpy as np

from ..maths import exp
from ..paths import ANNEALING, MULTI_POWER, multi_power, multi_power_nodes, relative_power
from ..team import lane, real, sync, width
from .backend import cuda

__all__ = ["features_by_unit", "multi_power_by_time"]


def features_by_unit(path, shapes, paths, n_times, times, groups, units, step_size, work, x, out):  # type: ignore[no-untyped-def]
    """`paths.features`; its ``nodes`` have room for the nodes of each group, and for two."""
    first = shapes.offsets[paths.shape[path]]
    last = shapes.offsets[paths.shape[path] + 1]
    z = shapes.z[first:last]
    rho = shapes.rho[first:last]
    start = paths.start[path]
    stretch = paths.stretch[path]
    nodes = work[0]
    n = z.size
    n_units = units.shape[0]
    sync()
    for g in range(groups.size - 1):
        if units[groups[g], 0] == ANNEALING:
            power = units[groups[g], 2]
            k = np.uint32(lane())
            while k < np.uint32(n):
                nodes[np.uint32(np.uint32(g * n) + k)] = relative_power(rho[k], power)
                k = np.uint32(k + np.uint32(cuda.blockDim.x))
    sync()
    for j in range(lane(), max(n_units, width()), width()):
        g = 0
        tau = real(0.0)  # none: a lane that only walks
        if j < n_units and units[j, 0] == ANNEALING:
            tau = units[j, 1] * step_size
            while groups[g + 1] <= j:
                g += 1
        powered = nodes[g * n : (g + 1) * n]
        k = np.uint32(0)  # nodes behind us
        i = np.uint32(0)  # times behind us
        at = real(0.0)
        area = real(0.0)
        level = rho[0]
        response = powered[0] if tau > 0.0 else real(0.0)
        memory = real(0.0)  # what the response still owes
        while i < np.uint32(n_times):
            # The next event is a node or a time.
            to = times[i]
            rho_next = level
            share = real(1.0)  # of the way to the next node
            is_node = False
            if k < np.uint32(n):
                node = start + z[k] * stretch
                rho_next = rho[k]
                is_node = node <= to
                if is_node:
                    to = max(node, real(0.0))
                elif k == np.uint32(0):
                    rho_next = level
                else:
                    share = (to - at) / (node - at)
            gap = to - at
            here = level + (rho_next - level) * share
            area_here = area + 0.5 * (level + here) * gap
            if tau > 0.0:
                fallen = real(0.0)  # since the last node
                if rho_next != level:
                    fallen = (response - powered[k]) * share
                owed = memory
                if gap > 0.0:
                    steady = fallen * tau / gap
                    owed = steady + (memory - steady) * exp(-gap / tau)
                elif is_node:
                    owed += fallen
                if is_node:
                    memory = owed
                    response = powered[k]
                else:
                    out[i, j] = powered[0] - (response - fallen) - owed
            if is_node:
                at = to
                area = area_here
                level = rho_next
                k = np.uint32(k + np.uint32(1))
            else:
                if j == 0:
                    x[i] = area_here
                i = np.uint32(i + np.uint32(1))
    sync()
    multi_power_by_time(z, rho, start, stretch, n_times, groups, units, step_size, nodes, x, out)
    sync()


def multi_power_by_time(z, rho, start, stretch, n_times, groups, units, step_size, nodes, x, out):  # type: ignore[no-untyped-def]
    """Responses of the multi-power law, where there are any."""
    n = z.size
    for g in range(groups.size - 1):
        a = groups[g]
        if units[a, 0] == MULTI_POWER:
            sync()
            multi_power_nodes(z, rho, start, stretch, units[a, 3], nodes, nodes[n:])
            for j in range(a, groups[g + 1]):
                multi_power(
                    rho, n_times, x, nodes, nodes[n:], units[j, 1] / step_size, units[j, 2], out, j
                )
