from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

import lossfit
from benches.surface import coupled_ranks, p_values
from lossfit import DataError, LossfitWarning
from lossfit.laws import chinchilla, coupled, kaplan
from lossfit.laws.chinchilla import EPOCH
from lossfit.plans import plan
from lossfit.surfaces import Surface, fit_surface, fit_surfaces, published
from lossfit.surfaces.batch import _sampled, batch_of
from lossfit.surfaces.brownian import brownian, integrated
from lossfit.surfaces.forms import Coupled, Kaplan, mean
from lossfit.surfaces.hamiltonian import draw
from lossfit.surfaces.missed import kernel
from lossfit.surfaces.table import Table

TRUTH = {"E": 1.7, "A": 300.0, "B": 1500.0, "alpha": 0.32, "beta": 0.35, "gamma": 0.6}


def table_of(rows: int, sigma: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    params, tokens = 10 ** rng.uniform(7.5, 9.5, rows), 10 ** rng.uniform(9, 11, rows)
    loss = coupled.LAW.evaluate(TRUTH, params, tokens, None)
    loss = loss * np.exp(sigma * rng.standard_normal(rows))
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})


def as_table(frame: pd.DataFrame) -> Table:
    columns = (frame[name].to_numpy() for name in ("params", "tokens", "loss"))
    return Table(*columns, None, tuple(map(str, frame.index)))


def quiet(*args: object, **options: object) -> Surface:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return fit_surface(*args, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return table_of(24, 0.003, 1)


@pytest.fixture(scope="module")
def surface(frame: pd.DataFrame) -> Surface:
    return quiet(frame, draws=500)


def test_gamma_of_one_is_chinchilla_and_no_floor_is_kaplan() -> None:
    n, d = np.array([1e8, 7e9]), np.array([2e9, 1e12])
    np.testing.assert_allclose(
        coupled.LAW.evaluate({**EPOCH.values, "gamma": 1.0}, n, d, None),
        chinchilla.loss(n, d, **EPOCH.values),
        rtol=1e-12,
    )
    found = kaplan.LAW.evaluate({**TRUTH, "E": 0.0}, n, d, None)
    inside = (TRUTH["A"] / n ** TRUTH["alpha"]) ** (1 / TRUTH["beta"])
    inside = inside + TRUTH["B"] ** (1 / TRUTH["beta"]) / d
    np.testing.assert_allclose(found, inside ** TRUTH["beta"], rtol=1e-12)


def test_optimum_is_that_of_the_sum_inside() -> None:
    n, d = chinchilla.optimum(1e22, coupled.inner(TRUTH))
    sizes = n * np.exp(np.linspace(-1, 1, 2001))
    losses = coupled.LAW.evaluate(TRUTH, sizes, 1e22 / (6 * sizes), None)
    assert sizes[losses.argmin()] == pytest.approx(float(n), rel=2e-3)
    assert 6 * n * d == pytest.approx(1e22)


def test_fold_is_the_inverse_of_unfold_and_its_jacobian_is_gamma() -> None:
    phi = np.random.default_rng(0).normal(size=6)
    np.testing.assert_allclose(coupled.fold(coupled.unfold(phi)), phi, atol=1e-12)
    turn = np.array([approx_fprime(phi, lambda p, k=k: coupled.unfold(p)[k]) for k in range(6)])
    assert abs(np.linalg.det(turn)) == pytest.approx(np.exp(phi[5]), rel=1e-4)


def test_covariances_are_those_of_the_motions() -> None:
    """Of a Brownian motion and its integral on a fine grid, both sides of 0."""
    u = np.array([-1.5, -0.5, 0.7, 2.0])
    t = np.arange(1, 4001) * 1e-3
    for side, sign in ((u[u > 0], 1), (-u[u < 0], -1)):
        at = (side / 1e-3).astype(int)
        steps = (t[None] <= t[at - 1][:, None]) * 1.0  # weights of increments in W(u)
        inner = np.maximum(t[at - 1][:, None] - t[None], 0)  # and in its integral
        expected = (steps @ steps.T + 0.5 * inner @ inner.T) * 1e-3
        np.testing.assert_allclose(
            brownian(sign * side, sign * side, 0.5), expected, rtol=5e-3, atol=1e-3
        )
        smooth = (0.04 * steps @ steps.T + inner @ inner.T) * 1e-3
        np.testing.assert_allclose(integrated(side, side, 0.2), smooth, rtol=5e-3, atol=1e-3)
    assert (brownian(u[:2], u[2:]) == 0).all()


@pytest.mark.parametrize("form", [Coupled(coupled.LAW.priors), Kaplan(kaplan.LAW.priors)])
def test_density_is_the_dense_one_and_has_its_gradient(
    form: Coupled | Kaplan, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {}
    monkeypatch.setattr(
        "lossfit.surfaces.batch.draw", lambda density, *rest, **more: taken.update(f=density)
    )
    # Beside a longer table, so that padding is there.
    batch = batch_of([as_table(frame), as_table(table_of(30, 0.003, 2))], form)
    _sampled(batch, form, np.random.default_rng(0), 2, 10)
    rng = np.random.default_rng(3)
    base = np.append(form.phi(batch.pilot[0]), [np.log(0.004), np.log(0.05)])
    phi = base + 0.05 * rng.standard_normal((2, 3, len(base)))
    value, gradient = taken["f"](phi)
    k, p = len(frame), form.size

    def dense(one: np.ndarray) -> float:
        theta = form.theta(one[None])[0]
        fitted, _ = mean(theta, batch.n[0, :k], batch.d[0, :k])
        n, d = batch.n[0, :k], batch.d[0, :k]
        r = batch.size[0, :k]
        g = kernel(n - n.max(), n - n.max()) + kernel(d - d.max(), d - d.max())
        cov = np.exp(2 * one[p + 1]) * g * r[:, None] * r
        cov += np.diag(np.exp(2 * one[p]) * batch.noise[0, :k] ** 2)
        prior = float(form.log_prior(theta[None])[0][0] + form.log_jacobian(one[None])[0])
        scales = -0.5 * ((one[p] - np.log(0.005)) / 1.2) ** 2
        scales -= 0.5 * ((one[p + 1] - np.log(0.08)) / 0.35) ** 2
        return float(multivariate_normal(fitted, cov).logpdf(batch.y[0, :k])) + prior + scales

    expected = [dense(one) for one in phi[0]]
    np.testing.assert_allclose(np.diff(value[0]), np.diff(expected), rtol=1e-6, atol=1e-6)
    slope = approx_fprime(phi[0, 0], dense, 1e-6)
    np.testing.assert_allclose(gradient[0, 0], slope, rtol=2e-3, atol=2e-2)


def test_ranks_of_the_truth_are_uniform() -> None:
    """Small tables drawn from the priors; `python -m benches.surface --coupled` draws more."""
    for name, found in coupled_ranks(40, 8, 3).items():
        assert min(p_values(found)) > 1e-3, name


def test_sampler_on_a_normal_and_a_skewed_density() -> None:
    root = np.array([[1.0, 0.0], [0.95, 0.3]])
    precision = np.linalg.inv(root @ root.T)

    def density(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        normal = x[:1]
        by_normal = -normal @ precision
        skewed = x[1:]
        value = np.concatenate(
            [0.5 * (normal * by_normal).sum(-1), (2 * skewed - np.exp(skewed)).sum(-1)]
        )
        return value, np.concatenate([by_normal, 2 - np.exp(skewed)])

    start, wide = np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1))
    drawn = draw(density, start, wide, np.random.default_rng(0), chains=32, keep=120)
    normal, skewed = (d.reshape(-1, 2) for d in drawn.draws)
    np.testing.assert_allclose(np.cov(normal.T), root @ root.T, atol=0.12)
    # exp(x) is gamma(2): E log = digamma(2), var = trigamma(2).
    np.testing.assert_allclose(skewed.mean(axis=0), 0.4228, atol=0.06)
    np.testing.assert_allclose(skewed.var(axis=0), 0.6449, atol=0.1)
    assert drawn.rhat.max() < 1.05


def test_what_is_missed_has_the_moments_of_dense_algebra(frame: pd.DataFrame) -> None:
    """Matheron's rule against the conditional normal, all draws at one set of parameters."""
    from dataclasses import replace

    surface = quiet(frame, draws=20)
    missed = surface.missed
    assert missed is not None
    paths = missed.paths
    draws = 4_000
    fixed = replace(
        paths,
        residual=np.tile(paths.residual[:1], (draws, 1)),
        sigma=np.full(draws, 0.004),
        kappa=np.full(draws, 0.05),
    )
    nodes, values = fixed.nodes[0], fixed.values[0]
    rows, r = fixed.sizes, fixed.size
    top_n, top_d = rows.max(), fixed.budgets.max()
    both = kernel(rows - top_n, rows - top_n)
    both = both + kernel(fixed.budgets - top_d, fixed.budgets - top_d)
    cov = 0.05**2 * both * r[:, None] * r + np.diag((0.004 * fixed.noise) ** 2)
    pick = np.array([10, 60, 80, 100])
    across = 0.05**2 * kernel(nodes[pick] - top_n, rows - top_n) * r
    expected = across @ np.linalg.solve(cov, fixed.residual[0])
    inside = 0.05**2 * kernel(nodes[pick] - top_n, nodes[pick] - top_n)
    spread = inside - across @ np.linalg.solve(cov, across.T)
    sd = np.sqrt(np.diag(spread))
    assert (np.abs(values[:, pick].mean(axis=0) - expected) < 5 * sd / np.sqrt(draws)).all()
    np.testing.assert_allclose(values[:, pick].std(axis=0), sd, rtol=0.06)


def test_surface_holds_the_truth_and_widens_outwards(surface: Surface) -> None:
    at = [(1e9, 5e10), (1e11, 5e12)]
    truth = [float(coupled.LAW.evaluate(TRUTH, n, d, None)) for n, d in at]
    losses = surface.losses(*np.array(at).T)
    low, high = np.quantile(losses, [0.005, 0.995], axis=0)
    assert (low < truth).all()
    assert (truth < high).all()
    assert (high - low)[1] > 3 * (high - low)[0]
    again = surface.losses(*np.array(at[:1]).T)
    np.testing.assert_array_equal(losses[:, 0], again[:, 0])  # a draw is one surface
    with pytest.warns(LossfitWarning, match="far"):
        surface.predict(1e11, 5e12)


def test_many_tables_at_once(frame: pd.DataFrame, surface: Surface) -> None:
    found = fit_surfaces([table_of(12, 0.003, 5), frame], draws=300, random_seed=4)
    assert [len(one.table) for one in found] == [12, 24]
    a, b = (one.losses(1e9, 5e10) for one in (found[1], surface))
    assert abs(a.mean() - b.mean()) < 0.4 * a.std()
    # What is fitted beside a table changes none of its draws.
    alone = quiet(frame, draws=300, random_seed=4)
    again = fit_surfaces([frame, table_of(24, 0.02, 8), table_of(12, 0.003, 5)], draws=300,
                         random_seed=4)  # fmt: skip
    for one, other in ((again[0], alone), (found[1], alone), (again[2], found[0])):
        np.testing.assert_array_equal(one.losses(1e9, 5e10), other.losses(1e9, 5e10))
    with pytest.raises(DataError, match="many tables are fitted by"):
        fit_surfaces([frame], "chinchilla")
    with pytest.raises(DataError, match="no table"):
        fit_surfaces([])


def test_copies_count_once_and_are_named(frame: pd.DataFrame) -> None:
    copied = pd.concat([frame.head(12)] * 4, ignore_index=True)
    table, single = as_table(copied), as_table(frame.head(12))
    assert (table.copies == 4).all()
    assert table.first.sum() == 12
    with pytest.warns(LossfitWarning, match="equal_rows"):
        many = fit_surface(copied, draws=400)
    once = quiet(frame.head(12), draws=400)
    width = [np.ptp(np.quantile(s.losses(1e10, 1e11), [0.05, 0.95])) for s in (many, once)]
    assert width[0] == pytest.approx(width[1], rel=0.25)
    assert len(single) == 12


def test_standard_errors_and_weights(frame: pd.DataFrame) -> None:
    form = Coupled(coupled.LAW.priors)
    error = np.where(np.arange(24) % 2, 0.01, 0.002)
    with_error = as_table(frame.assign(se=error))
    batch = batch_of([Table(with_error.params, with_error.tokens, with_error.loss, None,
                            with_error.labels, error=error)], form, robust=False)  # fmt: skip
    np.testing.assert_allclose(batch.noise[0, 1] / batch.noise[0, 0], 5.0)
    found = quiet(frame.assign(weight=1.0), draws=50)
    assert found.table is not None
    assert found.table.weight is not None
    with pytest.raises(DataError, match="keep one"):
        fit_surface(frame.assign(se=error, weight=1.0))
    assert "weights_unused" in quiet(frame.assign(weight=1.0), "chinchilla", draws=50).flags


def test_runs_that_did_not_anneal_are_named() -> None:
    frames, schedules = [], {}
    for k, (n, d) in enumerate([(1e8, 2e9), (2e8, 4e9), (4e8, 8e9), (8e8, 8e9)]):
        tokens = np.linspace(0.1, 1, 12) * d
        loss = coupled.LAW.evaluate(TRUTH, n, tokens, None)
        frames.append(pd.DataFrame({"run": f"r{k}", "tokens": tokens, "loss": loss, "params": n}))
        make = lossfit.schedules.constant if k == 1 else lossfit.schedules.linear
        options = {} if k == 1 else {"total": d}
        schedules[f"r{k}"] = make(1e-3, axis="tokens", **options)
    runs = lossfit.Runs.from_frame(pd.concat(frames), schedules=schedules)
    with pytest.warns(LossfitWarning, match=r"not_annealed: r1 ended"):
        fit_surface(runs, draws=20)


def test_plan_has_regret_of_at_least_zero_on_the_draws(surface: Surface) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        found = plan(surface, compute=1e21, params=1e9)
        repeated = plan(surface, compute=1e21, unique_tokens=2e10)
    # The search sees places 4 % apart, and what is missed is rough between them.
    assert (found.decision.regret > -3e-3).all()
    assert found.choice is not None
    assert (found.choice.regret > -3e-3).all()
    better = found.choice.equivalent <= found.compute * 1.05
    assert better.mean() > 0.95
    assert repeated.problem.law.name == "coupled_repeated"


def test_published_points_carry_what_the_law_misses() -> None:
    surface = published("chinchilla")
    assert surface.missed is not None
    near = np.ptp(np.quantile(surface.losses(1e9, 2e10), [0.05, 0.95]))
    far = np.ptp(np.quantile(surface.losses(1e9, 2e13), [0.05, 0.95]))
    assert far > 4 * near
