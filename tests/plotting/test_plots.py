from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, plotting, priors
from lossfit.fits.prior_curves import prior_predictive
from tests.curves import power_runs

mpl.use("Agg")

from matplotlib import pyplot as plt

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def llama():
    return lossfit.load("llama2")


@pytest.fixture(scope="module")
def fit(llama):
    return lossfit.fit(llama, "power", draws=200)


@pytest.fixture(scope="module")
def headline(llama):
    return lossfit.extrapolate(llama, "llama2-7B", compute_of="llama2-70B", draws=200)


def texts(ax):
    return [t.get_text() for t in ax.texts]


def labels(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


def drawn(ax, tmp_path):
    """The figure as a picture; checks that it is not empty."""
    path = tmp_path / "figure.png"
    ax.figure.savefig(path)
    picture = plt.imread(path)
    assert picture.std() > 0.02
    return picture


def test_axes_are_taken_and_given_back(llama, fit, headline):
    for draw in (
        lambda ax: plotting.plot_fit(fit, ax=ax),
        lambda ax: plotting.plot_residuals(fit, ax=ax),
        lambda ax: plotting.plot_runs(llama, ax=ax),
        lambda ax: plotting.plot_prior_predictive(llama, ax=ax, draws=100),
        lambda ax: plotting.plot_answer(headline, ax=ax),
        lambda ax: headline.plot(ax),
        lambda ax: fit.plot(ax=ax),
    ):
        _, ax = plt.subplots()
        assert draw(ax) is ax
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.get_title(loc="left")
        before = plt.get_fignums()
        made = draw(None)
        assert made.figure.number not in before


def test_the_answer_shows_data_target_and_the_other_run(headline, tmp_path):
    ax = headline.plot()
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "GPU-hours"
    found = labels(ax)
    for label in ("llama2-7B", "llama2-70B", "power alone", "90 % of curves", "50 % of curves"):
        assert label in found
    assert any("beyond the data, to 9.33x" in t for t in texts(ax))
    low, high = ax.get_ylim()
    median = headline.frame["median"].item()
    assert low < median < high
    assert low < 1.498
    assert high > 2.155
    drawn(ax, tmp_path)


def test_a_wild_band_is_cut_and_the_figure_says_so(llama, tmp_path):
    wild = lossfit.extrapolate(
        llama, "llama2-7B", at=15e12, draws=200, laws=["power", "power_linear"]
    )
    ax = wild.plot()
    lower = wild.frame["lower"].item()
    assert ax.get_ylim()[0] > lower
    assert any(f"loss axis cut: bands go down to {lower:.3g}" in t for t in texts(ax))
    tame = lossfit.extrapolate(llama, "llama2-7B", at=2.2e12, draws=200)
    assert not any("cut" in t for t in texts(tame.plot()))
    drawn(ax, tmp_path)


def test_bands_hold_the_data_they_should(fit):
    """About 90 % of the fitted points lie in the 90 % band of observations."""
    ax = plotting.plot_fit(fit, "llama2-13B")
    outer = ax.collections[0].get_paths()[0].vertices
    data = next(line for line in ax.lines if line.get_label() == "fitted")
    x, y = data.get_xdata(), data.get_ydata()
    half = len(outer) // 2
    lower = np.interp(x, *outer[1:half].T)
    upper = np.interp(x, *outer[half + 1 : -1][::-1].T)
    inside = np.mean((np.minimum(lower, upper) <= y) & (y <= np.maximum(lower, upper)))
    assert 0.75 < inside <= 1


def test_a_fit_marks_its_window_and_what_is_beyond(fit, tmp_path):
    ax = plotting.plot_fit(fit, until=4e12, scale="log", noise=False, probs=(0.8,))
    assert ax.get_xscale() == "log"
    assert "80 % of curves" in labels(ax)
    note = "\n".join(texts(ax))
    assert "beyond the data, to 2x" in note
    assert "start of the window" in note
    drawn(ax, tmp_path)
    with pytest.raises(DataError, match="there is no run 'llama3'"):
        plotting.plot_fit(fit, "llama3")
    with pytest.raises(DataError, match="scale must be"):
        plotting.plot_fit(fit, scale="cubic")


def test_spikes_are_shown_as_such():
    step = np.arange(1.0, 101)
    loss = 2 + step**-0.5 + np.random.default_rng(0).normal(0, 0.003, 100)
    loss[60] += 3
    runs = lossfit.Runs.from_arrays("step", step, loss)
    ax = plotting.plot_fit(lossfit.fit(runs, "power", draws=50))
    assert "spikes" in labels(ax)
    assert ax.get_ylim()[1] < 3.2


def test_runs_on_a_compute_axis(llama):
    ax = plotting.plot_runs(llama)
    assert ax.get_xlabel() == "GPU-hours"
    assert labels(ax) == list(llama.names)
    assert plotting.plot_runs(llama, "tokens", scale="linear").get_xscale() == "linear"
    many = power_runs(30)
    crowd = plotting.plot_runs(many)
    assert crowd.get_legend() is None
    assert len(crowd.lines) == 30


def test_residuals_are_those_of_the_fit(fit):
    ax = plotting.plot_residuals(fit, "llama2-34B")
    wanted = fit.select("llama2-34B").residuals()["standardised"]
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), wanted)


@pytest.mark.filterwarnings("ignore")
def test_pairs_through_arviz(fit, tmp_path):
    figure = plotting.plot_pair(fit, "llama2-7B", ["alpha", "E"])
    figure.savefig(tmp_path / "pair.png")
    assert (tmp_path / "pair.png").stat().st_size > 5000


def test_prior_predictive_is_at_the_runs_scales(llama):
    drawn = prior_predictive(llama, "power", draws=3000, until=2.0)
    assert drawn.dims == ("run", "point", "draw")
    np.testing.assert_allclose(drawn["tokens"][:, -1], 4e12)
    np.testing.assert_allclose(drawn["tokens"][:, 0], 6e11)
    assert (drawn > 0).all()
    # E and A are half-normal with sd 2 x loss: the loss at the window's end has mean 4 x 0.8 x loss
    end = prior_predictive(llama, "power", draws=20_000)[:, -1].median("draw")
    assert (np.abs(end / 1.6 - 3.2) < 1.0).all()
    tight = prior_predictive(
        llama, "power", draws=500,
        priors={"E": priors.normal(1.5, 1e-6), "A": priors.normal(0.25, 1e-6),
                "sigma": priors.inverse_gamma(1e4, 0.01)},
    )  # fmt: skip
    np.testing.assert_allclose(tight[:, -1], 1.75, atol=1e-3)
    alone = prior_predictive(llama.select(["llama2-34B"]), "power", draws=50)
    np.testing.assert_array_equal(
        alone[0], prior_predictive(llama, "power", draws=50).sel(run="llama2-34B")
    )


def test_several_runs_get_a_panel_each(llama):
    answer = lossfit.extrapolate(llama, compute_of="llama2-70B", draws=50)
    figure = plotting.plot_answers(answer)
    assert len(figure.axes) == 3


def test_a_legend_below_stays_inside_the_picture():
    race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours", draws=100)
    figure = race.plot().figure
    figure.draw_without_rendering()
    box = figure.axes[0].get_legend().get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    plt.close(figure)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
@pytest.mark.parametrize("total", [None, 4000.0])
def test_the_legend_says_what_is_assumed_of_the_plan(total):
    """Where no end is known the answer averages over ends: no plan ends at the target."""
    step = np.arange(10.0, 4001, 10)
    frame = pd.DataFrame({"run": "a", "step": step, "loss": 3 + step**-0.4})
    answer = lossfit.extrapolate(frame, at="2x", draws=50, total=total)
    words = [text.get_text() for text in answer.plot().get_legend().get_texts()]
    assert ("median, had the run been planned to end there" in words) is (total is not None)
    assert ("median, forecast" in words) is (total is None)
