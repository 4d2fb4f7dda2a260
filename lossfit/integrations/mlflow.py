"""MLflow: forecasts in a run, and finished runs of an experiment as reference runs."""

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


def report(run_id: str | None = None) -> Report:
    """What logs a monitor's metrics to a run.

    Parameters
    ----------
    run_id : str, optional
        By default the active run, when there is something to log.

    Returns
    -------
    callable
        ``report(metrics, step)``.

    Examples
    --------
    >>> from lossfit.integrations import mlflow as lossfit_mlflow  # doctest: +SKIP
    >>> tell = lossfit_mlflow.report()  # doctest: +SKIP
    >>> if monitor.log(step=step, loss=loss):  # doctest: +SKIP
    ...     tell(monitor.metrics(), step)
    """
    mlflow = library("mlflow", "mlflow")

    def tell(metrics: Mapping[str, float], step: int) -> None:
        mlflow.log_metrics(dict(metrics), step=step, run_id=run_id)

    return tell


def runs(
    experiment: str,
    *,
    metric: str = "loss",
    rate: str | None = None,
    filter_string: str = "",
    most: int = 50,
    client: Any = None,
) -> Runs:
    """Finished runs of an experiment, with the whole history of a metric: for ``siblings=``.

    Parameters
    ----------
    experiment : str
        Its name.
    metric : str
        The metric that is the loss.
    rate : str, optional
        The metric that is the learning rate; by default the first there is of ``lr``,
        ``learning_rate``, ``train/learning_rate``.
    filter_string : str
        As in ``MlflowClient.search_runs``, joined with ``attributes.status = 'FINISHED'``.
    most : int
        Runs to take, the newest first.
    client : MlflowClient, optional
        Where to ask; by default a new one, of the tracking URI that is set.

    Returns
    -------
    Runs
        Named as in MLflow; of equal names the later ones get their id.

    Raises
    ------
    DataError
        No such experiment; no finished run; none with the metric.

    Warns
    -----
    LossfitWarning
        Runs that were left out, with the reason.

    Examples
    --------
    >>> finished = lossfit_mlflow.runs("my-experiment", metric="train_loss")  # doctest: +SKIP
    """
    client = library("mlflow", "mlflow").MlflowClient() if client is None else client
    known = client.get_experiment_by_name(experiment)
    if known is None:
        raise DataError(f"MLflow has no experiment {experiment!r}")
    finished = "attributes.status = 'FINISHED'"
    words = f"{finished} and {filter_string}" if filter_string else finished
    histories: dict[str, Any] = {}
    for run in client.search_runs([known.experiment_id], words, max_results=most):
        name = run.info.run_name or run.info.run_id
        name = name if name not in histories else f"{name} ({run.info.run_id})"
        rates = (rate,) if rate else ("lr", "learning_rate", "train/learning_rate")
        chosen = next((key for key in rates if key in run.data.metrics), None)
        histories[name] = _history(client, run.info.run_id, metric, chosen)
    if not histories:
        raise DataError(f"the MLflow experiment {experiment!r} has no finished run ({words})")
    return as_one(histories, "train", None, f"the MLflow experiment {experiment!r}")


def _history(client: Any, run_id: str, metric: str, rate: str | None) -> list[dict[str, float]]:
    """Rows of step, loss and the learning rate logged there."""
    rates = {}
    if rate is not None:
        rates = {point.step: point.value for point in client.get_metric_history(run_id, rate)}
    rows = []
    for point in client.get_metric_history(run_id, metric):
        row = {"step": float(point.step), "loss": point.value}
        if rates:
            row["lr"] = rates.get(point.step, float("nan"))
        rows.append(row)
    return sorted(rows, key=lambda row: row["step"])
