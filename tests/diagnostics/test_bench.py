"""`lossfit bench`."""

import json

import pytest
from click.testing import CliRunner

from lossfit._base.errors import DataError
from lossfit.cli.main import main
from lossfit.diagnostics.speed import bench, bench_text, plot_bench


@pytest.fixture(scope="module")
def record():
    return bench("cpu", seconds=1.0, most=100)


def test_rows_say_what_was_run(record):
    fits = [row for row in record["rows"] if row["what"] == "fit"]
    assert {row["runs"] for row in fits} >= {1, 10}
    assert all(row["cold"] > 0 and row["warm"] > 0 for row in record["rows"])
    for row in fits:
        assert row["fits_per_second"] == pytest.approx(row["runs"] / row["warm"])
    (answer,) = [row for row in record["rows"] if row["what"] == "answer"]
    assert answer["answers_per_second"] > 0
    assert record["device"] == [{"device": "cpu", "dtype": "float64"}]


def test_text_and_plot(record):
    text = bench_text(record)
    assert text.count("fits/s") == sum(row["what"] == "fit" for row in record["rows"])
    figure = plot_bench(record)
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"


def test_command(tmp_path):
    plot = tmp_path / "bench.png"
    options = ["--device", "cpu", "--seconds", "0.2", "--quick", "--json", "--plot", str(plot)]
    result = CliRunner().invoke(main, ["bench", *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["schema"] == "lossfit.bench/1"
    assert plot.stat().st_size > 1000


def test_options_are_checked():
    with pytest.raises(DataError, match="seconds must be positive"):
        bench("cpu", seconds=0)
    result = CliRunner().invoke(main, ["bench", "--device", "gpu"])
    assert result.exit_code == 2
    assert "device must be" in result.output
