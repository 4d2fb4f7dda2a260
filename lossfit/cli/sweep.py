"""``lossfit fit SOURCE --out X.zarr``: a sweep from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from .._base.errors import DataError
from .._base.units import amount_of as number
from .common import guarded, load_runs, print_json, show_text
from .voice import bars

SOME_FAILED = 1  # exit code: the sweep is done, and runs are in the table of errors


def is_sweep(out: str | None) -> bool:
    """Whether ``--out`` names a Zarr store."""
    return out is not None and out.rstrip("/\\").endswith(".zarr")


def needs_store(given: Mapping[str, Any]) -> None:
    """Refuse options of stores where ``--out`` names none.

    Raises `click.UsageError`: one of them was given.
    """
    for name, value in given.items():
        if value not in (None, False, (), "record"):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} is for a store: --out X.zarr")


def options(command: Any) -> Any:
    """The options of ``lossfit fit`` that are for stores."""
    made = [
        click.option(
            "--keep",
            type=click.Choice(("draws", "summary", "quantiles")),
            help="What a store X.zarr holds of each run (draws, unless --draws 0).",
        ),
        click.option(
            "--at", multiple=True, help="With X.zarr: predict there (4T, or 2x the data)."
        ),
        click.option("--resume", is_flag=True, help="Go on with the store X.zarr."),
        click.option("--chunk", type=int, help="Runs in a chunk of the store."),
        click.option(
            "--on-error",
            type=click.Choice(("record", "raise")),
            default="record",
            show_default=True,
            help="With X.zarr: what a run that cannot be fitted does.",
        ),
        click.option("--dask", metavar="ADDRESS", help="Fit on this Dask cluster."),
        click.option("--shard", metavar="I/N", help="Fit share I (0 to N - 1) of the input only."),
        click.option(
            "--progress/--no-progress", default=None, help="A bar; by default on a terminal."
        ),
    ]
    for option in reversed(made):
        command = option(command)
    return command


def cli_fit(
    source: Sequence[str],  # parquet datasets are streamed; other logs are loaded
    *,
    out: str,  # the store
    reading: Mapping[str, Any],  # what `lossfit.load` takes
    run: Sequence[str] = (),  # of the runs; by default all
    # draws, keep, at, chunk, dask, shard, progress, as_json: as the command's options
    draws: int = 1000,
    keep: str | None = None,
    at: Sequence[str] = (),
    chunk: int | None = None,
    dask: str | None = None,
    shard: str | None = None,
    progress: bool | None = None,
    as_json: bool = False,
    **asked: Any,  # what `lossfit.fit_to` takes under the same names
) -> int:
    """Do what ``lossfit fit SOURCE --out X.zarr`` asks for.

    Returns
    -------
    int
        Exit code: 0 fine; 1 the sweep is done, but some runs have an error.  Bad usage or input
        ends the process with 2.
    """
    from ..runs.collection import Runs
    from ..runs.known import Known
    from ..sweep.logs import read_logs
    from ..sweep.reading import _is_parquet
    from ..sweep.sweeping import fit_to

    with guarded():
        table = {name: reading[name] for name in ("format", "loss", "columns", "join")}
        known = {name: value for name, value in reading.items() if name not in table}
        plain = table["loss"] == "train" and table["columns"] is None and table["join"] is None
        streamable = not run and plain and table["format"] in (None, "parquet")
        streamed = streamable and _is_parquet(list(source))
        runs: Any = source[0] if len(source) == 1 else list(source)
        if not streamed:
            runs = read_logs(source, Known(**known), **table)
            if run:
                runs = runs if isinstance(runs, Runs) else load_runs(source, reading)
                runs = runs.select(run)
            known = {}
        result = fit_to(
            out,
            runs,
            draws=draws or 1000,
            keep=keep or ("draws" if draws else "summary"),  # type: ignore[arg-type]
            at=_targets(at) or None,
            chunk_runs=chunk,
            client=dask,
            progress=bars() if progress is None else progress,
            shard=_shard(shard),
            **asked,
            **known,
        )
        if as_json:
            print_json(result.to_dict())
        else:
            show_text(str(result))
    return SOME_FAILED if result.failed else 0


def _targets(at: Sequence[str]) -> list[Any]:
    words = [word.strip() for one in at for word in one.split(",") if word.strip()]
    return [word if word.endswith("x") else number(word) for word in words]


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    head, _, tail = text.partition("/")
    try:
        return int(head), int(tail)
    except ValueError:
        raise DataError(f"--shard is I/N such as 3/16, got {text!r}") from None
