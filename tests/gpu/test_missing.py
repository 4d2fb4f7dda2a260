"""What has no CUDA kernels says so in one line, and docs/gpu.md lists it."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import lossfit
from lossfit import priors
from lossfit.engine import devices
from lossfit.engine.devices import ON_CUDA, Work

MISSING = sorted(set(Work) - ON_CUDA, key=lambda work: work.name)
# They take no device, and so cannot be asked for a GPU.
WITHOUT = ("fit_ladder", "fit_surfaces", "learn_priors", "phases", "plan", "prior_predictive")


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch):
    """A machine with a GPU, which none of this opens."""
    seen = devices.Gpu(0, "a GPU", (9, 0))
    monkeypatch.setattr(devices, "find", lambda: devices.Found((seen,), (), ()))
    monkeypatch.setattr(devices.Place, "open", lambda self: pytest.fail("a GPU was opened"))


@pytest.fixture(scope="module")
def runs():
    return lossfit.load("llama2")


def slow(x, tau):
    return math.exp(-x / tau)


def two_columns():
    """A law of which two columns depend on a nonlinear parameter."""
    normal = priors.normal(0, 2, relative=True)
    return lossfit.Law(
        name="two_columns",
        formula="E + A exp(-x/tau) + B x^-tau",
        linear=tuple(lossfit.Linear(name, name, normal) for name in "EAB"),
        columns=(lossfit.laws.constant, slow, lambda x, tau: x**-tau),
        nonlinear=(lossfit.Nonlinear("tau", "time scale", 0.01, 10, priors.lognormal(0.3, 1)),),
    )


def of_one_model():
    """Two runs with known schedules."""
    step = np.arange(1.0, 201)
    schedules = {
        name: lossfit.schedules.cosine(1e-3, total) for name, total in (("a", 400), ("b", 600))
    }
    loss = np.tile(2 + step**-0.4, 2)
    return lossfit.Runs.from_arrays(
        "step", np.tile(step, 2), loss, [0, 200, 400], ["a", "b"], schedules=schedules
    )


CALLS = {
    "Student-t noise": (
        Work.FIT_STUDENT_T, lambda runs, **on: lossfit.fit(runs, noise="student_t", **on),
    ),
    "emcee": (Work.FIT_EMCEE, lambda runs, **on: lossfit.fit(runs, method="emcee", **on)),
    "several columns": (
        Work.FIT_COLUMNS, lambda runs, **on: lossfit.fit(runs, two_columns(), **on),
    ),
    "a joint fit": (
        Work.JOINT,
        lambda runs, **on: lossfit.extrapolate(of_one_model(), at=3e2, share=True, **on),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_asked_for_a_gpu_it_says_that_there_is_none_of_it(name, runs):
    work, call = CALLS[name]
    with pytest.raises(lossfit.DeviceError) as caught:
        call(runs, device="cuda")
    said = str(caught.value)
    assert said == (
        f"device='cuda': {work.value} is not available on CUDA; use device='auto' or 'cpu'"
    )


def test_every_kind_of_work_is_asked_for():
    assert {work for work, _ in CALLS.values()} == set(MISSING)
    with pytest.raises(lossfit.DeviceError, match="surfaces are fitted on the CPU"):
        lossfit.fit_surface("chinchilla", device="cuda")
    for name in WITHOUT:
        assert "device" not in inspect.signature(getattr(lossfit, name)).parameters


def test_auto_takes_the_cpu_for_it(runs):
    fit = lossfit.fit(runs, noise="student_t", draws=4, chains=1, tune=2)
    assert fit.settings.device == "cpu"
    assert np.isfinite(fit.draws).any()


def test_the_page_lists_it(root):
    page = (root / "docs" / "gpu.md").read_text()
    for work in MISSING:
        assert f"| {work.value} |" in page
