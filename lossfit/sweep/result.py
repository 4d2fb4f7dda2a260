"""What a sweep gives: `SweepResult`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import StoreError, place_of
from .ledger import FORMAT, no_store, stored, stored_attrs

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["SweepResult", "open_store"]


@dataclass(frozen=True)
class SweepResult:
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
    """

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

    def open(self) -> xr.Dataset:
        """The store as one dataset, read when it is asked for; see `open_store`."""
        return open_store(self.path)

    def __str__(self) -> str:
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
            "flags": self.flags,
        }


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
