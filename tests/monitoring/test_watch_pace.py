"""How often `watch` looks at a log: a fifth of the time at most goes into looking."""

from __future__ import annotations

import pytest

import lossfit
from lossfit.monitoring import watching


class EnoughError(Exception):
    pass


@pytest.mark.parametrize(
    ("took", "interval", "waits"),
    [(0.0, 5.0, 5.0), (1.0, 5.0, 5.0), (1.25, 5.0, 5.0), (3.0, 5.0, 12.0), (3.0, 0.0, 12.0)],
)
def test_what_takes_long_is_done_less_often(tmp_path, monkeypatch, took, interval, waits):
    now = [100.0]

    def read(log, whole):
        now[0] += took
        raise lossfit.DataError("not there yet")

    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise EnoughError

    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watching.Log, "read", read)
    updates = lossfit.watch(tmp_path / "log.csv", total=100, interval=interval, sleep=sleep)
    assert next(updates).problem == "not there yet"
    with pytest.raises(EnoughError):
        next(updates)
    assert slept == [pytest.approx(waits)] * 3
