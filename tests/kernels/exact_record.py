"""What the oracle of `test_exact` says of its problems, kept beside it: it takes seconds for each.

    LOSSFIT_ORACLE=record python -m pytest tests/kernels/test_exact.py     # after a change
    LOSSFIT_ORACLE=compare python -m pytest tests/kernels/test_exact.py    # make nightly does

An answer is found by its problem and by the oracle's code, so that a change of either is noticed:
what is not found is computed.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tests.kernels import oracles
from tests.kernels.oracles import PROBABILITIES, Floats, Problem, Weighted, posterior

__all__ = ["Recorded", "key_of", "known_posterior", "recorded", "summary"]

RECORD = Path(__file__).with_name("exact_record.json")
SEED = 5


@dataclass(frozen=True)
class Recorded:
    """As `oracles.Weighted`, to those who want moments and these quantiles."""

    means: Floats
    sds: Floats
    at_probabilities: Floats

    def mean(self) -> Floats:
        return self.means

    def sd(self) -> Floats:
        return self.sds

    def quantiles(self, probabilities: Floats) -> Floats:
        assert np.array_equal(probabilities, PROBABILITIES)
        return self.at_probabilities


# What the answers depend on, besides the problem.
CODE = (
    oracles.posterior, oracles._draw, oracles._nodes, oracles._constrained, oracles.conditional,
    oracles.log_prior, oracles.values, oracles.Weighted,
)  # fmt: skip
THETA = np.array([[0.3, 0.9], [0.01, 0.02]])  # at which the columns of a law are looked at


@cache
def _code() -> str:
    """The oracle's code, without its comments and docstrings."""
    tree = ast.parse("\n".join(inspect.getsource(part) for part in CODE))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            first = body[0].value
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                del body[0]
    return ast.dump(tree)


def key_of(problem: Problem) -> str:
    """By its numbers to eight digits, as the last ones depend on the processor."""
    arrays = [problem.x, problem.y, problem.weight, problem.nonlinear, problem.mean, problem.sd]
    arrays += [problem.lower, problem.sigma, problem.design(THETA[: problem.n_nonlinear])]
    numbers = np.concatenate([np.ravel(array) for array in arrays])
    parts = [repr(problem.log), _code(), *(f"{number:.7e}" for number in numbers)]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def summary(exact: Weighted) -> list[list[float]]:
    """Means, standard deviations and the quantiles, as they are kept."""
    return [exact.mean().tolist(), exact.sd().tolist(), *exact.quantiles(PROBABILITIES).T.tolist()]


@cache
def recorded() -> dict[str, list[list[float]]]:
    """All that is kept."""
    found: dict[str, list[list[float]]] = json.loads(RECORD.read_text())
    return found


def known_posterior(problem: Problem) -> Recorded | Weighted:
    """The exact posterior: from the record, or computed."""
    kept = recorded().get(key_of(problem))
    if kept is None or "LOSSFIT_ORACLE" in os.environ:
        exact = posterior(problem, seed=SEED)
        _computed(problem, exact)
        return exact
    return Recorded(np.array(kept[0]), np.array(kept[1]), np.array(kept[2:]).T)


def _computed(problem: Problem, exact: Weighted) -> None:
    """Compare what was computed with the record, or note it there."""
    asked = os.environ.get("LOSSFIT_ORACLE")
    key, found = key_of(problem), summary(exact)
    if asked == "compare":
        np.testing.assert_allclose(found, recorded()[key], rtol=1e-3, atol=1e-6)
    elif asked == "record":
        record = {**json.loads(RECORD.read_text()), key: found}
        lines = [f'"{name}": {json.dumps(rows)}' for name, rows in sorted(record.items())]
        RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
