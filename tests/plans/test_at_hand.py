from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import kstest

import lossfit
from lossfit._base.errors import DataError, LossfitWarning
from lossfit.cli.plan import command
from lossfit.laws.chinchilla import EPOCH, loss
from lossfit.plans.at_hand import _table, compared
from lossfit.plans.build import plan
from lossfit.plans.result import Plan
from lossfit.surfaces import anchored as anchors
from lossfit.surfaces.against import against
from lossfit.surfaces.anchored import Anchored, anchored
from lossfit.surfaces.brownian import integrated
from lossfit.surfaces.result import Surface
from lossfit.surfaces.table import read_table

BUDGET = 1e22
SIZES, TOKENS = (2e8, 6e8, 2e9), (4e9, 1.5e10, 6e10)


def frame_of(
    sizes: tuple[float, ...], tokens: tuple[float, ...], seed: int, factor: float = 1.0
) -> pd.DataFrame:
    """Every size on every number of tokens, .3 % of noise, the loss times a factor."""
    rng = np.random.default_rng(seed)
    n, d = (v.ravel() for v in np.meshgrid(sizes, tokens, indexing="ij"))
    noisy = loss(n, d, **EPOCH.values) * factor * np.exp(0.003 * rng.standard_normal(n.size))
    return pd.DataFrame({"params": n, "tokens": d, "loss": noisy})


def quiet(*args: object, **options: object) -> Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return plan(*args, **options)  # type: ignore[arg-type]


def table_of(frame: pd.DataFrame) -> lossfit.surfaces.table.Table:
    return read_table(
        frame, params="params", tokens="tokens", loss="loss", flops="flops", unique_tokens=None,
        least=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def surface() -> Surface:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return lossfit.fit_surface(
            frame_of((1e8, 3e8, 1e9, 3e9), (2e9, 8e9, 3e10, 1.2e11), 0), draws=1000
        )


def test_an_agreeing_table_changes_nothing(surface: Surface) -> None:
    runs = frame_of(SIZES, TOKENS, 1)
    found, plain = quiet(surface, compute=BUDGET, runs=runs), quiet(surface, compute=BUDGET)
    assert found.surface is surface
    assert found.flags == plain.flags
    np.testing.assert_array_equal(found.params, plain.params)
    assert "9 runs at hand end" in str(found).splitlines()[1]
    assert found.to_dict()["runs"]["contradicted"] is False


def test_false_alarms_are_as_rare_as_stated(surface: Surface) -> None:
    """Runs of the surface's own draws: p-values are uniform."""
    runs = table_of(frame_of(SIZES, TOKENS, 1))
    drawn = surface.losses(runs.params, runs.tokens)
    rng, p, alarms = np.random.default_rng(2), [], 0
    for k in range(0, len(drawn), 4):
        noise = surface.values["sigma"][k] * rng.standard_t(4, len(runs))
        beside = against(surface, replace(runs, loss=drawn[k] * np.exp(noise)), 0.9)
        p.append(beside.p_value)
        alarms += beside.contradicted
    assert kstest(p, "uniform").pvalue > 1e-3
    assert np.mean(np.array(p) <= 0.01) < 0.04
    assert alarms < 0.04 * len(p)


def test_a_planted_contradiction_uses_the_runs(surface: Surface) -> None:
    runs = frame_of(SIZES, TOKENS, 1, factor=1.1)
    found = quiet(surface, compute=BUDGET, runs=runs)
    assert found.flags[0] == "surface_contradicted"
    first = str(found).splitlines()[1]
    assert "9 runs at hand" in first
    assert "10 % higher than it says" in first
    assert "fitted to the runs alone" in first
    assert found.surface.table is not None
    assert len(found.surface.table) == 9
    n, d = np.array([2e9]), np.array([6e10])
    truth = 1.1 * loss(n, d, **EPOCH.values)
    low, high = np.quantile(found.surface.losses(n, d), [0.01, 0.99])
    assert low < truth[0] < high
    told = found.to_dict()["runs"]
    assert told["contradicted"]
    assert len(told["rows"]) == 9
    assert told["rows"][0]["upper"] < told["rows"][0]["loss"]


def test_the_plan_of_contradicting_runs_is_that_of_the_runs(surface: Surface) -> None:
    runs = frame_of(SIZES, TOKENS, 1, factor=1.1)
    found, own = quiet(surface, compute=BUDGET, runs=runs), quiet(runs, compute=BUDGET)
    np.testing.assert_array_equal(found.params, own.params)


def test_slopes_contradict_where_no_single_run_does(surface: Surface) -> None:
    """A small run a little too low and a large one a little too high: their difference is known."""
    wide = dict(surface.values, E=surface.values["E"].copy())
    wide["E"] += 0.1 * np.random.default_rng(0).standard_normal(surface.n_draws)
    unsure = replace(surface, values=wide)
    runs = frame_of((1e8, 3e9), (2e9, 1.2e11), 1)
    small = runs["params"] < 1e9
    runs["loss"] *= np.where(small, 0.975, 1.025)
    beside = against(unsure, table_of(runs), 0.9)
    assert beside.outside == 0
    assert beside.contradicted
    assert not against(unsure, table_of(frame_of((1e8, 3e9), (2e9, 1.2e11), 1)), 0.9).contradicted


def test_a_single_run_that_went_wrong_is_no_contradiction(surface: Surface) -> None:
    runs = frame_of(SIZES, TOKENS, 1)
    runs.loc[4, "loss"] *= 1.2
    beside = against(surface, table_of(runs), 0.9)
    assert beside.outside >= 1
    assert not beside.contradicted


def test_a_difference_that_moves_no_plan_is_no_contradiction(surface: Surface) -> None:
    sure = replace(surface, missed=None, values={
        name: np.full_like(v, np.median(v)) for name, v in surface.values.items()
    } | {"sigma": np.full(surface.n_draws, 1e-4)})  # fmt: skip
    n, d = np.array([1e9, 2e9, 3e9]), np.array([8e9, 8e9, 3e10])
    said = sure.losses(n, d)[0]
    for factor, contradicted in ((1.003, False), (1.02, True)):
        runs = table_of(pd.DataFrame({"params": n, "tokens": d, "loss": factor * said}))
        beside = against(sure, runs, 0.9)
        assert beside.p_value <= 0.01
        assert beside.moved == pytest.approx(factor - 1, rel=0.02)
        assert beside.contradicted is contradicted


@pytest.mark.parametrize("rows", [1, 2])
def test_few_runs_move_the_level(surface: Surface, rows: int) -> None:
    runs = frame_of(SIZES, TOKENS, 1, factor=0.9).iloc[[4, 8]].iloc[:rows]
    found = quiet(surface, compute=BUDGET, runs=runs)
    assert "surface_contradicted" in found.flags
    assert "with its shape and their level" in str(found).splitlines()[1]
    n, d = runs["params"].to_numpy(), runs["tokens"].to_numpy()
    at = found.surface.losses(n, d)
    np.testing.assert_allclose(np.median(at, axis=0), runs["loss"], rtol=0.01)
    far = np.log(found.surface.losses(100 * n[:1], 100 * d[:1]))
    asked = np.log(surface.losses(100 * n[:1], 100 * d[:1]))
    assert far.std() > 1.2 * asked.std()
    truth = np.log(0.9 * loss(100 * n[0], 100 * d[0], **EPOCH.values))
    assert np.quantile(far, 0.02) < truth < np.quantile(far, 0.98)
    assert found.surface.seen is not None
    assert found.surface.source.endswith(f"held to {rows} run{'s' if rows > 1 else ''}")


def test_runs_of_one_size_get_no_surface_of_their_own(surface: Surface) -> None:
    runs = frame_of((6e8,), (4e9, 1e10, 3e10, 6e10), 1, factor=0.9)
    used = compared(surface, runs, 0.9, None, 200, 0)[2]
    assert used == "anchored"
    three = frame_of(SIZES, TOKENS, 1, factor=0.9)
    assert compared(surface, three, 0.9, None, 200, 0)[2] == "fitted"


def test_draws_of_the_correction_are_the_dense_posterior(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchors, "APART_SD", 0.0)
    draws, sigma = 20_000, 0.004
    n, d = np.log([2e8, 6e8, 2e9]), np.log([4e9, 6e10, 1.5e10])
    gap = np.array([-0.1, -0.08, -0.11])
    made = Anchored(n, d, None, np.tile(gap, (draws, 1)), np.full(draws, sigma), 0)
    at_n, at_d = np.log([1e10, 1e9]), np.log([2e11, 1e9])
    drawn = np.log(made.applied(np.ones((draws, 2)), np.exp(at_n), np.exp(at_d)))

    def covariance(n1: np.ndarray, d1: np.ndarray, n2: np.ndarray, d2: np.ndarray) -> np.ndarray:
        out = np.full((len(n1), len(n2)), anchors.LEVEL_SD**2)
        for a, b, rows in ((n1, n2, n), (d1, d2, d)):
            u, v = a - rows.mean(), b - rows.mean()
            out = out + anchors.APART**2 * (u[:, None] * v + integrated(u, v))
        return out

    across = covariance(at_n, at_d, n, d)
    inverse = np.linalg.inv(covariance(n, d, n, d) + sigma**2 * np.eye(3))
    spread = covariance(at_n, at_d, at_n, at_d) - across @ inverse @ across.T
    np.testing.assert_allclose(drawn.mean(axis=0), across @ inverse @ gap, atol=2e-3)
    np.testing.assert_allclose(np.cov(drawn.T), spread, rtol=0.05, atol=4e-5)


def test_corrections_of_each_draw_alone_and_together(surface: Surface) -> None:
    held = anchored(surface, table_of(frame_of((6e8,), (4e9, 6e10), 1, factor=0.9)))
    assert held.missed is not None
    n = np.exp(np.random.default_rng(0).uniform(18, 25, (surface.n_draws, 3)))
    ones = np.ones_like(n)
    both = held.missed.applied(ones, n, 20 * n)
    alone = held.missed.applied(ones[:, :1], n[7, :1], 20 * n[7, :1])
    assert both[7, 0] == pytest.approx(alone[7, 0])


def test_what_of_the_table_is_to_be_said_is_kept() -> None:
    few = frame_of((1e8, 1e9), (2e9, 8e9, 3e10, 1.2e11), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        asked = lossfit.fit_surface(few)
    found = quiet(asked, compute=BUDGET, runs=frame_of((6e8,), (1.5e10,), 1, factor=0.7))
    assert {"surface_contradicted", "few_sizes"} <= set(found.flags)
    assert not found.can_tell


def test_a_law_that_is_taken_for_true_is_held_to_runs_too() -> None:
    table = frame_of((1e8, 3e8, 1e9, 3e9), (2e9, 8e9, 3e10, 1.2e11), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        asked = lossfit.fit_surface(table, "chinchilla", draws=300)
    runs = frame_of((6e8,), (1.5e10,), 1, factor=0.9)
    found = quiet(asked, compute=BUDGET, runs=runs, unique_tokens=1e10)
    assert found.flags[0] == "surface_contradicted"
    np.testing.assert_array_equal(found.problem.values["gamma"], 1.0)
    held = found.surface.missed
    assert isinstance(held, Anchored)
    sigma, nu = asked.values["sigma"], asked.values["nu"]  # its own degrees of freedom
    light = nu > 4
    assert 0 < light.sum() < len(nu)
    np.testing.assert_allclose(
        held.sigma[light], sigma[light] * (nu[light] / (nu[light] - 2)) ** 0.5
    )
    np.testing.assert_allclose(held.sigma[~light], sigma[~light] * 2**0.5)


def test_constants_without_intervals_give_no_verdict() -> None:
    found = quiet("epoch", compute=BUDGET, runs=frame_of(SIZES, TOKENS, 1, factor=1.1))
    assert found.flags[0] == "runs_unchecked"
    assert "10 % higher" in found.notes["runs_unchecked"]
    assert found.surface.n_draws == 1
    assert found.to_dict()["runs"]["p_value"] is None


def test_runs_with_curves_and_their_throughput(surface: Surface) -> None:
    frames = []
    for n in SIZES:
        for d in TOKENS:
            tokens = np.linspace(0.1, 1, 20) * d
            frames.append(pd.DataFrame({
                "run": f"{n:g} on {d:g}", "tokens": tokens, "params": n,
                "loss": 0.9 * loss(n, tokens, **EPOCH.values), "gpu_hours": 6 * n * tokens / 4e17,
            }))  # fmt: skip
    runs = lossfit.Runs.from_frame(pd.concat(frames))
    found = quiet(surface, gpu_hours=1000, runs=runs)
    assert found.compute == pytest.approx(4e20)
    assert found.flags[0] == "surface_contradicted"
    assert f"final losses of {len(runs)} runs" in found.notes["from_runs"]  # what it is fitted to
    table = frame_of(SIZES, TOKENS, 1)
    assert "from_runs" not in quiet(runs, compute=BUDGET, runs=table).flags


def test_too_few_draws_to_tell(surface: Surface) -> None:
    silent = {name: value for name, value in surface.values.items() if name != "sigma"}
    with pytest.raises(DataError, match="does not state the noise"):
        against(replace(surface, values=silent), table_of(frame_of(SIZES, TOKENS, 1)), 0.9)
    with pytest.raises(DataError, match="at least draws=99"):
        plan("chinchilla", compute=BUDGET, draws=50, runs=frame_of(SIZES, TOKENS, 1))


def test_bad_runs_are_named(surface: Surface) -> None:
    bad = frame_of(SIZES, TOKENS, 1)
    bad.loc[3, "loss"] = -1.0
    with pytest.raises(DataError, match="row 3"):
        plan(surface, compute=BUDGET, runs=bad)


def test_a_plan_with_runs_is_kept_in_a_file(surface: Surface, tmp_path: Path) -> None:
    found = quiet(surface, compute=BUDGET, runs=frame_of((6e8,), (1.5e10,), 1, factor=0.9))
    found.to_netcdf(tmp_path / "plan.nc")
    back = Plan.from_netcdf(tmp_path / "plan.nc")
    assert str(back) == str(found)
    np.testing.assert_array_equal(back.loss_at([1e9, 1e10]), found.loss_at([1e9, 1e10]))


def test_the_command_takes_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    frame = frame_of(SIZES, TOKENS, 1, factor=1.1)
    frame.rename(columns={"loss": "final"}).to_csv(path, index=False)
    words = ["chinchilla", "--compute", "1e22", "--columns", "loss=final", "--runs", str(path)]
    told = CliRunner().invoke(command, words)
    assert told.exit_code == 0, told.output
    assert "surface_contradicted" in told.output.splitlines()[1]
    plain = CliRunner().invoke(command, [*words, "--json"])
    assert json.loads(plain.stdout)["runs"]["contradicted"]
    # A column that is named goes before one that has our name already.
    frame.assign(final=frame["loss"], loss=1.0).to_csv(path, index=False)
    assert CliRunner().invoke(command, [*words, "--json"]).stdout == plain.stdout
    lacking = CliRunner().invoke(command, [*words[:4], "loss=fnal", *words[5:]])
    assert lacking.exit_code != 0
    assert "no column 'fnal'" in lacking.output


def test_a_run_s_own_unique_tokens_win_over_the_plan_s():
    frame = frame_of(SIZES[:1], TOKENS, 0)
    tokens = frame["tokens"].to_numpy()
    np.testing.assert_array_equal(_table(frame, 5e9, False).unique_tokens, np.minimum(tokens, 5e9))
    assert _table(frame.assign(unique_tokens=1e9), None, False).unique_tokens is None
    assert (_table(frame.assign(unique_tokens=1e9), None, True).unique_tokens == 1e9).all()
    own = frame.assign(unique_tokens=[1e9, np.nan, 2e10])
    assert _table(own, 5e9, False).unique_tokens.tolist() == [1e9, 5e9, 2e10]
    x = np.linspace(1e8, 4e9, 50)
    runs = lossfit.Runs.from_arrays(
        "tokens", np.tile(x, 2), np.tile(3 - x * 1e-10, 2), [0, 50, 100], ["said", "unsaid"],
        params=1e8, meta={"said": {"unique_tokens": 1e9}},
    )  # fmt: skip
    assert _table(runs, 2e9, False).unique_tokens.tolist() == [1e9, 2e9]
