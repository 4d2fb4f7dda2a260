"""TensorBoard: forecasts as scalars beside a run's own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._library import library

if TYPE_CHECKING:
    from ._watcher import Report

__all__ = ["report"]


def report(writer: Any) -> Report:
    """What writes a monitor's metrics as scalars.

    Parameters
    ----------
    writer : SummaryWriter, str or path
        A writer of PyTorch or tensorboardX (anything with ``add_scalar``), or a folder, in which an
        event file is begun; that needs the extra ``tensorboard`` and no PyTorch.

    Returns
    -------
    callable
        ``report(metrics, step)``.

    Examples
    --------
    >>> from lossfit.integrations import tensorboard as lossfit_tensorboard  # doctest: +SKIP
    >>> tell = lossfit_tensorboard.report("runs/today")  # doctest: +SKIP
    >>> if monitor.log(step=step, loss=loss):  # doctest: +SKIP
    ...     tell(monitor.metrics(), step)
    """
    if not hasattr(writer, "add_scalar"):
        writer = _Folder(os.fspath(writer))

    def tell(metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return tell


class _Folder:
    """A writer of scalars to an event file."""

    def __init__(self, folder: str) -> None:
        events = library("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self._event = library("tensorboard.compat.proto.event_pb2", "tensorboard").Event
        self._summary = library("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
        self._file = events.EventFileWriter(folder)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Write one scalar."""
        summary = self._summary(value=[self._summary.Value(tag=name, simple_value=value)])
        self._file.add_event(self._event(summary=summary, step=step, wall_time=time.time()))

    def flush(self) -> None:
        """What was written is on disk."""
        self._file.flush()
