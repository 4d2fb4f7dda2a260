"""`lossfit.fit` and its relatives on a card whose kernels are executed by the emulator."""

import numpy as np
import pytest

pytest.importorskip("numba.cuda.compiler", reason="needs numba-cuda: the extra cuda-check")

import lossfit
from lossfit import devices
from tests.gpu.emulated import EmulatedDevice


@pytest.fixture
def card(monkeypatch):
    """A machine with one emulated card."""
    seen = devices.Card(0, "emulated", (9, 0))
    monkeypatch.setattr(devices, "find", lambda: devices.Found((seen,), (), ()))
    device = EmulatedDevice()
    monkeypatch.setattr(devices.Place, "open", lambda self: [device])
    return device


@pytest.fixture
def runs():
    return lossfit.load("llama2")


def test_a_fit_on_a_card_is_that_of_the_cpu(card, runs):
    options = {"law": "power_linear", "draws": 40}
    expected = lossfit.fit(runs, device="cpu", **options)
    found = lossfit.fit(runs, **options)
    assert found.settings.device == "cuda:0"
    assert card.launches
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-6, atol=1e-9)
    assert found.flags == expected.flags


def test_draws_kept_on_a_card_give_summaries_and_predictions(card, runs):
    options = {"law": "power_linear", "draws": 40}
    expected = lossfit.fit(runs, device="cpu", **options)
    found = lossfit.fit(runs, device="cuda", keep="device", **options)
    assert found.draws is None
    columns = ["mean", "sd", "lower", "upper"]
    np.testing.assert_allclose(
        found.summary()[columns], expected.summary()[columns], rtol=1e-5, atol=1e-9
    )
    at = np.tile([[1e12, 3e12]], (len(runs), 1))
    np.testing.assert_allclose(found.curves(at), expected.curves(at), rtol=1e-6)
    some = found.select(runs.names[1:3])
    np.testing.assert_allclose(some.curves(at[1:3]), expected.curves(at)[1:3], rtol=1e-6)
    np.testing.assert_allclose(found.to_host().draws, expected.draws, rtol=1e-6, atol=1e-9)


def test_a_summary_is_made_on_the_card(card, runs):
    options = {"law": "power_linear", "draws": 40, "keep": "summary"}
    columns = ["mean", "sd", "lower", "upper"]
    np.testing.assert_allclose(
        lossfit.fit(runs, **options).summary()[columns],
        lossfit.fit(runs, device="cpu", **options).summary()[columns],
        rtol=1e-5,
        atol=1e-9,
    )


def test_single_precision_is_close(card, runs):
    options = {"law": "power_linear", "draws": 200}
    expected = lossfit.fit(runs, device="cpu", **options).summary()
    found = lossfit.fit(runs, device="cuda", dtype="float32", **options).summary()
    assert (abs(found["mean"] - expected["mean"]) < 0.2 * expected["sd"]).all()
