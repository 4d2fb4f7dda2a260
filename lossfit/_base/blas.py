"""One BLAS thread where matrices are small: more threads wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's and SciPy's linear algebra use one thread meanwhile.

    The libraries keep that number for the whole process: others that compute at the same time have
    one thread, too, until this ends.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
