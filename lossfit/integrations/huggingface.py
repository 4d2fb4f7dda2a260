"""A callback for the Trainer of Hugging Face's Transformers (and TRL, which builds on it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..monitoring.monitor import Monitor
from ._library import library
from ._watcher import Report, Watcher

__all__ = ["LossfitCallback"]

_TrainerCallback = library("transformers", "huggingface").TrainerCallback


class LossfitCallback(_TrainerCallback):
    """Forecasts the training loss at the end of ``Trainer.train``.

    It takes what the Trainer logs (``logging_steps``): the loss, the learning rate, and where it is
    counted the number of tokens.  A training that is resumed from a checkpoint goes on with the
    points of its ``log_history``.

    Parameters
    ----------
    stop : bool
        Whether to end training when the monitor advises it (``target=`` out of reach, or broken).
    show : callable or None
        Gets a line for each forecast; None shows none.
    report : callable, optional
        Gets the metrics and the step, such as ``lossfit.integrations.wandb.report()``.
    **options
        Of `lossfit.Monitor`: ``target``, ``every``, ``schedule``, ``siblings``, ...; the total is
        the Trainer's ``max_steps``.

    Attributes
    ----------
    monitor : Monitor or None

    Examples
    --------
    >>> from lossfit.integrations.huggingface import LossfitCallback  # doctest: +SKIP
    >>> trainer = Trainer(model, args, callbacks=[LossfitCallback(target=2.9)])  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        stop: bool = False,
        show: Callable[[str], object] | None = print,
        report: Report | None = None,
        **options: Any,
    ) -> None:
        self._watcher = Watcher(show, report, stop, options.pop("total", None), options)

    @property
    def monitor(self) -> Monitor | None:
        """The monitor of the training, None before it begins."""
        return self._watcher.monitor

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Make the monitor, and give it what was logged before a checkpoint."""
        self._watcher.begin(state.max_steps, bool(state.is_world_process_zero))
        show, self._watcher.show = self._watcher.show, None
        report, self._watcher.report = self._watcher.report, None
        for entry in state.log_history:
            self._point(entry.get("step"), entry)
        self._watcher.show, self._watcher.report = show, report

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Take a point, and tell of a forecast."""
        if self._point(state.global_step, logs or {}):
            control.should_training_stop = True

    def _point(self, step: Any, logs: dict[str, Any]) -> bool:
        if "loss" not in logs:  # of an evaluation, or the summary at the end
            return False
        return self._watcher.point(
            step, logs["loss"], logs.get("learning_rate"), logs.get("num_input_tokens_seen")
        )
