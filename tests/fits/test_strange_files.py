"""`lossfit.from_netcdf` of files that are damaged, cut or edited: a `DataError`, or the fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import lossfit
from lossfit import DataError, priors, schedules
from lossfit._base.stored import SEAL, Stored, sealed
from lossfit.fits import storage
from lossfit.fits.storage import GROUP
from tests.curves import power_runs


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    runs = power_runs(3, tokens_per_step=500, params={"run1": 7e9}, meta={"run2": {"a": 1}})
    runs = runs.with_schedule({"run0": schedules.wsd(1e-3, 1000, decay=0.2)})
    path = tmp_path_factory.mktemp("file") / "fit.nc"
    lossfit.fit(runs, draws=40).to_netcdf(path)
    return path


@pytest.fixture(scope="module")
def data(file):
    with xr.open_dataset(file, group=GROUP, engine="h5netcdf") as opened:
        return opened.load()


def written(path, data, seal=True):
    """The dataset as a file whose checksum is right, so that the other checks are asked."""
    data = data.drop_vars(SEAL, errors="ignore")
    (sealed(data) if seal else data).to_netcdf(path, group=GROUP, engine="h5netcdf")
    return path


def test_a_changed_number_is_noticed(tmp_path, data):
    changed = data.copy(deep=True)
    changed["draws"].values[0, 0, 0] *= 1 + 1e-15
    changed.to_netcdf(tmp_path / "fit.nc", group=GROUP, engine="h5netcdf")
    with pytest.raises(DataError, match="checksum"):
        lossfit.from_netcdf(tmp_path / "fit.nc")


def test_a_file_without_a_seal_is_read(tmp_path, data):
    assert lossfit.from_netcdf(written(tmp_path / "fit.nc", data, seal=False)).runs.names


def test_a_file_that_is_refused_is_named(tmp_path, data):
    path = written(tmp_path / "fit.nc", data.drop_vars("start"))
    with pytest.raises(DataError, match=str(path)):
        lossfit.from_netcdf(path)


def read(data):
    """The fit of a dataset that was read from a file; to write each to one would take long."""
    return storage.read(Stored(data, "fit.nc", storage.WHAT))


def test_every_variable_but_the_optional_ones_is_needed(data):
    optional = {SEAL, "runs.lr"}
    for name in map(str, data.variables):
        if name in optional:
            read(data.drop_vars(name))
        else:
            with pytest.raises(DataError, match=r"fit\.nc"):
                read(data.drop_vars(name))


def edited(data, name, change):
    """The dataset with one variable changed."""
    variable = data[name]
    values = np.array(variable.values)
    changed = change(values)
    if changed.shape == values.shape:
        return data.drop_vars(name).assign({name: (variable.dims, changed)})
    dims = tuple(f"new{k}" for k in range(changed.ndim))
    return data.drop_vars(name).assign({name: (dims, changed)})


def put(place, value):
    def change(values):
        values = values.astype(float) if isinstance(value, float) else values
        values[place] = value
        return values

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("draws", put((0, 1, 2), np.nan)),
        ("draws", put((2, -1, 2), -0.1)),
        ("draws", lambda values: values[:, 1:]),
        ("draws", lambda values: values[:, :, 1:]),
        ("draws", lambda values: values.astype(str)),
        ("start", put(0, 1e9)),
        ("end", put(1, -1.0)),
        ("end", put(1, np.inf)),
        ("count", put(0, 10_000)),
        ("scales", put((0, 1), np.nan)),
        ("info", lambda values: values[:, :-1]),
        ("run", lambda values: np.array(["run0", "run0", "run2"])),
        ("runs.offsets", put(1, 10_000)),
        ("runs.offsets", put(1, -3)),
        ("runs.loss", put(3, np.nan)),
        ("runs.loss", put(3, 1e80)),
        ("runs.weight", put(3, 0.0)),
        ("runs.logged.step", put(3, np.nan)),
        ("runs.base", put(0, 99)),
        ("runs.base", put(0, 6)),
        ("runs.params", put(0, -1.0)),
        ("runs.spike", put(0, 7)),
        ("json.settings", lambda values: np.array("[")),
        ("json.settings", lambda values: np.array("[" * 100_000)),
        ("json.settings", lambda values: np.array("{}")),
        ("json.settings", lambda values: np.array("[1]")),
        ("json.law", lambda values: np.array('{"name": "power"}')),
        ("json.flags", lambda values: np.array("[[1]]")),
        ("json.flags", lambda values: np.array('[["nobody", "spike", 1, ""]]')),
        ("json.meta", lambda values: np.array('{"run0": 3}')),
        ("json.schedules", lambda values: np.array('{"run0": {"kind": "cosine"}}')),
        ("json.format", lambda values: np.array('"lossfit.fit/99"')),
    ],
)
def test_what_no_fit_gives_is_refused(data, name, change):
    with pytest.raises(DataError, match=r"fit\.nc"):
        read(edited(data, name, change))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chains", 0),
        ("chains", "two"),
        ("draws", 10**6),
        ("axis", "weeks"),
        ("prob", 2),
        ("random_seed", None),
        ("method", 3),
        ("more", 1),
    ],
)
def test_settings_of_another_kind_are_refused(data, field, value):
    def change(values):
        return np.array(json.dumps({**json.loads(str(values)), field: value}))

    with pytest.raises(DataError):
        read(edited(data, "json.settings", change))


@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_refused_or_do_not_matter(tmp_path, file):
    """Of a file that is cut or has bits flipped anywhere comes the fit, or a `DataError`."""
    whole = file.read_bytes()
    expected = lossfit.from_netcdf(file)
    rng = np.random.default_rng(0)
    refused = 0
    for k in range(60):
        damaged = bytearray(whole)
        if k % 4 == 0:
            del damaged[int(rng.integers(len(whole))) :]
        else:
            for at in rng.integers(len(whole), size=50):
                damaged[at] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"{k}.nc"
        path.write_bytes(damaged)
        try:
            found = lossfit.from_netcdf(path)
        except DataError:
            refused += 1
            continue
        np.testing.assert_array_equal(found.draws, expected.draws)
        assert found.runs == expected.runs
    assert refused > 30


@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan"), "a", None, 1e200])
def test_priors_of_absurd_size_are_refused(number):
    for make in (priors.normal, priors.lognormal, priors.inverse_gamma, priors.uniform):
        for pair in ((number, 1.0), (1.0, number)):
            with pytest.raises(DataError, match="a prior's"):
                make(*pair)


@pytest.mark.parametrize("prior", [1, "normal", None, (0, 1)])
def test_what_is_no_prior_is_refused(prior):
    with pytest.raises(DataError, match=r"lossfit\.priors"):
        lossfit.fit(power_runs(1), priors={"alpha": prior})


@pytest.mark.parametrize("at", [10**400, [1, 10**400], "1e400", float("inf"), 1e300])
def test_targets_of_absurd_size_are_refused(at):
    runs = power_runs(1)
    with pytest.raises(DataError):
        lossfit.extrapolate(runs, at=at)
    with pytest.raises(DataError):
        lossfit.fit(runs, draws=10).predict(at)
