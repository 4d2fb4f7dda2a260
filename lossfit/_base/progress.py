"""Long work: a progress bar for those who ask for one, and a line for those who wait."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PATIENCE = 2.0  # seconds without a word
_silent = False
_speaking = threading.Lock()  # held by the outermost `patience`: those within it are silent


@contextmanager
def bar(
    total: int,  # runs, or runs times laws
    what: str,  # what is done, as in "fitting"
    show: bool,  # whether to show a bar; if not, one line says what is done where it takes long
) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr; gives the function to call with the number of runs done, or None."""
    if not show:
        with patience(what):
            yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=what, unit=" run", delay=PATIENCE) as shown:

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
    done = threading.Event()
    clock = threading.Thread(target=_tell, args=(what, done), daemon=True)
    clock.start()
    try:
        yield
    finally:
        done.set()
        clock.join()
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


def _tell(what: str, done: threading.Event) -> None:
    """Say what is done, and on a terminal for how long, until it is done."""
    begun = time.monotonic() - PATIENCE
    if done.wait(PATIENCE):
        return
    say(f"{what} ...", end="" if _on_terminal() else "\n")
    if not _on_terminal():
        return
    while not done.wait(1.0):
        say(f"{what} ... {time.monotonic() - begun:.0f} s", end="", again=True)
    with suppress(AttributeError, OSError, ValueError):
        print(file=sys.stderr, flush=True)


def _on_terminal() -> bool:
    with suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one
        return bool(sys.stderr.isatty())
    return False


def _is_of_a_notebook(stream: object) -> bool:
    """Whether the stream is what a notebook's kernel puts in the place of stderr."""
    return type(stream).__module__.partition(".")[0] == "ipykernel"


def silence(silent: bool = True) -> None:
    """No word from now on, which ``--quiet`` asks for; or words again."""
    global _silent
    _silent = silent


def say(
    text: str,
    end: str = "\n",  # what follows it
    again: bool = False,  # whether it takes the place of the line before, which had no end
) -> None:
    """A line on stderr, where somebody sees it: a terminal, or a notebook."""
    stream = sys.stderr
    with suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one
        if not _silent and (stream.isatty() or _is_of_a_notebook(stream)):
            print(f"{chr(13) if again else ''}lossfit: {text}", file=stream, flush=True, end=end)
