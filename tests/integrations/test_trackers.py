"""W&B offline, a local MLflow store and TensorBoard's event files, with the real libraries."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import lossfit
from lossfit import DataError, LossfitWarning

STEPS = np.arange(1, 121)


def loss_of(level: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return level + 3 * STEPS**-0.5 + rng.normal(0, 0.01, len(STEPS))


def told(report) -> lossfit.Monitor:
    """A monitor whose forecasts are reported."""
    monitor = lossfit.Monitor(total=240, every=40, target=2.2)
    for step, loss in zip(STEPS, loss_of(2.0, 0), strict=True):
        news = monitor.log(step=step, loss=loss)
        monitor.wait()
        if news:
            report(monitor.metrics(), int(step))
    assert set(monitor.metrics()) == {
        f"lossfit/{key}" for key in ("final_loss", "lower", "upper", "prob_below_target", "broken")
    }
    return monitor


@pytest.fixture(autouse=True)
def _warnings_of_libraries():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Weights & Biases


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    library = pytest.importorskip("wandb", reason="W&B is not installed: make integrations")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return library


def test_wandb_offline(wandb):
    from lossfit.integrations.wandb import report

    tell = report()
    with pytest.raises(DataError, match="no run of W&B has begun"):
        tell({"lossfit/final_loss": 1.0}, 3)
    with wandb.init(project="tests", name="a") as run:
        monitor = told(tell)
        assert run.step == 0  # forecasts move no step
        run.log({"loss": 2.0})
        summary = dict(run.summary)
    for key, value in monitor.metrics().items():
        assert summary[key] == pytest.approx(value)
    assert summary["lossfit/step"] == 120


class FakeApi:
    """What ``wandb.Api`` says of a project: the one part that needs a network."""

    def __init__(self, runs):
        self.all = runs
        self.asked = None

    def runs(self, path, filters, order):
        self.asked = (path, filters, order)
        return self.all


def wandb_run(name, level, seed, key="train/loss"):
    rows = [
        {"_step": int(s), "_timestamp": 1.7e9 + s, key: v, "lr": 1e-3}
        for s, v in zip(STEPS, loss_of(level, seed), strict=True)
    ]
    return SimpleNamespace(name=name, id=f"id{seed}", scan_history=lambda: iter(rows))


def test_finished_runs_of_a_wandb_project():
    pytest.importorskip("wandb", reason="W&B is not installed: make integrations")
    from lossfit.integrations.wandb import runs

    api = FakeApi([wandb_run("a", 2.0, 1), wandb_run("b", 2.1, 2), wandb_run("a", 2.2, 3)])
    finished = runs("me/tests", api=api, filters={"tags": "good"})
    assert finished.names == ("a", "b", "a (id3)")
    assert api.asked == ("me/tests", {"state": "finished", "tags": "good"}, "-created_at")
    np.testing.assert_array_equal(finished["b"].loss, loss_of(2.1, 2))
    assert runs("me/tests", api=api, most=2).names == ("a", "b")
    monitor = lossfit.Monitor(total=240, siblings=finished)
    assert monitor.problem == ""
    with pytest.raises(DataError, match="'me/tests' has no finished run"):
        runs("me/tests", api=FakeApi([]))
    odd = wandb_run("odd", 2.0, 4, key="reward")
    with pytest.warns(LossfitWarning, match="1 runs of the W&B project 'me/tests' were left out"):
        assert runs("me/tests", api=FakeApi([odd, wandb_run("b", 2.1, 2)])).names == ("b",)
    with pytest.raises(DataError, match="no run of the W&B project 'me/tests' can be used: odd"):
        runs("me/tests", api=FakeApi([odd]))


# MLflow


@pytest.fixture
def mlflow(tmp_path):
    library = pytest.importorskip("mlflow", reason="MLflow is not installed: make integrations")
    library.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    library.create_experiment("tests", artifact_location=str(tmp_path / "artifacts"))
    library.set_experiment("tests")
    yield library
    if library.active_run() is not None:
        library.end_run()


def test_mlflow(mlflow):
    from lossfit.integrations.mlflow import report, runs

    with mlflow.start_run(run_name="watched") as active:
        monitor = told(report())
    logged = mlflow.MlflowClient().get_run(active.info.run_id).data.metrics
    for key, value in monitor.metrics().items():
        assert logged[key] == pytest.approx(value)
    history = mlflow.MlflowClient().get_metric_history(active.info.run_id, "lossfit/final_loss")
    assert [point.step for point in history] == [40, 80, 120]
    for seed, name in enumerate(("first", "second")):
        with mlflow.start_run(run_name=name):
            for step, loss in zip(STEPS, loss_of(2.0, seed), strict=True):
                mlflow.log_metrics({"train_loss": loss, "lr": 1e-3 / step}, step=int(step))
    with pytest.warns(LossfitWarning, match="were left out: watched"):
        finished = runs("tests", metric="train_loss")
    assert set(finished.names) == {"first", "second"}
    np.testing.assert_array_equal(finished["second"].loss, loss_of(2.0, 1))
    np.testing.assert_allclose(finished["second"].lr, 1e-3 / STEPS)
    with pytest.raises(DataError, match="no experiment 'other'"):
        runs("other")
    with pytest.raises(DataError, match="has no finished run"):
        runs("tests", filter_string="attributes.run_name = 'none'")


# TensorBoard


def test_tensorboard_folder(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: make integrations")
    from lossfit.integrations.tensorboard import report

    monitor = told(report(tmp_path / "runs"))
    back = lossfit.load(tmp_path / "runs", loss="lossfit/final_loss")
    run = back[back.names[0]]
    np.testing.assert_array_equal(run.axis("step"), [40, 80, 120])
    assert run.loss[-1] == pytest.approx(monitor.metrics()["lossfit/final_loss"], rel=1e-6)


def test_tensorboard_writer(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: make integrations")
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: make integrations")
    from torch.utils.tensorboard import SummaryWriter

    from lossfit.integrations.tensorboard import report

    with SummaryWriter(str(tmp_path)) as writer:
        told(report(writer))
    back = lossfit.load(tmp_path, loss="lossfit/upper")
    np.testing.assert_array_equal(back[back.names[0]].axis("step"), [40, 80, 120])
