"""Shapes and paths of the learning rate for the kernels, each kept once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.ragged import Floats, Ints
from ..runs.logged_rate import warmed
from ..schedules import kinds
from ..schedules.shapes import Schedule

if TYPE_CHECKING:
    from ..kernels.paths import Paths, Shapes

NODES = 96


class PathBook:
    """Shapes and paths: a path is a shape from a start on, stretched along the axis.

    Paths are added for many runs at a time and referred to by their numbers.
    """

    def __init__(self) -> None:
        self.z: list[Floats] = []
        self.rho: list[Floats] = []
        self.known: dict[Any, int] = {}
        self.rows: list[Floats] = []
        self.n_paths = 0

    def shape(self, key: Any, make: Any) -> int:
        """Number of the shape of that key, made at first use."""
        if key not in self.known:
            z, rho = make()
            self.known[key] = len(self.z)
            self.z.append(np.asarray(z, np.float64))
            self.rho.append(np.asarray(rho, np.float64))
        return self.known[key]

    def paths(self, shape: int, start: Floats, stretch: Floats) -> Ints:
        """Numbers of new paths of one shape."""
        rows = np.empty((len(start), 3))
        rows[:, 0], rows[:, 1], rows[:, 2] = shape, start, stretch
        self.rows.append(rows)
        first = self.n_paths
        self.n_paths += len(rows)
        return np.arange(first, self.n_paths)

    def points(self, t: Floats, rho: Floats) -> int:
        """A path through points on the axis."""
        self.z.append(np.ascontiguousarray(t, np.float64))
        self.rho.append(np.ascontiguousarray(rho, np.float64))
        return int(self.paths(len(self.z) - 1, np.zeros(1), np.ones(1))[0])

    def schedule(self, schedule: Schedule, factors: Floats) -> Ints:
        """Paths for a schedule; `factors` (n,) turn its axis into that of the forecast."""
        different, which = np.unique(factors, return_inverse=True)
        if schedule.kind in ("points", "two_stage", "restarts"):
            paths = np.array([self._by_points(schedule, factor) for factor in different], np.int64)
        elif schedule.kind == "constant" or schedule.total is None:
            shape = self.shape("constant", lambda: ([0.0], [1.0]))
            paths = self.paths(shape, schedule.warmup * different, np.ones(len(different)))
        else:
            stretch = (schedule.total - schedule.warmup) * different
            paths = self.paths(self._main(schedule), schedule.warmup * different, stretch)
        return np.asarray(paths[which])

    def stretched(self, schedule: Schedule, totals: Floats, factors: Floats) -> Ints:
        """Paths for a schedule with an end, stretched to other totals (n,)."""
        if schedule.kind in ("cosine", "linear") or (
            schedule.kind == "wsd" and not schedule.warmup
        ):
            start, stretch = schedule.warmup * factors, (totals - schedule.warmup) * factors
            return self.paths(self._main(schedule), start, stretch)
        pairs = np.stack([totals, factors], axis=1)
        different, which = np.unique(pairs, axis=0, return_inverse=True)
        paths = [
            int(self.schedule(schedule.stretched(float(total)), np.array([factor]))[0])
            for total, factor in different
        ]
        return np.array(paths, np.int64)[which.reshape(-1)]

    def menu(self, name: str, totals: Floats) -> Ints:
        """Paths of the menu that end there, on the axis of the forecast."""
        if name == "constant":
            return self.schedule(kinds.constant(1.0), np.ones(len(totals)))
        kind, _, number = name.partition("_")
        share = float(number) / 100
        if kind == "wsd":
            unit = kinds.wsd(1.0, 1.0, 0.0, share)
        else:
            unit = (kinds.cosine if kind == "cosine" else kinds.linear)(1.0, 1.0, 0.0, share)
        return self.stretched(unit, totals, np.ones(len(totals)))

    def _by_points(self, schedule: Schedule, factor: float) -> int:
        if schedule.kind == "points":
            t, rates = schedule._points
            return self.points(*warmed(t * factor, rates))
        if schedule.kind == "restarts":
            t = schedule.nodes(NODES // 3)
            return self.points(t * factor, schedule(t) / schedule.peak)
        switch = schedule.switch * factor
        peak = max(schedule.peak, schedule.second)
        first, second = schedule.peak / peak, schedule.second / peak
        return self.points(np.array([0.0, switch, switch]), np.array([first, first, second]))

    def _main(self, schedule: Schedule) -> int:
        """The main part from the end of the warm-up to the end: z from 0 to 1."""
        assert schedule.total is not None
        first = schedule.warmup / schedule.total if schedule.kind == "wsd" else 0.0
        key = (schedule.kind, schedule.final_ratio, schedule.decay, schedule.shape, first)
        unit = Schedule(
            schedule.kind, 1.0, 1.0, 0.0, schedule.final_ratio, schedule.decay, schedule.shape
        )

        def make() -> tuple[Floats, Floats]:
            u = np.linspace(0.0, 1.0, NODES)
            if schedule.kind == "wsd":
                # Crowded where sqrt is steep and near the end, as rho^p is where rho comes to 0.
                u = 1 - schedule.decay + schedule.decay * (1 - np.cos(np.pi * u)) / 2
                z = np.concatenate([[first], u]) if first < u[0] else u
                return (z - first) / (1 - first), unit(z)
            if schedule.kind == "linear":
                u = np.sin(np.pi / 2 * u)  # crowded near the end
            return u, unit(u)

        return self.shape(key, make)

    def arrays(self) -> tuple[Shapes, Paths]:
        """For the kernels."""
        from ..kernels.paths import Paths, Shapes

        offsets = np.concatenate([[0], np.cumsum([len(z) for z in self.z])]).astype(np.int64)
        rows = np.concatenate(self.rows)
        return (
            Shapes(np.concatenate(self.z), np.concatenate(self.rho), offsets),
            Paths(rows[:, 0].astype(np.int64), rows[:, 1].copy(), rows[:, 2].copy()),
        )
