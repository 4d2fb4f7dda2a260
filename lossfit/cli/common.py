"""What the commands share: options, loading, errors as one line, numbers such as 4T, figures."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .._base.errors import DataError, DeviceError, LossfitWarning

if TYPE_CHECKING:
    from ..runs.collection import Runs

__all__ = [
    "AXES",
    "axis_option",
    "guarded",
    "laws_option",
    "load_runs",
    "mention_compilation",
    "number",
    "place",
    "plot_option",
    "print_json",
    "prob_option",
    "save_plot",
    "say",
    "seed_option",
    "show",
    "siblings_option",
    "sources",
    "total_option",
    "unicode_out",
    "where_of",
    "window_of",
    "window_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])

SUFFIXES = {"k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
AXES = ("auto", "tokens", "step", "gpu_hours", "flops")


# Options that mean the same in every command.
axis_option = click.option("--axis", type=click.Choice(AXES), default="auto", show_default=True)
laws_option = click.option(
    "--law", "-l", multiple=True, help="Law (repeat to mix several); annealing by default."
)
total_option = click.option(
    "--total",
    help="Planned end of the runs on the axis, where the schedule is not known: 4e12, 4T, 500k.",
)
siblings_option = click.option(
    "--siblings",
    multiple=True,
    type=click.Path(),
    help="Logs of finished runs of the project, with an lr column, to learn from.",
)
window_option = click.option(
    "--window", default="auto", show_default=True, help="auto, all, or shares such as 0.3,1."
)
prob_option = click.option(
    "--prob", default=0.9, show_default=True, help="Probability of the intervals."
)
seed_option = click.option("--seed", default=0, show_default=True, help="Random seed.")
plot_option = click.option(
    "--plot", type=click.Path(dir_okay=False, writable=True), help="Write a figure here."
)


def sources(command: Command) -> Command:
    """The argument and options that say where runs come from."""
    options = [
        click.argument("source", nargs=-1, required=True),
        click.option("--format", help="Format of the logs, if it is not recognized."),
        click.option("--params", type=float, help="Model parameters of the runs."),
        click.option("--tokens-per-step", type=float, help="Batch size in tokens."),
        click.option("--gpu-hours", type=float, help="GPU-hours of a whole run."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def place(command: Command) -> Command:
    """The options that say where to compute."""
    options = [
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, cuda:all."
        ),
        click.option(
            "--dtype", default="auto", show_default=True, help="On a card: float64 or float32."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def load_runs(
    source: Sequence[str],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
) -> Runs:
    """The runs that the arguments of `sources` name."""
    from ..sources import load

    return load(
        list(source),
        format=format,
        params=params,
        tokens_per_step=tokens_per_step,
        gpu_hours=gpu_hours,
    )


@contextmanager
def guarded(notes: bool = True) -> Iterator[None]:
    """Errors as one line and exit code 2, warnings as notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LossfitWarning)
        try:
            yield
        except (DataError, DeviceError) as error:
            say(f"error: {error}")
            sys.exit(2)
        finally:
            for one in caught:
                if issubclass(one.category, LossfitWarning):
                    if notes:
                        say(f"note: {one.message}")
                else:
                    warnings.showwarning(one.message, one.category, one.filename, one.lineno)


def say(text: str) -> None:
    """A line on stderr."""
    click.echo(" ".join(text.split()), err=True)


def mention_compilation() -> None:
    """Say why the first answer of an installation takes long."""
    from ..kernels.cache import is_compiled

    if not is_compiled("driver._fit_range", "forecast_driver._forecast_range"):
        say("compiling kernels, once; later runs start at once")


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


def number(word: str) -> float:
    """An axis value as people write it: 4e12, 4T, 500k."""
    factor = SUFFIXES.get(word[-1:], 1.0)
    digits = word[:-1] if factor != 1.0 else word
    try:
        return float(digits) * factor
    except ValueError:
        raise DataError(
            f"{word!r} is no axis value: write 4e12, 4T, 500k, or 2x for twice the data"
        ) from None


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
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write the figure {path}: {error}") from None
    say(f"wrote {path}")


def show(answer: Any, as_json: bool) -> None:
    """An answer on stdout, as text or as JSON."""
    if as_json:
        print_json(answer.to_dict())
    else:
        click.echo(str(answer))
