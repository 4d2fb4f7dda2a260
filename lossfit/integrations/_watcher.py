"""What the callbacks of all training libraries share: a monitor, where it tells, when it stops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..monitoring.monitor import Monitor

__all__ = ["Report", "Watcher"]

log = logging.getLogger("lossfit")

Report: TypeAlias = Callable[[Mapping[str, float], int], object]


class Watcher:
    """A monitor that is made when training begins, and tells of its forecasts.

    Parameters
    ----------
    show : callable or None
        Gets each new line.
    report : callable or None
        Gets the metrics and the step of each forecast.
    stop : bool
        Whether to stop training on the monitor's advice.
    total : float or None
        The end of the run, where the library does not know it.
    options : dict
        Further options of the `Monitor`.
    """

    def __init__(
        self,
        show: Callable[[str], object] | None,
        report: Report | None,
        stop: bool,
        total: float | None,
        options: Mapping[str, Any],
    ) -> None:
        self.show, self.report, self.stop, self.total = show, report, stop, total
        self.options = dict(options)
        self.monitor: Monitor | None = None
        self.state: dict[str, Any] | None = None  # of a checkpoint, read before training begins

    def begin(self, total: float | None, active: bool = True) -> None:
        """Training begins; the monitor of a training that went before goes.

        A total that nobody knows, or options that cannot be, are told and leave training alone.
        """
        self.monitor = None
        end = self.total if self.total is not None else total
        if end is None or not end > 0:
            self._told("nothing says how long the run will be: give total=")
            return
        try:
            self.monitor = Monitor(total=end, active=active, **self.options)
            if self.state is not None:
                self.monitor.load_state_dict(self.state)
        except Exception as error:
            self._told(str(error))
        self.state = None

    def point(self, step: int, loss: Any, lr: Any = None, tokens: Any = None) -> bool:
        """One more point; whether to stop."""
        if self.monitor is None:
            return False
        if self.monitor.log(step=step, loss=loss, lr=lr, tokens=tokens):
            self._tell(self.monitor, step)
        return self.stop and self.monitor.advice.stop

    def state_dict(self) -> dict[str, Any]:
        """The monitor's state for a checkpoint, {} before training."""
        return {} if self.monitor is None else {"monitor": self.monitor.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The state for the monitor that will be made, or is there."""
        self.state = state.get("monitor")
        if self.monitor is not None and self.state is not None:
            self.monitor.load_state_dict(self.state)

    def _tell(self, monitor: Monitor, step: int) -> None:
        try:
            if self.show is not None:
                self.show(f"lossfit: {monitor.line}")
                if monitor.advice.stop:
                    self.show(f"lossfit: {monitor.advice}")
            metrics = monitor.metrics()
            if self.report is not None and metrics:
                self.report(metrics, step)
        except Exception as error:  # a tracker that cannot be reached stops no training
            self._told(f"the forecast could not be reported: {error}")

    def _told(self, words: str) -> None:
        log.warning("%s", words)
