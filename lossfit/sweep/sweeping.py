"""Fit a law to any number of runs, in bounded memory, into a store on disk: `fit_to`."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import as_in
from .._base.errors import DataError, warn
from .._base.seeds import Seed, seed_integer
from .._base.summaries import check_prob
from ..engine.devices import place
from ..fits.block import Sampler
from ..fits.fitting import fit
from ..fits.flags import ANSWER_MEANINGS, FIT_MEANINGS, QUIET
from ..runs.axes import check_axis
from ..runs.checks import axis_values, choose_axis, whole
from ..runs.known import Known
from .files import LocalPlace, Place, StoreError, place_of
from .ledger import stored_attrs
from .making import Made, finished
from .pieces import Piece, RunsPiece
from .reading import Chunk, Input, chunks, open_source
from .result import SweepResult
from .store import Store
from .work import Spec, fit_chunk

if TYPE_CHECKING:
    from ..fits.window import WindowSpec
    from ..laws import Law
    from ..laws.priors import Prior
    from ..runs.axes import AnyAxis

KEPT = ("draws", "summary", "quantiles")
HORIZONS = (1.25, 2.0)  # of keep="quantiles" where none are given
MOST_CHUNK, LEAST_CHUNK = 8192, 64
CHUNK_BYTES = 256 << 20  # of all that a chunk needs at a time
LOOKED_AT = 32  # runs from which the axis and the length of runs are learned

T = TypeVar("T")


@as_in(fit)
def fit_to(
    store: str | os.PathLike[str],
    source: Any,
    *,
    law: str | Law = "power_linear",
    axis: AnyAxis = "auto",
    window: WindowSpec = "auto",
    draws: int = 1000,
    keep: Literal["draws", "summary", "quantiles"] = "draws",
    at: ArrayLike | None = None,
    horizons: float | Sequence[float] | None = None,
    prob: float | Sequence[float] = 0.9,
    chunk_runs: int | None = None,
    on_error: Literal["record", "raise"] = "record",
    resume: bool = False,
    client: Any = None,
    device: str = "auto",
    dtype: str = "auto",
    random_seed: Seed = 0,
    progress: bool = False,
    method: Literal["auto", "quadrature", "ensemble", "emcee"] = "auto",
    noise: Literal["gaussian", "student_t"] = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    chains: int | None = None,
    tune: int | None = None,
    shard: tuple[int, int] | None = None,
    params: float | None = None,
    tokens_per_step: float | None = None,
    gpu_hours: float | None = None,
) -> SweepResult:
    """Fit a law to any number of runs, reading, fitting and writing them chunk by chunk.

    Parameters
    ----------
    store : path or str
        The Zarr store to write (needs ``lossfit[zarr]``): a folder, or the address of an object
        store that fsspec knows, such as ``s3://bucket/sweep.zarr``.  Nothing keeps two writers
        apart there.
    source : Runs, DataFrame, path, pyarrow.dataset.Dataset or iterable
        Where the runs come from.  A Parquet file or a folder of them is read run by run, in order
        of files and row groups, with Hive partitions as columns; the rows of a run lie together.
        Other paths are loaded whole by `lossfit.load`.  An iterable gives `Runs`, tidy frames, or
        ``(names, x, loss, offsets)`` (``x`` on `axis`), each with some whole runs.
    axis : str
        As in `lossfit.fit`; ``"auto"`` takes the first that the first runs have.  A run without it
        is an error of that run.
    keep : {"draws", "summary", "quantiles"}
        ``"draws"``: mean, sd, median and interval of every parameter, and all draws (group
        ``posterior``); ``"summary"``: without the draws; ``"quantiles"``: only the interval's ends
        and the median of parameters and predictions.
    at : array_like, optional
        Axis values at which the loss is predicted, the same for all runs; words such as ``"2x"``
        are horizons.
    horizons : sequence of float, optional
        The same as multiples of the last axis value of each run; with ``keep="quantiles"`` 1.25 and
        2 by default.
    prob : float or sequence of float
        Probability of the intervals; several give more quantiles.
    chunk_runs : int, optional
        Runs in a chunk of the store; by default as many as take 256 MiB, or a sixteenth of the
        memory, at most 8,192.
    on_error : {"record", "raise"}
        Whether a run that cannot be fitted goes to the store's table of errors, or ends the sweep.
    resume : bool
        Go on with a store that is there.  It then ends bit for bit as if it had never been
        interrupted; another input, version or setting is refused.  A store that is not there is
        started.
    client : distributed.Client or str, optional
        A Dask cluster, or its scheduler's address: each chunk is a task (needs ``lossfit[dask]``).
    random_seed : int, numpy.random.Generator or None
        Draws depend on it and on the run's name only, not on chunks or workers.
    progress : bool
        Show a bar with rate and time left.
    shard : (int, int), optional
        Number and count, such as (3, 16): fit only that share of the source (files of a Parquet
        dataset, items of an iterator, else runs), into a store of its own.
    params, tokens_per_step, gpu_hours : float, optional
        As in `Runs.from_frame`, the same for all runs.

    Returns
    -------
    SweepResult
        How many runs were fitted; ``result.open()`` is the store.

    Raises
    ------
    DataError
        Options that do not go together; a source that cannot be read; with ``on_error="raise"`` a
        run that cannot be fitted.
    StoreError
        A `DataError`: the store is there and resume is False; it was made from another input, with
        other settings or by another version; another process is writing to it; it cannot be written
        (``StoreWriteError``, an `OSError` too).  What was written before is kept.

    Warns
    -----
    LossfitWarning
        Once, if runs have flags that matter, or could not be fitted.

    Notes
    -----
    The store is as large as the chunks written; memory is that of three chunks, and 8 bytes a run
    with which a name that comes again is found (up to 16 million runs).

    Examples
    --------
    >>> import lossfit, tempfile
    >>> runs = lossfit.load("llama2")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = lossfit.fit_to(f"{folder}/sweep.zarr", runs, axis="tokens", draws=100)
    >>> result.runs, result.failed
    (4, 0)
    """
    begin = time.monotonic()
    if keep not in KEPT:
        raise DataError(f"keep must be 'draws', 'summary' or 'quantiles', got {keep!r}")
    if on_error not in ("record", "raise"):
        raise DataError(f"on_error must be 'record' or 'raise', got {on_error!r}")
    shard = _shard(shard)
    known = Known(params, tokens_per_step, gpu_hours)
    _need_zarr()
    where = place_of(store)
    stored = stored_attrs(where).get("settings", {}) if resume else {}
    if random_seed is None and "random_seed" in stored:
        random_seed = int(stored["random_seed"])
    if chunk_runs is None and "chunk_runs" in stored:
        chunk_runs = int(stored["chunk_runs"])
    # Before the input is read: a refusal should not take a pass through the data.
    _refuse_early(where, resume)
    with ExitStack() as stack:
        if client is not None:
            from .distributing import connected

            client = stack.enter_context(connected(client))
        source = open_source(source, axis, known, shard)
        axis, points = _look_ahead(source, axis)
        spec = _spec(
            law, axis, window, draws, keep, at, horizons, prob, chunk_runs, points, device, dtype,
            random_seed, method, noise, priors, chains, tune, client,
        )  # fmt: skip
        about = {"kind": source.kind, "hash": source.identity}
        if shard is not None:
            about["shard"] = f"{shard[0]}/{shard[1]}"
        target = stack.enter_context(Store(where, spec, about, resume))
        resumed = _sweep(target, source, on_error == "raise", client, progress)
        if changed := source.changed():
            raise StoreError(
                f"the input of {where.path} has changed while it was read: {changed}. Chunks may "
                f"be of the old and of the new one: give the old input again and resume=True "
                f"(--resume), or start another store"
            )
        target.finish()
        entries = target.entries.values()
        flags = Counter[str]()
        for entry in entries:
            flags.update(entry["flags"])
        result = SweepResult(
            path=where.path,
            runs=sum(entry["runs"] for entry in entries),
            failed=sum(entry["errors"] for entry in entries),
            resumed=resumed,
            redone=target.redone,
            seconds=time.monotonic() - begin,
            healed=tuple(sorted(target.healed)),
            flags=dict(flags.most_common()),
        )
    _warn(result, spec)
    return result


def _need_zarr() -> None:
    if find_spec("zarr") is None or find_spec("numcodecs") is None:
        raise DataError("a store needs zarr: pip install 'lossfit[zarr]'")


def _refuse_early(where: Place, resume: bool) -> None:
    if not isinstance(where, LocalPlace):
        return
    path = where.path
    if not resume and path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file: give the name of a new folder, such as sweep.zarr")
    if not path.exists() and path.parent.exists() and not path.parent.is_dir():
        raise StoreError(f"{path.parent} is no folder: give another place")


def _shard(shard: Any) -> tuple[int, int] | None:
    if shard is None:
        return None
    try:
        number, count = (int(part) for part in shard)
    except (TypeError, ValueError):
        number, count = 0, 0
    if not 0 <= number < count:
        raise DataError(f"shard is (number, count) with 0 <= number < count, got {shard!r}")
    return number, count


def _look_ahead(source: Input, axis: AnyAxis) -> tuple[AnyAxis, float]:
    """The axis, and points of a run; the pieces looked at are put back."""
    if axis != "auto":
        check_axis(axis)
    taken: list[Piece] = []
    problem: DataError | None = None
    points = 0.0
    looked = 0
    for piece in source.pieces:
        taken.append(piece)
        count = len(piece.names)
        if not count:
            continue
        points = points or float(piece.lengths.mean())
        if axis != "auto":
            break
        if isinstance(piece, RunsPiece):
            axis = choose_axis(piece.runs(), axis)
            break
        few = min(count, LOOKED_AT)
        for first, last in ((0, few), *((k, k + 1) for k in range(few))):
            try:
                axis = choose_axis(piece.part(first, last).runs(), axis)
                break
            except DataError as error:
                problem = problem or error
        looked += few
        if axis != "auto" or looked > 10 * LOOKED_AT:
            break
    source.pieces = chain(taken, source.pieces)
    if not taken or not points:
        raise DataError("the source has no runs")
    if axis == "auto":
        raise DataError(f"none of the first {looked} runs can be read: {problem}")
    return axis, points


def _spec(
    law: str | Law, axis: str, window: Any, draws: int, keep: str, at: Any, horizons: Any,
    prob: Any, chunk_runs: int | None, points: float, device: str, dtype: str, random_seed: Seed,
    method: str, noise: str, priors: Mapping[str, Prior] | None, chains: int | None,
    tune: int | None, client: Any,
) -> Spec:  # fmt: skip
    """Check and settle all options."""
    from .. import __version__
    from ..fits.window import _one

    sampler = Sampler.of(
        law,
        priors,
        method=method,
        noise=noise,
        draws=whole(draws, "draws", 1),
        chains=chains,
        tune=tune,
    )
    for rule in window.values() if isinstance(window, Mapping) else [window]:
        _one(rule, None, 0.0)
    if isinstance(window, Mapping):
        window = dict(window)
    values, ratios = _targets(at, horizons, keep)
    if client is None:
        where = place(sampler.work, device, dtype)
        settled = where.device, where.dtype
    else:
        from .distributing import place_on

        settled = place_on(client, sampler.work, device, dtype)
    spec = Spec(
        sampler=sampler,
        axis=axis,
        window=window,
        keep=keep,
        at=values,
        horizons=ratios,
        probs=_probs(prob),
        seed=seed_integer(random_seed),
        device=settled[0],
        dtype=settled[1],
        chunk_runs=1,
        version=__version__,
    )
    size = _chunk_runs(spec, points) if chunk_runs is None else whole(chunk_runs, "chunk_runs", 1)
    return replace(spec, chunk_runs=size)


def _probs(prob: Any) -> tuple[float, ...]:
    given = [prob] if isinstance(prob, (int, float, np.number, str)) else list(prob)
    if not given:
        raise DataError("prob needs a probability such as 0.9")
    return tuple(sorted({check_prob(level) for level in given}, reverse=True))


def _targets(at: Any, horizons: Any, keep: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Axis values and horizon ratios."""
    ratios: list[float] = []
    values: list[float] = []
    given: list[Any] = []
    if at is not None:
        given = list(at) if isinstance(at, (list, tuple)) else np.atleast_1d(at).tolist()
    for value in given:
        if isinstance(value, str) and value.strip().endswith("x"):
            ratios.append(_ratio(value.strip()[:-1]))
        else:
            values += axis_values(value).tolist()
    if horizons is not None:
        horizon_list = [horizons] if isinstance(horizons, (str, int, float)) else list(horizons)
        ratios += [_ratio(value) for value in horizon_list]
    if keep == "quantiles" and not values and not ratios:
        ratios = list(HORIZONS)
    return tuple(dict.fromkeys(values)), tuple(dict.fromkeys(ratios))


def _ratio(value: Any) -> float:
    try:
        ratio = float(str(value).removesuffix("x"))
    except ValueError:
        ratio = np.nan
    if not (np.isfinite(ratio) and ratio > 0):
        raise DataError(f"a horizon is a positive multiple of the data such as 2.0, got {value!r}")
    return ratio


def _chunk_runs(spec: Spec, points: float) -> int:
    """Runs whose data and results fit in memory several times."""
    inner = len(spec.parameters) * 6 + len(spec.targets) * 8 + 16
    draws = len(spec.parameters) * spec.sampler.n_draws if spec.keep == "draws" else 0
    each = 8 * (3 * inner + 4 * draws + 8 * points)
    most = CHUNK_BYTES
    with suppress(AttributeError, ValueError, OSError):  # where the system does not say
        most = min(most, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 16)
    size = 1 << max(int(np.log2(max(most / each, 1))), 0)
    return int(min(max(size, LEAST_CHUNK), MOST_CHUNK))


def _sweep(target: Store, source: Input, raising: bool, client: Any, progress: bool) -> int:
    """Do what is missing; the number of runs that were there before."""
    spec = target.spec
    bar = _Bar(source, progress)
    resumed = 0
    met = -1

    def missing() -> Generator[Chunk, None, None]:
        nonlocal resumed, met
        with closing(ahead(chunks(source.pieces, spec.chunk_runs))) as pieces:
            for chunk in pieces:
                met = chunk.number
                bar.read(chunk)
                entry = target.entries.get(chunk.number)
                if entry is None:
                    yield chunk
                    continue
                if entry["input"] != chunk.hash or entry["runs"] != len(chunk.names):
                    raise StoreError(
                        f"the input of {target.place.path} has changed: runs {chunk.first:,} to "
                        f"{chunk.first + len(chunk.names) - 1:,} are not those that are in the "
                        f"store. Give the same input, or another store"
                    )
                resumed += entry["runs"]
                bar.skip(entry["runs"])

    def take(made: Made) -> None:
        if raising and made.failures:
            raise DataError(made.failures[0].message)
        target.take(made)
        bar.failed(len(made.failures))

    with bar, closing(missing()) as wanted:
        if client is not None:
            from .distributing import made_by

            with closing(made_by(client, wanted, spec, bar.advance)) as ready:
                for made in ready:
                    take(made)
        else:
            _here(wanted, spec, take, bar.advance)
    over = sorted(number for number in target.entries if number > met)
    if over:
        raise StoreError(
            f"the input of {target.place.path} has changed: it ends before run "
            f"{over[0] * spec.chunk_runs:,}, which is in the store. Give the same input, or "
            f"another store"
        )
    return resumed


def _here(
    missing: Iterator[Chunk],
    spec: Spec,
    take: Callable[[Made], None],
    advance: Callable[[int], None],
) -> None:
    """Fit chunks in this process, and write each while the next is fitted."""
    with ThreadPoolExecutor(1) as writer:
        last: Future[None] | None = None
        try:
            for chunk in missing:
                fitted = fit_chunk(chunk, spec, None, advance)
                if last is not None:
                    last.result()
                last = writer.submit(
                    lambda c=chunk, f=fitted: take(finished(c, spec, f))  # type: ignore[misc]
                )
        finally:
            if last is not None:
                last.result()


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, each made by a thread while the one before is used."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(1)
    stop = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    reader = threading.Thread(target=read, name="lossfit-reader", daemon=True)
    reader.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        reader.join(10)  # unless the source itself is stuck


class _Bar:
    """A bar on stderr: runs done, rate, time left, errors."""

    def __init__(self, source: Input, show: bool) -> None:
        self.source = source
        self.runs = self.rows = self.errors = 0
        self.bar: Any = None
        if show:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=source.runs, desc="fitting", unit=" run", dynamic_ncols=True)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def read(self, chunk: Chunk) -> None:
        """A chunk was read: where only the number of rows is known, it tells that of runs."""
        self.runs += len(chunk.names)
        self.rows += chunk.rows
        if self.bar is not None and self.source.rows is not None:
            self.bar.total = round(self.runs * self.source.rows / max(self.rows, 1))

    def advance(self, count: int) -> None:
        """So many runs were done."""
        if self.bar is not None:
            self.bar.update(count)

    def skip(self, count: int) -> None:
        """So many were there before: they say nothing of the rate."""
        if self.bar is not None:
            self.bar.initial += count
            self.bar.n += count
            self.bar.refresh()

    def failed(self, count: int) -> None:
        """So many could not be fitted."""
        self.errors += count
        if count and self.bar is not None:
            self.bar.set_postfix(errors=self.errors)


def _warn(result: SweepResult, spec: Spec) -> None:
    """One warning for all runs."""
    from ..runs.cleaning import MEANINGS

    words = []
    if result.failed:
        words.append(
            f"{result.failed:,} of {result.runs:,} runs could not be fitted (SweepResult.errors "
            f"says why)"
        )
    meanings = {**MEANINGS, **FIT_MEANINGS, "broken": ANSWER_MEANINGS["broken"]}
    words += [
        f"{flag} ({count:,} run{'s' if count > 1 else ''}): {meanings.get(flag, '')}"
        for flag, count in result.flags.items()
        if flag not in QUIET and not (flag == "spike" and spec.sampler.noise == "student_t")
    ]
    warn(f"sweep of {spec.law.name} to {result.path}", "; ".join(words), stacklevel=2)
