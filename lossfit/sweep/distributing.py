"""Chunks on a Dask cluster: one task a chunk; this process reads, and alone writes the store.

That the client writes keeps the promise of one writer, needs no shared disk and lets a worker die
at any moment: it has nothing that counts.  A task has one slot of its worker, so it uses one
thread: give workers as many slots as they have processors (or, with GPUs, one for each GPU).
"""

from __future__ import annotations

import warnings
from asyncio import CancelledError
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from .._base.errors import DataError
from ..engine.devices import Work
from .making import Made, make
from .reading import Chunk
from .work import Spec

RETRIES = 5  # of a chunk whose worker was lost, beyond the scheduler's own
CONNECT_SECONDS = 20.0
AHEAD = 2  # chunks for each slot that are on their way: one is fitted, one waits


@contextmanager
def connected(client: Any) -> Iterator[Any]:
    """A client as it is, or connected to an address for the time being.

    Raises `DataError`: distributed is not installed; nobody answers at the address.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise DataError("client= needs Dask: pip install 'lossfit[dask]'") from None
    if isinstance(client, distributed.Client):
        yield client
        return
    if not isinstance(client, str):
        raise DataError(
            f"client must be a distributed.Client or the address of a scheduler, got "
            f"{type(client).__name__}"
        )
    try:
        client_of_address = distributed.Client(client, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise DataError(
            f"there is no Dask scheduler at {client!r} ({error}): start one with `dask scheduler`"
        ) from None
    with client_of_address:
        yield client_of_address


def place_on(client: Any, work: Work, device: str, dtype: str) -> tuple[str, str]:
    """Where a worker computes; `DataError` or `DeviceError` where it cannot."""
    client.wait_for_workers(1, timeout=60)
    placed: tuple[str, str] = client.submit(_place, work, device, dtype, pure=False).result()
    return placed


def _place(work: Work, device: str, dtype: str) -> tuple[str, str]:
    from ..engine.devices import place

    placed = place(work, device, dtype)
    return placed.device, placed.dtype


def _task(chunk: Chunk, spec: Spec) -> Made:
    """What a worker does."""
    from .. import __version__

    if spec.version != __version__:
        raise DataError(
            f"a worker has lossfit {__version__}, the client {spec.version}: install one version"
        )
    return make(chunk, spec, threads=1)


def made_by(
    client: Any, chunks: Iterator[Chunk], spec: Spec, progress: Callable[[int], None] | None
) -> Generator[Made, None, None]:
    """Chunks in whatever order they are ready; `Made` of each.

    Raises `DataError`: a chunk that cost several workers their life; a scheduler that is gone.
    """
    distributed: Any = import_module("distributed")

    under_way: dict[Any, tuple[Chunk, int]] = {}

    def submit(chunk: Chunk, tries: int) -> None:
        with warnings.catch_warnings():
            # The runs travel with the task, so that no worker's death can lose them.
            warnings.filterwarnings("ignore", message="Sending large graph")
            future = client.submit(_task, chunk, spec, pure=False, retries=RETRIES)
        under_way[future] = chunk, tries

    def some_ready() -> Iterator[Made]:
        done, _ = distributed.wait(list(under_way), return_when="FIRST_COMPLETED")
        for future in sorted(done, key=lambda task: str(task.key)):
            chunk, tries = under_way.pop(future)
            try:
                made: Made = future.result()
            except distributed.scheduler.KilledWorker as error:
                if tries >= RETRIES:
                    raise DataError(
                        f"a chunk of runs was lost with its worker {tries + 1} times ({error}): "
                        f"give workers more memory, or use a smaller chunk_runs; what was written "
                        f"before is kept, and resume=True goes on from there"
                    ) from None
                submit(chunk, tries + 1)
                continue
            finally:
                future.release()
            if progress is not None:
                progress(made.runs)
            yield made

    try:
        for chunk in chunks:
            slots = sum(client.nthreads().values()) or 1
            while len(under_way) >= AHEAD * slots:
                yield from some_ready()
            submit(chunk, 0)
        while under_way:
            yield from some_ready()
    except (Exception, CancelledError) as error:
        if isinstance(error, DataError) or client.status == "running":
            raise
        raise DataError(
            "the Dask scheduler is gone: start it again, with its workers. What was written "
            "before is kept, and resume=True (--resume) goes on from there"
        ) from error
    finally:
        if client.status == "running":
            client.cancel(list(under_way))
