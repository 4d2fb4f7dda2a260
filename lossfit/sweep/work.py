"""The fit of one chunk: what threads and workers do.  Results depend on the runs and the `Spec`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import laws
from .._base.errors import DeviceError
from .._base.ragged import Floats
from .._base.summaries import MOMENTS, quantiles
from ..fits.block import Sampler
from ..laws.stored import priors_of
from ..runs.broken import broken_runs
from .pieces import Piece

if TYPE_CHECKING:
    from ..engine.devices import Place
    from ..laws import Law
    from .reading import Chunk

BLOCK_RUNS = 256  # runs that a thread takes at once, for draws that stay in the cache ...
BLOCK_POINTS = 1 << 18  # ... and their points
GPU_RUNS = 16384  # the same where a GPU is to be kept busy
DIAGNOSTICS = ("effective_nodes", "bound_share", "acceptance", "rho1")
# What no run is to blame for: it ends the sweep.
FATAL = (MemoryError, OSError, DeviceError, ImportError)
MESSAGE = 600  # characters of an error that are kept


@dataclass(frozen=True)
class Spec:
    """What is to be done with every run; all "auto" settled but the window's rule."""

    sampler: Sampler  # the law, and how each run's posterior is drawn
    axis: str
    window: Any
    keep: str  # {"draws", "summary", "quantiles"}
    at: tuple[float, ...]  # axis values at which the loss is predicted
    horizons: tuple[float, ...]  # the same as multiples of each run's last axis value
    probs: tuple[float, ...]  # probabilities of intervals, the widest first
    seed: int
    # device, dtype: settled: "cpu", or "cuda:0" and the like
    device: str
    dtype: str
    chunk_runs: int
    version: str  # of lossfit

    def __getstate__(self) -> dict[str, Any]:
        # A law of lossfit's own goes by its name: Numba rebuilds pickled functions, and what it
        # compiles of these differs in the last bits.
        state = dict(vars(self))
        law = self.law
        if law.name in laws.NAMES and laws.get(law.name).columns == law.columns:
            named = law.name, priors_of(law)
            state["sampler"] = {**vars(self.sampler), "law": named}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["sampler"], dict):
            name, priors = state["sampler"]["law"]
            law = laws.get(name).with_priors(priors)
            state = {**state, "sampler": Sampler(**{**state["sampler"], "law": law})}
        self.__dict__.update(state)

    @property
    def law(self) -> Law:
        """The law with its priors."""
        return self.sampler.law

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, sigma last."""
        return (*self.law.parameters, "sigma")

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The ends of the intervals and the median, increasing."""
        low = [(1 - prob) / 2 for prob in self.probs]
        return tuple(round(q, 12) for q in sorted({*low, 0.5, *(1 - q for q in low)}))

    @property
    def targets(self) -> tuple[str, ...]:
        """Words for the places at which the loss is predicted."""
        return (*(f"{h:g}x" for h in self.horizons), *(f"{at:.12g}" for at in self.at))

    def settings(self) -> dict[str, Any]:
        """As plain data; two sweeps of the same settings and input give the same store."""
        law = self.law
        priors = {name: asdict(prior) for name, prior in priors_of(law).items()}
        window = self.window
        if isinstance(window, (tuple, list)):
            window = list(map(float, window))
        return {
            "law": law.name,
            "formula": law.formula,
            "parameters": list(self.parameters),
            "priors": priors,
            "axis": self.axis,
            "window": window,
            "draws": self.sampler.draws,
            "chains": self.sampler.chains,
            "tune": self.sampler.tune,
            "method": self.sampler.method,
            "noise": self.sampler.noise,
            "keep": self.keep,
            "at": list(self.at),
            "horizons": list(self.horizons),
            "prob": list(self.probs),
            "random_seed": self.seed,
            "device": self.device.partition(":")[0],
            "dtype": self.dtype,
            "chunk_runs": self.chunk_runs,
        }


@dataclass(frozen=True)
class Failure:
    """A run that could not be fitted: its position in the source, name, and the error."""

    index: int
    run: str
    error: str
    message: str


@dataclass(frozen=True)
class Fitted:
    """A fitted chunk: arrays by name, the run first, and the runs that could not be fitted."""

    arrays: dict[str, NDArray[Any]]
    failures: list[Failure]


def fit_chunk(
    chunk: Chunk,
    spec: Spec,
    threads: int | None = None,  # by default one for each processor
    progress: Callable[[int], None] | None = None,  # called with the number of runs that are done
) -> Fitted:
    """Fit the runs of a chunk."""
    from ..engine.devices import Place
    from ..engine.serving import only_compiled
    from ..kernels.driver import tables

    gpus = spec.device.partition(":")[2]
    where = Place(tuple(map(int, gpus.split(","))), spec.dtype) if gpus else Place()
    if not where.gpus:
        # What the compiling process computes may differ in the last bits from what others do, and
        # a store must not depend on who made which chunk.
        only_compiled()
    spec.law.program.code(), tables()  # made once, before threads ask for them
    out = _Out(spec, chunk)
    parts = list(_blocks(chunk, GPU_RUNS if where.gpus else BLOCK_RUNS))

    def one(part: tuple[int, Piece]) -> list[Failure]:
        failures: list[Failure] = []
        _fit_or_divide(part[1], part[0], spec, where, out, failures)
        if progress is not None:
            progress(len(part[1].names))
        return failures

    count = 1 if where.gpus else _threads(threads, len(parts))
    failures = [
        Failure(
            at,
            chunk.names[at],
            "DataError",
            f"run {chunk.names[at]!r} came before: two runs have this name, or the rows of one do "
            "not lie together (then the fit above has only a part of them): rename one, or sort "
            "the rows by run",
        )
        for at in chunk.repeats
    ]
    if count == 1:
        for part in parts:
            failures += one(part)
    else:
        with ThreadPoolExecutor(count) as pool:
            for found in pool.map(one, parts):
                failures += found
    failures.sort(key=lambda failure: failure.index)
    out.blank([failure.index for failure in failures])
    found = [
        replace(failure, index=chunk.first + failure.index, message=failure.message[:MESSAGE])
        for failure in failures
    ]
    return Fitted(out.arrays, found)


def _threads(threads: int | None, parts: int) -> int:
    from ..kernels.spreading import available_threads as available

    return max(1, min(available(threads, 1 << 30), parts))


def _blocks(chunk: Chunk, most: int) -> list[tuple[int, Piece]]:
    """The chunk's runs, less those whose name came before, some at a time: (position, piece)."""
    out = []
    at = 0
    for piece in chunk.pieces:
        count = len(piece.names)
        repeats = [r - at for r in chunk.repeats if at <= r < at + count]
        points = np.cumsum(piece.lengths)
        for low, high in zip([0, *(r + 1 for r in repeats)], [*repeats, count], strict=True):
            while low < high:
                before = int(points[low - 1]) if low else 0
                stop = int(np.searchsorted(points, before + BLOCK_POINTS, side="right"))
                stop = min(max(stop, low + 1), low + most, high)
                out.append((at + low, piece.part(low, stop)))
                low = stop
        at += count
    return out


class _Out:
    """The arrays of a chunk, filled block by block."""

    def __init__(self, spec: Spec, chunk: Chunk) -> None:
        n = len(chunk.names)
        p, q, t = len(spec.parameters), len(spec.quantiles), len(spec.targets)
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {}
        if spec.keep == "quantiles":
            shapes["parameter_quantile"] = np.float64, (n, p, q)
        else:
            for name in MOMENTS:
                shapes[name] = np.float64, (n, p)
        if t:
            shapes["at"] = np.float64, (n, t)
            if spec.keep != "quantiles":
                shapes["loss_mean"] = shapes["loss_sd"] = np.float64, (n, t)
            shapes["loss_quantile"] = np.float64, (n, t, q)
        for name in ("window_start", "window_end", *DIAGNOSTICS, "n_eff"):
            shapes[name] = np.float64, (n,)
        shapes["n_points"] = np.int32, (n,)
        if spec.keep == "draws":
            shapes["draws"] = np.float64, (n, p, spec.sampler.n_draws)
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.zeros(shape, dtype) if dtype is np.int32 else np.full(shape, np.nan, dtype)
            for name, (dtype, shape) in shapes.items()
        }
        self.arrays["run"] = np.array([*chunk.names, None], object)[:-1]
        self.arrays["flags"] = np.full(n, "", object)
        self.arrays["failed"] = np.zeros(n, bool)

    def blank(self, positions: Sequence[int]) -> None:
        """Leave nothing of runs that could not be fitted."""
        for name, values in self.arrays.items():
            if name != "run":
                values[positions] = {"f": np.nan, "i": 0, "b": True, "O": ""}[values.dtype.kind]


def _fit_or_divide(
    piece: Piece, at: int, spec: Spec, where: Place, out: _Out, failures: list[Failure]
) -> None:
    """Fit a piece; where that fails, its halves, until the run that fails is alone."""
    count = len(piece.names)
    try:
        _fit(piece, at, spec, where, out, failures)
    except FATAL:
        raise
    except Exception as error:
        if count == 1:
            kind = type(error).__name__
            failures.append(Failure(at, piece.names[0], kind, str(error) or kind))
            return
        half = count // 2
        failures[:] = [f for f in failures if not at <= f.index < at + count]
        _fit_or_divide(piece.part(0, half), at, spec, where, out, failures)
        _fit_or_divide(piece.part(half, count), at + half, spec, where, out, failures)


def _fit(
    piece: Piece, at: int, spec: Spec, where: Place, out: _Out, failures: list[Failure]
) -> None:
    """Fit a piece and write what is kept of it; any bad run raises."""
    from ..fits.block import fit_block
    from ..fits.flags import fit_flags
    from ..fits.window import rule_of
    from ..kernels.driver import predict_batch

    runs = piece.runs()
    names = runs.names
    n = len(names)
    flat = runs.flat(spec.axis)
    window = spec.window
    if isinstance(window, dict):
        window = {name: index for name, index in window.items() if name in runs}
    rule = rule_of(window, runs)
    ready, draws, info = fit_block(
        flat, names, rule, spec.sampler, spec.seed, 0, n, where=where, same_bits=True, threads=1
    )
    rows = slice(at, at + n)
    arrays = out.arrays
    sums = draws.sum(axis=-1)  # not finite where a draw is not
    for r in np.flatnonzero(~np.isfinite(sums).all(axis=-1)):
        message = f"run {names[r]!r}: the fit gave no finite numbers; see to its losses and axis"
        failures.append(Failure(at + int(r), names[r], "ArithmeticError", message))
    arrays["n_points"][rows] = ready.n_points
    arrays["window_start"][rows], arrays["window_end"][rows] = ready.start, ready.end
    for name in DIAGNOSTICS:
        arrays[name][rows] = info[name]
    rho = np.clip(info["rho1"], -0.99, 0.99)
    n_eff = np.clip(ready.n_points * (1 - rho) / (1 + rho), 1, ready.n_points)
    arrays["n_eff"][rows] = n_eff
    flags_of_fit = fit_flags(ready.n_points, info)
    data = runs._columns.flags
    flags_of_run = [[f.flag for f in data.get(name, ())] for name in names]
    for flag, has in reversed(flags_of_fit.items()):
        for index in np.flatnonzero(has):
            flags_of_run[index].insert(0, flag)
    for name in broken_runs(runs, names, spec.axis):
        flags_of_run[runs._positions[name]].insert(0, "broken")
    for k, flags in enumerate(flags_of_run):
        if flags:
            arrays["flags"][at + k] = ",".join(dict.fromkeys(flags))
    for k, values in enumerate(spec.law.in_axis_units(draws, ready.end)):
        _describe(np.ascontiguousarray(values), spec, arrays, (rows, k), "")
        if spec.keep == "draws":
            arrays["draws"][rows, k] = values
    if spec.targets:
        ends = flat.x[flat.offsets[1:] - 1]
        horizons = np.asarray(spec.horizons) * ends[:, None]
        targets = np.concatenate([horizons, np.broadcast_to(spec.at, (n, len(spec.at)))], axis=1)
        arrays["at"][rows] = targets
        curves = predict_batch(spec.law.program, draws, targets / ready.end[:, None], threads=1)
        for t in range(targets.shape[1]):
            _describe(np.ascontiguousarray(curves[:, t]), spec, arrays, (rows, t), "loss_")


def _describe(
    values: Floats, spec: Spec, arrays: dict[str, NDArray[Any]], place: Any, of: str
) -> None:
    """Write what is kept of some draws, shape (n, n_draws)."""
    points = quantiles(values, spec.quantiles)
    if of or spec.keep == "quantiles":
        arrays["loss_quantile" if of else "parameter_quantile"][place] = points.T
    if spec.keep == "quantiles":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        mean = values.mean(axis=-1)
        gap = values - mean[:, None]
        squares = np.einsum("ij,ij->i", gap, gap)
        arrays[f"{of}mean"][place] = mean
        arrays[f"{of}sd"][place] = np.sqrt(squares / max(values.shape[-1] - 1, 1))
    if not of:
        arrays["lower"][place], arrays["upper"][place] = points[0], points[-1]
        arrays["median"][place] = points[spec.quantiles.index(0.5)]
