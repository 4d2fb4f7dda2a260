"""What finished runs teach: B of the next one by plain loops, and which runs may teach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError
from lossfit.forecasts import learning
from lossfit.forecasts.learning import Priors, strength_from
from lossfit.laws import find
from lossfit.runs.logged_rate import axis_factor
from tests.curves import power_runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def plain_strength(b, sd, slope, shipped):
    """Mean and relative sd of the next run's B, from the words of `learn_priors`."""
    x, w = np.polynomial.hermite.hermgauss(9)
    nodes, node_weights = np.sqrt(2) * x, w / np.sqrt(np.pi)
    spreads = (0.1, 0.15, 0.22, 0.33, 0.5, 0.75)
    grid = [np.log(shipped) - 4 + 0.1 * k for k in range(61)]
    table = np.zeros((61, 6))
    for i, mu in enumerate(grid):
        for j, omega in enumerate(spreads):
            table[i, j] = -0.5 * ((mu - np.log(shipped)) / 0.7) ** 2
            table[i, j] -= 0.5 * (np.log(omega / 0.25) / 0.6) ** 2
            for value, own, steep in zip(b, sd, slope, strict=True):
                error = np.sqrt(own**2 + (0.1 * value) ** 2 + (0.1 * steep) ** 2)
                size = np.exp(mu + omega * nodes)
                likely = (node_weights * np.exp(-0.5 * ((value - size) / error) ** 2)).sum() / error
                table[i, j] += np.log(0.95 * likely + 0.05 * 0.3 / max(shipped, abs(value)))
    p = np.exp(table - table.max())
    p /= p.sum()
    mean = sum(p[i].sum() * mu for i, mu in enumerate(grid))
    spread = sum(p[i].sum() * (mu - mean) ** 2 for i, mu in enumerate(grid))
    spread += sum(p[:, j].sum() * omega**2 for j, omega in enumerate(spreads))
    least = 0.5 * 0.1 * np.median(slope) / np.exp(mean)
    return np.exp(mean), max(min(max(np.sqrt(spread), 0.15), 0.8), least)


@pytest.mark.parametrize("count", [1, 2, 5, 60])
@pytest.mark.parametrize("seed", range(6))
def test_the_next_run_s_b_by_plain_loops(count, seed):
    rng = np.random.default_rng([count, seed])
    shipped = 10 ** rng.uniform(-2, 0)
    b = shipped * np.exp(rng.normal(0.5, 0.4, count))
    if seed == 1:
        b[0] *= -30
    sd, slope = b.std() * 0.3 + 0.05 * np.abs(b), shipped * 10 ** rng.uniform(-3, 0.5, count)
    if seed == 5:
        slope *= 1e3  # errors of slopes leave only the least spread
    strength = strength_from(b, sd, slope, shipped)
    mean, relative = plain_strength(b, sd, slope, shipped)
    assert strength.mean == pytest.approx(mean, rel=1e-9)
    assert strength.sds == (pytest.approx(relative, rel=1e-9),)
    assert (strength.scales, strength.weights) == ((1.0,), (1.0,))


def test_spreads_have_limits():
    exact = strength_from(np.full(300, 0.1), np.full(300, 1e-4), np.full(300, 1e-4), 0.1)
    assert exact.sds[0] == pytest.approx(0.15)
    wild = strength_from(0.1 * 5.0 ** np.array([-2, 2, -2, 2, -2, 2.0]), np.full(6, 1e-3),
                         np.full(6, 1e-3), 0.1)  # fmt: skip
    assert 0.5 < wild.sds[0] <= 0.8


def made(reasons, b=None, sd=None):
    """Priors of runs whose posteriors are given."""
    n = len(reasons)
    law = learning._law()
    units = np.random.default_rng(2).dirichlet(np.ones(len(law.units)), n)
    b = np.full(n, 0.2) if b is None else np.array(b)
    sd = np.full(n, 0.02) if sd is None else np.array(sd)
    slope, level = np.full(n, 0.05), np.linspace(2, 3, n)
    names = tuple("abcdefgh"[:n])
    return learning._priors(names, b, sd, tuple(reasons), slope, level, units), units


def test_weights_of_responses_are_those_of_the_runs_and_of_three_more():
    """Run c is not used; B of run d is known to 40 %, which says nothing of the response."""
    priors, units = made(["", "", "no", ""], sd=[0.02, 0.069, 0.02, 0.08])
    shipped = np.array(learning._law().unit_weights)
    total = 3 * shipped / shipped.sum() + units[0] + units[1]
    np.testing.assert_allclose(priors.unit_weights, total / total.sum())
    assert priors.used == ("a", "b", "d")
    shipped_b = np.median(
        learning._law().strength.components(priors.level[[0, 1, 3]], tuple(shipped)).centre
    )
    expected = strength_from(
        priors.b[[0, 1, 3]], priors.b_sd[[0, 1, 3]], priors.slope[[0, 1, 3]], float(shipped_b)
    )
    assert priors.strength == expected


def test_one_run_is_not_enough():
    priors, _ = made(["", "no", "no"])
    law = find("annealing")
    assert priors.used == ()
    assert (priors.strength, priors.unit_weights) == (law.strength, law.unit_weights)
    assert repr(priors).startswith("<Priors") or "none of 3 runs is enough" in repr(priors)
    assert f"the shipped prior (B about {law.strength.mean:.3g})" in priors._line()
    assert str(priors).endswith("\n  b was not used: no\n  c was not used: no")
    both, _ = made(["", "", "no"])
    assert both._line() == (
        f"Priors from 2 of 3 runs: B about {both.strength.mean:.3g} (relative sd "
        f"{both.strength.sds[0]:.2f})"
    )


def test_some_of_the_runs_say_what_they_alone_would():
    priors, units = made(["", "", "no", "", ""], b=[0.1, 0.2, 0.3, 0.4, 0.5])
    some = priors.only(["e", "c", "a", "unknown"])
    assert (some.names, some.reasons, some.used) == (("a", "c", "e"), ("", "no", ""), ("a", "e"))
    np.testing.assert_array_equal(some.b, [0.1, 0.3, 0.5])
    np.testing.assert_array_equal(some.units, units[[0, 2, 4]])
    np.testing.assert_array_equal(some.level, priors.level[[0, 2, 4]])
    shipped = learning._law().strength.components(
        some.level[[0, 2]], learning._law().unit_weights
    ).centre  # fmt: skip
    assert some.strength == strength_from(
        some.b[[0, 2]], some.b_sd[[0, 2]], some.slope[[0, 2]], float(np.median(shipped))
    )
    assert priors.without("b").names == ("a", "c", "d", "e")
    assert priors.without("nobody") is priors


def test_the_frame_and_its_plain_data():
    priors, _ = made(["", "why", ""], b=[0.1, 0.2, 0.3], sd=[0.01, 0.02, 0.03])
    frame = priors.frame.set_index("run")
    np.testing.assert_allclose(frame["upper"] - frame["median"], 1.6448536 * priors.b_sd)
    np.testing.assert_allclose(frame["median"] - frame["lower"], 1.6448536 * priors.b_sd)
    assert frame["used"].tolist() == [True, False, True]
    assert frame["reason"].tolist() == ["", "why", ""]
    assert set(frame["prob"]) == {0.9} == {priors.prob}
    half = priors.interval(0.5)
    np.testing.assert_allclose(half["upper"] - half["lower"], 2 * 0.6744898 * priors.b_sd)
    whole = priors.interval()
    np.testing.assert_allclose(whole["upper"] - whole["lower"], 2 * 1.6448536 * priors.b_sd)
    data = priors.to_dict()
    assert (data["schema"], data["used"]) == ("lossfit.priors/1", ["a", "c"])
    assert data["strength"]["relative_sd"] == priors.strength.sds[0]
    assert [row["B"] for row in data["rows"]] == [0.1, 0.2, 0.3]


def unfit(rate, points=60, **schedule):
    """Why a run under a rate cannot teach."""
    step = np.arange(1.0, points + 1)
    frame = pd.DataFrame({"step": step, "loss": 2 + step**-0.3})
    if rate is not None:
        frame["lr"] = rate(step / points)
    runs = lossfit.Runs.from_frame(frame, **schedule)
    return learning._unfit(next(iter(runs)), "step")


@pytest.mark.parametrize(
    ("end", "words"),
    [(0.69, ""), (0.71, "its learning rate did not fall below 70% of its peak")],
)
def test_a_rate_must_fall_after_its_peak(end, words):
    """What came before the peak is no fall."""
    assert (
        unfit(lambda u: np.where(u < 0.2, 0.1 + 4.5 * u, 1 - (1 - end) * (u - 0.2) / 0.8)) == words
    )
    line = lossfit.schedules.from_points([0, 10, 60], [0.1, 1.0, end])
    runs = power_runs(1, points=60).with_schedule({"run0": line})
    short = lossfit.Runs.from_frame(runs.frame[["step", "loss"]].assign(step=np.arange(1.0, 61)))
    short = short.with_schedule(line)
    assert learning._unfit(next(iter(short)), "step") == words


@pytest.mark.parametrize(("points", "words"), [(39, "fewer than 40 points"), (40, "")])
def test_a_run_needs_forty_points(points, words):
    assert unfit(lambda u: 1.1 - u, points) == words


def test_a_rate_must_be_known():
    assert unfit(None) == "its schedule is not known"
    runs = power_runs(1, points=60).with_schedule(lossfit.schedules.linear(1.0, 500, axis="tokens"))
    with pytest.raises(DataError, match=r"run 'run0': its schedule counts tokens, which the run"):
        learning._unfit(next(iter(runs)), "step")
    hours = lossfit.Runs.from_arrays("hours", np.arange(1.0, 61), np.linspace(4, 3, 60))
    with pytest.raises(DataError, match="give total=, the planned end of the run on the axis 'ho"):
        axis_factor(next(iter(hours)), lossfit.schedules.linear(1.0, 500), "hours")


def test_a_run_whose_b_is_barely_known_is_not_used(monkeypatch):
    """Under the broad prior; a small B may be known well in units of the shipped one."""
    seen = {}

    def forecast(usable, law, axis, window, ends, plan, strength, **options):
        seen.update(ends=ends, options=options, centre=strength(np.full(3, 3.0)).sd)
        n = len(usable)
        names = list(learning_parameters)
        parameters = np.zeros((n, len(names), 4))
        for k in range(4):
            unit = law.units[k % 2]
            parameters[:, names.index("tau"), k] = unit.tau
            parameters[:, names.index("power"), k] = unit.power
        strength_table = np.array([[0.2, 0.069], [0.2, 0.071], [0.001, 0.9 * shipped * 0.35 * 0.6]])
        return type("Fitted", (), {
            "strength": strength_table, "slope": np.array([0.1, 0.2, 0.3]),
            "parameters": parameters,
        })  # fmt: skip

    from lossfit.kernels.forecast import PARAMETERS as learning_parameters

    law = learning._law()
    step = np.arange(1.0, 61)
    frame = pd.concat(
        pd.DataFrame({"run": name, "step": step, "loss": 3 + step**-0.3, "lr": 1.1 - step / 60})
        for name in "abc"
    )
    broad = learning.replace(law.strength, scales=(1.0,), sds=(3.0,), weights=(1.0,), slopes=np.inf)
    last = float(frame["loss"].iloc[-1])
    shipped = float(broad.components(np.array([last]), law.unit_weights).centre[0])
    monkeypatch.setattr(learning, "forecast", forecast)
    priors = lossfit.learn_priors(frame)
    assert isinstance(priors, Priors)
    assert priors.used == ("a", "c")
    assert priors.reasons[1] == "its B, 0.2, is known to +- 0.071 only"
    np.testing.assert_array_equal(priors.b, [0.2, 0.2, 0.001])
    np.testing.assert_array_equal(priors.slope, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(priors.level, last)
    expected = np.zeros(len(law.units))
    expected[:2] = 0.5
    np.testing.assert_array_equal(priors.units, np.tile(expected, (3, 1)))
    np.testing.assert_array_equal(seen["ends"], np.full((3, 1), 60.0))
