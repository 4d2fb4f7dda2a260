"""A callback for ``fit`` of Keras 3, on any backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..monitoring.monitor import Monitor
from ._library import library
from ._watcher import Report, Watcher

__all__ = ["LossfitCallback"]

_Callback = library("keras", "keras").callbacks.Callback


class LossfitCallback(_Callback):
    """Forecasts the training loss at the end of ``fit``.

    What Keras logs for a batch is the mean of its epoch so far; the callback takes it apart again,
    into a mean of every ``batches`` batches.

    Parameters
    ----------
    batches : int
        Batches in a point.
    stop : bool
        Whether to end training when the monitor advises it (``target=`` out of reach, or broken).
    show : callable or None
        Gets a line for each forecast; None shows none.
    report : callable, optional
        Gets the metrics and the step.
    **options
        Of `lossfit.Monitor`: ``target``, ``every``, ``schedule``, ...; the total is the number of
        epochs times that of their batches, unless ``total=`` is given (as it must be where Keras
        does not know how long an epoch is).

    Attributes
    ----------
    monitor : Monitor or None

    Examples
    --------
    >>> from lossfit.integrations.keras import LossfitCallback  # doctest: +SKIP
    >>> model.fit(x, y, epochs=10, callbacks=[LossfitCallback(target=0.3)])  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        batches: int = 10,
        stop: bool = False,
        show: Callable[[str], object] | None = print,
        report: Report | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._watcher = Watcher(show, report, stop, options.pop("total", None), options)
        self._batches = max(int(batches), 1)
        self._step = 0  # batches before this epoch
        self._before = (0, 0.0)  # batches of the epoch that are in points, and their sum

    @property
    def monitor(self) -> Monitor | None:
        """The monitor of the training, None before it begins."""
        return self._watcher.monitor

    def on_train_begin(self, logs: Any = None) -> None:
        """Make the monitor."""
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        self._watcher.begin(epochs * steps if epochs and steps else None)
        self._step = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """The mean of Keras begins again."""
        self._before = (0, 0.0)
        if epoch and not self._step:  # fit(initial_epoch=...)
            self._step = epoch * (self.params.get("steps") or 0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take a point every so many batches, and tell of a forecast."""
        count, total = self._before
        done = batch + 1
        if done - count < self._batches or not logs or "loss" not in logs:
            return
        summed = float(logs["loss"]) * done
        self._before = (done, summed)
        rate = None
        with suppress(Exception):  # an optimizer of one's own
            rate = float(self.model.optimizer.learning_rate)
        if self._watcher.point(self._step + done, (summed - total) / (done - count), rate):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count the epoch's batches."""
        self._step += self.params.get("steps") or self._before[0]
