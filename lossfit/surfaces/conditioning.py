"""From a batch of posteriors to one table's draws, in its own units, and what its law misses."""

from __future__ import annotations

import numpy as np

from .._base.ragged import Floats
from .._base.seeds import run_keys
from ..laws import SurfaceLaw
from .batch import Batch, Posterior
from .forms import mean
from .missed import Conditioned, Missed
from .table import Table


def values_of(batch: Batch, b: int, posterior: Posterior, law: SurfaceLaw) -> dict[str, Floats]:
    """Parameters in their own units, then sigma and kappa, each of shape (draws,)."""
    theta, level = posterior.theta, batch.level[b]
    alpha, beta = np.exp(theta[:, 3]), np.exp(theta[:, 4])
    found = {
        "E": level * np.exp(theta[:, 0]),
        "A": level * np.exp(theta[:, 1] + alpha * batch.centre[b, 0]),
        "B": level * np.exp(theta[:, 2] + beta * batch.centre[b, 1]),
        "alpha": alpha,
        "beta": beta,
        "gamma": np.exp(theta[:, 5]),
    }
    out = {name: found[name] for name in law.parameters}
    if "gamma" not in law.parameters:
        out["E"] = np.zeros(len(theta))
    return {**out, "sigma": posterior.sigma, "kappa": posterior.kappa}


def missed_of(table: Table, batch: Batch, b: int, posterior: Posterior, seed: int) -> Missed:
    """What the law misses in each of the draws; drawn when it is first asked for."""
    valid = batch.valid[b]
    fitted, _ = mean(posterior.theta, batch.n[b], batch.d[b])
    keys = run_keys(seed, ["functions", "last"], "missed")
    paths = Conditioned(
        sizes=np.log(table.params)[valid[: len(table)]],
        budgets=np.log(table.tokens)[valid[: len(table)]],
        size=batch.size[b, valid],
        noise=batch.noise[b, valid],
        residual=(batch.y[b] - fitted)[:, valid],
        sigma=posterior.sigma,
        kappa=posterior.kappa,
        turn=batch.turn[b][valid],
        eigenvalues=batch.eigenvalues[b],
        seed=int(keys[0]),
    )
    last = np.random.default_rng(int(keys[1])).standard_t(4, len(posterior.sigma))
    return Missed(
        paths,
        (float(batch.centre[b, 0]), float(batch.centre[b, 1])),
        float(batch.level[b]),
        float(np.log(table.compute.max())),
        last,
    )
