"""The command line's part: `lossfit.cli.sweep.cli_fit`."""

from __future__ import annotations

import json

import click
import numpy as np
import pytest
from click.testing import CliRunner

from lossfit.cli.sweep import cli_fit, is_sweep, options
from lossfit.sweep import open_store
from tests.sweep.curves import contents, frame

READING = {"format": None, "loss": "train", "columns": None, "join": None}


@click.command()
@click.argument("source", nargs=-1)
@click.option("--out")
@click.option("--draws", default=30)
@click.option("--json", "as_json", is_flag=True)
@options
def fit(**given):
    raise SystemExit(cli_fit(**given, reading=READING))


def run(*arguments):
    return CliRunner().invoke(fit, [str(one) for one in arguments])


@pytest.fixture
def data(tmp_path):
    frame(10).to_parquet(tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_fits_and_resumes(tmp_path, data):
    store = tmp_path / "s.zarr"
    first = run(data, "--out", store, "--keep", "summary", "--at", "1.25x,2k", "--chunk", 4)
    assert first.exit_code == 0, first.output
    assert "10 runs in" in first.output
    assert "0 with an error" in first.output
    with open_store(store) as found:
        assert list(found.target.values) == ["1.25x", "2000"]
        np.testing.assert_array_equal(found["at"][:, 1], 2000)
    before = contents(store)
    again = run(data, "--out", store, "--keep", "summary", "--at", "1.25x,2k", "--resume")
    assert again.exit_code == 0
    assert "10 runs were there already" in again.output
    assert contents(store) == before
    refused = run(data, "--out", store, "--keep", "summary")
    assert refused.exit_code == 2
    assert "--resume" in refused.output
    other = run(data, "--out", store, "--keep", "draws", "--resume")
    assert other.exit_code == 2
    assert "keep was 'summary' and is now 'draws'" in other.output


def test_bad_runs_change_the_exit_code(tmp_path):
    bad = frame(10)
    bad.loc[bad.run == "run004", "loss"] = np.nan
    bad.to_csv(tmp_path / "a.csv", index=False)
    bad.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        done = run(tmp_path / name, "--out", tmp_path / f"{name}.zarr")
        assert done.exit_code == 1
        assert "1 with an error" in done.output
        assert "run 'run004'" in done.output
    stopped = run(
        tmp_path / "a.parquet", "--out", tmp_path / "t.zarr", "--on-error", "raise", "--progress"
    )
    assert stopped.exit_code == 2


def test_json_and_shards(tmp_path, data):
    done = run(data, "--out", tmp_path / "s.zarr", "--draws", 0, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["schema"] == "lossfit.sweep_result/1"
    assert (found["runs"], found["failed"]) == (10, 0)
    few = run(data, "--out", tmp_path / "t.zarr", "--shard", "0/2")
    assert few.exit_code == 2
    assert "more files" in few.output
    assert run(data, "--out", tmp_path / "t.zarr", "--shard", "half").exit_code == 2


def test_which_outputs_are_stores():
    assert is_sweep("a.zarr")
    assert is_sweep("a.zarr/")
    assert not is_sweep("a.nc")
    assert not is_sweep(None)
