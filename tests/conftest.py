"""Fixtures that several test files use."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Files, folders and tests that take seconds, the longest first: `make test` begins
# with them, so that no worker is left with a long one at the end, and `make quick` leaves them out
# (they are marked `slow`).
SLOW = (
    "gpu/test_trials.py",
    "gpu/test_mutations.py",
    "kernels/test_orthant.py",
    "gpu/test_user.py",
    "sweep/test_dask.py",
    "sweep/test_object_stores.py",
    "properties",
    "kernels/test_sbc_small.py",
    "gpu/test_exact.py",
    "kernels/test_exact.py",
    "project/test_docs.py",
    "gpu/test_verify.py",
    "gpu/test_compiled.py",
    "gpu/test_fit.py",
    "gpu/test_forecast.py",
    "gpu/test_ensemble.py",
    "sweep",
    "project/test_examples.py",
    "project/test_reference.py::test_every_example_runs",
    "project/test_newcomer.py",
    "kernels/test_marginal.py",
    "ladders/test_ladder.py",
    "kernels/test_student_t.py",
    "kernels/test_forecast.py",
    "plans/test_plan.py",
    "gpu/test_quantiles.py",
    "cli/test_ladder_command.py",
    "laws/test_fits_of_laws.py",
    "gpu/test_backend.py",
    "project/test_no_network.py",
    "kernels/test_signatures.py",
    "kernels/test_column_cache.py",
    "project/test_safety.py",
    "laws/test_broken_power.py",
    "answers/test_what_if.py::test_real_runs_of_a_model_do_not_disagree",
    "answers/test_other_schedules.py",
    "fits/test_posterior.py",
    "monitoring/test_watch.py::test_ctrl_c_is_a_fine_end",
    "races/test_race.py::test_races_on_a_device",
    "kernels/test_machine_code.py",
    "sources/test_every_format.py::test_a_log_that_is_cut_gives_the_points_before_the_cut_or_an_error",
    "runs/test_datasets.py::test_real_curves_load",
    "kernels/test_curve_forecast.py",
    "kernels/test_curve_sbc.py",
    "kernels/test_philox.py::test_distributions",
    "answers/test_what_if.py::test_bars_of_the_multi_power_curves",
    "races/test_race.py::test_pictures",
    "reports",
    "phase_models",
    "surfaces",
    "project/test_notebooks.py",
    "kernels/test_forecast_sbc.py",
    "kernels/test_reproducible.py",
    "gpu/test_ptx_emulator.py",
    "gpu/test_fingerprint.py",
    "gpu/test_moments.py",
    "forecasts/test_joint.py",
    "forecasts/test_whole_answer.py",
    "answers/test_best_tail.py",
    "backtests",
    "base/test_results.py",
    "diagnostics/test_bench.py",
    "integrations",
    "monitoring/test_monitor.py",
    "sources/test_hostile.py",
    "sources/test_prefixes.py::test_every_layout_behind_a_prefix",
    "sources/test_formats.py::test_event_files",
    "answers/test_left_out.py",
    "answers/test_broken.py::test_frames_and_json_say_what_broke_beside_the_numbers",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of GPU kernels run elsewhere than natively."""
    parser.addoption(
        "--device",
        choices=("native", "ptx", "cuda"),
        help="run kernels natively, by the PTX interpreter, or on a GPU (default: natively, and "
        "one batch of each kernel by the interpreter)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `SLOW` names, and begin with it."""
    slow = [(ROOT / "tests" / name.partition("::")[0], name.partition("::")[2]) for name in SLOW]

    def rank(item: pytest.Item) -> int:
        places = (
            i
            for i, (place, test) in enumerate(slow)
            if item.path.is_relative_to(place) and test in ("", getattr(item, "originalname", ""))
        )
        return next(places, len(slow))

    for item in items:
        if rank(item) < len(slow):
            item.add_marker(pytest.mark.slow)
    items.sort(key=rank)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder shared/ is not beside the repository")
    return folder


@pytest.fixture
def curve() -> pd.DataFrame:
    """One run of 40 points, a power law with noise, on the axis step."""
    step = np.arange(1, 41) * 100.0
    noise = np.random.default_rng(7).normal(0, 0.01, len(step))
    return pd.DataFrame({"step": step, "loss": 2.0 + 8 * step**-0.4 + noise})


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave tests marked ``nightly(only=REASON)`` to ``-m nightly``; others run in both."""
    for mark in item.iter_markers("nightly"):
        if "only" in mark.kwargs and "nightly" not in (item.config.option.markexpr or ""):
            pytest.skip(f"{mark.kwargs['only']}: make nightly runs it")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels before several workers start, which would all compile them."""
    options = session.config.option
    workers = getattr(options, "numprocesses", None) and not hasattr(session.config, "workerinput")
    if workers and not options.collectonly:
        subprocess.run([sys.executable, "-m", "lossfit.kernels.warmup"], cwd=ROOT, check=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests use compiled kernels; those of sweeps start many processes, and wait for them once."""
    from lossfit.kernels import compiling
    from lossfit.kernels.warmup import STEPS

    os.environ.setdefault("LOSSFIT_ENGINE", "compiled")
    # As in `lossfit.kernels.warmup`; the modules that were imported live as long as the process.
    gc.freeze()
    gc.set_threshold(50_000)
    wanted = any("sweep" in item.path.parts for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    if getattr(session.config.option, "numprocesses", None) and not hasattr(
        session.config, "workerinput"
    ):
        return  # the workers see to it
    assert compiling.wait(tuple(STEPS))
