"""What the commands share: loading, errors as one line, numbers such as 4T, figures."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .._base.errors import DataError, DeviceError, LossfitWarning
from .._base.terminal import printable
from .._base.units import amount_of as number
from .voice import coloured, colours, in_options, quiet, seconds, verbose

if TYPE_CHECKING:
    from ..runs.collection import Runs

SHOWN = "lossfit.shown"  # in the context: flags that were spelt out on stdout
FLAG = re.compile(r"(?m)^\s*! (\w+)")


def load_runs(source: Sequence[str], reading: Mapping[str, Any], run: Sequence[str] = ()) -> Runs:
    """The runs that the arguments name; some of them by `run`."""
    from ..sources import load

    runs = load(list(source), **reading)
    runs = runs.select(list(run)) if run else runs
    if verbose():
        for line in str(runs).splitlines():
            click.echo(printable(line), err=True)
    return runs


def with_finished_runs(asked: dict[str, Any], reading: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the logs that ``siblings`` and ``calibrate_on`` name read."""
    # Columns that were named, and the joining, are of the logs that are asked about.
    own = {"columns": None, "join": None, "loss": reading.get("loss", "train")}
    if own["loss"] not in ("train", "val"):
        own["loss"] = "train"
    reading = {**reading, **own}
    paths = {name: asked[name] for name in ("siblings", "calibrate_on") if name in asked}
    loaded: dict[str, Any] = {}
    for name, logs in paths.items():
        loaded[name] = load_runs(logs, reading) if logs else None
    return asked | loaded


@contextmanager
def guarded(notes: bool = True) -> Iterator[None]:
    """Errors as one line and exit code 2, warnings as notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LossfitWarning)
        try:
            yield
        except (DataError, DeviceError) as error:
            say(f"error: {error}", "error")
            sys.exit(2)
        finally:
            for one in caught:
                if issubclass(one.category, LossfitWarning):
                    if getattr(one.message, "notes", None) and _held(one.message):
                        continue  # about reading: an answer in words repeats it
                    if notes:
                        say(f"note: {one.message}", "note")
                else:
                    warnings.showwarning(one.message, one.category, one.filename, one.lineno)


def _held(message: Any) -> bool:
    """Whether a note on reading waits for the end: it is said there unless an answer said it."""
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return False
    root = ctx.find_root()

    def said_after_all() -> None:
        if not set(message.notes) <= root.meta.get(SHOWN, set()):
            say(f"note: {message}", "note")

    root.call_on_close(said_after_all)
    return True


def show_text(text: str) -> None:
    """Text on stdout: the one way there, without what could control a terminal."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        ctx.find_root().meta.setdefault(SHOWN, set()).update(FLAG.findall(text))
    lines = in_options(printable(text)).split("\n")
    out = [coloured(line, "note") if line.lstrip().startswith("! ") else line for line in lines]
    click.echo("\n".join(out), color=colours())


def say(text: str, kind: str = "said") -> None:
    """A line on stderr, the same; with ``--quiet`` errors only."""
    if kind == "error" or not quiet():
        words = in_options(printable(" ".join(text.split())))
        click.echo(coloured(words, kind), err=True, color=colours())


def print_json(data: Any) -> None:
    """Plain data as strict JSON on stdout."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def unicode_out() -> bool:
    """Whether stdout takes more than ASCII."""
    return "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()


def where_of(
    at: Sequence[str], runs: Runs, names: list[str] | None, axis: str
) -> tuple[list[float] | dict[str, list[float]], str]:
    """Targets from the command line: axis values, or multiples of a run's data."""
    from ..runs.checks import choose_axis

    words = [word.strip() for one in at for word in one.split(",") if word.strip()]
    if not words:
        raise DataError("--at is empty: give an axis value such as 4e12, 4T or 2x")
    if not any(word.endswith("x") for word in words):
        return [number(word) for word in words], axis
    asked = runs.select(names) if names else runs
    axis = choose_axis(asked, axis)
    return {
        run.name: [
            number(word[:-1]) * run.end(axis) if word.endswith("x") else number(word)
            for word in words
        ]
        for run in asked
    }, axis


def window_of(text: str) -> Any:
    """A window from the command line."""
    if text in ("auto", "all"):
        return text
    parts = text.split(",")
    try:
        low, high = float(parts[0]), float(parts[1]) if len(parts) == 2 else 1.0
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 2:
        raise DataError(f"--window is auto, all, or shares such as 0.3 or 0.3,0.9, got {text!r}")
    return low, high


def save_plot(draw: Callable[[], Any], path: str) -> None:
    """Draw a figure without a screen and write it."""
    import matplotlib as mpl

    mpl.use("Agg")
    figure = draw()
    try:
        # An outline with a legend below it is part of the figure.
        figure.savefig(path, dpi=150, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write the figure {path}: {error}") from None
    say(f"wrote {path}")


def show_arrivals(answer: Any, target: Sequence[float], as_json: bool) -> None:
    """An answer, and when its curves reach some losses: a key time_to of the JSON."""
    if not target:
        show(answer, as_json)
        return
    table = answer.time_to(list(target))
    if as_json:
        from .._base.records import rows_of

        print_json({**answer.to_dict(), "time_to": rows_of(table)})
        return
    from ..runs.broken import without_forecast

    show_text(str(answer))
    draws = answer._row_draws().shape[-1]
    for _, row in table.iterrows():
        if not without_forecast(answer.broken, row["run"]):
            show_text(arrival_text(row, draws))


def arrival_text(row: Any, draws: int) -> str:
    """When a curve reaches a loss, in a line; the probability is a share of so many draws."""
    from ..answers.answer_text import probability
    from ..runs.labels import amount

    end = amount(float(row["horizon"]), row["axis"])
    median, lower, upper = (
        amount(float(row[name]), row["axis"]) if np.isfinite(row[name]) else "beyond"
        for name in ("median", "lower", "upper")
    )
    where = f"beyond {end}" if median == "beyond" else f"at {median}"
    if lower != "beyond":
        where += f" ({lower} to {upper})"
    chance = probability(float(row["prob_reached"]), draws)
    return f"  {row['run']} reaches {row['loss']:g} {where}; P(within {end}) {chance}"


def show(answer: Any, as_json: bool) -> None:
    """An answer on stdout, as text or as JSON; with ``--verbose`` how it was made, on stderr."""
    if verbose():
        kernels = f", {answer.engine} kernels" if hasattr(answer, "engine") else ""
        say(f"answered after {seconds():.1f} s{kernels}")
    if as_json:
        print_json(answer.to_dict())
    else:
        show_text(str(answer))
