"""Parquet: one long run, integers beyond 2**53, names that come again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.runs.known import Known
from lossfit.sweep import fit_to
from lossfit.sweep import parquet as parquet_module
from lossfit.sweep.parquet import Parquet
from tests.sweep.curves import frame

pa = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
OPTIONS = {"draws": 10, "chunk_runs": 8, "keep": "summary", "axis": "step"}


def pieces(path):
    return list(Parquet(path, Known()).pieces())


def test_integers_beyond_2_to_53_are_what_load_gives(tmp_path):
    tokens = np.arange(1, 41, dtype="int64") * 250_000_000
    flops = 6 * 124_000_000 * tokens + 1
    assert flops[-1] > 2**53
    table = pd.DataFrame({"run": "nano", "flops": flops, "loss": 2 + 300 * tokens**-0.3})
    table.to_parquet(tmp_path / "a.parquet")
    result = fit_to(tmp_path / "a.zarr", tmp_path / "a.parquet", **{**OPTIONS, "axis": "flops"})
    expected = lossfit.fit(lossfit.load(tmp_path / "a.parquet"), axis="flops", draws=10)
    with result.open() as found:
        assert found["window_end"].item() == float(flops[-1])
        np.testing.assert_allclose(found["mean"][0], expected.summary()["mean"], rtol=1e-12)


@pytest.mark.parametrize("plain", [True, False])
def test_a_name_that_comes_again_in_one_batch_is_refused(tmp_path, plain):
    data = frame(6)
    if not plain:  # then it is read as a frame
        data["lr"] = "0.1"
    again = data[data.run == "run002"]
    pd.concat([data, again]).to_parquet(tmp_path / "a.parquet")
    result = fit_to(tmp_path / "a.zarr", tmp_path / "a.parquet", **OPTIONS)
    assert (result.runs, result.failed) == (7, 1)
    assert list(result.errors["index"]) == [6]
    assert "came before" in result.errors.message[0]
    expected = fit_to(tmp_path / "b.zarr", frame(6), **OPTIONS)
    with result.open() as found, expected.open() as alone:
        np.testing.assert_array_equal(found["mean"][:6], alone["mean"])


def test_rows_without_a_name_are_one_run_that_is_refused(tmp_path):
    data = frame(3)
    data.loc[data.run == "run001", "run"] = None
    data.to_parquet(tmp_path / "a.parquet")
    result = fit_to(tmp_path / "a.zarr", tmp_path / "a.parquet", **OPTIONS)
    assert (result.runs, result.failed) == (3, 1)


def long(path, rows, batches=1, run="a"):
    """A file of one run with so many rows in each of some row groups."""
    import pyarrow.parquet as pq

    writer = None
    for k in range(batches):
        step = np.arange(k * rows, (k + 1) * rows, dtype=float) + 1
        table = pa.table({"run": [run] * rows, "step": step, "loss": 2 + step**-0.3})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def test_a_run_over_many_batches_is_copied_once(tmp_path, monkeypatch):
    """The rows of a long run are put together when it is over, not with every batch."""
    monkeypatch.setattr(parquet_module, "BATCH_ROWS", 100)
    long(tmp_path / "a.parquet", 100, 50)
    copied = []
    real = pa.concat_tables

    def concat(tables, **options):
        copied.append(sum(table.num_rows for table in tables))
        return real(tables, **options)

    monkeypatch.setattr(pa, "concat_tables", concat)
    (piece,) = pieces(tmp_path / "a.parquet")
    assert piece.lengths.tolist() == [5000]
    assert sum(copied) == 5000
    np.testing.assert_array_equal(piece.raw.axes["step"], np.arange(1, 5001))


def test_a_run_that_is_too_long_is_refused_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_module, "BATCH_ROWS", 100)
    monkeypatch.setattr(parquet_module, "MOST_ROWS", 1000)
    folder = tmp_path / "data"
    folder.mkdir()
    frame(2).to_parquet(folder / "a.parquet")
    long(folder / "b.parquet", 100, 50, run="endless")
    long(folder / "c.parquet", 100, 2, run="short")
    held = []
    real = parquet_module._Held.add

    def add(self, table):
        real(self, table)
        held.append(sum(part.num_rows for part in self.tables))

    monkeypatch.setattr(parquet_module._Held, "add", add)
    result = fit_to(tmp_path / "a.zarr", folder, **OPTIONS)
    assert max(held) <= 1000
    assert (result.runs, result.failed) == (4, 1)
    assert "run 'endless' has 5,000 rows" in result.errors.message[0]
    again = fit_to(tmp_path / "a.zarr", folder, resume=True, **OPTIONS)
    assert again.resumed == 4
