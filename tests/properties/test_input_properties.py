"""Whatever a table holds: a `DataError` in plain words or a finite answer, and the table as it was.

One number is one number in every type that can hold it, so frames of float32, text, Decimal and so
on give the draws of the float64 frame, bit by bit.
"""

from __future__ import annotations

import decimal
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lossfit
from lossfit import DataError, Runs
from tests.properties.strategies import curves, plain

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")]

DRAWS = 20


def answers(runs: Runs, axis: str) -> np.ndarray:
    """Everything random of a fit and of a forecast, in one array."""
    fit = lossfit.fit(runs, axis=axis, draws=DRAWS)
    at = {run.name: 2 * run.end(axis) for run in runs}
    answer = lossfit.extrapolate(runs, at=at, axis=axis, draws=DRAWS)
    return np.concatenate([fit.draws, answer.mixed.curves], axis=1)


def refusal(task) -> DataError | None:
    """What `DataError` a call raises, if it raises one."""
    try:
        task()
    except DataError as error:
        return error
    return None


def check(frame: pd.DataFrame) -> None:
    """A `DataError` or finite numbers; the frame stays as it was."""

    def use() -> None:
        runs = Runs.from_frame(frame)
        assert np.isfinite(runs.frame["loss"]).all()
        assert repr(runs)
        assert runs._repr_html_()
        assert len(runs.flags) >= 0
        if runs.axes:
            assert np.isfinite(answers(runs, runs.axes[0])).all()

    before = frame.copy(deep=True)
    error = refusal(use)
    if error is not None:
        assert str(error)
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
    pd.testing.assert_frame_equal(frame, before, check_exact=True)


def table(curve, run: object = "a") -> pd.DataFrame:
    return pd.DataFrame({"run": run, "tokens": curve.x, "loss": curve.y})


ODD = st.one_of(
    st.floats(),
    st.floats(width=32),
    st.integers(-(10**20), 10**20),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.sampled_from(
        [
            "nan",
            "NaN",
            "",
            " ",
            "inf",
            "-inf",
            "Infinity",
            "1e999",
            "1_000",
            "1,5",
            "0x10",
            "٣",
            "1 ",
            "--",
            "True",
        ]
    ),
    st.sampled_from([pd.NA, pd.NaT, np.nan, -0.0, 5e-324, 1e308, [1], {}, (1, 2), 1j, object]),
    st.sampled_from([b"2.5", np.float32(2), pd.Timestamp("2026-01-01"), np.array([1.0])]),
    st.just(decimal.Decimal("2.5")),
)
NUMBERS = ("step", "gpu_hours", "flops", "lr", "params", "se", "count", "weight")
COLUMN = st.sampled_from(
    ["run", "loss", "tokens", *NUMBERS, "spike", "Loss", "", "a b", 0, None, ("loss", "x"), "🦙"]
)


@given(st.data())
def test_any_table(data):
    """Tables of nothing but odd cells."""
    n = data.draw(st.integers(0, 8))
    columns = data.draw(st.lists(COLUMN, max_size=6))
    cells = {
        k: pd.Series(data.draw(st.lists(ODD, min_size=n, max_size=n)), dtype=object)
        for k in range(len(columns))
    }
    frame = pd.DataFrame(cells)
    frame.columns = pd.Index(columns, dtype=object)
    check(frame)


@given(curves(most=40, log_size=(-3, 3)), st.data())
def test_odd_cells_in_a_good_table(curve, data):
    frame = table(curve)
    for name, value in data.draw(
        st.dictionaries(
            st.sampled_from(NUMBERS),
            st.one_of(st.floats(), st.floats(1e-6, 1e6), st.integers()),
            max_size=3,
        )
    ).items():
        frame[name] = pd.Series([value] * len(frame))
    frame = frame.astype(object)
    for _ in range(data.draw(st.integers(0, 3))):
        row = data.draw(st.integers(0, len(frame) - 1))
        column = data.draw(st.sampled_from(list(frame.columns)))
        cells = list(frame[column])
        cells[row] = data.draw(ODD)
        frame[column] = pd.Series(cells, dtype=object, index=frame.index)
    check(frame)


NAN_PATTERNS = ("alternate", "first", "last", "middle", "random", "all but three", "all")


@given(curves(least=6, most=80), st.sampled_from(NAN_PATTERNS), st.sampled_from([np.nan, np.inf]))
def test_rows_without_a_number_are_as_if_they_were_not_there(curve, pattern, blank):
    n = len(curve.x)
    where = {
        "alternate": np.arange(n) % 2 == 1,
        "first": np.arange(n) < n // 2,
        "last": np.arange(n) >= n - n // 2,
        "middle": np.abs(np.arange(n) - n // 2) < n // 4,
        "random": np.random.default_rng(n).random(n) < 0.3,
        "all but three": np.arange(n) >= 3,
        "all": np.ones(n, bool),
    }[pattern]
    frame = table(curve)
    frame.loc[where, "loss"] = blank
    if where.all():
        with pytest.raises(DataError, match="no usable points"):
            Runs.from_frame(frame)
        return
    assume((~where).sum() >= 3)
    assume(curve.y[~where].any() or not curve.y.any())
    runs, less = Runs.from_frame(frame), Runs.from_frame(frame[~where])
    counted = runs.flags.set_index("flag")["count"]
    if where.any():
        assert counted["missing" if np.isnan(blank) else "not_finite"] == where.sum()
    np.testing.assert_array_equal(answers(runs, "tokens"), answers(less, "tokens"))


def as_text(frame):
    return frame.assign(
        loss=[repr(float(v)) for v in frame["loss"]], tokens=frame["tokens"].map(repr)
    )


def strided(frame):
    wide = np.empty((len(frame), 6), order="F" if len(frame) % 2 else "C")
    wide[:, ::3] = frame[["tokens", "loss"]]
    return pd.DataFrame(wide[::-1][:, ::3][::-1], columns=["tokens", "loss"]).assign(run="a")


SAME = {
    "text": as_text,
    "bytes": lambda f: f.assign(loss=[repr(float(v)).encode() for v in f["loss"]]),
    "object": lambda f: f.astype(object),
    "Decimal": lambda f: f.assign(loss=[decimal.Decimal(float(v)) for v in f["loss"]]),
    "nullable": lambda f: f.convert_dtypes(),
    "arrow": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "sparse": lambda f: f.assign(loss=f["loss"].astype(pd.SparseDtype("float64"))),
    "categorical": lambda f: f.assign(
        run=pd.Categorical(f["run"], categories=["z", "a"]), loss=pd.Categorical(f["loss"])
    ),
    "index of one label": lambda f: f.set_axis([7] * len(f)),
    "index of times": lambda f: f.set_axis(pd.date_range("2026-01-01", periods=len(f), freq="s")),
    "index of tuples": lambda f: f.set_index(
        pd.MultiIndex.from_product([["x"], range(len(f))], names=["loss", "run"])
    ),
    "columns in another order": lambda f: f[["loss", "run", "tokens"]],
    "another column": lambda f: f.assign(**{"🦙": "text"}),
    "blank rows between": lambda f: (
        f.loc[np.repeat(f.index, 2)]
        .reset_index(drop=True)
        .mask(lambda g: pd.Series(g.index % 2 == 1, g.index) & pd.Series(True, g.index))
        .assign(run="a")
    ),
    "not contiguous": strided,
}


@given(plain(least=3, most=60), st.sampled_from(sorted(SAME)))
def test_the_type_of_the_cells_does_not_matter(curve, kind):
    frame = table(curve)
    given_one = SAME[kind](frame)
    before = given_one.copy(deep=True)
    found = answers(Runs.from_frame(given_one), "tokens")
    np.testing.assert_array_equal(found, answers(Runs.from_frame(frame), "tokens"))
    pd.testing.assert_frame_equal(given_one, before, check_exact=True)


@given(plain(least=3, most=60), st.sampled_from(["f4", "f2", "i8", "i4", "u2", ">f8", ">f4", "g"]))
def test_arrays_of_other_types(curve, kind):
    """Float32 and integers are what they are as float64: they are widened, not rounded again."""
    x = np.arange(1, len(curve.x) + 1)
    y = 100 * curve.y / np.abs(curve.y).max() + 10 if np.dtype(kind).kind in "iu" else curve.y
    with np.errstate(over="ignore"):
        x, y = x.astype(kind), y.astype(kind)
    assume(np.isfinite(y.astype(float)).all() and y.any())
    found = answers(Runs.from_arrays("step", x, y), "step")
    wanted = answers(Runs.from_arrays("step", x.astype("f8"), y.astype("f8")), "step")
    np.testing.assert_array_equal(found, wanted)


@given(plain(least=3, most=60), st.sampled_from(["read-only", "strided", "reversed", "list", "2d"]))
def test_arrays_however_they_lie_in_memory(curve, kind):
    x, y = curve
    wanted = answers(Runs.from_arrays("step", x.copy(), y.copy()), "step")
    x, y = x.copy(), y.copy()
    if kind == "strided":
        x, y = np.repeat(x, 3)[::3], np.repeat(y, 2)[::2]
    elif kind == "reversed":
        x, y = x[::-1].copy()[::-1], y[::-1].copy()[::-1]
    elif kind == "list":
        x, y = x.tolist(), tuple(y.tolist())
    elif kind == "2d":
        x, y = np.stack([x, y]).T.copy().T
    if kind == "read-only":
        x.setflags(write=False)
        y.setflags(write=False)
    runs = Runs.from_arrays("step", x, y)
    np.testing.assert_array_equal(answers(runs, "step"), wanted)
    if isinstance(x, np.ndarray) and x.flags.writeable:
        np.testing.assert_array_equal(x, curve.x)
        np.testing.assert_array_equal(y, curve.y)
        x[:], y[:] = 1, 2  # what the caller does with them later does not reach the runs
        np.testing.assert_array_equal(answers(runs, "step"), wanted)
    assert not runs["0"].loss.flags.writeable


@given(plain(least=3, most=40), plain(least=3, most=40), st.randoms(use_true_random=False))
def test_rows_of_runs_may_be_mixed(one, two, random):
    """As long as each run's own rows keep their order."""
    frame = pd.concat([table(one, "a"), table(two, "b")], ignore_index=True)
    turns = ["a"] * len(one.x) + ["b"] * len(two.x)
    random.shuffle(turns)
    rows = {name: iter(frame.index[frame["run"] == name]) for name in "ab"}
    mixed = frame.loc[[next(rows[turn]) for turn in turns]]
    runs = Runs.from_frame(mixed).select(["a", "b"])
    np.testing.assert_array_equal(
        answers(runs, "tokens"), answers(Runs.from_frame(frame), "tokens")
    )


NAMES = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(codec=None, categories=["Cs", "Cc", "Cf", "Zs", "So"]), max_size=6),
    st.sampled_from(["nan", "None", "run", "0", "<script>alert(1)</script>", "../../etc/passwd"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.tuples(st.integers(), st.text(max_size=3)),
    st.just("x" * 100_000),
)


@given(plain(least=3, most=20), NAMES)
def test_any_name(curve, name):
    frame = table(curve).astype({"run": object})
    frame["run"] = pd.Series([name] * len(frame), dtype=object)
    error = refusal(lambda: Runs.from_frame(frame))
    if error is not None:
        assert str(name).strip() == "" or name != name or "UTF-8" in str(error)
        assert str(error).encode()
        return
    runs = Runs.from_frame(frame)
    assert runs.names == (str(name),)
    answer = lossfit.extrapolate(runs, at=2 * curve.x[-1], axis="tokens", draws=DRAWS)
    assert json.loads(json.dumps(answer.to_dict()))
    assert str(answer)
    assert answer.frame["run"].tolist() == [str(name)]
    fit = lossfit.fit(runs, axis="tokens", draws=DRAWS)
    assert fit.summary().index[0][0] == str(name)
    assert fit.posterior["run"].values.tolist() == [str(name)]
    assert "<script" not in runs._repr_html_()


def test_a_fit_with_odd_names_can_be_stored(tmp_path):
    x = np.arange(1, 41.0)
    names = ["🦙 ß\u202e", 'a/b\\c"d', "x" * 10_000, "<script>", " lead", "line\nbreak", "0"]
    y = np.tile(2 + x**-0.5, len(names))
    offsets = np.arange(len(names) + 1) * 40
    runs = Runs.from_arrays("step", np.tile(x, len(names)), y, offsets, names)
    fit = lossfit.fit(runs, draws=DRAWS)
    fit.to_netcdf(tmp_path / "fit.nc")
    back = lossfit.from_netcdf(tmp_path / "fit.nc")
    assert back.runs.names == tuple(names)
    np.testing.assert_array_equal(back.draws, fit.draws)


def test_a_stored_fit_keeps_the_flags_of_its_runs(tmp_path):
    frame = pd.DataFrame({"step": range(1, 41), "loss": np.round(2 + np.arange(1, 41) ** -0.5, 3)})
    frame.loc[7, "loss"] = np.nan
    frame["oddity"] = 1
    fit = lossfit.fit(frame, draws=DRAWS)
    fit.to_netcdf(tmp_path / "fit.nc")
    back = lossfit.from_netcdf(tmp_path / "fit.nc")
    assert set(fit.runs.flags["flag"]) == {"missing", "rounded", "ignored_columns"}
    pd.testing.assert_frame_equal(back.runs.flags, fit.runs.flags)
    assert back.flags == fit.flags
    assert back.runs == fit.runs


REFUSED = {
    "a loss of 1e300": (
        {"loss": [3, 1e300, 2, 1.9]},
        r"run 'a', row 1 \(step=2\): loss is 1e\+300",
    ),
    "losses of 1e-300": (
        {"loss": [3e-300, 2.1e-300, 2e-300, 2e-300]},
        "no loss is larger than 3e-300",
    ),
    "an axis of 1e300": (
        {"step": [1, 2, 3, 1e300]},
        r"row 3 .*step is 1e\+300; it must be 0 or betw",
    ),
    "an axis of 1e-300": ({"step": [1e-300, 2, 3, 4]}, "step is 1e-300; it must be 0 or between"),
    "parameters of 1e308": ({"params": 1e308}, r"params is 1e\+308"),
    "parameters of 1e-320": ({"params": 1e-320}, "params is 9.99.*e-321"),
    "weights of 1e308": ({"weight": 1e308}, "must be a positive number"),
    "lists as names": ({"run": pd.Series([[1]] * 4)}, "the column 'run' must hold names"),
    "half a character": (
        {"run": pd.Series(["\ud800"] * 4, dtype=object)},
        r"'\\ud800' cannot be wri",
    ),
    "a truth value": (
        {"loss": pd.Series([3, True, 2, 1.9], dtype=object)},
        "row 1: loss 'True' is not a number",
    ),
}


@pytest.mark.parametrize(("columns", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(columns, words):
    frame = pd.DataFrame({"run": "a", "step": [1, 2, 3, 4], "loss": [3, 2.5, 2.2, 2.1]} | columns)
    with pytest.raises(DataError, match=words):
        Runs.from_frame(frame)


def test_numbers_beyond_any_log_are_refused_as_keywords():
    frame = pd.DataFrame({"step": [1, 2, 3, 4], "loss": [3, 2.5, 2.2, 2.1]})
    for value in (1e300, 1e-300, 10**400):
        with pytest.raises(DataError, match="params must lie between 1e-20 and 1e"):
            Runs.from_frame(frame, params=value)
    for value in (1e300, 5e-324):
        with pytest.raises(DataError, match="axis values must lie between 1e-40 and 1e"):
            lossfit.extrapolate(frame, at=value, axis="step")
    with pytest.raises(DataError, match="total must lie between"):
        lossfit.extrapolate(frame, at=8, axis="step", total=1e300)


def test_float32_losses_with_two_decimals_are_known_as_rounded():
    rng = np.random.default_rng(0)
    x = np.arange(1.0, 61)
    y = np.round(8 + x**-0.3 + rng.normal(0, 0.05, 60), 2)
    for values in (y, y.astype("f4")):
        assert Runs.from_arrays("step", x, values)["0"].decimals == 2


def test_a_spike_does_not_make_a_log_look_smoothed():
    rng = np.random.default_rng(0)
    x = np.arange(1.0, 101)
    y = 2 + x**-0.3 + rng.normal(0, 0.05, 100)
    for where in (*range(45, 55), 80, 98, 99):
        spoilt = y.copy()
        spoilt[where] = 1e6
        flags = [flag.flag for flag in Runs.from_arrays("step", x, spoilt)["0"].flags]
        assert flags == ["spike"]
