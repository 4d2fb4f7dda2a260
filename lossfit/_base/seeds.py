"""Random seeds: one integer for a call, one 64-bit key for a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

Seed = int | np.integer | np.random.Generator | None


def seed_integer(random_seed: Seed) -> int:
    """The integer that everything random in a call is derived from.

    Raises `DataError`: anything else.

    Parameters
    ----------
    random_seed : int, numpy.random.Generator or None
        An integer is taken as it is; a generator is asked for one; None takes fresh entropy.
    """
    if isinstance(random_seed, np.random.Generator):
        return int(random_seed.integers(2**63))
    if random_seed is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(random_seed, (int, np.integer)) and not isinstance(random_seed, bool):
        return int(random_seed)
    raise DataError(
        f"random_seed must be an integer, a numpy.random.Generator or None, got {random_seed!r}"
    )


def run_keys(seed: int, names: Sequence[str], purpose: str = "draws") -> NDArray[np.uint64]:
    """A key for every run that depends on the seed, the run's name and the purpose only.

    A run's draws are therefore the same whether it is fitted alone or among others.
    """
    secret = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=32).digest()
    keyed = hashlib.blake2b(key=secret, digest_size=8)
    keys = []
    for name in names:
        key = keyed.copy()  # half the work of keying each one
        key.update(name.encode())
        keys.append(key.digest())
    return np.frombuffer(b"".join(keys), dtype="<u8").astype(np.uint64)
