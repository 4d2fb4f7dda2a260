"""A callback for the Trainer of Lightning (``lightning`` or ``pytorch_lightning``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from ..monitoring.monitor import Monitor
from ._library import library
from ._watcher import Report, Watcher

__all__ = ["LossfitCallback"]

_old = find_spec("lightning") is None and find_spec("pytorch_lightning") is not None
_Callback = library("pytorch_lightning" if _old else "lightning.pytorch", "lightning").Callback


class LossfitCallback(_Callback):
    """Forecasts the training loss at the end of ``Trainer.fit``.

    It takes the loss that ``training_step`` gives back, every ``log_every_n_steps`` of the Trainer,
    and the learning rate of the first optimizer.  The forecast goes to the Trainer's loggers as
    ``lossfit/final_loss`` and so on.  Its state is in Lightning's checkpoints.

    Parameters
    ----------
    stop : bool
        Whether to end training when the monitor advises it (``target=`` out of reach, or broken);
        all processes of a distributed training stop together.
    show : callable or None
        Gets a line for each forecast; None shows none.
    report : callable, optional
        Gets the metrics and the step, besides the loggers.
    **options
        Of `lossfit.Monitor`: ``target``, ``every``, ``schedule``, ...; the total is the Trainer's
        ``estimated_stepping_batches``, unless ``total=`` is given.

    Attributes
    ----------
    monitor : Monitor or None

    Examples
    --------
    >>> from lossfit.integrations.lightning import LossfitCallback  # doctest: +SKIP
    >>> trainer = Trainer(callbacks=[LossfitCallback(target=2.9)])  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        stop: bool = False,
        show: Callable[[str], object] | None = print,
        report: Report | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._watcher = Watcher(show, None, stop, options.pop("total", None), options)
        self._report = report
        self._stops = False
        self._last = 0  # optimizer step of the last point

    @property
    def monitor(self) -> Monitor | None:
        """The monitor of the training, None before it begins."""
        return self._watcher.monitor

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the monitor."""
        total = float(trainer.estimated_stepping_batches)
        self._watcher.begin(total if total < float("inf") else None, bool(trainer.is_global_zero))
        self._watcher.report = self._reports(trainer)
        self._last, self._stops = int(trainer.global_step), False

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a point every ``log_every_n_steps``, and tell of a forecast."""
        step = int(trainer.global_step)
        if step - self._last < max(int(trainer.log_every_n_steps), 1):
            return
        self._last = step
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:  # a step without one was skipped
            rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None
            self._stops |= self._watcher.point(step, loss, rate)
        if self._watcher.stop and trainer.strategy.reduce_boolean_decision(self._stops, all=False):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """The monitor's points, for a checkpoint."""
        return self._watcher.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The points of a checkpoint."""
        self._watcher.load_state_dict(state_dict)

    def _reports(self, trainer: Any) -> Report:
        def report(metrics: Mapping[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(dict(metrics), step=step)
            if self._report is not None:
                self._report(metrics, step)

        return report
