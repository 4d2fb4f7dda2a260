"""One small example of every kind of result: tests iterate over them."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd

import lossfit
from lossfit._base.results import Result

HOSTILE = (
    "<b>run & 'x'</b>\x1b[31m"  # a name that must reach neither a page nor a terminal as it is
)
DRAWS = 200


def every(kind: type[Result] = Result) -> list[type[Result]]:
    """All result classes of lossfit."""
    found = []
    for child in kind.__subclasses__():
        found += [child, *every(child)]
    return [each for each in found if each.__module__.startswith("lossfit.")]


def loaded() -> list[type[Result]]:
    """The same, once all public names are imported."""
    for name in lossfit.__all__:
        getattr(lossfit, name)
    from lossfit.ladders.answer import LadderAnswer  # noqa: F401

    return every()


@cache
def runs() -> lossfit.Runs:
    """Three runs with a learning rate, one with a hostile name."""
    parts = []
    for i, name in enumerate(("a", "b", HOSTILE)):
        step = np.arange(20.0, 1001.0, 20.0)
        lr = 1e-3 * (0.55 + 0.45 * np.cos(np.pi * step / 1000))
        noise = np.random.default_rng(i).normal(0, 0.005, step.size)
        loss = 2 + 0.1 * i + 3 * (step / 20) ** -0.5 + 120 * (lr - 1e-3) * 0.5 + noise
        parts.append(pd.DataFrame({"run": name, "step": step, "loss": loss, "lr": lr}))
    return lossfit.Runs.from_frame(pd.concat(parts))


@cache
def begun() -> lossfit.Runs:
    """Their first 60 %."""
    return runs().until(0.6)


@cache
def ladder_runs() -> lossfit.Runs:
    """Four sizes at constant rate."""
    parts = []
    for i, size in enumerate((1e7, 3e7, 1e8, 3e8)):
        tokens = np.geomspace(1e8, 20 * size, 40)
        noise = np.random.default_rng(i).normal(0, 0.004, 40)
        loss = 1.7 + 400 / size**0.34 + 410 / tokens**0.28 + noise
        parts.append(pd.DataFrame({"run": f"r{i}", "tokens": tokens, "loss": loss, "params": size}))
    return lossfit.Runs.from_frame(pd.concat(parts), tokens_per_step=1e5)


@cache
def table() -> pd.DataFrame:
    """Final losses."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
    loss *= np.exp(np.random.default_rng(0).normal(0, 0.003, n.size))
    return pd.DataFrame({"params": n, "tokens": d, "loss": loss})


@cache
def ladder() -> Any:
    """A ladder."""
    return lossfit.fit_ladder(ladder_runs())


def watched() -> Any:
    """An update of a watched log."""
    path = Path(mkdtemp()) / "log.csv"
    begun().select(["a"]).frame.drop(columns=["run", "spike"]).to_csv(path, index=False)
    return next(iter(lossfit.watch(path, total=1000, draws=DRAWS, once=True)))


MAKE = {
    "Answer": lambda: lossfit.extrapolate(begun(), HOSTILE, at=[800, 1000], draws=DRAWS),
    "Check": lambda: lossfit.backtest(runs(), draws=DRAWS),
    "Fit": lambda: lossfit.fit(begun(), "power", draws=DRAWS),
    "Ladder": ladder,
    "LadderAnswer": lambda: ladder().extrapolate(1e9, [1e10, 2e10], run=HOSTILE, draws=DRAWS),
    "Phases": lambda: lossfit.phases(runs().select([HOSTILE]), draws=DRAWS),
    "Plan": lambda: lossfit.plan("chinchilla", compute=1e22, params=7e9, draws=DRAWS),
    "Priors": lambda: lossfit.learn_priors(runs()),
    "Race": lambda: lossfit.race(begun(), until=1000, draws=DRAWS),
    "Report": lambda: lossfit.report(
        begun(), Path(mkdtemp()) / "page.html", run=HOSTILE, at=1000, most_phases=0, draws=DRAWS
    ),
    "Surface": lambda: lossfit.fit_surface(table(), "chinchilla", draws=DRAWS),
    "SweepResult": lambda: lossfit.fit_to(
        Path(mkdtemp()) / "store.zarr", begun(), law="power", draws=DRAWS
    ),
    "Tail": lambda: lossfit.best_tail(begun(), 1000, run=HOSTILE, draws=DRAWS),
    "Update": watched,
    "WhatIf": lambda: lossfit.what_if(begun(), HOSTILE, schedules=["linear"], draws=DRAWS),
}


@cache
def example(name: str) -> Any:
    """The example of a class."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        return MAKE[name]()
