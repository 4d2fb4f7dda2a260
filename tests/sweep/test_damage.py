"""Every file of a store x six kinds of damage: found, and healed or refused by name."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import lossfit
from lossfit.cli.main import main
from lossfit.sweep import StoreError, fit_to, open_store, verify
from tests.sweep.curves import contents
from tests.sweep.damage import (
    KINDS,
    OPTIONS,
    damage,
    data,
    files,
    outcome,
    outcome_unfinished,
    pieces,
    values,
)

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "a.zarr"
    fit_to(store, data(), **OPTIONS)
    return store


def test_a_sample_of_files_and_damages(tmp_path, whole):
    rng = np.random.default_rng(1)
    cases = [(name, kind) for name in files(whole) for kind in KINDS]
    for k in rng.choice(len(cases), 8, replace=False):
        outcome(whole, tmp_path / "a.zarr", *cases[k], seed=int(k))


# Files that all others hang on.
ROOTS = (
    "zarr.json",
    "ledger/zarr.json",
    "ledger/plan/c/1",
    "ledger/end/c/0",
    "quantile/c/0",
    "parameter/c/0",
    "errors/message/c/0",
    "mean/c/1/0",
)


@pytest.mark.parametrize(("number", "name"), list(enumerate(ROOTS)))
def test_files_that_all_others_hang_on(tmp_path, whole, number, name):
    outcome(whole, tmp_path / "a.zarr", name, KINDS[number % 6], seed=number)


@pytest.mark.nightly(only="damages every file in every way")
def test_every_file_and_damage(tmp_path, whole, capsys):
    table = {kind: Counter() for kind in KINDS}
    for k, name in enumerate(files(whole)):
        for j, kind in enumerate(KINDS):
            table[kind][outcome(whole, tmp_path / "a.zarr", name, kind, seed=k + j)] += 1
    with capsys.disabled():
        print(f"\n{len(files(whole))} files")
        for kind, found in table.items():
            words = ", ".join(f"{count} {word}" for word, count in sorted(found.items()))
            print(f"{kind}: {words}")


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A store of a sweep that was stopped, and what it becomes."""
    place = tmp_path_factory.mktemp("unfinished")
    fit_to(place / "whole.zarr", pieces(), **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        fit_to(place / "part.zarr", pieces(5), **OPTIONS)
    return place / "part.zarr", place / "whole.zarr"


def test_a_sample_of_files_and_damages_of_a_sweep_that_was_stopped(tmp_path, unfinished):
    part, whole = unfinished
    cases = [(name, kind) for name in files(part) for kind in KINDS]
    for k in np.random.default_rng(2).choice(len(cases), 6, replace=False):
        outcome_unfinished(part, whole, tmp_path / "a.zarr", *cases[k], seed=int(k))
    for k, name in enumerate(("zarr.json", "ledger/zarr.json", "ledger/entry/c/0")):
        outcome_unfinished(part, whole, tmp_path / "a.zarr", name, KINDS[k], seed=k)


@pytest.mark.nightly(only="damages every file in every way")
def test_every_file_and_damage_of_a_sweep_that_was_stopped(tmp_path, unfinished, capsys):
    part, whole = unfinished
    table = Counter()
    for k, name in enumerate(files(part)):
        for j, kind in enumerate(KINDS):
            table[outcome_unfinished(part, whole, tmp_path / "a.zarr", name, kind, k + j)] += 1
    with capsys.disabled():
        print(f"\n{len(files(part))} files:", ", ".join(f"{n} {w}" for w, n in table.items()))


def test_everything_that_says_what_it_is_lost_at_once(tmp_path, whole):
    """Root, both plans and the end: resume knows it by its chunks, others refuse it by name."""
    import shutil

    store = tmp_path / "a.zarr"
    shutil.copytree(whole, store)
    for name in ("zarr.json", "ledger/plan/c/0", "ledger/plan/c/1", "ledger/end/c/0"):
        (store / name).unlink()
    for action in (lambda: verify(store), lambda: open_store(store)):
        with pytest.raises(StoreError, match=r"is no sweep's store"):
            action()
    with pytest.raises(StoreError, match=r"is no sweep's store"):
        fit_to(store, data(), resume=True, **{**OPTIONS, "draws": 9})
    assert fit_to(store, data(), resume=True, **OPTIONS).resumed == 7
    assert contents(store) == contents(whole)


def test_both_plans_lost(tmp_path, whole):
    import shutil

    store = tmp_path / "a.zarr"
    shutil.copytree(whole, store)
    for number in "01":
        (store / f"ledger/plan/c/{number}").write_bytes(b"")
    with pytest.raises(StoreError, match="both copies of the plan"):
        verify(store, repair=True)
    fit_to(store, data(), resume=True, **OPTIONS)
    assert contents(store) == contents(whole)


def test_any_reader_refuses_a_flipped_bit(tmp_path, whole):
    """zstd's own checksum: other tools know nothing of the ledger."""
    import shutil

    import zarr

    store = tmp_path / "a.zarr"
    shutil.copytree(whole, store)
    good = zarr.open_array(str(store / "mean"), mode="r")[:]
    file = store / "mean/c/0/0"
    data = file.read_bytes()
    refused = 0
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        file.write_bytes(changed)
        try:
            read = zarr.open_array(str(store / "mean"), mode="r")[:]
        except Exception:
            refused += 1
        else:
            np.testing.assert_array_equal(read, good)
    assert refused > 0.9 * len(data)


def test_a_reader_that_waits_is_told_too(tmp_path, whole):
    """Values are read late: the damage came after the store was opened."""
    import shutil

    store = tmp_path / "a.zarr"
    shutil.copytree(whole, store)
    opened = open_store(store)
    damage(store, "mean/c/1/0", "deleted", np.random.default_rng(0))
    np.testing.assert_array_equal(opened["sd"], values(whole)[0]["sd"])
    with pytest.raises(StoreError, match=r"mean/c/1/0 is missing"):
        opened["mean"].load()


def test_of_a_sweep_that_is_not_done(tmp_path):
    def stops():
        made = data()
        for name in ("run000", "run001", "run002", "run003", "run005"):
            yield lossfit.Runs.from_frame(made[made.run == name])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_to(tmp_path / "a.zarr", stops(), **OPTIONS)
    found = verify(tmp_path / "a.zarr")
    assert (found.whole, found.complete, found.chunks, found.runs) == (True, False, 1, 3)
    assert "--resume goes on with it" in str(found)
    (tmp_path / "a.zarr/zarr.json").write_bytes(b"")
    assert verify(tmp_path / "a.zarr", repair=True).whole
    assert open_store(tmp_path / "a.zarr").sizes["run"] == 3


def test_from_the_command_line(tmp_path, whole):
    import shutil

    store = tmp_path / "a.zarr"
    shutil.copytree(whole, store)

    def run(*arguments):
        return CliRunner().invoke(main, ["store", "verify", str(store), *arguments])

    assert run().exit_code == 0
    assert "none damaged" in run().stdout
    (store / "zarr.json").write_bytes(b"")
    found = run()
    assert found.exit_code == 1
    assert "! zarr.json is damaged: --repair writes it again" in found.stdout
    assert run("--repair").exit_code == 0
    (store / "mean/c/0/0").write_bytes(b"")
    found = run("--repair", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["faults"] == [
        {"file": "mean/c/0/0", "what": found_words(whole), "fix": "resume"}
    ]
    (store / "zarr.json").write_text("{}")
    assert CliRunner().invoke(main, ["store", "verify", str(tmp_path / "none")]).exit_code == 2


def found_words(whole):
    return f"has 0 bytes, not {(whole / 'mean/c/0/0').stat().st_size:,}"


def test_a_store_that_is_written_is_not_checked(tmp_path, whole):
    import shutil

    from lossfit.sweep.files import place_of

    store = tmp_path / "a.zarr"
    shutil.copytree(whole, store)
    writer = place_of(store)
    writer.lock()
    try:
        with pytest.raises(StoreError, match="another process is writing"):
            verify(store)
    finally:
        writer.close()
