"""The examples run, and say what they should."""

from __future__ import annotations

import importlib.util

import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture
def example(root):
    def load(name):
        spec = importlib.util.spec_from_file_location(name, root / "examples" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_headline(example, tmp_path, capsys):
    answer = example("headline").main(str(tmp_path / "answer.png"))
    assert answer.frame["at"].item() == 1_720_320
    assert "P(llama2-7B below llama2-70B)" in capsys.readouterr().out
    assert (tmp_path / "answer.png").stat().st_size > 10_000


def test_own_csv(example, tmp_path, capsys):
    fit = example("own_csv").main(str(tmp_path))
    summary = fit.summary()
    for run in ("small", "large"):
        row = summary.loc[(run, "alpha")]
        assert row["mean"] == pytest.approx(0.25, abs=4 * row["sd"])
    assert "small at 20B tokens" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"runs.csv", "small.png", "fit.nc"}


def test_batch(example, capsys):
    table = example("batch").main(400)
    covered = table["covered"]
    for law in ("power", "power_linear"):
        for ratio in (1.5, 3.0):
            assert covered.loc[(law, law, ratio)] == pytest.approx(0.9, abs=0.06)
    assert covered.loc[("power_linear", "power", 3.0)] < 0.5
    assert "us a run" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{k:02}" for k in range(1, 17)])
def test_gallery(root, name):
    """Each page of the gallery runs as it stands and draws one figure."""
    import runpy

    import matplotlib.pyplot as plt

    (script,) = (root / "examples" / "gallery").glob(f"{name}_*.py")
    plt.close("all")
    runpy.run_path(str(script))
    (number,) = plt.get_fignums()
    assert any(ax.has_data() for ax in plt.figure(number).axes)
    plt.close("all")


def test_the_gallery_is_complete(root):
    assert len(list((root / "examples" / "gallery").glob("*.py"))) == 16
