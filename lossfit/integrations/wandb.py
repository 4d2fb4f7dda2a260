"""Weights & Biases: forecasts in a run, and finished runs of a project as reference runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._base.errors import DataError
from ._library import library
from ._pulled import as_one

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from ._watcher import Report

__all__ = ["report", "runs"]


def report(run: Any = None) -> Report:
    """What logs a monitor's metrics to a run.

    Parameters
    ----------
    run : wandb.Run, optional
        By default the one that ``wandb.init`` made last, when there is something to log.

    Returns
    -------
    callable
        ``report(metrics, step)``.  The metrics join the row that W&B writes next, so that they
        never move its step; the last ones are written when the run finishes.

    Examples
    --------
    >>> from lossfit.integrations import wandb as lossfit_wandb  # doctest: +SKIP
    >>> tell = lossfit_wandb.report()  # doctest: +SKIP
    >>> if monitor.log(step=step, loss=loss):  # doctest: +SKIP
    ...     tell(monitor.metrics(), step)
    """
    library("wandb", "wandb")

    def tell(metrics: Mapping[str, float], step: int) -> None:
        current = run if run is not None else library("wandb", "wandb").run
        if current is None:
            raise DataError("no run of W&B has begun: call wandb.init() first, or give run=")
        current.log({**metrics, "lossfit/step": step}, commit=False)

    return tell


def runs(
    project: str,
    *,
    filters: Mapping[str, Any] | None = None,
    most: int = 50,
    api: Any = None,
    loss: str = "train",
    columns: Mapping[str, str] | None = None,
) -> Runs:
    """Finished runs of a project, with their whole histories: for ``siblings=``.

    Parameters
    ----------
    project : str
        ``"entity/project"``, or ``"project"`` of the default entity.
    filters : dict, optional
        As in ``wandb.Api().runs``; joined with ``state == "finished"``.
    most : int
        Runs to take, the newest first.
    api : wandb.Api, optional
        Where to ask; by default a new one, of the account that is logged in.
    loss : str
        As in `lossfit.load`.
    columns : dict, optional
        As in `lossfit.load`.

    Returns
    -------
    Runs
        Named as in W&B; of equal names the later ones get their id.

    Raises
    ------
    DataError
        No finished run; none whose history holds the loss.

    Warns
    -----
    LossfitWarning
        Runs that were left out, with the reason.

    Examples
    --------
    >>> finished = lossfit_wandb.runs("me/my-project")  # doctest: +SKIP
    >>> monitor = lossfit.Monitor(total=20_000, siblings=finished)  # doctest: +SKIP
    """
    api = library("wandb", "wandb").Api() if api is None else api
    asked = {"state": "finished", **(filters or {})}
    histories: dict[str, Any] = {}
    for run in api.runs(project, filters=asked, order="-created_at"):
        if len(histories) >= most:
            break
        name = run.name if run.name not in histories else f"{run.name} ({run.id})"
        histories[name] = run  # `from_frame` scans its whole history
    if not histories:
        raise DataError(f"the project {project!r} has no finished run (filters {asked!r})")
    return as_one(histories, loss, columns, f"the W&B project {project!r}")
