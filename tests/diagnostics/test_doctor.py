"""`lossfit doctor`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lossfit.cli.main import main
from lossfit.diagnostics import doctor as room
from lossfit.diagnostics.doctor import doctor, doctor_text
from lossfit.engine import devices


@pytest.fixture
def no_gpu(monkeypatch):
    missing = ("CuPy is not installed", "no NVIDIA driver was found (libcuda.so.1)")
    found = devices.Found((), missing, ('pip install "lossfit[cuda]"', "install NVIDIA's driver"))
    monkeypatch.setattr(devices, "find", lambda: found)
    return missing


def test_versions_cache_and_what_is_missing(no_gpu):
    record = doctor()
    assert record["schema"] == "lossfit.doctor/1"
    assert record["versions"].keys() >= {"python", "numpy", "numba", "scipy"}
    assert record["cache"]["writable"] is True
    assert record["gpu"]["gpus"] == []
    assert tuple(problem["what"] for problem in record["problems"]) == no_gpu
    assert json.loads(json.dumps(record)) == record
    text = doctor_text(record)
    assert 'fix: pip install "lossfit[cuda]"' in text
    assert "All that a fit on the CPU needs is here." in text


def test_a_gpu_is_named(monkeypatch):
    gpu = devices.Gpu(0, "NVIDIA H100", (9, 0))
    monkeypatch.setattr(devices, "find", lambda: devices.Found((gpu,), (), ()))
    assert "GPU: cuda:0 (NVIDIA H100)" in doctor_text(doctor())


def test_a_cache_that_cannot_be_written_hinders(no_gpu, monkeypatch):
    from lossfit.kernels import cache

    monkeypatch.setattr(cache, "writable", lambda: False)
    (problem,) = [problem for problem in doctor()["problems"] if problem["hinders"]]
    assert "cannot be kept" in problem["what"]
    assert "LOSSFIT_CACHE" in problem["fix"]
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 2
    assert "PROBLEM: compiled kernels cannot be kept" in done.output


def test_what_is_optional_is_named_with_its_extra(no_gpu, monkeypatch):
    monkeypatch.setattr(room, "OPTIONAL", {"no-such-package": "tea", "pyarrow": "tables"})
    text = doctor_text(doctor())
    assert 'no-such-package is not installed (tea): pip install "lossfit[no-such-package]"' in text
    assert "pyarrow is not installed" not in text


def test_command(no_gpu):
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["schema"] == "lossfit.doctor/1"
