"""Draws that stay on the GPUs that made them: what ``keep="device"`` keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._base.array_glue import array_namespace, describe
from .._base.ragged import Floats

if TYPE_CHECKING:
    from ..kernels.gpu.device import Device
    from ..laws import Law

BLOCK = 1 << 25  # numbers that are computed or summarised at a time: 256 MiB in float64


@dataclass(frozen=True, eq=False, repr=False)
class DeviceDraws:
    """Posterior draws of many runs, in the memory of one or several GPUs."""

    # each of shape (n, n_parameters, n_draws): the runs in order, as many
    # in each part as a chunk had; CuPy arrays, float32 or float64. Each is on the GPU that made it
    # (``part.device``)
    parts: tuple[Any, ...]
    # the GPU of each part, for what is computed from the draws there
    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("draws need at least one part")
        array_namespace(*self.parts)  # refuses mixed libraries
        if len({part.shape[1:] for part in self.parts}) > 1:
            raise ValueError("parts must agree in parameters and draws")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_runs, n_parameters, n_draws)."""
        return (len(self), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> Any:
        """Type of the numbers."""
        return self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes on the GPUs."""
        bits = array_namespace(self.parts[0]).finfo(self.dtype).bits
        return math.prod(self.shape) * int(bits) // 8

    def __len__(self) -> int:
        return int(self._edges[-1])

    def __repr__(self) -> str:
        gpus = dict.fromkeys(str(part.device) for part in self.parts)
        runs, parameters, draws = self.shape
        return (
            f"DeviceDraws of {runs:,} runs, {parameters} parameters, {draws:,} draws "
            f"({self.dtype}) on {', '.join(gpus)}"
        )

    def __getitem__(self, run: int) -> Any:
        """Draws of one run, by its number: a view on its GPU, (n_parameters, n_draws)."""
        if not -len(self) <= run < len(self):
            raise IndexError(f"there are {len(self)} runs, no run {run}")
        part, row = self._place(run % len(self))
        return self.parts[part][row, :, :]

    def to_host(self) -> Floats:
        """All draws as one NumPy array of float64."""
        from .devices import host_array

        return np.concatenate(
            [np.asarray(host_array(part), dtype=np.float64) for part in self.parts]
        )

    def select(self, rows: NDArray[np.integer[Any]]) -> DeviceDraws:
        """Draws of some runs, copied on their GPUs, in that order."""
        parts = []
        devices: list[Device] = []
        rows = np.asarray(rows)
        part = np.searchsorted(self._edges, rows, side="right") - 1
        # Neighbours of the same part make a part again.
        edges = np.flatnonzero(np.diff(part)) + 1
        for some in np.split(np.arange(len(rows)), edges):
            source = self.parts[part[some[0]]]
            devices.extend(self.devices[part[some[0]] : part[some[0]] + 1])
            xp = array_namespace(source)
            with _on_gpu_of(source):
                index = xp.asarray(rows[some] - self._edges[part[some[0]]])
                parts.append(xp.take(source, index, axis=0))
        return DeviceDraws(tuple(parts), tuple(devices))

    def curves(
        self,
        law: Law,  # with one column that depends on nonlinear parameters
        at: Floats,  # shape (n_runs, n_at): scaled axis values; NaN gives NaN
    ) -> Floats:
        """Loss of every draw, computed on the GPUs; the losses come back.

        Returns
        -------
        ndarray, shape (n_runs, n_at, n_draws)
        """
        from ..kernels.gpu import predict
        from ..kernels.gpu.launch import built
        from .devices import gpu_errors, host_array

        out = np.empty((len(self), at.shape[1], self.shape[2]))
        pairs = zip(self.parts, self.devices, self._edges[:-1], strict=True)
        step = max(1, BLOCK // max(1, at.shape[1] * self.shape[2]))
        for part, device, start in pairs:
            kernel = built(predict.build, law.program, part.dtype.itemsize == 4)
            for first in range(0, part.shape[0], step):
                some = part[first : first + step]
                runs = slice(int(start) + first, int(start) + first + some.shape[0])
                with gpu_errors(), device.active():
                    losses = predict.predict_on(device, kernel, some, at[runs])
                    out[runs] = host_array(losses)
        return out

    def describe(
        self,
        prob: float,  # probability of lower to upper
        # law, end: Law and ndarray of shape (n_runs,): describe the parameters in units of the axis
        # (`Law.in_axis_units`) instead
        law: Law | None = None,
        end: Floats | None = None,
    ) -> Floats:
        """Mean, sd, lower, median and upper of each parameter; only these leave the GPUs.

        Returns
        -------
        ndarray, shape (5, n_runs, n_parameters)
        """
        from .devices import gpu_errors, host_array

        n_runs, n_parameters, n_draws = self.shape
        out = np.empty((5, n_runs, n_parameters))
        step = max(1, BLOCK // max(1, n_parameters * n_draws))
        devices: Sequence[Device | None] = self.devices or (None,) * len(self.parts)
        for part, device, start in zip(self.parts, devices, self._edges[:-1], strict=True):
            xp = array_namespace(part)
            with gpu_errors(), _on_gpu_of(part):
                for first in range(0, part.shape[0], step):
                    last = min(first + step, part.shape[0])
                    # In float64: amplitudes in units of the axis leave the range of float32.
                    some = xp.astype(part[first:last, :, :], xp.float64)
                    runs = slice(int(start) + first, int(start) + last)
                    if law is not None and end is not None:
                        some = xp.stack(law.in_axis_units(some, xp.asarray(end[runs])), axis=1)
                    with np.errstate(over="ignore", invalid="ignore"):
                        out[:, runs] = host_array(_described(some, prob, device))
        return out

    @property
    def _edges(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum([part.shape[0] for part in self.parts])])

    def _place(self, run: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._edges, run, side="right")) - 1
        return part, run - int(self._edges[part])


def _described(draws: Any, prob: float, device: Device | None) -> Any:
    """Mean, sd, lower, median and upper over the last axis: shape (5, n_runs, n_parameters).

    By a kernel that sorts each row in shared memory; rows that are too long for it are sorted by
    the array library.
    """
    from ..kernels.gpu.quantiles import LARGEST_ROW, describe_on

    n_runs, n_parameters, n_draws = draws.shape
    if device is None or n_draws > LARGEST_ROW:
        return describe(draws, prob)
    xp = array_namespace(draws)
    tail = (1 - prob) / 2
    rows = xp.reshape(draws, (n_runs * n_parameters, n_draws))
    summary = describe_on(device, rows, (tail, 0.5, 1 - tail))
    return xp.reshape(summary, (n_runs, n_parameters, 5)).transpose(2, 0, 1)


def _on_gpu_of(array: Any) -> AbstractContextManager[Any]:
    """Make the GPU of an array the current one, where there are GPUs."""
    device: Any = getattr(array, "device", None)
    if hasattr(device, "__enter__"):
        gpu: AbstractContextManager[Any] = device
        return gpu
    return nullcontext()
