"""A progress bar for long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]


@contextmanager
def bar(total: int, what: str, show: bool) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr; gives the function to call with the number of runs done, or None."""
    if not show:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=what, unit=" run") as shown:

        def advance(count: int) -> None:
            shown.update(count)

        yield advance
