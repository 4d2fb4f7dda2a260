"""What a sweep gives: `SweepResult`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options, plain_data
from .._base.frames import answer_first
from .._base.results import Result
from .._base.summaries import MOMENTS
from .._base.views import view
from .files import StoreError, place_of
from .ledger import FORMAT, no_store, stored, stored_attrs

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class SweepResult(Result):
    """A finished sweep; made by `lossfit.fit_to`.

    Attributes
    ----------
    path : Path or str
        The Zarr store: a folder, or the address in an object store.
    runs : int
        Runs of the input, all of which have a row in the store.
    failed : int
        Runs that could not be fitted; `errors` says why.
    resumed : int
        Runs that were in the store before.
    redone : int
        Chunks that were in the store but damaged or incomplete, and were made again.
    seconds : float
        Wall time.
    healed : tuple of str
        Other files of the store that were damaged or missing, and were written again.
    flags : dict
        How many runs have each flag.

    Examples
    --------
    >>> import lossfit, tempfile
    >>> runs = lossfit.load("llama2")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = lossfit.fit_to(f"{folder}/sweep.zarr", runs, axis="tokens", draws=100)
    ...     print(len(result.errors))
    0
    """

    _keys = ("run", "parameter")

    path: Path | str
    runs: int
    failed: int
    resumed: int
    redone: int
    seconds: float
    healed: tuple[str, ...] = ()
    flags: dict[str, int] = field(default_factory=dict)

    @property
    def fitted(self) -> int:
        """Runs that were fitted, now or before."""
        return self.runs - self.failed

    @property
    def rate(self) -> float:
        """Runs a second, of those that were not in the store before."""
        return (self.runs - self.resumed) / max(self.seconds, 1e-9)

    @property
    def errors(self) -> pd.DataFrame:
        """The runs that could not be fitted: columns run, index, error, message."""
        with _group(self.path, "errors") as table:
            columns = {name: table[name].values for name in ("run", "index", "error", "message")}
        import pandas as pd

        return pd.DataFrame(columns)

    @property
    def prob(self) -> float:
        """Probability of the widest intervals of the store."""
        return float(stored_attrs(place_of(self.path))["settings"]["prob"][0])

    @property
    def frame(self) -> pd.DataFrame:
        """The store's summaries, a row a run and parameter: all of them are read.

        Columns median, lower, upper, mean, notes (flags, with commas), sd, prob, run and parameter;
        no mean and sd where the store keeps quantiles.
        """
        return _summaries(self.open(), self.prob)

    def _head(self, rows: int) -> pd.DataFrame:
        with self.open() as data:
            runs = -(-rows // data.sizes["parameter"])
            return _summaries(data.isel(run=slice(runs)), self.prob).head(rows)

    def _row_draws(self) -> Any:
        with self.open() as data:
            names = [str(name) for name in data["parameter"].values]
            if names[0] not in data:
                return None
            draws = [data[name].values for name in names]  # (chain, draw, run) each
        stacked = np.stack(draws, axis=-1)
        return stacked.reshape(-1, stacked.shape[2] * stacked.shape[3]).T

    @figure_options
    def plot(self, ax: Axes | None = None, *, parameter: str | None = None) -> Axes:
        """Medians of a parameter over the runs; see `lossfit.plotting.plot_sweep`."""
        axes: Axes = view("sweep.plot")(self, ax=ax, parameter=parameter)
        return axes

    def open(self) -> xr.Dataset:
        """The store as one dataset, read when it is asked for; see `open_store`.

        Returns
        -------
        xarray.Dataset
            Summaries, diagnostics and flags by run, and the draws where they were kept.
        """
        return open_store(self.path)

    def _text(self) -> str:
        lines = [
            f"{self.runs:,} runs in {self.path}: {self.fitted:,} fitted, {self.failed:,} with an "
            f"error; {self.runs - self.resumed:,} runs in {self.seconds:.1f} s "
            f"({self.rate:,.{0 if self.rate >= 10 else 2}f} a second)"
        ]
        if self.resumed:
            lines.append(f"{self.resumed:,} runs were there already")
        if self.redone:
            lines.append(f"{self.redone:,} damaged or incomplete chunks were made again")
        if self.healed:
            lines.append(f"damaged files that were written again: {', '.join(self.healed)}")
        if self.failed:
            first = self.errors.head(3)
            lines += [f"! {row.message}" for row in first.itertuples()]
            if self.failed > len(first):
                lines.append(
                    f"! and {self.failed - len(first):,} more: the group errors of the store"
                )
        if self.flags:
            most = sorted(self.flags.items(), key=lambda item: -item[1])
            lines.append("flags: " + ", ".join(f"{flag} {count:,}" for flag, count in most))
        return "\n".join(lines)

    def _line(self) -> str:
        return (
            f"SweepResult of {self.runs:,} runs in {self.path}: {self.fitted:,} fitted, "
            f"{self.failed:,} with an error"
        )

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """As plain data, schema ``lossfit.sweep_result/1``."""
        from .. import __version__

        return {
            "schema": "lossfit.sweep_result/1",
            "lossfit": __version__,
            "store": str(self.path),
            "runs": self.runs,
            "fitted": self.fitted,
            "failed": self.failed,
            "resumed": self.resumed,
            "redone": self.redone,
            "healed": list(self.healed),
            "seconds": self.seconds,
            "rate": self.rate,
            "notes": self.flags,
        }


def _summaries(data: xr.Dataset, prob: float) -> pd.DataFrame:
    """Summaries of a store as a frame."""
    import pandas as pd

    names = [str(name) for name in data["parameter"].values]
    runs = data["run"].values.astype(object)
    index = pd.MultiIndex.from_product([runs, names], names=["run", "parameter"])
    if "median" in data:
        columns = {name: data[name].values for name in MOMENTS}
    else:
        at = data["quantile"].values
        wanted = {"lower": (1 - prob) / 2, "median": 0.5, "upper": (1 + prob) / 2}
        place = {name: int(np.abs(at - q).argmin()) for name, q in wanted.items()}
        columns = {name: data["parameter_quantile"].values[..., k] for name, k in place.items()}
    frame = pd.DataFrame({name: v.ravel() for name, v in columns.items()}, index=index)
    frame["prob"] = prob
    frame["notes"] = np.repeat(data["flags"].values.astype(object), len(names))
    return answer_first(frame.reset_index(), SweepResult._keys)


def open_store(path: Any) -> xr.Dataset:
    """A sweep's store as one dataset whose arrays are read when they are asked for.

    Parameters
    ----------
    path : path or str
        What `lossfit.fit_to` wrote, a folder or an address such as ``s3://bucket/sweep.zarr``; it
        may be open while it is written, and then shows the runs that were there a moment ago.

    Returns
    -------
    xarray.Dataset
        The root of the store (summaries, diagnostics, flags by run) and, where draws were kept, the
        group ``posterior`` too, dims (chain, draw, run).

    Raises
    ------
    StoreError
        No such store, or a damaged one: here if what describes it is damaged, and when values are
        read if their file is missing or is not what was written.  The message names the file;
        ``lossfit store verify`` names them all.

    Examples
    --------
    >>> import lossfit, tempfile
    >>> runs = lossfit.load("llama2")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = lossfit.fit_to(f"{folder}/sweep.zarr", runs, axis="tokens", draws=100)
    ...     data = lossfit.open_store(f"{folder}/sweep.zarr")
    ...     print(data.sizes["run"])
    4
    """
    data = _group(path)
    if data.attrs["settings"]["keep"] == "draws":
        data = data.merge(_group(path, "posterior"), compat="override")
    return data


def _group(path: Any, group: str | None = None) -> xr.Dataset:
    """A group of a store, every file of which is checked when it is read."""
    import xarray as xr

    from .checked import checked

    place = place_of(path)
    found = stored(place)
    attrs = found.attrs or stored_attrs(place)
    if attrs.get("format") != FORMAT:
        raise no_store(place, attrs) if not place.empty() else StoreError(f"no store at {path}")
    if found.root is None or found.plan is None:
        raise StoreError(
            f"{place.path} is damaged: {', '.join(found.damaged)}. `lossfit store verify --repair` "
            f"or resume=True (--resume) writes it again"
        )
    data: xr.Dataset = xr.open_zarr(checked(place, found), group=group, chunks=None)
    return data
