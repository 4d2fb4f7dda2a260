"""Long work: a progress bar for those who ask for one, and a line for those who wait."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["bar", "patience", "quiet", "say"]

PATIENCE = 2.0  # seconds without a word
_speaking = threading.Lock()  # held by the outermost `patience`: those within it are silent


@contextmanager
def bar(total: int, what: str, show: bool) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr; gives the function to call with the number of runs done, or None.

    Parameters
    ----------
    total : int
        Runs, or runs times laws.
    what : str
        What is done, as in "fitting".
    show : bool
        Whether to show a bar; if not, one line says what is done where it takes long.
    """
    if not show:
        with patience(what):
            yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=what, unit=" run") as shown:

        def advance(count: int) -> None:
            shown.update(count)

        yield advance


@contextmanager
def patience(what: str) -> Iterator[None]:
    """Say what is done if it takes more than two seconds, to somebody who sees it.

    Parameters
    ----------
    what : str
        As in "fitting".
    """
    if not _speaking.acquire(blocking=False):
        yield
        return
    timer = threading.Timer(PATIENCE, say, (f"{what} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _speaking.release()


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is said of what runs within, however long it takes, and no timer waits to say it."""
    first = _speaking.acquire(blocking=False)
    try:
        yield
    finally:
        if first:
            _speaking.release()


def say(text: str) -> None:
    """A line on stderr, where somebody sees it: a terminal, or a notebook."""
    stream = sys.stderr
    with suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one
        if stream.isatty() or "ipykernel" in sys.modules:
            print(f"lossfit: {text}", file=stream, flush=True)
