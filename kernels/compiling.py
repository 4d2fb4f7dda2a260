"""Kernels compiled by another Python: nobody waits for what takes a minute."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import cache
from .entries import is_compiled

__all__ = ["is_compiled", "lock", "start", "stay_with_parent", "wait"]

SECONDS = 900.0  # that compiling may take
TICK = 0.1
GO_ON = b"+"
_inside = "LOSSFIT_COMPILING"  # in the environment of the other Python
_processes: list[subprocess.Popen[bytes]] = []
# Pipes to them: one that closes without a word ends the Python that reads it.
_words: list[int] = []
_stopped = False  # whether somebody who waited gave up


@contextmanager
def lock() -> Iterator[bool]:
    """Whether this process may compile: one does at a time, where the system has file locks."""
    if not cache.writable():
        yield True
        return
    with open(Path(cache.folder) / "compiling", "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows: two may compile the same
            yield True
        except BlockingIOError:
            yield False
        except OSError:  # a file system without locks
            yield True
        else:
            yield True


def start() -> bool:
    """Have another Python compile all kernels, in the background; whether one does.

    It is a Python of its own and no fork: threads and their locks stay out of it, and the processes
    of a cluster, which may have no children of multiprocessing's, can start it too.  Where this
    process ends well it goes on: the next one then finds compiled kernels.  Where this one is
    killed, or is interrupted while it waits, it ends too.  None is started by a frozen program or
    where the cache cannot be written.
    """
    if _processes and _processes[-1].poll() is None:
        return True
    if os.environ.get(_inside) or getattr(sys, "frozen", False) or not sys.executable:
        return False
    if not cache.writable():
        return False
    # It shall find the same modules, wherever this one found them.
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    heard, said = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.warmup", "--background"],
            env={**os.environ, "PYTHONPATH": paths, _inside: "1"},
            stdin=heard,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        os.close(said)
        return False
    finally:
        os.close(heard)
    if not _words:
        atexit.register(_leave)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget)
    _processes.append(process)
    _words.append(said)
    return True


def _leave() -> None:
    """Tell the other Python to go on, unless somebody did not want to wait for it."""
    for said in _words if not _stopped else ():
        try:
            os.write(said, GO_ON)
        except OSError:  # it has ended
            continue


def _forget() -> None:
    """Close what a fork got of the pipes: it would keep them open when this process is killed."""
    for said in _words:
        os.close(said)
    _words.clear()


def stay_with_parent() -> None:
    """End this Python, which compiles in the background, when the one that started it is killed."""

    def listen() -> None:
        if os.read(0, 1) != GO_ON:
            os._exit(1)

    threading.Thread(target=listen, daemon=True).start()


def wait(kernels: tuple[str, ...], tell: Callable[[float], None] | None = None) -> bool:
    """Wait until another Python has compiled some kernels.

    Parameters
    ----------
    kernels : tuple of str
        Such as ``"driver._fit_range"``.
    tell : callable, optional
        Called now and then with the seconds that were waited.

    Returns
    -------
    bool
        Whether the kernels are in the cache now.  If not (no other Python could be started, or it
        failed), this process compiles for itself.
    """
    if is_compiled(*kernels):
        return True
    if not start():
        return False
    global _stopped
    try:
        return _wait(kernels, tell)
    except KeyboardInterrupt:
        _stopped = True
        raise


def _wait(kernels: tuple[str, ...], tell: Callable[[float], None] | None) -> bool:
    begin = time.monotonic()
    while time.monotonic() - begin < SECONDS:
        if is_compiled(*kernels):
            return True
        if _processes[-1].poll() is not None:
            with lock() as free:  # or a process of somebody else compiles
                if free:
                    return is_compiled(*kernels)
        if tell is not None:
            tell(time.monotonic() - begin)
        time.sleep(TICK)
    return False
