from __future__ import annotations

import json
import warnings

import emcee
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lossfit
from lossfit._base.errors import DataError, DeviceError, LossfitWarning
from lossfit.laws import chinchilla, data_constrained, surface_law
from lossfit.laws.chinchilla import EPOCH, HOFFMANN
from lossfit.laws.data_constrained import MUENNIGHOFF
from lossfit.surfaces.ensemble import by_ensemble
from lossfit.surfaces.fitting import fit_surface, published
from lossfit.surfaces.quadrature import by_quadrature
from lossfit.surfaces.result import Surface
from lossfit.surfaces.table import read_table
from lossfit.surfaces.target import Target

mpl.use("Agg")

TRUTH = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.365}


def table_of(rows: int, sigma: float, seed: int, nu: float = 4.0) -> pd.DataFrame:
    """Final losses under `TRUTH` with Student-t noise of the logarithm."""
    rng = np.random.default_rng(seed)
    params = 10 ** rng.uniform(7.5, 10, rows)
    tokens = 10 ** rng.uniform(9, 11.5, rows)
    loss = chinchilla.loss(params, tokens, **TRUTH) * np.exp(sigma * rng.standard_t(nu, rows))
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})


def quiet(*args: object, **options: object) -> Surface:
    """Chinchilla's law by name, unless another is asked for (test_coupled.py has the default)."""
    if len(args) < 2:
        options.setdefault("law", "chinchilla")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return fit_surface(*args, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return table_of(60, 0.004, 3)


@pytest.fixture(scope="module")
def surface(frame: pd.DataFrame) -> Surface:
    return quiet(frame)


# Laws


def test_data_constrained_check_values() -> None:
    """Losses of the authors' code (huggingface/datablations), to the last digit."""
    values = MUENNIGHOFF.values
    assert float(data_constrained.loss(6.34e9, 242e9, 25e9, values)) == 2.2256440889984477
    assert float(data_constrained.loss(8.67e9, 178e9, 25e9, values)) == 2.2269634075087867


def test_data_constrained_without_repeats_is_chinchilla() -> None:
    params, tokens = np.array([1e8, 1e9, 3e9]), np.array([1e11, 4e11, 2e12])
    values = MUENNIGHOFF.values
    plain = {name: values[name] for name in EPOCH.values}
    np.testing.assert_allclose(
        data_constrained.loss(params, tokens, 1e13, values),
        chinchilla.loss(params, tokens, **plain),
        rtol=1e-13,
    )


def test_epochs_lose_value() -> None:
    values = MUENNIGHOFF.values
    tokens = 1e10 * np.arange(1, 101)
    worth = data_constrained.effective_tokens(tokens, 1e10, values["R_D"])
    assert worth[0] == 1e10
    assert (np.diff(worth) > 0).all()
    assert (np.diff(worth, 2) < 0).all()
    assert worth[-1] < 1e10 * (1 + values["R_D"])


def test_optimum_against_a_search() -> None:
    compute = 5.88e23
    for one in (EPOCH, HOFFMANN):
        params, tokens = chinchilla.optimum(compute, one.values)
        assert params * tokens * 6 == pytest.approx(compute)
        grid = np.geomspace(params / 3, params * 3, 200_001)
        loss = chinchilla.loss(grid, compute / (6 * grid), **one.values)
        assert grid[loss.argmin()] == pytest.approx(float(params), rel=1e-4)
    params, tokens = chinchilla.optimum(compute, EPOCH.values)
    assert (round(float(params) / 1e9), round(float(tokens) / 1e12, 2)) == (73, 1.34)


def test_unknown_law() -> None:
    with pytest.raises(DataError, match="chinchilla, data_constrained"):
        surface_law("power")


# The posterior


def test_truth_is_found(surface: Surface) -> None:
    summary = surface.summary(prob=0.99)
    for name, value in TRUTH.items():
        assert summary.loc[name, "lower"] < value < summary.loc[name, "upper"]
    assert list(summary.index) == [*TRUTH, "sigma", "nu"]
    assert surface.method == "quadrature"
    assert surface.cells > 40


def test_views(surface: Surface) -> None:
    posterior = surface.posterior
    assert posterior.sizes == {"chain": 1, "draw": 1000}
    assert set(posterior) == {*TRUTH, "sigma", "nu"}
    assert surface.draws.sizes == {"draw": 1000}
    row = surface.frame.set_index("parameter").loc["alpha"]
    assert row["lower"] < row["median"] < row["upper"]
    assert row["prob"] == 0.9
    assert np.quantile(posterior["alpha"], 0.05) == pytest.approx(row["lower"])
    text = str(surface)
    assert "90 % interval" in text
    assert "effective cells" in text
    data = json.loads(json.dumps(surface.to_dict(), allow_nan=False))
    assert data["schema"] == "lossfit.surface/1"
    assert len(data["parameters"]) == 7


def log_density(x: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
    """The posterior written down again with scipy.stats; x: logs of e, a, b, al, be, sigma, nu."""
    with np.errstate(over="ignore"):
        e, a, b, alpha, beta, sigma, nu = np.minimum(np.exp(x), 1e30).T[:, :, None]
    level = float(np.median(frame["loss"]))
    n, d = (np.log(frame[name].to_numpy()) for name in ("params", "tokens"))
    with np.errstate(over="ignore"):
        mean = e + a * np.exp(-alpha * (n - n.mean())) + b * np.exp(-beta * (d - d.mean()))
    r = np.log(frame["loss"].to_numpy() / level) - np.log(mean)
    out = stats.t.logpdf(r, nu, scale=sigma).sum(axis=1)
    for v in (e, a, b):
        out += (stats.halfnorm.logpdf(v) + np.log(v))[:, 0]
    for v in (alpha, beta):
        out += (stats.lognorm.logpdf(v, 0.6, scale=0.35) + np.log(v))[:, 0]
    out += (stats.lognorm.logpdf(sigma, 1.5, scale=0.01) + np.log(sigma))[:, 0]
    out += (stats.gamma.logpdf(nu, 2, scale=10) + np.log(nu))[:, 0]
    out[(nu[:, 0] < 1) | (nu[:, 0] > 100)] = -np.inf
    return np.where(np.isfinite(out), out, -np.inf)


def test_posterior_and_evidence_against_another_sampler() -> None:
    """Weighted draws about emcee's, of the density above: none of the library's code."""
    frame = table_of(60, 0.005, 11, nu=3)
    surface = quiet(frame, draws=4000, random_seed=2)
    level = float(np.median(frame["loss"]))
    n0, d0 = (float(np.log(frame[k]).mean()) for k in ("params", "tokens"))
    v = surface.values
    size, data = v["A"] * np.exp(-n0 * v["alpha"]), v["B"] * np.exp(-d0 * v["beta"])
    rest = [v[name] for name in ("alpha", "beta", "sigma", "nu")]
    mine = np.log([v["E"] / level, size / level, data / level, *rest]).T

    start = np.log([0.7, 0.15, 0.15, 0.35, 0.35, 0.01, 5.0])
    start = start + 0.05 * np.random.default_rng(0).standard_normal((40, 7))
    moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]
    sampler = emcee.EnsembleSampler(40, 7, log_density, args=(frame,), vectorize=True, moves=moves)
    sampler.random_state = np.random.RandomState(1).get_state()
    sampler.run_mcmc(start, 1100)
    rough = sampler.get_chain(discard=500, flat=True)
    centre, spread = rough.mean(axis=0), np.cov(rough.T)
    for count in (40_000, 120_000):  # the second about the weighted draws of the first
        proposal = stats.multivariate_t(centre, 2 * spread, df=4, seed=3)
        x = proposal.rvs(count)
        log_weight = np.concatenate([log_density(part, frame) for part in np.array_split(x, 20)])
        log_weight -= proposal.logpdf(x)
        weight = np.exp(log_weight - log_weight.max())
        centre = np.average(x, axis=0, weights=weight)
        spread = np.cov(x.T, aweights=weight)
    assert weight.sum() ** 2 / (weight**2).sum() > 1500
    for k, draws in enumerate(mine.T):
        order = np.argsort(x[:, k])
        below = np.cumsum(weight[order]) / weight.sum()
        for q in (0.05, 0.25, 0.5, 0.75, 0.95):
            theirs = x[order[np.searchsorted(below, q)], k]
            assert abs(np.quantile(draws, q) - theirs) < 0.2 * draws.std(), (k, q)
    evidence = np.log(weight.mean()) + log_weight.max()
    evidence -= np.log(frame["loss"]).sum()  # the density of the loss, not of its logarithm
    assert surface.log_evidence == pytest.approx(evidence, abs=0.1)


def test_ensemble_agrees_with_quadrature(frame: pd.DataFrame) -> None:
    table = read_table(
        frame, params="params", tokens="tokens", loss="loss", flops="flops", unique_tokens=None
    )
    target = Target.of(table, chinchilla.LAW, chinchilla.LAW.priors, "student_t")
    one = by_quadrature(target, 4000, np.random.default_rng(0))
    # Started far off, so that agreement is not inherited.
    off = Target.of(table, chinchilla.LAW, chinchilla.LAW.priors, "gaussian")
    start = by_quadrature(off, 400, np.random.default_rng(1))
    start.u[:] += 0.2
    start.log_nu[:] = 1.0
    other = by_ensemble(target, start, 4000, np.random.default_rng(2))
    assert other.chains == 4
    for a, b in ((one.logs, other.logs), (one.u, other.u)):
        gap = (a.mean(axis=0) - b.mean(axis=0)) / a.std(axis=0)
        assert np.abs(gap).max() < 0.15
        np.testing.assert_allclose(a.std(axis=0), b.std(axis=0), rtol=0.12)


def test_gaussian_noise() -> None:
    rng = np.random.default_rng(5)
    frame = table_of(80, 0.0, 5)
    frame["loss"] *= np.exp(0.01 * rng.standard_normal(80))
    found = quiet(frame, noise="gaussian")
    assert "nu" not in found.values
    assert found.values["sigma"].mean() == pytest.approx(0.01, rel=0.25)
    assert found.efficiency > 0.5


def test_outliers_do_not_pull_and_are_named() -> None:
    clean = table_of(80, 0.003, 7, nu=30)
    dirty = clean.copy()
    dirty.loc[[4, 40], "loss"] *= 1.25
    with pytest.warns(LossfitWarning, match=r"outliers: row 4, row 40 lie"):
        robust = fit_surface(dirty, "chinchilla")
    assert robust.flags == ("outliers",)
    reference = quiet(clean).summary()
    pulled = quiet(dirty, noise="gaussian").summary()
    shift = (robust.summary()["median"] - reference["median"]) / reference["sd"]
    assert np.abs(shift[list(TRUTH)]).max() < 1.5
    shift = (pulled["median"] - reference["median"]) / reference["sd"]
    assert np.abs(shift[list(TRUTH)]).max() > 3
    rows = robust.residuals
    assert list(rows.loc[rows["outlier"], "row"]) == ["row 4", "row 40"]


def test_seed_and_generator(frame: pd.DataFrame, surface: Surface) -> None:
    again = quiet(frame, random_seed=0)
    np.testing.assert_array_equal(again.values["A"], surface.values["A"])
    other = quiet(frame, random_seed=1)
    assert not np.array_equal(other.values["A"], surface.values["A"])
    assert abs(other.values["alpha"].mean() - surface.values["alpha"].mean()) < 0.1 * float(
        surface.values["alpha"].std()
    )
    generated = quiet(frame, random_seed=np.random.default_rng(4), draws=50)
    assert generated.n_draws == 50


def test_flops_stand_in(frame: pd.DataFrame, surface: Surface) -> None:
    flops = 6 * frame["params"] * frame["tokens"]
    for missing in ("params", "tokens"):
        other = frame.drop(columns=missing).assign(flops=flops)
        np.testing.assert_allclose(quiet(other).values["E"], surface.values["E"], rtol=1e-6)
    renamed = {"N": frame["params"], "C": flops, "y": frame["loss"]}
    found = quiet(renamed, params="N", flops="C", loss="y")
    np.testing.assert_allclose(found.values["E"], surface.values["E"], rtol=1e-6)


def test_units_of_the_loss(frame: pd.DataFrame, surface: Surface) -> None:
    """Bits in place of nats change E, A, B by that factor and nothing else."""
    bits = quiet(frame.assign(loss=frame["loss"] / np.log(2)))
    for name in ("E", "A", "B"):
        np.testing.assert_allclose(bits.values[name] * np.log(2), surface.values[name], rtol=1e-6)
    np.testing.assert_allclose(bits.values["alpha"], surface.values["alpha"], rtol=1e-6)


def test_priors(frame: pd.DataFrame) -> None:
    tight = quiet(frame, priors={"alpha": lossfit.priors.lognormal(0.5, 0.005)})
    assert tight.values["alpha"].mean() == pytest.approx(0.5, rel=0.05)
    flat = quiet(frame, priors={"alpha": lossfit.priors.uniform(0.1, 1)})
    assert 0.3 < flat.values["alpha"].mean() < 0.4
    normal = quiet(frame, priors={"beta": lossfit.priors.normal(0.37, 0.001)})
    assert normal.values["beta"].std() < 0.0012
    with pytest.raises(DataError, match="priors of alpha, beta"):
        fit_surface(frame, priors={"E": lossfit.priors.normal(0, 1)})
    with pytest.raises(DataError, match="alpha needs"):
        fit_surface(frame, priors={"alpha": lossfit.priors.inverse_gamma(1, 1)})


def test_data_constrained_fit() -> None:
    rng = np.random.default_rng(1)
    rows = 60
    params, tokens = 10 ** rng.uniform(7.5, 9.5, rows), 10 ** rng.uniform(9, 11, rows)
    unique = tokens / np.exp(rng.uniform(-0.5, 4, rows)).clip(1)
    loss = data_constrained.loss(params, tokens, unique, MUENNIGHOFF.values)
    loss *= np.exp(0.003 * rng.standard_normal(rows))
    table = {"params": params, "tokens": tokens, "unique_tokens": unique, "loss": loss}
    found = quiet(table, "data_constrained", draws=800)
    summary = found.summary(prob=0.99)
    for name, value in MUENNIGHOFF.values.items():
        assert summary.loc[name, "lower"] < value < summary.loc[name, "upper"], name
    assert found.rhat < 1.02
    assert summary.loc["R_D", "sd"] < 5
    repeated = found.losses(1e9, 1e11, 1e10).mean()
    assert repeated > found.losses(1e9, 1e11, 1e11).mean()
    del table["unique_tokens"]
    with pytest.raises(DataError, match="how many tokens were unique"):
        fit_surface(table, "data_constrained")


# Predictions


def test_predictions_are_joint(surface: Surface) -> None:
    found = surface.predict([1e9, 1e9], [1e11, 1.05e11])
    assert found.dims == ("chain", "draw", "at")
    assert found.shape == (1, 1000, 2)
    gap = (found.isel(at=0) - found.isel(at=1)).to_numpy()
    assert gap.std() < 0.2 * float(found.isel(at=0).std())
    assert (gap > 0).all()
    v = surface.values
    mine = chinchilla.loss(1e9, 1e11, **{name: v[name] for name in TRUTH})
    np.testing.assert_allclose(found.isel(at=0).to_numpy()[0], mine)
    noisy = surface.predict([1e9], 1e11, noise=True)
    assert float(noisy.std()) > float(found.isel(at=0).std())
    # The noise is the Student-t that was fitted, on the logarithm.
    z = np.log(noisy.to_numpy()[0, :, 0] / mine) / v["sigma"]
    assert stats.kstest(stats.t.cdf(z, v["nu"]), "uniform").pvalue > 1e-3


def test_far_predictions_warn(surface: Surface) -> None:
    with pytest.warns(LossfitWarning, match="70B on 1.4T tokens lies"):
        found = surface.predict(70e9, 1.4e12)
    assert float(found["beyond"][0]) == pytest.approx(
        max(70e9 / surface.table.params.max(), 1.4e12 / surface.table.tokens.max())  # type: ignore[union-attr]
    )


def test_gap(surface: Surface) -> None:
    gap = surface.gap((7e9, 14e12), (70e9, 1.4e12))
    loss = surface.losses([7e9, 70e9], [14e12, 1.4e12])
    assert gap["median"] == pytest.approx(float(np.median(loss[:, 0] - loss[:, 1])))
    assert gap["lower"] < gap["median"] < gap["upper"]
    assert surface.gap((70e9, 1.4e12), (7e9, 14e12))["prob_below"] == 1.0


def test_bad_predictions(surface: Surface) -> None:
    with pytest.raises(DataError, match="tokens must be positive"):
        surface.predict(1e9, -1)
    with pytest.raises(DataError, match="takes every token for new"):
        surface.predict(1e9, 1e10, unique_tokens=1e9)
    with pytest.raises(DataError, match="broadcast"):
        surface.predict([1e9, 2e9], [1e10, 2e10, 3e10])


# Input and flags


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": -1.0}, r"row 2 of the table: loss is -1"),
        ({"params": np.nan}, r"row 2 of the table: params is nan"),
        ({"tokens": np.inf}, r"row 2 of the table: tokens is inf"),
    ],
)
def test_bad_rows_are_named(frame: pd.DataFrame, change: dict[str, float], message: str) -> None:
    bad = frame.copy()
    for column, value in change.items():
        bad.loc[2, column] = value
    with pytest.raises(DataError, match=message):
        fit_surface(bad)


def test_bad_tables(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no column 'loss'"):
        fit_surface(frame.drop(columns="loss"))
    with pytest.raises(DataError, match="no column 'tokens'"):
        fit_surface(frame.drop(columns="tokens"))
    with pytest.raises(DataError, match="flops alone"):
        fit_surface({"flops": [1e18] * 4, "loss": [3.0] * 4})
    with pytest.raises(DataError, match="at least 3 rows"):
        fit_surface(frame.head(2))
    with pytest.raises(DataError, match="must hold numbers"):
        fit_surface(frame.assign(loss="low"))
    with pytest.raises(DataError, match="noise must be"):
        fit_surface(frame, noise="cauchy")
    with pytest.raises(DataError, match="no law of final losses"):
        fit_surface(frame, "power_linear")
    with pytest.raises(DataError, match="frame or a dict"):
        fit_surface(5)
    with pytest.raises(DeviceError, match="on the CPU"):
        fit_surface(frame, device="cuda")


def test_structure_is_flagged() -> None:
    """Size and tokens that make up for each other, which a sum of two terms leaves out."""
    frame = table_of(120, 0.002, 9)
    x, y = (np.log(frame[name]) for name in ("params", "tokens"))
    frame["loss"] *= np.exp(0.008 * (x - x.mean()) * (y - y.mean()))
    assert "residual_structure" in quiet(frame).flags


def test_no_structure_where_there_is_none() -> None:
    flagged = [
        "residual_structure" in quiet(table_of(40, 0.01, seed), draws=200).flags
        for seed in range(100, 106)
    ]
    assert sum(flagged) <= 1


def test_collinear_tables_are_flagged() -> None:
    params = np.geomspace(1e8, 1e10, 15)
    told_by_prior = []
    for seed in range(4):
        table = {"params": params, "tokens": 20 * params}
        table["loss"] = chinchilla.loss(params, 20 * params, **TRUTH) * np.exp(
            0.002 * np.random.default_rng(seed).standard_normal(15)
        )
        flags = quiet(table).flags
        assert "collinear" in flags
        told_by_prior.append("prior_matters" in flags)
    # Near the limit this is chance: posterior sds are .46 to .86 of the priors.
    assert sum(told_by_prior) >= 3


def test_few_runs_stay_wide() -> None:
    """Four sizes on one number of tokens leave the exponents to their priors, and say so."""
    runs = lossfit.load("llama2")
    with pytest.warns(LossfitWarning, match="few_sizes"):
        found = fit_surface(runs, "chinchilla", draws=400)
    assert {"few_rows", "few_sizes", "few_token_counts", "prior_matters"} <= set(found.flags)
    assert np.log(found.values["beta"]).std() > 0.4
    loss = found.losses(found.table.params, found.table.tokens)  # type: ignore[union-attr]
    np.testing.assert_allclose(np.median(loss, axis=0), found.table.loss, rtol=0.02)  # type: ignore[union-attr]


# Published surfaces


def test_published_constants_have_no_intervals() -> None:
    found = published("epoch")
    summary = found.summary()
    assert summary.loc["A", "mean"] == pytest.approx(482.01, abs=0.01)
    assert summary[["sd", "lower", "upper"]].isna().all().all()
    assert found.flags == ("no_intervals",)
    gap = found.gap((7e9, 14e12), (70e9, 1.4e12))
    assert gap["mean"] == pytest.approx(2.0307 - 1.9734, abs=1e-4)
    assert np.isnan(gap["lower"])
    with pytest.raises(DataError, match="do not state the noise"):
        found.predict(1e9, 1e10, noise=True)
    with pytest.raises(DataError, match="without a table"):
        _ = found.residuals
    with pytest.raises(DataError, match="chinchilla, epoch, hoffmann, muennighoff"):
        published("gpt4")


def test_published_losses() -> None:
    """The table of losses at the compute of the 70B, by published constants."""
    cases = {"epoch": (1.9734, 2.0307, 2.0734), "hoffmann": (1.9208, 1.9533, 2.0217)}
    for name, expected in cases.items():
        found = published(name).losses([70e9, 7e9, 7e9], [1.4e12, 14e12, 1.4e12])[0]
        np.testing.assert_allclose(found, expected, atol=6e-5)


def chinchilla_points(shared: object, dropped: int) -> pd.DataFrame:
    frame = pd.read_csv(shared / "data/curves/chinchilla_points.csv")  # type: ignore[operator]
    return frame.sort_values("loss").iloc[: len(frame) - dropped]


@pytest.mark.shared
@pytest.mark.parametrize("dropped", [5, 0])
def test_agrees_with_the_epoch_refit(shared: object, dropped: int) -> None:
    points = chinchilla_points(shared, dropped)
    found = quiet(points, params="Model Size", flops="Training FLOP")
    summary = found.summary()
    for name, value in EPOCH.values.items():
        row = summary.loc[name]
        assert abs(row["median"] - value) < EPOCH.errors[name], name
        assert row["sd"] < 1.5 * EPOCH.errors[name]
    assert len(found.table) == 245 - dropped  # type: ignore[arg-type]
    gap = found.gap((7e9, 14e12), (70e9, 1.4e12))
    assert gap["lower"] < 0.0573 < gap["upper"]


@pytest.mark.shared
def test_kept_summary_is_the_posterior(shared: object) -> None:
    """`published("chinchilla")` against the fit that it summarises."""
    points = chinchilla_points(shared, 5)
    fit = quiet(
        points, "auto", params="Model Size", flops="Training FLOP", draws=4000, random_seed=5
    )
    kept = published("chinchilla", draws=4000, random_seed=6)
    # Losses within, at the edge of and beyond the table, and a gap; 400 draws are kept.
    at = np.array([(1e9, 2e10), (1e8, 1e9), (1.6e10, 3e11), (7e10, 1.4e12)])
    found = [s.losses(*at.T) for s in (fit, kept)]
    for q in (0.05, 0.5, 0.95):
        gap = np.quantile(found[0], q, axis=0) - np.quantile(found[1], q, axis=0)
        assert (np.abs(gap) < 0.35 * found[0].std(axis=0) + 0.004).all()
    a, b = (s.gap((7e9, 14e12), (70e9, 1.4e12)) for s in (fit, kept))
    assert np.abs(a[["lower", "median", "upper"]] - b[["lower", "median", "upper"]]).max() < 0.02
    assert fit.seen is not None
    assert kept.seen is not None
    np.testing.assert_allclose(fit.seen.params, kept.seen.params, rtol=1e-3)
    np.testing.assert_allclose(fit.seen.tokens, kept.seen.tokens, rtol=1e-3)
    assert fit.seen.compute == pytest.approx(kept.seen.compute, rel=1e-3)


def test_plot(surface: Surface) -> None:
    from matplotlib import pyplot as plt

    ax = surface.plot()
    assert ax.get_xlabel() == "model parameters"
    assert len(ax.lines) > 1
    ax = surface.plot(compute=[1e20, 1e21])
    assert [t.get_text() for t in ax.get_legend().get_texts()][:2] == [
        "1.0e+20 FLOP",
        "1.0e+21 FLOP",
    ]
    with pytest.raises(DataError, match="give compute="):
        published("epoch").plot()
    published("epoch").plot(compute=[1e21])
    plt.close("all")
