from __future__ import annotations

import ctypes
import importlib.metadata
import logging
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import lossfit
from lossfit import DataError, DeviceError
from lossfit.engine import devices
from lossfit.engine.device_draws import DeviceDraws
from lossfit.kernels.gpu import device as seam
from tests.curves import power_runs

WORK = devices.Work.FIT_ONE
ELSEWHERE = devices.Work.FIT_STUDENT_T
H100 = ("NVIDIA H100", (9, 0))
RTX = ("NVIDIA GeForce RTX 4090", (8, 9))
OLD = ("Tesla P4", (6, 1))


class Driver:
    """A CUDA driver's library."""

    def __init__(self, gpus=(), version=13010, init=0):
        self.gpus, self.version, self.init = gpus, version, init
        self.started = 0

    def cuInit(self, flags):
        self.started += 1
        return self.init

    def cuDriverGetVersion(self, number):
        number._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, number):
        number._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, handle, number):
        handle._obj.value = number
        return 0

    def cuDeviceGetName(self, buffer, size, handle):
        buffer.value = self.gpus[handle.value][0].encode()
        return 0

    def cuDeviceGetAttribute(self, value, attribute, handle):
        value._obj.value = self.gpus[handle.value][1][attribute - 75]
        return 0

    def cuGetErrorName(self, code, text):
        ctypes.cast(text, ctypes.POINTER(ctypes.c_char_p))[0] = {
            803: b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
        }.get(code)
        return 0


@pytest.fixture
def machine(monkeypatch):
    """Make the machine seem to have what is asked for."""

    def make(
        driver=None,
        packages=("numba-cuda", "CuPy"),
        cupy="cupy-cuda13x",
        bindings=None,
        also=None,
        visible=None,
        numpy_too_new=False,
    ):
        there = {name: name in packages for name in ("numba-cuda", "CuPy")}
        monkeypatch.setattr(devices, "_packages", lambda: there)
        installed = {cupy: "14.2.0", "cuda-bindings": bindings, **(also or {})}
        monkeypatch.setattr(devices, "_version", installed.get)
        monkeypatch.setattr(devices, "_library", lambda: driver)
        first = (2, 0) if numpy_too_new else (99, 0)
        monkeypatch.setattr(seam, "FIRST_NUMPY_TOO_NEW", first)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(devices, "ON_CUDA", frozenset({WORK}))
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        devices.find.cache_clear()

    yield make
    devices.find.cache_clear()
    devices._tell_once.cache_clear()


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        (
            {"packages": ()},
            [
                "numba-cuda and CuPy are not installed", "no NVIDIA driver was found",
                'pip install "lossfit[cuda]"', "install NVIDIA's driver",
            ],
        ),
        (
            {"driver": Driver([H100]), "packages": ("numba-cuda",)},
            ["CuPy is not installed", 'pip install "lossfit[cuda]"'],
        ),
        ({"driver": Driver([H100]), "packages": ("CuPy",)}, ["numba-cuda is not installed"]),
        (
            {"driver": Driver([H100]), "numpy_too_new": True},
            [f"numba-cuda does not work with NumPy {np.__version__}", 'pip install "numpy<2.0"'],
        ),
        ({}, ["no NVIDIA driver was found (libcuda.so.1)", "install NVIDIA's driver"]),
        (
            {"driver": Driver([H100], version=12040)},
            [
                "the NVIDIA driver is too old: it knows CUDA 12.4, CuPy was built for CUDA 13",
                "update the driver to 580 or later",
                "or, for CUDA 12, pip uninstall -y cupy-cuda12x cupy-cuda13x cuda-bindings",
                'then pip install "lossfit[cuda12]"',
            ],
        ),
        (
            {"driver": Driver([H100], version=11080), "cupy": "cupy-cuda12x"},
            ["it knows CUDA 11.8, CuPy was built for CUDA 12", "update the driver to 525 or later"],
        ),
        (
            {"driver": Driver([H100]), "also": {"cupy-cuda12x": "14.2.0"}},
            ["cupy-cuda12x and cupy-cuda13x are both installed", "pip uninstall -y", "cuda12"],
        ),
        (
            {"driver": Driver([H100]), "cupy": "cupy-cuda12x", "bindings": "13.5.0"},
            ["cupy-cuda12x is installed with cuda-bindings 13", "pip uninstall -y"],
        ),
        ({"driver": Driver(init=100)}, ["the NVIDIA driver shows no GPU", "nvidia-smi"]),
        (
            {"driver": Driver(init=100), "visible": ""},
            ["shows no GPU (CUDA_VISIBLE_DEVICES is '')", "unset CUDA_VISIBLE_DEVICES"],
        ),
        ({"driver": Driver(), "visible": "-1"}, ["shows no GPU (CUDA_VISIBLE_DEVICES is '-1')"]),
        (
            {"driver": Driver([H100], init=803)},
            ["does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)", "nvidia-smi"],
        ),
        ({"driver": Driver([H100], init=999)}, ["does not start: error 999"]),
        (
            {"driver": Driver([OLD])},
            ["no GPU has compute capability 7.5 or more: Tesla P4 (6.1)", "Turing"],
        ),
    ],
)  # fmt: skip
def test_a_gpu_that_cannot_be_used_names_what_is_missing(machine, what, parts):
    machine(**what)
    with pytest.raises(DeviceError) as caught:
        devices.place(WORK, "cuda")
    text = str(caught.value)
    assert text.startswith("device='cuda' cannot be used: ")
    assert text.endswith("device='cpu' needs none of this")
    assert "\n" not in text
    for part in parts:
        assert part in text
    assert devices.place(WORK) == devices.CPU  # "auto" goes on without


def test_the_driver_is_not_started_where_packages_are_missing(machine):
    """A process that has started it could not use it after a fork."""
    driver = Driver([H100])
    machine(driver, packages=("numba-cuda",))
    devices.place(WORK)
    assert driver.started == 0


@pytest.mark.parametrize(
    ("gpus", "device", "dtype", "expected"),
    [
        ([H100], "auto", "auto", ((0,), "float64")),
        ([H100], "cuda", "float32", ((0,), "float32")),
        ([RTX], "cuda", "auto", ((0,), "float32")),
        ([RTX], "auto", "float64", ((0,), "float64")),
        ([RTX, H100], "cuda:1", "auto", ((1,), "float64")),
        ([RTX, H100], "cuda:all", "auto", ((0, 1), "float32")),
        ([H100] * 3, "cuda:all", "auto", ((0, 1, 2), "float64")),
        ([OLD, H100], "cuda", "auto", ((1,), "float64")),
        ([OLD, H100], "cuda:all", "auto", ((1,), "float64")),
        ([H100], "cpu", "auto", ((), "float64")),
        ([H100], "cpu", "float64", ((), "float64")),
        ([H100], "cuda:0", np.float32, ((0,), "float32")),
    ],
)
def test_the_gpu_and_the_precision_that_are_chosen(machine, gpus, device, dtype, expected):
    machine(Driver(gpus))
    assert devices.place(WORK, device, dtype) == devices.Place(*expected)


def test_auto_takes_a_gpu_where_it_pays(machine, monkeypatch):
    driver = Driver([H100])
    machine(driver)
    monkeypatch.setattr(devices, "_opened", set())
    assert devices.place(WORK, seconds=devices.WARM_START / 2) == devices.CPU
    assert driver.started == 0  # too little to ask
    between = (devices.COLD_START + devices.WARM_START) / 2
    assert devices.place(WORK, seconds=between) == devices.CPU
    assert devices.place(WORK, seconds=2 * devices.COLD_START).device == "cuda:0"
    for asked in ({"device": "cuda"}, {"dtype": "float32"}):
        assert devices.place(WORK, **asked, seconds=0.0).device == "cuda:0"
    devices._opened.add(0)  # it is running already
    assert devices.place(WORK, seconds=between).device == "cuda:0"
    assert devices.place(WORK, seconds=devices.WARM_START / 2) == devices.CPU


def test_what_work_takes_the_cpu(monkeypatch):
    assert devices.cpu_seconds(ELSEWHERE, 10**6, 1000) is None
    assert set(devices.CPU_COSTS) == devices.ON_CUDA
    monkeypatch.setattr(devices, "available_threads", lambda threads, n_runs: 1)
    alone = devices.cpu_seconds(WORK, 10**6, 1000)
    assert 30 < alone < 300  # 80 us a run, as measured
    monkeypatch.setattr(devices, "available_threads", lambda threads, n_runs: 16)
    assert devices.cpu_seconds(WORK, 10**6, 1000) == alone / 16
    assert devices.cpu_seconds(WORK, 10**6, 0) < alone / 16


def test_what_is_computed_in_float64_only_says_so(machine, monkeypatch):
    machine(Driver([RTX]))
    monkeypatch.setattr(devices, "DOUBLE_ONLY", frozenset({WORK}))
    for device in ("auto", "cuda"):
        with pytest.raises(DataError, match=r"computed in float64 only, on a GPU too: leave dtype"):
            devices.place(WORK, device, "float32")
    with pytest.raises(DataError, match="the CPU computes in float64"):
        devices.place(WORK, "cpu", "float32")
    assert devices.place(WORK, "cuda").dtype == "float64"
    monkeypatch.setattr(devices, "DOUBLE_ONLY", frozenset())
    assert devices.place(WORK, "cuda").dtype == "float32"


def test_places_have_names():
    assert devices.Place().device == "cpu"
    assert devices.Place((1,)).device == "cuda:1"
    assert devices.Place((0, 2), "float32").device == "cuda:0,2"
    assert devices.Place((0,), "float32").single


def test_a_gpu_that_is_not_there(machine):
    machine(Driver([H100, RTX]), visible="0,1")
    message = (
        r"there is no such GPU.* cuda:0 \(NVIDIA H100\), cuda:1 \(NVIDIA GeForce RTX 4090\) "
        r"\(CUDA_VISIBLE_DEVICES is '0,1'\)"
    )
    with pytest.raises(DeviceError, match=message):
        devices.place(WORK, "cuda:2")


def test_work_without_kernels(machine):
    machine(Driver([H100]))
    assert devices.place(ELSEWHERE, "auto") == devices.CPU
    with pytest.raises(
        DeviceError, match="a fit with Student-t noise is not available on CUDA; use device='auto'"
    ):
        devices.place(ELSEWHERE, "cuda")


@pytest.mark.parametrize("device", ["tpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:²", 0, None])
def test_devices_that_mean_nothing(device):
    with pytest.raises(DataError, match=r"device must be 'auto', 'cpu', 'cuda', 'cuda:all' or"):
        devices.place(WORK, device)


@pytest.mark.parametrize("dtype", ["float16", "double precision", np.int64, 4, None])
def test_dtypes_that_mean_nothing(dtype):
    with pytest.raises(DataError, match="dtype must be 'auto', 'float64', 'float32', got"):
        devices.place(WORK, "cpu", dtype)


def test_single_precision_is_for_gpus(machine):
    machine()
    with pytest.raises(DataError, match="the CPU computes in float64"):
        devices.place(WORK, "cpu", "float32")
    with pytest.raises(DataError, match=r"takes the CPU here \(no NVIDIA driver was found"):
        devices.place(WORK, "auto", "float32")


def test_auto_says_once_what_it_chose(machine, caplog):
    machine(Driver([H100]))
    with caplog.at_level(logging.DEBUG, logger="lossfit"):
        for _ in range(3):
            devices.place(WORK)
    assert [record.message for record in caplog.records] == [
        "device='auto': a fit by quadrature over one parameter on cuda:0 in float64 (NVIDIA H100)"
    ]
    assert caplog.records[0].levelno == logging.DEBUG


def test_a_gpu_that_cannot_be_opened(machine, monkeypatch):
    machine(Driver([H100]))
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"cuda:0' cannot be opened.*pip install .lossfit\[cuda"):
        devices.place(WORK, "cuda").open()


def test_exhausted_memory_is_a_device_error():
    from lossfit.kernels.gpu.launch import DeviceMemoryError

    with (
        pytest.raises(DeviceError, match="memory is exhausted: run 'a' needs"),
        devices.gpu_errors(),
    ):
        raise DeviceMemoryError("run 'a' needs 3 GiB")


@pytest.mark.parametrize(
    "ask",
    [
        lambda runs, **o: lossfit.fit(runs, **o),
        lambda runs, **o: lossfit.extrapolate(runs, at=1e6, **o),
        lambda runs, **o: lossfit.backtest(runs, **o),
    ],
    ids=["fit", "extrapolate", "backtest"],
)
def test_users_are_told(machine, ask):
    machine(packages=())
    runs = power_runs(1)
    with pytest.raises(DeviceError, match=r"^device='cuda' cannot be used: numba-cuda and CuPy"):
        ask(runs, device="cuda")
    with pytest.raises(DataError, match="the CPU computes in float64"):
        ask(runs, device="cpu", dtype="float32")


def test_the_command_line_says_it_in_one_line(machine):
    from click.testing import CliRunner

    from lossfit.cli.main import main

    machine(packages=())
    done = CliRunner().invoke(main, ["fit", "llama2", "--device", "cuda"])
    assert done.exit_code == 2
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("error: --device cuda cannot be used: numba-cuda and CuPy")
    assert "Traceback" not in done.stderr


def test_a_fit_says_where_it_was_made():
    fit = lossfit.fit(power_runs(1), draws=20, device="cpu")
    assert (fit.settings.device, fit.settings.dtype) == ("cpu", "float64")
    assert fit.posterior.attrs["dtype"] == "float64"


def on_a_gpu(fit):
    """The fit as if its draws had stayed on a GPU."""
    settings = replace(fit.settings, device="cuda:0", dtype="float32")
    parts = tuple(part.astype(np.float32) for part in np.split(fit.draws, [1]))
    return replace(fit, draws=None, device_draws=DeviceDraws(parts), settings=settings)


@pytest.fixture(scope="module")
def fitted():
    return lossfit.fit(power_runs(3), draws=200, device="cpu")


@pytest.mark.parametrize("scaled", [False, True])
def test_a_fit_on_a_gpu_is_summarised_there(fitted, scaled):
    kept = on_a_gpu(fitted)
    found, expected = kept.summary(0.8, scaled=scaled), fitted.summary(0.8, scaled=scaled)
    for column in ("mean", "sd", "lower", "upper", "ess"):
        np.testing.assert_allclose(found[column], expected[column], rtol=2e-5)
    assert list(found["notes"]) == list(expected["notes"])
    one = kept.select(["run2", "run0"]).summary(0.8, scaled=scaled)
    np.testing.assert_allclose(one.loc["run2"]["mean"], expected.loc["run2"]["mean"], rtol=2e-5)
    assert "3 runs on step, 1 x 200 draws by quadrature, kept on cuda:0" in repr(kept)


def test_draws_come_to_the_host_when_asked(fitted, tmp_path):
    kept = on_a_gpu(fitted)
    with pytest.raises(DataError, match=r"draws of this fit are on cuda:0.*use fit.to_host\(\)"):
        kept.posterior  # noqa: B018
    here = kept.to_host()
    assert here.device_draws is None
    np.testing.assert_allclose(here.draws, fitted.draws, rtol=1e-6)
    assert here.to_host() is here
    kept.to_netcdf(tmp_path / "fit.nc")
    back = lossfit.from_netcdf(tmp_path / "fit.nc")
    np.testing.assert_array_equal(back.draws, here.draws)
    assert back.settings == kept.settings


class OnGpu:
    """An array on a GPU, to those who ask."""

    def __init__(self, values):
        self.values = np.asarray(values)

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.values.shape, "typestr": "<f8", "data": (0, False), "version": 3}

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")


def test_arrays_on_a_gpu_are_taken(monkeypatch):
    from lossfit.kernels.gpu import device

    monkeypatch.setattr(device, "on_host", lambda array: array.values)
    step = np.arange(1.0, 41.0)
    loss = 2 + step**-0.5
    runs = lossfit.Runs.from_arrays("step", OnGpu(step), OnGpu(loss), OnGpu([0, 20, 40]))
    assert runs == lossfit.Runs.from_arrays("step", step, loss, [0, 20, 40])


def test_arrays_on_a_gpu_need_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"an array on a GPU \(OnGpu\) was given, and CuPy"):
        lossfit.Runs.from_arrays("step", OnGpu([1.0, 2.0, 3.0]), [3.0, 2.0, 1.0])


def test_nothing_imports_the_cuda_packages_unasked():
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); import lossfit; "
        "loaded = lambda: [m for m in ('numba.cuda', 'numba_cuda.numba.cuda', 'cupy') "
        "if m in sys.modules]; "
        "assert not loaded(), loaded(); "
        "import lossfit.engine.devices, lossfit.kernels.gpu.device, lossfit.kernels.gpu.launch; "
        "assert not loaded(), loaded(); "
        "step = [*range(1, 60)]; "
        "runs = lossfit.Runs.from_arrays('step', step, [2 + s**-.5 for s in step]); "
        "lossfit.fit(runs, draws=20, device='cpu'); "
        "assert not loaded(), loaded()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_package_itself_needs_no_cuda_wheel(root):
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    cuda = re.compile(r"cuda|cupy|nvidia", re.IGNORECASE)
    assert not [need for need in project["dependencies"] if cuda.search(need)]
    extras = project["optional-dependencies"]
    assert {name for name, needs in extras.items() if any(map(cuda.search, needs))} == {
        "cuda", "cuda12", "cuda-check",
    }  # fmt: skip
    for name in ("cuda", "cuda12", "cuda-check"):
        pinned = re.compile(r"numba-cuda\[cu1[23]\]>=0\.30\.4,<0\.31")
        assert any(map(pinned.match, extras[name]))
        assert seam.older_numpy() in extras[name]
    assert not any("cupy" in need for need in extras["cuda-check"])  # it needs no driver
    try:
        needs = importlib.metadata.requires("lossfit") or []
    except importlib.metadata.PackageNotFoundError:
        return
    assert not [need for need in needs if cuda.search(need) and "extra ==" not in need]
