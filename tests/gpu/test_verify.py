"""`lossfit bench --verify` on a device whose kernels the CPU runs, and faults that it must see."""

from __future__ import annotations

import json

import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from click.testing import CliRunner

from lossfit.cli.main import main
from lossfit.diagnostics import verification
from lossfit.diagnostics.verification import verify, verify_text
from lossfit.engine import devices
from lossfit.kernels.gpu import launch
from tests.gpu.mutants import planted

FEW = ("exact power_linear", "moments", "predict power_linear", "quantiles")


@pytest.fixture
def record(new_device):
    return verify(devices=[new_device()], families=FEW)


def test_a_device_that_is_right_passes(record):
    wrong = [row for row in (*record["kernels"], *record["host"]) if not row["passed"]]
    assert not wrong
    assert record["passed"] is True
    assert record["schema"] == "lossfit.card/1"
    named = {(row["kernel"], row["dtype"]) for row in record["kernels"]}
    assert named == {(name, dtype) for name, dtype in verification.trials_of() if name in FEW}
    for row in record["kernels"]:
        assert row["within_budget"], row
        assert row["resources"]["local"] == 0
        assert row["statuses"]["served"] > 0
    assert record["options"]["lto"] is False
    assert {"up", "down"} <= record["transfers"][0].keys()
    assert json.loads(json.dumps(record))["passed"] is True
    page = verify_text(record)
    assert page.startswith("# ")
    assert "| exact power_linear | float64 | ok |" in page
    assert page.count("\n| ") == 2 + len(named) + len(record["host"])


# Of kernels, of their launches, and of the host; each is one that a GPU's driver would not report.
FAULTS = {
    "a barrier's neighbour is forgotten": (
        "gpu.nodes:node_table", "before = last", "before = e", ["fit power"],
    ),
    "a block of random words is used twice": (
        "gpu.fit:make_draw_fast", "draw & MASK32, uint64(1)", "draw & MASK32, uint64(0)",
        ["fit power"],
    ),
    "a sum over lanes stops a step early": (
        "gpu.warp:team_sum", "    value += cuda.shfl_xor_sync(FULL, value, 1)\n", "", ["moments"],
    ),
    "a tile of one point is left out": (
        "gpu.moments:prefix_moments", "range(start, stop, TILE_POINTS)",
        "range(start, stop - 1, TILE_POINTS)", ["moments"],
    ),
    "a quantile is off by a rank": (
        "gpu.quantiles:build", "a = values[below[i]]", "a = values[max(below[i] - 1, 0)]",
        ["quantiles"],
    ),
    "keys of another chunk": (
        "gpu.batch:FitJob.fill", "self.keys[start:stop]", "self.keys[: stop - start]", [],
    ),
    "offsets of a chunk do not start from 0": (
        "gpu.batch:FitJob.fill", "offsets[...] = edges - a", "offsets[...] = edges % 2**16", [],
    ),
    "results are taken before they are there": (
        "gpu.launch:_Gpu.finish_one", "self.device.mark(slot.stream).wait()", "None", [],
    ),
    "results are copied from the wrong place": (
        "gpu.launch:_Gpu.start", "download(slot.block[n_in : n_in + n_out]",
        "download(slot.block[:n_out]", [],
    ),
    "other draws are put in the wrong rows": (
        "gpu.batch:_replace", "job.draws[rows] = draws", "job.draws[rows[::-1]] = draws", [],
    ),
    "weights that are made there stay what they were": (
        "gpu.batch:FitJob.weights", "chunk.scratch[-1].fill(1)", "None", [],
    ),
    "a summary is of the next quantile": (
        "gpu.quantiles:describe_on", "places(shares, n_draws, single)",
        "places([min(1.0, s + 0.1) for s in shares], n_draws, single)", [],
    ),
    "runs are handed on with the keys of others": (
        "gpu.batch:fit_batch_on", "keys[rows]", "keys[rows][::-1]", [],
    ),
}  # fmt: skip


def marked(name):
    """Large kernels take long to build."""
    large = "fit power" in FAULTS[name][-1]
    marks = [pytest.mark.nightly(only="builds a large kernel again")] * large
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [marked(name) for name in FAULTS])
def test_fault_makes_it_fail(name, new_device, monkeypatch):
    where, old, new, families = FAULTS[name]
    if families:  # a fault of a kernel: the ways to it need not be tried, with all their kernels
        monkeypatch.setattr(verification, "HOST_TRIALS", {})
    launch.built.cache_clear()
    try:
        with planted(where, old, new):
            found = verify(devices=[new_device()], families=families)
    finally:
        launch.built.cache_clear()
    assert not found["passed"]


def test_without_a_gpu_the_command_says_so(monkeypatch):
    missing = ("no NVIDIA driver was found (libcuda.so.1)",)
    monkeypatch.setattr(devices, "find", lambda: devices.Found((), missing, ("install it",)))
    done = CliRunner().invoke(main, ["bench", "--verify"])
    assert done.exit_code == 2
    assert "no NVIDIA driver was found" in done.stderr


def test_command(new_device, monkeypatch, tmp_path):
    seen = devices.Gpu(0, "a stand-in", (9, 0))
    monkeypatch.setattr(devices, "find", lambda: devices.Found((seen,), (), ()))
    monkeypatch.setattr(devices.Place, "open", lambda self: [new_device()])
    few = verification.trials_of()
    only = {key: few[key] for key in few if key[0] == "quantiles"}
    monkeypatch.setattr(verification, "trials_of", lambda: only)
    page = tmp_path / "card.md"
    done = CliRunner().invoke(main, ["bench", "--verify", "--json", "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["schema"] == "lossfit.card/1"
    assert "| quantiles | float32 | ok |" in page.read_text()
