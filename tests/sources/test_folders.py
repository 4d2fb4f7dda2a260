"""Folders and several logs of one run: nothing hidden, nothing joined unasked that might be two."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit

from .layouts import LAYOUTS, Points

NANOGPT = "iter {}: loss {:.4f}, time 210.10ms, mfu 31.00%\n".format
pytestmark = pytest.mark.filterwarnings("ignore:reading")


def log(points: Points, first: int = 0, last: int | None = None) -> str:
    rows = list(points)[first:last]
    return "".join(NANOGPT(step, loss) for step, loss, _ in rows)


def flags_of(runs) -> set[str]:
    return {flag for flag in runs.flags["flag"]}


def test_folders_of_weights_and_biases(tmp_path):
    for name, seed in (("run-20260301_101112-ab12", 0), ("offline-run-20260302_1-cd34", 1)):
        inner = tmp_path / "wandb" / name / "files"
        inner.mkdir(parents=True)
        (inner / "output.log").write_text(log(Points.made(seed=seed)))
        (inner / "wandb-summary.json").write_text("{}")
    (tmp_path / "wandb" / "latest-run").symlink_to(tmp_path / "wandb" / "run-20260301_101112-ab12")
    runs = lossfit.load(tmp_path / "wandb")
    assert sorted(runs.names) == ["offline-run-20260302_1-cd34", "run-20260301_101112-ab12"]


def test_output_of_slurm_and_what_holds_no_loss(tmp_path):
    (tmp_path / "slurm-1.out").write_text(log(Points.made(seed=0)))
    (tmp_path / "slurm-2.out").write_text(log(Points.made(seed=1)))
    (tmp_path / "slurm-1.err").write_text("/usr/lib/x.py:31: UserWarning: nothing\n")
    (tmp_path / "config.txt").write_text("not a log\n")
    runs = lossfit.load(tmp_path)
    assert runs.names == ("slurm-1", "slurm-2")
    assert "unread_logs" in flags_of(runs)


def test_a_run_folder_of_yolo_and_what_lies_beside_it(tmp_path):
    layout = LAYOUTS["YOLO results.csv, one loss chosen"]
    (tmp_path / "results.csv").write_text(layout.text(Points.made()))
    (tmp_path / "train.log").write_text(log(Points.made()))
    runs = lossfit.load(tmp_path, **layout.options)
    assert runs.names == (tmp_path.name,)
    assert "other_logs" in flags_of(runs)


@pytest.mark.parametrize("overlap", [0, 4])
def test_parts_of_a_run_are_joined(tmp_path, overlap):
    points = Points.made(60)
    one, two = tmp_path / "job-101.out", tmp_path / "job-102.out"
    one.write_text(log(points, 0, 40))
    two.write_text(log(points, 40 - overlap))
    for join in (None, True):
        run = lossfit.load([two, one], join=join)["job-101"]
        np.testing.assert_array_equal(run.axis("step"), points.step)
        np.testing.assert_array_equal(run.loss, points.loss)
        assert "joined" in {flag.flag for flag in run.flags}
    assert len(lossfit.load([one, two], join=False)) == 2
    other = tmp_path / "resumed.out"
    other.write_text(two.read_text())
    runs = lossfit.load([one, other])
    assert len(runs) == 2
    assert "follows" in flags_of(runs)
    assert len(lossfit.load([one, other], join=True)) == 1


def test_runs_that_begin_alike_or_branch_are_not_joined(tmp_path):
    points = Points.made(60)
    paths = [tmp_path / f"run-{k}.log" for k in range(4)]
    paths[0].write_text(log(points, 0, 40))
    paths[1].write_text(log(Points.made(60, seed=1)))  # another run from the start
    paths[2].write_text(log(points, 40))  # two branches of the first: whose are its steps?
    paths[3].write_text(log(points, 40))
    assert len(lossfit.load(paths)) == 4
