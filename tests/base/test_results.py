"""What every result promises, checked on each class of them: a new one cannot forget any."""

from __future__ import annotations

import copy
import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import lossfit
from lossfit import DataError
from lossfit._base import frames, packing
from lossfit._base.numbers import decimals_of, estimate
from lossfit._base.stored import SEAL, sealed
from lossfit.plotting.sketches import SKETCHES
from tests.base.results import HOSTILE, MAKE, example, loaded

# Results whose numbers are another's: the same promises, of an answer for one run at one place.
SCALAR = {"Update"}
NO_DRAWS = {"Check"}

results = pytest.mark.parametrize("name", sorted(MAKE))


def test_every_result_class_has_an_example_and_a_sketch():
    names = {kind.__name__ for kind in loaded()}
    assert names == set(MAKE) == set(SKETCHES)


def test_every_public_dataclass_that_is_printed_is_a_result():
    """A class with a frame or a plot that is public is a result, but for runs and laws."""
    for name in lossfit.__all__:
        kind = getattr(lossfit, name)
        if isinstance(kind, type) and (hasattr(kind, "frame") or hasattr(kind, "plot")):
            assert issubclass(kind, lossfit._base.results.Result) or name in ("Runs", "Run"), name


@results
def test_the_line_has_numbers_and_no_control_codes(name):
    line = repr(example(name))
    assert "\n" not in line
    assert len(line) < 250
    assert re.search(r"\d", line)
    for words in (line, str(example(name))):
        assert "\x1b" not in words


@results
def test_frames_print_the_answer_first_at_80_columns(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    frame = example(name).frame
    first = 2 if name == "Plan" else 3  # sizes and tokens: a terminal shows four wide numbers
    assert list(frame.columns[:first]) == ["median", "lower", "upper"][:first]
    # Of pandas' own names only what frames are always asked for by item, as frame["median"].
    taken = {column for column in frame.columns if hasattr(pd.DataFrame(), column)}
    assert taken <= {"median", "mean", "at"}
    shown = at_80_columns(frame)
    assert all(word in shown for word in ("median", "lower", "upper", frame.columns[-1]))


@pytest.mark.parametrize(
    ("name", "table", "key"),
    [
        ("Answer", "by_law", "at"), ("Fit", "summary", "alpha"), ("Plan", "optimum", "params"),
        ("Plan", "best", "params"), ("Plan", "regret", "regret"), ("Race", "frontier", "at"),
        ("Race", "overtakes", "overtaken"), ("Race", "truncated_frontier", "at"),
        ("Race", "bias", "at"), ("Surface", "summary", "parameter"),
        ("WhatIf", "differences", "at"),
    ],
)  # fmt: skip
def test_other_tables_print_the_answer_at_80_columns_too(name, table, key, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made = getattr(example(name), table)
    shown = at_80_columns(made() if callable(made) else made)
    assert all(word in shown for word in ("median", "lower", "upper", key))


def at_80_columns(frame):
    short = frame.replace(HOSTILE, "llama2-7B").rename(index={HOSTILE: "llama2-7B"}).head(3)
    with pd.option_context("display.max_columns", 0, "display.width", 80):
        return re.sub("[a-z]+_(lower|median|upper)", "", repr(short))


@results
def test_median_interval_and_frame_are_of_the_same_rows(name):
    result = example(name)
    table = result.to_frame()
    assert table.index.names == list(result._keys)
    assert len(table) == len(result.frame)
    if name not in SCALAR:
        pd.testing.assert_series_equal(result.median, table["median"])
    own = result.interval()
    pd.testing.assert_frame_equal(own, table[["lower", "upper"]])
    pd.testing.assert_frame_equal(own, result.interval(result.prob))
    if name in NO_DRAWS:
        with pytest.raises(DataError, match=r"kept no draws.*prob=0\.5"):
            result.interval(0.5)
        return
    half = result.interval(0.5)
    known = own.notna().all(axis=1) & table["median"].notna()
    assert known.any()
    assert (half["lower"] >= own["lower"] - 1e-12)[known].all()
    assert (half["upper"] <= own["upper"] + 1e-12)[known].all()
    assert (half["lower"] <= table["median"] + 1e-9)[known].all()
    assert (half["upper"] >= table["median"] - 1e-9)[known].all()
    assert (half["upper"] - half["lower"])[known].sum() < (own["upper"] - own["lower"])[known].sum()
    for bad in (0, 1, "much", float("nan")):
        with pytest.raises(DataError, match="prob must be"):
            result.interval(bad)


@results
def test_plain_data_is_strict_json(name):
    data = example(name).to_dict()
    text = json.dumps(data, allow_nan=False)
    assert re.fullmatch(r"lossfit\.\w+/\d", data["schema"])
    assert data["lossfit"] == lossfit.__version__
    assert '"flags"' not in text


@results
def test_a_notebook_shows_it_safely(name, monkeypatch):
    result = example(name)
    computing = [
        "lossfit.forecasts.mixture.curves_of",
        "lossfit.answers.answer.curves_of",
        "lossfit.engine.serving.serve",
        "lossfit.fits.fitting.fit_quietly",
        "lossfit.forecasts.joint.JointPosterior.forecast_all",
    ]
    for path in computing:
        monkeypatch.setattr(path, _refuse, raising=False)
    html = result._repr_html_()
    assert "<b>" not in html
    assert "\x1b" not in html
    assert "<script" not in html
    assert html.count("<table") == 1
    assert 'src="data:image/png;base64,' in html
    assert "http" not in re.sub(r'src="[^"]*"', "", html)
    assert len(html) < 100_000


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("looking computes")


@results
def test_a_pickle_is_small_and_gives_the_same(name):
    result = example(name)
    _ = str(result), result.to_dict()  # what was computed on the way is not pickled
    text = pickle.dumps(result)
    again = pickle.loads(text)
    assert str(again) == str(result)
    pd.testing.assert_frame_equal(again.frame, result.frame)
    arrays = packing.pack(result)[1]
    assert len(text) < 30_000 + 2 * sum(values.nbytes for values in arrays.values())


@results
def test_a_netcdf_file_gives_it_back(name, tmp_path):
    result, path = example(name), tmp_path / "result.nc"
    result.to_netcdf(path)
    again = type(result).from_netcdf(path)
    assert type(again) is type(result)
    assert str(again) == str(result)
    assert repr(again) == repr(result)
    pd.testing.assert_frame_equal(again.frame, result.frame)
    assert json.dumps(again.to_dict()) == json.dumps(result.to_dict())
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        assert {"lossfit"} < set(tree.children)
    other = next(kind for kind in loaded() if not isinstance(result, kind))
    with pytest.raises(DataError, match=f"holds {name}, not {other.__name__}"):
        other.from_netcdf(path)


def _spoil(path, change):
    """Write the file again with its own group changed, as one who knows the seal would."""
    with xr.open_dataset(path, group="lossfit", engine="h5netcdf") as opened:
        data = opened.load().drop_vars(SEAL)
    sealed(change(data)).to_netcdf(path, group="lossfit", engine="h5netcdf")


def _with(data, key, values):
    dims = tuple(f"other{k}" for k in range(np.ndim(values)))
    return data.drop_vars(key).assign({key: (dims, values)})


def _curves(change):
    """The draws of an answer, changed."""
    return lambda data: _with(data, "mixed.curves", change(data["mixed.curves"].values.copy()))


def _nan(values):
    values[0, 0, 3] = np.nan
    return values


def _tree(change):
    """The tree of an answer, changed."""

    def altered(data):
        tree = json.loads(str(data["json.tree"].item()))
        change(tree)
        return _with(data, "json.tree", json.dumps(tree))

    return altered


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.drop_vars("mixed.curves"), r"mixed\.curves is missing"),
        (lambda data: data.drop_vars("json.tree"), "is not|damaged"),
        (_curves(lambda values: values[:, :-1]), r"mixed\.curves has shape"),
        (_curves(lambda values: values.astype(str)), r"mixed\.curves has no numbers"),
        (_curves(_nan), r"mixed\.curves has values that are not finite"),
        (lambda data: _with(data, "json.tree", "{"), "holds no JSON"),
        (lambda data: _with(data, "json.tree", "[]"), "is list, not dict"),
        (lambda data: _with(data, "json.format", '"lossfit.result/9"'), "has format"),
        (_tree(lambda t: t["parts"]["question"]["parts"].update(prob=7)), "prob must be"),
        (_tree(lambda t: t["parts"].pop("names")), "another version of lossfit wrote it"),
        (_tree(lambda t: t["parts"].update(more=1)), "another version .* argument 'more'"),
        (_tree(lambda t: t["parts"].update(runs=None)), "parts do not fit together"),
        (_tree(lambda t: t.update({"class": "os:system"})), "no result of this version"),
        (_tree(lambda t: t.update({"class": "lossfit.cli.main:main"})), "no result of this"),
        (_tree(lambda t: t["parts"].update(names={"tuple": ["a", "b"]})), "do not match"),
        (_tree(lambda t: t["parts"].update(at={"same": 123456})), "refers to a part"),
        (_tree(lambda t: t["parts"].update(at={"what": 1})), "no known kind"),
    ],
)
def test_a_damaged_answer_is_a_clear_error(change, words, tmp_path):
    path = tmp_path / "answer.nc"
    example("Answer").to_netcdf(path)
    _spoil(path, change)
    with pytest.raises(DataError, match=words) as error:
        lossfit.from_netcdf(path)
    assert str(path) in str(error.value)


def test_a_changed_number_is_noticed(tmp_path):
    path = tmp_path / "answer.nc"
    example("Answer").to_netcdf(path)
    with xr.open_dataset(path, group="lossfit", engine="h5netcdf") as opened:
        data = opened.load()
    _curves(lambda values: values + 1e-9)(data).to_netcdf(path, group="lossfit", engine="h5netcdf")
    with pytest.raises(DataError, match="checksum"):
        lossfit.from_netcdf(path)


@pytest.mark.parametrize("name", ["Race"])
def test_files_without_any_one_of_their_variables_are_refused(name, tmp_path):
    path, cut = tmp_path / "result.nc", tmp_path / "cut.nc"
    example(name).to_netcdf(path)
    with xr.open_dataset(path, group="lossfit", engine="h5netcdf") as opened:
        data = opened.load().drop_vars(SEAL)
    for key in list(data.variables)[:: max(1, len(data.variables) // 6)]:
        sealed(data.drop_vars(key)).to_netcdf(cut, group="lossfit", engine="h5netcdf")
        with pytest.raises(DataError, match=r"cut\.nc"):
            lossfit.from_netcdf(cut)


def test_files_that_are_none_of_ours(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        lossfit.from_netcdf(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("loss")
    with pytest.raises(DataError, match=r"text\.nc is not a result"):
        lossfit.from_netcdf(tmp_path / "text.nc")
    path = tmp_path / "cut.nc"
    example("Answer").to_netcdf(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"cut\.nc"):
        lossfit.from_netcdf(path)
    with pytest.raises(DataError, match="cannot write"):
        example("Answer").to_netcdf(tmp_path / "no folder" / "answer.nc")


def test_what_comes_back_still_computes(tmp_path):
    """The question is in the file: other places, comparisons and pictures give the same draws."""
    answer = example("Answer")
    answer.to_netcdf(tmp_path / "answer.nc")
    again = lossfit.from_netcdf(tmp_path / "answer.nc")
    pd.testing.assert_frame_equal(again.time_to(2.6), answer.time_to(2.6))
    answer = example("WhatIf")
    again = pickle.loads(pickle.dumps(answer))
    curve = answer.curve(answer.names[0], "linear", 500.0)
    np.testing.assert_array_equal(again.curve(again.names[0], "linear", 500.0), curve)
    answer = example("LadderAnswer")
    again = pickle.loads(pickle.dumps(answer))
    np.testing.assert_array_equal(
        again.curves_at(HOSTILE, np.array([5e9])), answer.curves_at(HOSTILE, np.array([5e9]))
    )


def test_a_backtest_of_an_older_file_is_shown(tmp_path):
    check = copy.copy(example("Check"))
    object.__setattr__(check, "frame", check.frame.drop(columns="broken"))
    check.to_netcdf(tmp_path / "check.nc")
    assert str(lossfit.from_netcdf(tmp_path / "check.nc")) == str(example("Check"))


def test_functions_cannot_be_stored():
    with pytest.raises(DataError, match=r"result\.1 is function, which a file cannot hold"):
        packing.pack([1, _refuse])


def test_one_object_stays_one():
    array = np.arange(3.0)
    tree, arrays = packing.pack({"a": array, "b": [array, (array, "x", None, np.float64(2))]})
    assert len(arrays) == 1
    back = packing.unpack(tree, arrays)
    assert back["a"] is back["b"][0] is back["b"][1][0]
    assert back["b"][1][1:] == ("x", None, 2.0)


def test_numbers_have_the_digits_that_the_draws_support():
    rng = np.random.default_rng(0)
    for sd in (0.3, 0.03, 0.003):
        ends = []
        for _ in range(200):
            ends.append(np.quantile(rng.normal(2, sd, 1000), [0.05, 0.95]))
        width = float(np.mean(ends, axis=0) @ [-1, 1])
        error = float(np.std(ends, axis=0).max())
        places = decimals_of(width, 1000)
        # Another seed moves the last digit by less than one, mostly; the next digit would be noise.
        assert error < 10.0**-places < 12 * error
    assert estimate({"median": 3e9, "lower": 2e9, "upper": 4e9}) == "3e+09 (2e+09 to 4e+09)"
    assert estimate({"median": 3.0, "lower": np.nan, "upper": np.nan}) == "3"


def test_columns_keep_their_order_without_an_answer():
    frame = pd.DataFrame({"x": [1], "at": [2.0]})
    assert list(frames.answer_first(frame, ["at"]).columns) == ["x", "at"]
