"""Callbacks inside of the real training libraries, each skipped where its library is absent."""

from __future__ import annotations

import logging
import math
import os
import warnings

import numpy as np
import pytest

import lossfit

STEPS = 240


class Told:
    """What a callback showed and reported."""

    def __init__(self):
        self.lines, self.metrics = [], []

    def show(self, line):
        self.lines.append(line)

    def report(self, metrics, step):
        self.metrics.append((step, dict(metrics)))

    def check(self, monitor, steps=STEPS):
        """A whole training was followed."""
        assert monitor.problem == ""
        assert monitor.step == steps
        assert f"step {steps}: final loss" in self.lines[-1]
        assert self.metrics[-1][0] == steps
        assert self.metrics[-1][1] == monitor.metrics()
        assert np.isfinite(list(monitor.metrics().values())).all()
        # ... and its answer is that of extrapolate on the points that it was given.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            direct = lossfit.extrapolate(
                monitor.runs, at=monitor.total, axis="step", total=monitor.total
            )
        np.testing.assert_array_equal(monitor.answer.draws, direct.draws)


@pytest.fixture(autouse=True)
def _warnings_of_libraries():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make integrations")


def regression(torch, rows=4096):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 8, generator=generator)
    y = x @ torch.arange(8.0) / 8 + 0.3 * torch.randn(rows, generator=generator)
    return x, y


# Hugging Face


@pytest.fixture
def trainer(torch, tmp_path):
    reason = "Transformers is not installed: make integrations"
    transformers = pytest.importorskip("transformers", reason=reason)
    pytest.importorskip("accelerate", reason="Accelerate is not installed: make integrations")
    x, y = regression(torch)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(8, 1)

        def forward(self, x, labels):
            out = self.line(x)[:, 0]
            return {"loss": ((out - labels) ** 2).mean(), "logits": out}

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(x)

        def __getitem__(self, k):
            return {"x": x[k], "labels": y[k]}

    def made(callback, **options):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"), max_steps=STEPS, logging_steps=5, report_to=[],
            per_device_train_batch_size=16, learning_rate=0.01, use_cpu=True, disable_tqdm=True,
            **{"save_strategy": "no", **options},
        )  # fmt: skip
        return transformers.Trainer(Model(), arguments, train_dataset=Rows(), callbacks=[callback])

    return made


def test_hugging_face(trainer, told):
    from lossfit.integrations.huggingface import LossfitCallback

    callback = LossfitCallback(target=0.5, every=60, show=told.show, report=told.report)
    trained = trainer(callback)
    trained.train()
    told.check(callback.monitor)
    assert [step for step, _ in told.metrics] == [60, 120, 180, 240]
    entries = [entry for entry in trained.state.log_history if "loss" in entry]
    table, _ = callback.monitor._points.table()
    np.testing.assert_array_equal(table[:, 0], [entry["step"] for entry in entries])
    np.testing.assert_allclose(table[:, 1], [entry["loss"] for entry in entries])
    np.testing.assert_allclose(table[:, 2], [entry["learning_rate"] for entry in entries])


def test_hugging_face_stops_and_resumes(trainer, told, tmp_path):
    from lossfit.integrations.huggingface import LossfitCallback

    callback = LossfitCallback(target=-5.0, every=60, show=told.show, stop=True)
    stopped = trainer(callback, save_strategy="steps", save_steps=60)
    stopped.train()
    assert stopped.state.global_step == 120  # out of reach at 60 and at 120
    assert "stop: P(final loss < -5)" in told.lines[-1]
    again = LossfitCallback(target=0.5, every=60, show=told.show, report=told.report)
    resumed = trainer(again, save_strategy="steps", save_steps=60)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-120"))
    told.check(again.monitor)
    assert again.monitor._points.logged == STEPS / 5  # those before the checkpoint too


# Lightning


@pytest.fixture
def lightning(torch, tmp_path):
    reason = "Lightning is not installed: make integrations"
    pl = pytest.importorskip("lightning.pytorch", reason=reason)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    x, y = regression(torch, STEPS * 16)

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(8, 1)

        def training_step(self, batch, _):
            return ((self.line(batch[0])[:, 0] - batch[1]) ** 2).mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    def made(callback, **options):
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
        trainer = pl.Trainer(
            accelerator="cpu", log_every_n_steps=5, callbacks=[callback], enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path,
            **{"max_steps": STEPS, "logger": False, "enable_checkpointing": False, **options},
        )  # fmt: skip
        return trainer, Model(), loader

    return made


def test_lightning(lightning, told, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    from lossfit.integrations.lightning import LossfitCallback

    callback = LossfitCallback(target=0.5, every=60, show=told.show, report=told.report)
    logger = CSVLogger(tmp_path, name="logs")
    trainer, model, loader = lightning(callback, logger=logger)
    trainer.fit(model, loader)
    told.check(callback.monitor)
    logged = (tmp_path / "logs" / "version_0" / "metrics.csv").read_text()
    assert "lossfit/final_loss" in logged
    assert f"{told.metrics[-1][1]['lossfit/final_loss']}" in logged


def test_lightning_stops_and_resumes(lightning, told, tmp_path):
    from lossfit.integrations.lightning import LossfitCallback

    callback = LossfitCallback(target=-5.0, every=60, show=told.show, stop=True)
    trainer, model, loader = lightning(callback)
    trainer.fit(model, loader)
    assert trainer.global_step == 120  # out of reach at 60 and at 120
    trainer.save_checkpoint(tmp_path / "at_120.ckpt")
    again = LossfitCallback(target=0.5, every=60, show=told.show, report=told.report)
    trainer, model, loader = lightning(again, max_epochs=-1)
    trainer.fit(model, loader, ckpt_path=tmp_path / "at_120.ckpt", weights_only=False)
    told.check(again.monitor)
    assert again.monitor._points.logged == STEPS / 5


# Keras


@pytest.fixture
def keras():
    for backend, module in (("jax", "jax"), ("torch", "torch"), ("tensorflow", "tensorflow")):
        try:
            __import__(module)
        except ImportError:
            continue
        os.environ.setdefault("KERAS_BACKEND", backend)
        break
    else:
        pytest.skip("no backend of Keras is installed: make integrations")
    return pytest.importorskip("keras", reason="Keras is not installed: make integrations")


def small_model(keras):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60 * 16, 8)).astype("float32")
    y = (x @ np.arange(8) / 8 + 0.3 * rng.normal(size=len(x))).astype("float32")
    return model, x, y


def test_keras(keras, told):
    from lossfit.integrations.keras import LossfitCallback

    losses = []

    class Batches(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append((batch, logs["loss"]))

    model, x, y = small_model(keras)
    callback = LossfitCallback(target=0.5, every=60, batches=5, show=told.show, report=told.report)
    model.fit(x, y, batch_size=16, epochs=4, verbose=0, callbacks=[callback, Batches()])
    told.check(callback.monitor)
    # Means of batches, taken out of Keras' means of the epoch so far.
    table, _ = callback.monitor._points.table()
    assert list(table[:, 0]) == list(range(5, STEPS + 1, 5))
    for epoch in range(4):
        sums = np.array([loss * (k + 1) for k, loss in losses[60 * epoch : 60 * epoch + 60]])
        batches = np.diff(sums, prepend=0.0)
        expected = batches.reshape(-1, 5).mean(axis=1)
        np.testing.assert_allclose(table[12 * epoch : 12 * epoch + 12, 1], expected, rtol=1e-4)
    assert table[0, 2] == pytest.approx(0.01)


def test_keras_stops(keras, told):
    from lossfit.integrations.keras import LossfitCallback

    model, x, y = small_model(keras)
    callback = LossfitCallback(target=-5.0, every=60, batches=5, show=told.show, stop=True)
    history = model.fit(x, y, batch_size=16, epochs=4, verbose=0, callbacks=[callback])
    assert len(history.history["loss"]) < 4
    assert "stop: P(final loss < -5)" in told.lines[-1]
    unknown = LossfitCallback(show=told.show)  # of a generator: nobody knows its length
    model.fit(((x[:16], y[:16]) for _ in range(3)), verbose=0, callbacks=[unknown])
    assert unknown.monitor is None


# What they share


def test_a_report_that_fails_stops_nothing(caplog):
    from lossfit.integrations._watcher import Watcher

    def fails(metrics, step):
        raise ConnectionError("no network")

    watcher = Watcher(None, fails, False, None, {"every": 20})
    watcher.begin(200)
    for k in range(1, 61):
        assert not watcher.point(k, 3 + k**-0.5)
    watcher.monitor.wait()
    assert "the forecast could not be reported: no network" in caplog.text
    watcher.begin(math.nan)
    assert "nothing says how long the run will be" in caplog.text
    assert not watcher.point(1, 3.0)
    wrong = Watcher(None, None, False, 100, {"target": "low"})
    wrong.begin(None)
    assert "target must be a number" in caplog.text
    assert wrong.monitor is None


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("huggingface", "transformers"),
        ("lightning", "lightning"),
        ("keras", "keras"),
        ("optuna", "optuna"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, module, library):
    import importlib
    import sys

    for part in [part for part in sys.modules if part.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, part)
    monkeypatch.setitem(sys.modules, library, None)
    if library == "lightning":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, f"lossfit.integrations.{module}", raising=False)
    words = rf"integrations\.{module} needs {library}.*pip install 'lossfit\[{module}\]'"
    with pytest.raises(ImportError, match=words):
        importlib.import_module(f"lossfit.integrations.{module}")
