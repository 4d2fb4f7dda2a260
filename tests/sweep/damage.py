"""Six kinds of damage to a file of a store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import lossfit
from lossfit.sweep import StoreError, fit_to, open_store, verify
from lossfit.sweep.result import _group
from tests.sweep.curves import contents, frame

KINDS = ("deleted", "empty", "truncated", "flipped bit", "garbage", "swapped")
OPTIONS = {"draws": 8, "chunk_runs": 3, "horizons": (2.0,), "axis": "step"}


def data() -> pd.DataFrame:
    """Seven runs in three chunks, one of which cannot be fitted."""
    made = frame(7)
    made.loc[made.run == "run004", "loss"] = np.nan
    return made


def files(store: Path) -> list[str]:
    return sorted(contents(store))


def other(store: Path, name: str) -> str:
    """The file to swap with: another chunk of the same array, else of another one."""
    head, _, chunk = name.rpartition("/c/")
    if head:
        for number in ("0", "1", "2"):
            for candidate in (chunk.replace(chunk[0], number, 1), chunk[:-1] + number):
                if candidate != chunk and (store / f"{head}/c/{candidate}").exists():
                    return f"{head}/c/{candidate}"
    wanted = name.rpartition("/")[2]
    return next(f for f in files(store) if f != name and f.rpartition("/")[2] == wanted)


def damage(store: Path, name: str, kind: str, rng: np.random.Generator) -> bool:
    """Damage a file; whether that changed anything."""
    file = store / name
    whole = file.read_bytes()
    if kind == "deleted":
        file.unlink()
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "truncated":
        file.write_bytes(whole[: int(rng.integers(1, len(whole)))])
    elif kind == "flipped bit":
        changed = bytearray(whole)
        changed[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
    elif kind == "garbage":
        file.write_bytes(rng.bytes(len(whole)))
    else:
        partner = store / other(store, name)
        file.write_bytes(partner.read_bytes())
        partner.write_bytes(whole)
    return not file.exists() or file.read_bytes() != whole


def values(store: Path) -> list[xr.Dataset]:
    """All that readers see."""
    return [open_store(store).load(), _group(store, "errors").load()]


@cache
def expected(whole: Path) -> list[xr.Dataset]:
    """The same of the store that is not damaged."""
    return values(whole)


def outcome(whole: Path, store: Path, name: str, kind: str, seed: int) -> str:
    """What became of a damaged file; an AssertionError where damage stayed unsaid.

    The store is damaged, checked, read, repaired (every other time) and resumed.
    """
    rng = np.random.default_rng(seed)
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(whole, store)
    if not damage(store, name, kind, rng):
        return "no change"
    found = verify(store)
    assert not found.whole
    assert name in [fault.file for fault in found.faults], found.faults
    try:
        seen = values(store)
        read = "read right"
    except StoreError:
        read = "refused"
    else:
        for was, now in zip(expected(whole), seen, strict=True):
            assert was.identical(now), "wrong values were read"
    healed = "resume"
    if seed % 2:
        repaired = verify(store, repair=True)
        if repaired.whole:
            healed = "repair"
            assert contents(store) == contents(whole)
        else:
            assert {f.fix for f in repaired.faults} <= {"repaired", "resume"}
    if healed == "resume":
        result = fit_to(store, data(), resume=True, **OPTIONS)
        assert contents(store) == contents(whole)
        assert result.redone or result.healed
    assert verify(store).faults == ()
    return f"{read}, healed by {healed}"


def outcome_unfinished(
    part: Path, whole: Path, store: Path, name: str, kind: str, seed: int
) -> str:
    """The same of a store whose sweep was stopped: what became of it, and of the sweep resumed."""
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(part, store)
    if not damage(store, name, kind, np.random.default_rng(seed)):
        return "no change"
    found = verify(store)
    assert found.whole or name in [fault.file for fault in found.faults], found.faults
    try:
        seen = values(store)
        read = "read right"
    except StoreError:
        read = "refused"
    else:
        for was, now in zip(expected(part), seen, strict=True):
            assert was.identical(now), "wrong values were read"
    fit_to(store, (one for one in pieces()), resume=True, **OPTIONS)
    assert contents(store) == contents(whole)
    assert verify(store).faults == ()
    return f"{read}, {'needed by nobody yet' if found.whole else 'found by name'}"


def pieces(stop: int | None = None) -> Iterator[lossfit.Runs]:
    """The runs one by one, as an iterator gives them; a KeyboardInterrupt before run `stop`."""
    made = data().dropna()
    for k, name in enumerate(dict.fromkeys(made.run)):
        if k == stop:
            raise KeyboardInterrupt
        yield lossfit.Runs.from_frame(made[made.run == name])
