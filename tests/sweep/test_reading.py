"""Sources: the same runs give the same store, however they come; bad ones are named."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.sweep import fit_to
from lossfit.sweep.sweeping import ahead
from tests.sweep.curves import frame, runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
OPTIONS = {"draws": 30, "chunk_runs": 8, "keep": "summary", "axis": "step"}


def values(result):
    with result.open() as found:
        return found.load()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return values(fit_to(tmp_path_factory.mktemp("expected") / "a.zarr", runs(), **OPTIONS))


def pieces_of(data):
    names = list(dict.fromkeys(data.run))
    return [data[data.run.isin(names[k : k + 7])] for k in range(0, len(names), 7)]


def arrays_of(data):
    for part in pieces_of(data):
        lengths = part.groupby("run", sort=False).size()
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        yield list(lengths.index), part.step.to_numpy(), part.loss.to_numpy(), offsets


@pytest.mark.parametrize(
    "source",
    [
        frame,
        lambda: iter(pieces_of(frame())),
        lambda: (lossfit.Runs.from_frame(part) for part in pieces_of(frame())),
        lambda: arrays_of(frame()),
        lambda: (
            {"names": n, "step": x, "loss": y, "offsets": o} for n, x, y, o in arrays_of(frame())
        ),
        lambda: frame().sample(frac=1, random_state=1).sort_values(["run", "step"]),
    ],
    ids=["frame", "frames", "runs", "arrays", "dicts", "sorted"],
)
def test_sources_agree(tmp_path, expected, source):
    found = values(fit_to(tmp_path / "a.zarr", source(), **OPTIONS))
    for name in expected.variables:
        np.testing.assert_array_equal(found[name], expected[name])


def test_parquet_with_runs_over_row_groups_and_files(tmp_path, expected):
    data = frame()
    (tmp_path / "data").mkdir()
    cut = len(data) // 2 + 5  # in the middle of a run
    data[:cut].to_parquet(tmp_path / "data" / "a.parquet", row_group_size=33)
    data[cut:].to_parquet(tmp_path / "data" / "b.parquet", row_group_size=500)
    (tmp_path / "data" / "_metadata.txt").write_text("not a table")
    found = values(fit_to(tmp_path / "a.zarr", tmp_path / "data", **OPTIONS))
    for name in expected.variables:
        np.testing.assert_array_equal(found[name], expected[name])


def test_parquet_in_small_batches(tmp_path, expected, monkeypatch):
    monkeypatch.setattr("lossfit.sweep.parquet.BATCH_ROWS", 30)  # less than a run
    frame().to_parquet(tmp_path / "a.parquet")
    found = values(fit_to(tmp_path / "a.zarr", str(tmp_path / "a.parquet"), **OPTIONS))
    for name in expected.variables:
        np.testing.assert_array_equal(found[name], expected[name])


def test_hive_partitions_give_names_and_numbers(tmp_path, expected):
    data = frame()
    for name, part in data.groupby("run", sort=False):
        folder = tmp_path / "data" / f"params={1e9 if name < 'run010' else 2e9:g}" / f"run={name}"
        folder.mkdir(parents=True)
        part.drop(columns="run").to_parquet(folder / "part-0.parquet")
    found = values(fit_to(tmp_path / "a.zarr", tmp_path / "data", **OPTIONS))
    assert list(found.run.values) == list(expected.run.values)
    np.testing.assert_array_equal(found["mean"], expected["mean"])
    tokens = fit_to(
        tmp_path / "b.zarr", tmp_path / "data", tokens_per_step=1e6, draws=30, axis="flops",
        keep="summary",
    )  # fmt: skip
    with tokens.open() as flops:
        ratio = flops["window_end"].values / found["window_end"].values
    np.testing.assert_allclose(ratio, 6e6 * np.where(np.arange(30) < 10, 1e9, 2e9))


def test_pyarrow_dataset(tmp_path, expected):
    dataset = pytest.importorskip("pyarrow.dataset")
    frame().to_parquet(tmp_path / "a.parquet")
    found = values(fit_to(tmp_path / "a.zarr", dataset.dataset(tmp_path / "a.parquet"), **OPTIONS))
    np.testing.assert_array_equal(found["mean"], expected["mean"])


def test_a_log_that_load_reads(tmp_path, expected):
    frame().to_csv(tmp_path / "a.csv", index=False)
    found = values(fit_to(tmp_path / "a.zarr", tmp_path / "a.csv", **OPTIONS))
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-6)


def bad_frame():
    data = frame()
    data.loc[data.run == "run005", "loss"] = np.nan
    short = pd.DataFrame({"run": "short", "step": [1.0, 2.0], "loss": [3.0, 2.0]})
    return pd.concat([data, short], ignore_index=True)


@pytest.mark.parametrize("parquet", [False, True])
def test_bad_runs_are_recorded_and_leave_the_others_alone(tmp_path, expected, parquet):
    source = bad_frame()
    if parquet:
        source.to_parquet(tmp_path / "a.parquet")
        source = tmp_path / "a.parquet"
    with pytest.warns(lossfit.LossfitWarning, match="2 of 31 runs could not be fitted"):
        result = fit_to(tmp_path / "a.zarr", source, **OPTIONS)
    assert (result.runs, result.fitted, result.failed) == (31, 29, 2)
    errors = result.errors
    assert list(errors.run) == ["run005", "short"]
    assert list(errors["index"]) == [5, 30]
    assert set(errors.error) == {"DataError"}
    assert "run 'short' has 2 usable points" in errors.message[1]
    assert "2 with an error" in str(result)
    found = values(result)
    assert list(np.flatnonzero(found.failed)) == [5, 30]
    assert np.isnan(found["mean"][5]).all()
    good = [k for k in range(30) if k != 5]
    np.testing.assert_array_equal(found["mean"][good], expected["mean"][good])


def test_raise_stops_and_keeps_what_was_done(tmp_path):
    data = bad_frame()
    with pytest.raises(lossfit.DataError, match="run 'short'"):
        fit_to(tmp_path / "a.zarr", data[data.run != "run005"], on_error="raise", **OPTIONS)
    result = fit_to(tmp_path / "a.zarr", data[data.run != "run005"], resume=True, **OPTIONS)
    assert result.resumed == 24
    assert result.failed == 1


def test_text_in_a_number_is_that_runs_error(tmp_path):
    data = frame(10).astype({"loss": object})
    data.loc[data.index[data.run == "run003"][4], "loss"] = "oops"
    result = fit_to(tmp_path / "a.zarr", iter([data]), **OPTIONS)
    assert list(result.errors.run) == ["run003"]
    assert "'oops' is not a number" in result.errors.message[0]


def test_a_name_that_comes_again_is_an_error(tmp_path):
    data = frame(10)
    result = fit_to(tmp_path / "a.zarr", iter([data, data[data.run == "run002"]]), **OPTIONS)
    assert list(result.errors["index"]) == [10]
    assert "came before" in result.errors.message[0]


def test_every_run_bad(tmp_path):
    data = frame(10).assign(loss=np.nan)
    result = fit_to(tmp_path / "a.zarr", data, **OPTIONS)
    assert result.failed == 10


def test_sources_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    for source, words in (
        (tmp_path / "none.parquet", "no file"),
        (tmp_path / "bad.parquet", "cannot be read"),
        (iter([]), "no runs"),
        (iter([3]), "item 0 of the source"),
        (iter([(["a"], [1, 2], [1], [0, 2])]), "item 0"),
        (3, "a source is"),
    ):
        with pytest.raises(lossfit.DataError, match=words):
            fit_to(tmp_path / "a.zarr", source, **OPTIONS)
    assert not (tmp_path / "a.zarr").exists()


def test_shards_open_together(tmp_path, expected):
    import xarray as xr

    for k in range(3):
        fit_to(tmp_path / f"sweep-{k}.zarr", runs(), shard=(k, 3), **OPTIONS)
    stores = sorted(tmp_path.glob("sweep-*.zarr"))
    with xr.open_mfdataset(
        stores, engine="zarr", combine="nested", concat_dim="run", data_vars="minimal",
        coords="minimal", compat="override", combine_attrs="drop_conflicts", join="outer",
    ) as both:  # fmt: skip
        assert list(both.run.values) == list(expected.run.values)
        np.testing.assert_array_equal(both["mean"], expected["mean"])


def test_reading_goes_on_while_an_item_is_used_and_is_bounded():
    made = []
    third = threading.Event()

    def items():
        for k in range(10):
            made.append(k)
            if k == 2:
                third.set()
            yield k

    going = ahead(items())
    assert next(going) == 0
    assert third.wait(5)  # one is ready and one is being made while 0 is used
    assert made == [0, 1, 2]
    going.close()
    assert not [t for t in threading.enumerate() if t.name == "lossfit-reader"]


def test_an_error_of_the_reader_is_raised():
    def items():
        yield 1
        raise lossfit.DataError("torn")

    with pytest.raises(lossfit.DataError, match="torn"):
        list(ahead(items()))


def test_whatever_a_run_does_the_others_are_fitted(tmp_path, expected, monkeypatch):
    """A run that breaks the kernels, and one that makes NaN of its draws."""
    from lossfit._base.seeds import run_keys
    from lossfit.kernels import driver

    real = driver.fit_batch
    breaks, spoils = run_keys(0, ["run003", "run017"])

    def fit_batch(batch, program, table, keys, **options):
        if breaks in keys:
            raise ZeroDivisionError("division by zero")
        result = real(batch, program, table, keys, **options)
        result.draws[keys == spoils, 1, 0] = np.nan
        return result

    monkeypatch.setattr(driver, "fit_batch", fit_batch)
    result = fit_to(tmp_path / "a.zarr", runs(), **OPTIONS)
    errors = result.errors
    assert list(errors.run) == ["run003", "run017"]
    assert list(errors.error) == ["ZeroDivisionError", "ArithmeticError"]
    found = values(result)
    good = [k for k in range(30) if k not in (3, 17)]
    assert np.isnan(found["mean"][[3, 17]]).all()
    for name in ("mean", "sd", "n_points", "rho1", "flags"):
        np.testing.assert_array_equal(found[name][good], expected[name][good])


@pytest.mark.parametrize("parquet", [False, True])
def test_progress_shows_rate_and_time_left(tmp_path, capsys, parquet):
    source = frame()
    if parquet:
        source.to_parquet(tmp_path / "a.parquet")
        source = tmp_path / "a.parquet"
    fit_to(tmp_path / "a.zarr", source, progress=True, **OPTIONS)
    last = capsys.readouterr().err.replace("\n", "\r").split("\r")
    assert any("30/30" in line and "run/s" in line for line in last)
    capsys.readouterr()
    fit_to(tmp_path / "a.zarr", source, progress=True, resume=True, **OPTIONS)
    assert "30/30" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_number_of_runs(tmp_path):
    """Pieces that are done are let go: at most a few are alive at a time."""
    import weakref

    kept: list[weakref.ref] = []
    most = 0

    def parts():
        nonlocal most
        data = frame(8)
        for k in range(20):
            one = lossfit.Runs.from_frame(data.assign(run=data.run + f".{k}"))
            kept.append(weakref.ref(one._columns))  # Runs themselves take none
            most = max(most, sum(1 for ref in kept if ref() is not None))
            yield one

    fit_to(tmp_path / "a.zarr", parts(), **OPTIONS)
    assert len(kept) == 20
    assert most <= 6


def test_a_row_is_named_by_its_file_and_number(tmp_path):
    """Rows are cut into pieces, held over and put together again; the words stay right."""
    data = frame(12)
    data.loc[data.index[data.run == "run007"][3], "loss"] = 1e200  # more than a loss may be
    row = int(data.index[data.run == "run007"][3])
    (tmp_path / "data").mkdir()
    cut = len(data) // 2 + 5
    data[:cut].to_parquet(tmp_path / "data" / "a.parquet", row_group_size=33)
    data[cut:].to_parquet(tmp_path / "data" / "b.parquet")
    result = fit_to(tmp_path / "a.zarr", tmp_path / "data", **OPTIONS)
    assert list(result.errors.run) == ["run007"]
    assert row > cut
    assert f"row {row - cut + 1} of {tmp_path}/data/b.parquet" in result.errors.message[0]


def test_one_bad_cell_of_a_csv_is_one_bad_run(tmp_path, expected):
    data = frame().astype({"loss": object})
    row = data.index[data.run == "run009"][2]
    data.loc[row, "loss"] = "oops"
    data.to_csv(tmp_path / "a.csv", index=False)
    result = fit_to(tmp_path / "a.zarr", tmp_path / "a.csv", **OPTIONS)
    assert list(result.errors.run) == ["run009"]
    assert f"line {row + 2} of" in result.errors.message[0]
    found = values(result)
    good = [k for k in range(30) if k != 9]
    np.testing.assert_allclose(found["mean"][good], expected["mean"][good], rtol=1e-6)
