"""Tables of every kind become the same runs, and functions take them in the place of runs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, Runs
from lossfit.runs.checks import as_runs, axis_values, check_meant
from lossfit.runs.tables import frame_from

STEP = np.arange(1, 41) * 10
LOSS = 2 + 5 / np.sqrt(STEP)
COLUMNS = {"trainer/global_step": STEP, "train/loss": LOSS, "train/learning_rate": STEP * 1e-6}


class Polars:
    """As a polars frame looks without pyarrow."""

    columns = tuple(COLUMNS)

    def get_columns(self):
        return [
            SimpleNamespace(name=name, to_numpy=lambda values=values: values)
            for name, values in COLUMNS.items()
        ]


def arrow():
    return pytest.importorskip("pyarrow").table(COLUMNS)


KINDS = {
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "a dict of arrays": lambda: COLUMNS,
    "a dict of lists": lambda: {name: list(values) for name, values in COLUMNS.items()},
    "a list of dicts": lambda: pd.DataFrame(COLUMNS).to_dict("records"),
    "a structured array": lambda: pd.DataFrame(COLUMNS).to_records(index=False),
    "polars": Polars,
    "pyarrow": arrow,
    "a run of W&B": lambda: SimpleNamespace(
        scan_history=lambda: iter(pd.DataFrame(COLUMNS).to_dict("records"))
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_any_kind(kind):
    for runs in (Runs.from_frame(KINDS[kind]()), as_runs(KINDS[kind]())):
        run = runs["run"]
        np.testing.assert_array_equal(run.axis("step"), STEP)
        np.testing.assert_array_equal(run.loss, LOSS)
        np.testing.assert_array_equal(run.lr, STEP * 1e-6)


def test_what_keras_fit_gives_is_read_along_the_epoch():
    history = SimpleNamespace(
        history={"loss": list(LOSS), "val_loss": list(LOSS + 1)}, epoch=list(range(40))
    )
    run = Runs.from_frame(history)["run"]
    np.testing.assert_array_equal(run.axis("epoch"), np.arange(1, 41))
    np.testing.assert_array_equal(Runs.from_frame(history, loss="val")["run"].loss, LOSS + 1)


def test_columns_and_losses_may_be_named():
    frame = pd.DataFrame({"n": STEP, "nats": LOSS, "other": LOSS + 1})
    run = Runs.from_frame(frame, columns={"step": "n"}, loss="nats")["run"]
    np.testing.assert_array_equal(run.loss, LOSS)
    with pytest.raises(DataError, match=r"columns are 'n', 'nats', 'other'.*--loss"):
        Runs.from_frame(frame)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"step": [1, 2, 3], "loss": [1, 2]}, "one length: 'step' has 3, 'loss' has 2"),
        ({"step": [[1, 2]], "loss": [1]}, "'step' must be a flat array"),
        ([1, 2], "give a pandas, polars or pyarrow table"),
        (object(), "give a pandas DataFrame, or a pandas, polars"),
    ],
)
def test_what_is_no_table(table, words):
    with pytest.raises(DataError, match=words):
        frame_from(table)


def test_paths_are_read_in_the_place_of_runs(tmp_path):
    path = tmp_path / "some.csv"
    pd.DataFrame(COLUMNS).to_csv(path, index=False)
    assert as_runs(str(path)) == as_runs([path]) == lossfit.load(path)


def test_axis_values_in_words():
    np.testing.assert_array_equal(axis_values("40k"), [40_000])
    np.testing.assert_array_equal(
        axis_values(["2x", "1.5T", 7, "1,000"], end=400), [800, 1.5e12, 7, 1000]
    )
    with pytest.raises(DataError, match="'soon' is no axis value"):
        axis_values("soon")
    with pytest.raises(DataError, match="'2x' is a multiple of a run's data"):
        axis_values("2x")


def test_targets_that_fit_another_axis_or_are_multiples_are_asked_about():
    runs = Runs.from_frame({"step": STEP * 100, "loss": LOSS}, tokens_per_step=1e6)
    run = runs["run"]
    check_meant(run, "tokens", axis_values([4e10, 8e10]))
    with pytest.raises(DataError, match="did you mean axis='step'"):
        check_meant(run, "tokens", axis_values(80_000))
    with pytest.raises(DataError, match="did you mean axis='tokens'"):
        check_meant(run, "step", axis_values(8e10))
    with pytest.raises(DataError, match="did you mean '2x', 2 times the data"):
        check_meant(run, "step", axis_values(2))


def test_sizes_that_no_model_has():
    with pytest.raises(DataError, match="params is 7, which no model has: for 7 billion"):
        Runs.from_frame(COLUMNS, params=7)
    assert Runs.from_frame(COLUMNS, params="7B")["run"].params == 7e9
    with pytest.raises(DataError, match="params is 7, which no model has"):
        lossfit.plan("epoch", compute=1e21, params=7)
    with pytest.raises(DataError, match="compute is 3, which no model has: a budget is in FLOP"):
        lossfit.plan("epoch", compute=3)
