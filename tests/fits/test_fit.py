from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit import DataError, laws, priors
from lossfit._base.numbers import decimals_of
from lossfit._base.seeds import run_keys
from tests.curves import power_runs


def test_defaults_and_axis():
    runs = power_runs(2, tokens_per_step=1000)
    fit = lossfit.fit(runs)
    assert (fit.law.name, fit.axis, fit.settings.method) == ("power_linear", "tokens", "quadrature")
    assert fit.draws.shape == (2, 5, 1000)
    assert fit.settings.exact
    assert lossfit.fit(runs, axis="step").axis == "step"
    assert lossfit.fit(power_runs(1)).axis == "step"
    with pytest.raises(DataError, match=r"run 'run0' has no gpu_hours"):
        lossfit.fit(runs, axis="gpu_hours")
    with pytest.raises(DataError, match="no axis is called 'epochs'"):
        lossfit.fit(runs, axis="epochs")


def test_runs_without_a_common_axis_are_refused():
    mixed = power_runs(1) + power_runs(2, axis="gpu_hours").select(["run1"])
    with pytest.raises(DataError, match=r"share none .*'run0' has step.*: fit them one"):
        lossfit.fit(mixed)


def test_a_frame_will_do_and_other_things_will_not():
    runs = power_runs(2)
    fit = lossfit.fit(runs.frame.drop(columns="spike"), "power", random_seed=4)
    np.testing.assert_array_equal(fit.draws, lossfit.fit(runs, "power", random_seed=4).draws)
    with pytest.raises(DataError, match=r"runs must be lossfit\.Runs, a table"):
        lossfit.fit(3)
    with pytest.raises(DataError, match=r"runs\.csv"):
        lossfit.fit("runs.csv")  # a path is read, and there is no such file


@pytest.mark.parametrize(
    ("method", "noise"),
    [("quadrature", "gaussian"), ("quadrature", "student_t"), ("ensemble", "gaussian")],
)
def test_a_run_has_the_same_draws_alone_and_among_others(method, noise):
    runs = power_runs(5, seed=1)
    options = {"draws": 40, "method": method, "noise": noise, "tune": 20}
    together = lossfit.fit(runs, random_seed=3, **options)
    alone = lossfit.fit(runs.select(["run3"]), random_seed=3, **options)
    np.testing.assert_array_equal(together.draws[3], alone.draws[0])
    back = lossfit.fit(runs.select(["run4", "run3"]), random_seed=3, **options)
    np.testing.assert_array_equal(together.draws[3], back.draws[1])
    other = lossfit.fit(runs.select(["run3"]), random_seed=4, **options)
    assert not np.array_equal(alone.draws, other.draws)


def test_seeds_of_every_kind():
    runs = power_runs(1)

    def draws(seed):
        return lossfit.fit(runs, "power", draws=20, random_seed=seed).draws

    np.testing.assert_array_equal(draws(np.int64(5)), draws(5))
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    first = draws(one)
    np.testing.assert_array_equal(first, draws(two))
    assert not np.array_equal(first, draws(one))
    assert not np.array_equal(draws(None), draws(None))
    np.testing.assert_array_equal(draws(-3), draws(-3))
    for wrong in ("seed", 1.5, True):
        with pytest.raises(DataError, match="random_seed must be"):
            draws(wrong)


def test_keys_depend_on_seed_name_and_purpose_only():
    names = ["a", "b", "ä"]
    keys = run_keys(0, names)
    assert keys.dtype == np.uint64
    assert len(set(keys) | set(run_keys(1, names)) | set(run_keys(0, names, "noise"))) == 9
    np.testing.assert_array_equal(run_keys(0, names[1:]), keys[1:])


def test_the_unit_of_the_axis_does_not_matter():
    """A power of 2, so that scaled data are the same to the last bit."""
    one = lossfit.fit(power_runs(2), "power_linear", draws=50)
    runs = power_runs(2, end=1000.0 * 2**20)
    np.testing.assert_array_equal(one.draws, lossfit.fit(runs, draws=50).draws)


def test_the_unit_of_the_loss_does_not_matter():
    runs = power_runs(2)
    flat = runs.flat("step")
    bits = lossfit.Runs.from_arrays("step", flat.x, flat.loss / np.log(2), flat.offsets, runs.names)
    one, two = lossfit.fit(runs, draws=200), lossfit.fit(bits, draws=200)
    np.testing.assert_allclose(two.draws[:, 0], one.draws[:, 0], rtol=1e-6)
    np.testing.assert_allclose(two.draws[:, 1:] * np.log(2), one.draws[:, 1:], rtol=1e-5, atol=1e-7)


def test_a_summary_only_is_that_of_the_draws():
    runs = power_runs(4)
    full = lossfit.fit(runs, draws=300).summary(0.8)
    for options in ({"draws": 300, "keep": "summary"}, {"draws": 0}):
        kept = lossfit.fit(runs, prob=0.8, **options)
        if options["draws"] == 0:
            full = lossfit.fit(runs).summary(0.8)
        columns = ["mean", "sd", "lower", "upper"]
        np.testing.assert_allclose(kept.summary(0.8)[columns], full[columns], rtol=1e-6)
        assert kept.draws is None
        with pytest.raises(DataError, match="kept a summary only"):
            kept.predict(2000)
        with pytest.raises(DataError, match=r"fit again with prob=0\.9"):
            kept.summary(0.9)


def test_a_summary_in_blocks_is_the_same(monkeypatch):
    import lossfit.fits.fitting as fitting

    runs = power_runs(7)
    whole = lossfit.fit(runs, draws=0)
    monkeypatch.setattr(fitting, "SUMMARY_RUNS", 3)
    parts = lossfit.fit(runs, draws=0)
    np.testing.assert_array_equal(whole.moments.values, parts.moments.values)
    np.testing.assert_array_equal(whole.start, parts.start)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_summary_holds_amplitudes_of_any_size():
    runs = power_runs(2, axis="flops", end=1e26)
    alpha = {"alpha": priors.normal(2.5, 0.1)}
    full = lossfit.fit(runs, "power", priors=alpha).summary()
    kept = lossfit.fit(runs, "power", priors=alpha, keep="summary").summary()
    assert full["mean"].loc[("run0", "A")] > 1e40
    np.testing.assert_allclose(kept["lower"], full["lower"], rtol=1e-6)
    np.testing.assert_allclose(kept["sd"], full["sd"], rtol=1e-6)


def test_what_a_summary_keeps_is_small():
    kept = lossfit.fit(power_runs(50, ragged=False), draws=0)
    arrays = [v for v in vars(kept).values() if isinstance(v, np.ndarray)]
    arrays += [kept.moments.mantissa, kept.moments.exponent]
    total = sum(a.nbytes for a in arrays)
    assert total / 50 < 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"law": "linear"}, "no law is called 'linear'"),
        ({"method": "nuts"}, "no method is called 'nuts'"),
        ({"noise": "cauchy"}, "noise must be"),
        ({"keep": "all"}, "keep must be"),
        ({"noise": "student_t", "method": "ensemble"}, "use method='emcee'"),
        ({"draws": -1}, "draws must be a whole number of at least 0"),
        ({"draws": 10.5}, "draws must be a whole number"),
        ({"prob": 1.0}, "prob must be a probability"),
        ({"chains": 0, "method": "ensemble"}, "chains must be a whole number of at least 1"),
        ({"device": "tpu"}, "device must be"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"device": "cpu", "dtype": "float32"}, "the CPU computes in float64"),
        ({"device": "cpu", "keep": "device"}, "this fit runs on the CPU"),
        ({"priors": {"C": priors.normal(0, 1)}}, "no parameter 'C'"),
        ({"priors": {"E": priors.uniform(0, 1)}}, "E needs a normal prior"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        lossfit.fit(power_runs(1), **options)


def test_a_strong_prior_is_felt():
    runs = power_runs(1)
    pinned = lossfit.fit(runs, "power", priors={"alpha": priors.normal(0.9, 1e-3)})
    assert pinned.posterior["alpha"].mean().item() == pytest.approx(0.9, abs=0.005)


def test_one_warning_names_flags_and_runs():
    step = np.arange(1, 101.0)
    wave = 2 + step**-0.5 + 0.05 * np.sin(step / 5)
    runs = lossfit.Runs.from_arrays(
        "step", np.tile(step, 5), np.tile(wave, 5), np.arange(6) * 100, list("abcde")
    )
    with pytest.warns(lossfit.LossfitWarning) as caught:
        fit = lossfit.fit(runs, "power", window="all", draws=100)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "residual_autocorrelation (a, b, c and 2 more)" in str(caught[0].message)
    assert all("residual_autocorrelation" in flags for flags in fit.flags)
    assert (fit.diagnostics["n_eff"] < 20).all()


def test_few_points_are_flagged():
    runs = lossfit.Runs.from_arrays("step", np.arange(1.0, 9), 2 + np.arange(1.0, 9) ** -0.5)
    with pytest.warns(lossfit.LossfitWarning, match="few_points"):
        assert "few_points" in lossfit.fit(runs, "power", draws=20).flags[0]


def compared(a, b, within=0.12):
    """Means and sds of two fits agree; `within` allows for Monte Carlo errors."""
    for k, name in enumerate(a.parameters):
        sd = b.draws[:, k].std(axis=-1)
        gap = (a.draws[:, k].mean(axis=-1) - b.draws[:, k].mean(axis=-1)) / sd
        assert np.abs(gap).max() < within, name
        ratio = a.draws[:, k].std(axis=-1) / sd
        assert np.abs(np.log(ratio)).max() < 1.5 * within, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "noise"),
    [("power_linear", "gaussian"), ("power_offset", "gaussian"), ("power", "student_t")],
)
def test_every_method_agrees_with_emcee_on_all_parameters(law, noise):
    runs = power_runs(1, seed=5, points=30, noise=0.02)
    reference = lossfit.fit(runs, law, window="all", method="emcee", noise=noise, draws=500)
    assert "not_converged" not in reference.flags[0]
    compared(lossfit.fit(runs, law, window="all", noise=noise, draws=4000, chains=1), reference)
    if noise == "gaussian":
        ensemble = lossfit.fit(runs, law, window="all", method="ensemble", draws=2000)
        compared(ensemble, reference)


@pytest.mark.slow
def test_real_curves_agree_with_emcee():
    """A broad posterior of alpha, almost degenerate columns."""
    runs = lossfit.load("llama2").select(["llama2-7B"])
    reference = lossfit.fit(runs, method="emcee", draws=500)
    compared(lossfit.fit(runs, draws=6000), reference)


def test_a_law_of_ones_own():
    def decay(x, tau):
        return np.exp(-x / tau)

    law = lossfit.Law(
        name="decay",
        formula="E + A exp(-x / tau)",
        linear=(
            lossfit.Linear("E", "floor", priors.normal(0, 2, relative=True)),
            lossfit.Linear("A", "size", priors.normal(0, 2, relative=True)),
        ),
        columns=(laws.constant, decay),
        nonlinear=(lossfit.Nonlinear("tau", "time", 0.05, 5.0, priors.lognormal(0.5, 1)),),
    )
    step = np.arange(1.0, 101)
    noise = np.random.default_rng(1).normal(0, 0.01, 100)
    runs = lossfit.Runs.from_arrays("step", step, 2 + np.exp(-step / 30) + noise)
    fit = lossfit.fit(runs, law, window="all")
    # tau is in units of the window's end, 100 steps
    assert fit.posterior["tau"].mean().item() == pytest.approx(0.3, abs=0.02)
    assert fit.predict(200.0).mean().item() == pytest.approx(2.0, abs=0.02)


def test_the_print_has_the_digits_that_intervals_support():
    step = np.arange(10.0, 401.0, 10.0)
    noise = np.random.default_rng(0).normal(0, 0.02, len(step))
    runs = lossfit.Runs.from_arrays("step", step, np.round(2.5 + 6 * step**-0.5 + noise, 4))
    fit = lossfit.fit(runs, law="power")
    assert "rounded" in fit.flags[0]
    text = str(fit)
    assert "rounded" not in text  # nor are 4 decimals beside such noise of interest
    row = fit.summary(scaled=True).iloc[0]
    places = decimals_of(row["upper"] - row["lower"], 1000)
    assert f"{row['lower']:.{places}f} to {row['upper']:.{places}f}\n" in text
    assert places < 4
