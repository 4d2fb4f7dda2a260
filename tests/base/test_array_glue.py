from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import lossfit
from lossfit._base import array_glue as glue
from lossfit.engine.device_draws import DeviceDraws


def _numpy():
    return np


def _strict():
    return pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")


class Foreign(np.ndarray):
    """An array of a library whose arrays do not name their namespace, as CuPy's do not."""

    def __getattribute__(self, name):
        if name == "__array_namespace__":
            raise AttributeError(name)
        return super().__getattribute__(name)


@pytest.fixture(params=[_numpy, _strict], ids=["numpy", "strict"])
def xp(request):
    return request.param()


def given(xp, values):
    return xp.asarray(np.asarray(values))


def host(array):
    return np.asarray(array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (3, 1), (3, 2), (2, 5, 101)])
def test_summaries_are_those_of_numpy(xp, shape, dtype):
    draws = np.random.default_rng(3).standard_normal(shape).astype(dtype)
    mine = given(xp, draws)
    close = {"rtol": 1e-5 if dtype == np.float32 else 1e-12, "atol": 1e-6}
    np.testing.assert_allclose(host(glue.mean(mine)), draws.mean(axis=-1), **close)
    ddof = min(1, shape[-1] - 1)
    np.testing.assert_allclose(host(glue.sd(mine)), draws.std(axis=-1, ddof=ddof), **close)
    shares = (0.0, 0.05, 0.5, 0.93, 1.0)
    expected = np.quantile(draws, shares, axis=-1)
    found = glue.quantiles(mine, shares)
    assert found.dtype == mine.dtype
    np.testing.assert_allclose(host(found), expected, **close)
    described = host(glue.describe(mine, 0.9))
    assert described.shape == (5, *shape[:-1])
    np.testing.assert_allclose(described[3], np.median(draws, axis=-1), **close)
    np.testing.assert_allclose(host(glue.share_below(mine, 0.2)), (draws < 0.2).mean(-1), **close)
    level = draws[..., 0]
    np.testing.assert_allclose(
        host(glue.share_below(mine, given(xp, level))),
        (draws < level[..., None]).mean(-1),
        **close,
    )


def test_covariances(xp):
    draws = np.random.default_rng(4).standard_normal((3, 4, 50))
    found = host(glue.covariance(given(xp, draws)))
    np.testing.assert_allclose(found, [np.cov(one) for one in draws], rtol=1e-12)


def test_rows_with_nan_have_no_quantiles(xp):
    draws = np.array([[1.0, np.nan, 2.0], [1.0, 2.0, 4.0]])
    found = host(glue.quantiles(given(xp, draws), (0.0, 0.5)))
    assert np.isnan(found[:, 0]).all()
    assert found[:, 1].tolist() == [1.0, 2.0]


def test_arrays_without_a_namespace_are_known_by_their_module(monkeypatch):
    module = types.ModuleType("foreign")
    for name in ("astype", "mean", "sqrt", "sum"):
        setattr(module, name, getattr(np, name))
    monkeypatch.setitem(sys.modules, "foreign", module)
    monkeypatch.setattr(Foreign, "__module__", "foreign._core")
    monkeypatch.setattr(glue.np, "ndarray", type("Other", (), {}))
    array = np.arange(4.0).view(Foreign)
    assert glue.array_namespace(array) is module


def test_mixed_libraries_are_refused():
    strict = _strict()
    with pytest.raises(TypeError, match="one library"):
        glue.array_namespace(np.ones(2), strict.ones(2))
    with pytest.raises(TypeError, match="no array"):
        glue.array_namespace([1.0])


def parts_of(xp, draws, edges=(2, 3)):
    return DeviceDraws(tuple(given(xp, part) for part in np.split(draws, edges)))


@pytest.fixture
def draws():
    return np.random.default_rng(5).standard_normal((6, 3, 40))


def test_draws_on_gpus_are_one_array_in_parts(xp, draws):
    on_gpu = parts_of(xp, draws)
    assert on_gpu.shape == draws.shape
    assert len(on_gpu) == 6
    assert on_gpu.nbytes == draws.nbytes
    np.testing.assert_array_equal(on_gpu.to_host(), draws)
    for run in (*range(6), -1):
        np.testing.assert_array_equal(host(on_gpu[run]), draws[run])
    with pytest.raises(IndexError, match="there are 6 runs, no run 6"):
        on_gpu[6]
    rows = np.array([5, 0, 1, 4, 2])
    np.testing.assert_array_equal(on_gpu.select(rows).to_host(), draws[rows])
    assert "DeviceDraws of 6 runs, 3 parameters, 40 draws (" in repr(on_gpu)


def test_draws_on_gpus_are_summarised_there(xp, draws, monkeypatch):
    expected = glue.describe(draws, 0.8)
    on_gpu = parts_of(xp, draws.astype(np.float32))
    np.testing.assert_allclose(on_gpu.describe(0.8), expected, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr("lossfit.engine.device_draws.BLOCK", 1)  # a run at a time
    np.testing.assert_allclose(on_gpu.describe(0.8), expected, rtol=1e-6, atol=1e-7)

    law = types.SimpleNamespace(
        in_axis_units=lambda some, end: [some[:, 2, :] * end[:, None], some[:, 0, :], some[:, 1, :]]
    )
    found = on_gpu.describe(0.8, law, np.arange(6.0))
    np.testing.assert_allclose(found[0, :, 1], draws[:, 0].mean(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        found[0, :, 0], draws[:, 2].mean(-1) * np.arange(6), rtol=1e-5, atol=1e-6
    )


def test_parameters_are_turned_to_units_of_the_axis_there(xp):
    """Against the dense formula of the law power: A (x / end)^-alpha."""
    law, end = lossfit.laws.get("power"), np.array([10.0, 20.0])
    draws = np.abs(np.random.default_rng(3).standard_normal((2, len(law.parameters) + 1, 7)))
    values = [host(array) for array in law.in_axis_units(given(xp, draws), given(xp, end))]
    named = dict(zip((*law.parameters, "sigma"), values, strict=True))
    alpha, a = (draws[:, law.parameters.index(name)] for name in ("alpha", "A"))
    np.testing.assert_allclose(named["A"], a * end[:, None] ** alpha, rtol=1e-12)
    np.testing.assert_array_equal(named["sigma"], draws[:, -1])


def test_parts_must_agree():
    with pytest.raises(ValueError, match="at least one part"):
        DeviceDraws(())
    with pytest.raises(ValueError, match="agree"):
        DeviceDraws((np.zeros((2, 3, 4)), np.zeros((2, 3, 5))))
