from __future__ import annotations

import json
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import lossfit
from lossfit._base.errors import DataError, LossfitWarning
from lossfit.cli.plan import command
from lossfit.laws import chinchilla, data_constrained
from lossfit.laws.chinchilla import EPOCH
from lossfit.laws.data_constrained import MUENNIGHOFF
from lossfit.plans.build import plan
from lossfit.plans.result import Plan
from lossfit.surfaces.constants import Seen
from lossfit.surfaces.result import Surface

mpl.use("Agg")

CHINCHILLA = 6 * 70e9 * 1.4e12  # FLOP of the 70B on 1.4T tokens


def quiet(*args: object, **options: object) -> Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return plan(*args, **options)  # type: ignore[arg-type]


# Moments of the posterior of Chinchilla's law from 240 of the Chinchilla points: logarithms of E, A
# and B at the centre over the level, sigma, alpha, beta and nu.
CENTRE, LEVEL = (20.559282582879277, 23.553231356058664), 2.5969714788717795
MEAN = (-0.362903, -1.917064, -1.913351, -5.501135, -1.064349, -1.020794, 1.031829)
UPPER = (
        7.436341e-05, -1.845430e-04, -1.842983e-04, 1.131544e-04, 1.555384e-04, 1.581560e-04,
        3.047275e-04,
        1.144514e-03, -2.330857e-04, -3.395570e-04, -8.953807e-04, 1.497444e-04, -9.111130e-04,
        1.159621e-03, -2.202643e-04, 1.235026e-04, -9.451340e-04, -5.802357e-04,
        7.082844e-03, 2.638817e-04, 2.535199e-04, 1.042062e-02,
        7.255459e-04, -7.643211e-05, 7.159017e-04,
        8.001494e-04, 6.651127e-04,
        3.974476e-02,
)  # fmt: skip


@pytest.fixture(scope="module")
def surface() -> Surface:
    """Chinchilla's law taken for true: optima have a closed form."""
    covariance = np.zeros((7, 7))
    covariance[np.triu_indices(7)] = UPPER
    covariance += np.triu(covariance, 1).T
    normal = np.random.default_rng(0).standard_normal((1000, 7))
    z = np.exp(np.array(MEAN) + normal @ np.linalg.cholesky(covariance).T).T
    return Surface(
        law=chinchilla.LAW,
        table=None,
        values={
            "E": LEVEL * z[0],
            "A": LEVEL * z[1] * np.exp(z[4] * CENTRE[0]),
            "B": LEVEL * z[2] * np.exp(z[5] * CENTRE[1]),
            "alpha": z[4],
            "beta": z[5],
            "sigma": z[3],
            "nu": z[6],
        },
        method="published",
        summarised=Seen((5.7334e7, 1.6183e10), (8.1868e8, 3.1775e11), 1.2956e22),
    )


@pytest.fixture(scope="module")
def runs() -> lossfit.Runs:
    """Nine short finished runs with GPU-hours."""
    rng = np.random.default_rng(0)
    frames = []
    for n in (1e8, 4e8, 1.6e9):
        for d in (2e9, 1e10, 5e10):
            tokens = np.linspace(0.1, 1, 20) * d
            loss = chinchilla.loss(n, tokens, **EPOCH.values)
            loss = loss * np.exp(0.002 * rng.standard_normal())
            hours = 6 * n * tokens / 4e17
            name = f"{n:g} on {d:g}"
            frames.append(
                pd.DataFrame(
                    {"run": name, "tokens": tokens, "loss": loss, "gpu_hours": hours, "params": n}
                )
            )
    return lossfit.Runs.from_frame(pd.concat(frames))


def test_published_optimum() -> None:
    with pytest.warns(LossfitWarning, match="no_intervals"):
        found = plan("epoch", compute=CHINCHILLA, params=7e9)
    assert found.params[0] == pytest.approx(73e9, rel=0.005)
    assert found.tokens[0] == pytest.approx(1.34e12, rel=0.005)
    assert found.choice is not None
    assert found.choice.tokens == pytest.approx(14e12)
    assert found.choice.loss[0] == pytest.approx(2.0307, abs=1e-4)
    assert found.frame.loc[found.frame["of"] == "optimum", "lower"].isna().all()
    assert "90 %" not in str(found)


def test_posterior_of_the_optimum(surface: Surface) -> None:
    found = quiet(surface, compute=CHINCHILLA)
    n, d = chinchilla.optimum(CHINCHILLA, surface.values)
    np.testing.assert_allclose(found.params, n)
    np.testing.assert_allclose(found.tokens, d)
    frame = found.optimum
    assert frame.loc["params", "lower"] == pytest.approx(np.quantile(n, 0.05))
    assert frame.loc["tokens_per_param", "median"] == pytest.approx(np.median(d / n))
    assert frame.loc["params", "lower"] < 70e9 < frame.loc["params", "upper"]
    narrow = quiet(surface, compute=CHINCHILLA, prob=0.5).optimum
    assert narrow.loc["params", "lower"] > frame.loc["params", "lower"]


def test_decision_has_least_expected_loss(surface: Surface) -> None:
    for options in ({}, {"inference_tokens": 1e13}, {"unique_tokens": 2e11}):
        found = quiet(surface, compute=CHINCHILLA, **options)
        size = found.decision.params
        grid = size * np.geomspace(0.3, 3, 4001)
        expected = found.loss_at(grid).mean(axis=0)
        assert grid[expected.argmin()] == pytest.approx(size, rel=2e-3)
        assert found.decision.regret.min() > -1e-9
        assert found.decision.compute == pytest.approx(CHINCHILLA)


def test_numerical_optimum_against_a_search(surface: Surface) -> None:
    """Every draw's own optimum, with serving and with repeats, against a fine grid."""
    for options in ({"inference_tokens": 3e12}, {"unique_tokens": 1e11}):
        found = quiet(surface, compute=CHINCHILLA, **options)
        values = {name: draws[:20] for name, draws in found.problem.values.items()}
        for k in range(0, 20, 4):
            one = {name: draws[k] for name, draws in values.items()}
            n = found.params[k] * np.geomspace(0.1, 10, 20_001)
            d = CHINCHILLA / (6 * n) - options.get("inference_tokens", 0.0) / 3
            good = d > 1
            if "unique_tokens" in options:
                loss = data_constrained.loss(n[good], d[good], 1e11, one)
            else:
                plain = {name: one[name] for name in EPOCH.values}
                loss = chinchilla.loss(n[good], d[good], **plain)
            best = n[good][loss.argmin()]
            assert found.params[k] == pytest.approx(best, rel=1e-3)
            assert found.loss[k] <= loss.min() + 1e-9


def test_plenty_of_tokens_change_nothing(surface: Surface) -> None:
    plain = quiet(surface, compute=CHINCHILLA, params=7e9)
    plenty = quiet(surface, compute=CHINCHILLA, params=7e9, unique_tokens=1e16)
    np.testing.assert_allclose(plenty.params, plain.params, rtol=2e-3)
    np.testing.assert_allclose(plenty.loss, plain.loss, rtol=1e-7)
    assert plain.choice is not None
    assert plenty.choice is not None
    np.testing.assert_allclose(plenty.choice.regret, plain.choice.regret, atol=1e-6)


def test_serving_favours_small_models(surface: Surface) -> None:
    sizes = [
        float(np.median(quiet(surface, compute=CHINCHILLA, inference_tokens=t).params))
        for t in (1e9, 1e12, 1e13)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    found = quiet(surface, compute=CHINCHILLA, inference_tokens=1e13)
    n, d = found.decision.params, found.decision.tokens
    assert 6 * n * d + 2 * n * 1e13 == pytest.approx(CHINCHILLA)


def test_regret_is_paired_and_as_compute(surface: Surface) -> None:
    found = quiet(surface, compute=CHINCHILLA, params=7e9)
    one = found.choice
    assert one is not None
    plain = {name: surface.values[name] for name in EPOCH.values}
    loss = chinchilla.loss(7e9, 14e12, **plain)
    np.testing.assert_allclose(one.loss, loss)
    np.testing.assert_allclose(one.regret, loss - found.loss)
    # At its equivalent budget the optimum has just this loss.
    n, d = chinchilla.optimum(one.equivalent, surface.values)
    np.testing.assert_allclose(chinchilla.loss(n, d, **plain), loss, rtol=1e-6)
    regret = found.regret
    assert 0.04 < regret.loc["regret", "lower"] < 0.057 < regret.loc["regret", "upper"] < 0.08
    assert regret.loc["wasted", "median"] == pytest.approx(
        1 - np.median(one.equivalent) / CHINCHILLA
    )
    again = found.regret_of(params=7e9)
    np.testing.assert_array_equal(again.regret, one.regret)


@pytest.mark.parametrize("options", [{"inference_tokens": 5e12}, {"unique_tokens": 3e11}])
def test_equivalent_compute_with_constraints(surface: Surface, options: dict[str, float]) -> None:
    found = quiet(surface, compute=CHINCHILLA, params=20e9, **options)
    one = found.choice
    assert one is not None
    np.testing.assert_allclose(found.problem.best(one.equivalent)[2], one.loss, rtol=1e-5)
    assert (one.equivalent <= CHINCHILLA).all()


def test_no_choice_is_better_than_the_best_for_its_cost() -> None:
    """Least losses are looked for on grids, coarser than the difference of a good choice."""
    best = quiet("chinchilla", compute=1e21).decision
    assert (best.regret >= 0).all()
    assert (best.equivalent <= best.compute).all()


def test_seven_epochs(surface: Surface) -> None:
    """7B for 7 epochs over 1T tokens: its own compute is the budget."""
    with pytest.warns(LossfitWarning, match="repeats_from_prior"):
        found = plan(surface, unique_tokens=1e12, params=7e9, epochs=7)
    assert found.compute == pytest.approx(6 * 7e9 * 7e12)
    assert found.choice is not None
    assert found.choice.tokens == 7e12
    assert found.epochs is not None
    assert float(np.median(found.epochs)) < 1.2
    assert found.regret.loc["regret", "lower"] > 0.03
    # Worse than as many fresh tokens, better than stopping after one epoch.
    plain = {name: surface.values[name] for name in EPOCH.values}
    fresh = chinchilla.loss(7e9, 7e12, **plain)
    once = chinchilla.loss(7e9, 1e12, **plain)
    assert ((found.choice.loss > fresh) & (found.choice.loss < once)).all()
    # The published constants are the centre of what is assumed, to a factor of two.
    for name in ("R_D", "R_N"):
        logs = np.log(found.problem.values[name] / MUENNIGHOFF.values[name])
        assert abs(logs.mean()) < 0.1
        assert logs.std() == pytest.approx(np.log(2), rel=0.1)


def test_scarce_tokens_call_for_larger_models(surface: Surface) -> None:
    scarce = quiet(surface, compute=1e25, unique_tokens=1e12)
    plenty = quiet(surface, compute=1e25)
    assert np.median(scarce.tokens) > 1e12
    assert (scarce.loss > plenty.loss).all()


def test_published_law_of_repeats() -> None:
    """The authors' allocation for 9.2e21 FLOP and 25B tokens is close to the law's optimum."""
    found = quiet("muennighoff", params=6.34e9, tokens=242e9, unique_tokens=25e9)
    assert found.choice is not None
    assert found.choice.loss[0] == 2.2256440889984477
    assert 0 <= found.choice.regret[0] < 1e-3
    assert found.params[0] == pytest.approx(6.34e9, rel=0.15)


def test_runs(runs: lossfit.Runs) -> None:
    found = quiet(runs, gpu_hours=1e4, params=1e9)
    assert found.flops_per_gpu_hour == pytest.approx(4e17)
    assert found.compute == pytest.approx(4e21)
    assert {"throughput", "from_runs", "few_sizes", "cannot_tell"} <= set(found.flags)
    n = chinchilla.optimum(4e21, EPOCH.values)[0]
    lower, upper = np.quantile(found.params, [0.05, 0.95])
    assert lower < n < upper
    assert "these data can't tell" in str(found)
    assert found.surface.table is not None
    assert len(found.surface.table) == 9
    # The final loss is the mean over the last 1 % of the tokens: here the last point.
    assert found.surface.table.loss[0] == runs[runs.names[0]].loss[-1]
    with pytest.raises(DataError, match="at least 3 finished runs"):
        plan(runs.select(runs.names[:2]), compute=1e21)


def test_beyond_the_table(surface: Surface) -> None:
    with pytest.warns(LossfitWarning, match=r"far: the best choice lies 4[.]\d+x outside"):
        plan(surface, compute=CHINCHILLA)
    inside = quiet(surface, compute=1e21)
    assert not {"far", "beyond"} & set(inside.flags)


def test_same_seed_same_plan(surface: Surface) -> None:
    a, b, c = (
        quiet(surface, compute=1e22, unique_tokens=1e10, random_seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(a.loss, b.loss)
    assert not np.array_equal(a.loss, c.loss)
    one, other = (quiet("chinchilla", compute=1e22, random_seed=3, draws=200) for _ in range(2))
    np.testing.assert_array_equal(one.params, other.params)
    assert len(one.params) == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a budget"),
        ({"compute": 1e21, "gpu_hours": 5.0}, "one of compute= and gpu_hours="),
        ({"compute": -1.0}, "compute must be a positive number"),
        ({"compute": "much"}, "compute must be a positive number"),
        ({"gpu_hours": 5.0}, "needs flops_per_gpu_hour="),
        ({"compute": 1e21, "epochs": 2.0}, "unique_tokens"),
        ({"compute": 1e21, "tokens": 1e9, "epochs": 2, "unique_tokens": 1e9}, "tokens= and epochs"),
        ({"compute": 1e21, "params": 7e9, "inference_tokens": 1e15}, "takes the whole budget"),
        ({"compute": 1e21, "prob": 2.0}, "prob must be"),
        ({"compute": 1e21, "random_seed": "x"}, "random_seed must be"),
    ],
)
def test_bad_questions(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan("chinchilla", **options)  # type: ignore[arg-type]


def test_no_choice_no_regret(surface: Surface) -> None:
    found = quiet(surface, compute=1e21)
    with pytest.raises(DataError, match="asked about no choice"):
        _ = found.regret
    with pytest.raises(DataError, match="a choice is"):
        found.regret_of()


def test_other_budgets_are_flagged(surface: Surface) -> None:
    found = quiet(surface, compute=CHINCHILLA, params=7e9, tokens=2e12)
    assert "choice_budget" in found.flags
    assert "0.143x the budget" in str(found)


def test_text_and_json(surface: Surface) -> None:
    found = quiet(surface, compute=CHINCHILLA, params=7e9)
    text = str(found)
    assert text.startswith("How to spend 5.88e+23 FLOP; law chinchilla")
    assert "The choice: 7B parameters on 14T tokens" in text
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["schema"] == "lossfit.plan/1"
    assert {row["of"] for row in data["rows"]} == {"optimum", "decision", "choice"}
    assert set(found.draws) >= {"params", "tokens", "loss", "regret"}


def test_plot(surface: Surface, tmp_path: Path) -> None:
    from matplotlib import pyplot as plt

    ax = quiet(surface, unique_tokens=1e12, params=7e9, epochs=7).plot()
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "the choice: 7B on 7T" in labels
    assert "posterior of the best size" in labels
    quiet("epoch", compute=1e22).plot()
    plt.close("all")


def test_command(tmp_path: Path) -> None:
    run = CliRunner()
    answer = run.invoke(command, ["chinchilla", "--compute", "5.88e23", "--params", "7B"])
    assert answer.exit_code == 0
    assert "law coupled" in answer.output
    assert "best size" in answer.output
    params, tokens = np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(1e9, 1e12, 6))
    loss = chinchilla.loss(params, tokens, **EPOCH.values)
    loss *= np.exp(0.003 * np.random.default_rng(0).standard_normal(loss.shape))
    frame = pd.DataFrame(
        {"N": params.ravel(), "flops": (6 * params * tokens).ravel(), "loss": loss.ravel()}
    )
    path = tmp_path / "losses.csv"
    frame.to_csv(path, index=False)
    figure = tmp_path / "plan.png"
    options = ["--compute", "1e21", "--columns", "params=N", "--json", "--plot", str(figure)]
    answer = run.invoke(command, [str(path), *options])
    assert answer.exit_code == 0
    data = json.loads(answer.stdout)
    assert data["question"]["compute"] == 1e21
    assert figure.stat().st_size > 10_000
    answer = run.invoke(command, ["-", *options[:5]], input=frame.to_csv(index=False))
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)["rows"] == data["rows"]
    for bad in (
        ["nowhere.csv", "--compute", "1e21"],
        ["chinchilla"],
        [str(path), "--compute", "1e21"],
        [str(path), "--compute", "1e21", "--columns", "size=N"],
        ["chinchilla", "--compute", "lots"],
    ):
        answer = run.invoke(command, bad)
        assert answer.exit_code == 2, bad
        assert "error: " in answer.stderr.lower()
