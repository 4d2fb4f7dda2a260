"""Every option of the commands, once; a command lists the names of those that it takes.

A command gets its options in three parts: ``reading``, what `lossfit.load` takes; ``asked``, what
goes to the library's function under the same name; and as keywords of their own those that it
turns into something else first, such as ``at`` or ``plot``.  To add an option to every command that
reads logs, add a line to `READING`; to add one that a function takes, add a line to `ASKED` and its
name to the commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from .._base.errors import DataError
from .._base.units import amount_of as number
from .common import window_of

AXES = ("auto", "tokens", "step", "gpu_hours", "flops", "epoch", "hours", "record")


class _Parsed(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A value that a function reads from a word."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value; a bad word ends the process with 2."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except DataError as error:
            self.fail(str(error), param, ctx)


class Output(click.Path):
    """A file to write, checked before anything is computed for it.

    Parameters
    ----------
    endings : sequence of str
        What its name may end with; anything by default.
    folder : bool
        Whether it may be a folder, of a store.
    """

    def __init__(self, *endings: str, folder: bool = False) -> None:
        super().__init__(dir_okay=folder)
        self.endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; one that cannot be written ends the process with 2."""
        path = Path(value)
        if self.endings and path.suffix.lower() not in self.endings:
            self.fail(f"{value}: write one of {', '.join(self.endings)}", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{value}: there is no folder {path.parent}; make it first", param, ctx)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            self.fail(f"{value} cannot be written: no permission", param, ctx)
        return super().convert(value, param, ctx)


#: What matplotlib writes.
FIGURE = Output(".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".eps", ".ps")

#: Axis values as people write them: 4e12, 4T, 500k.
AMOUNT = _Parsed("amount", number)
WINDOW = _Parsed("window", window_of)


def _laws(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
    return list(value) or "auto"


def _columns(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    named: dict[str, str] = {}
    for part in value.split(","):
        known, equals, column = (word.strip() for word in part.partition("="))
        if not (known and equals and column):
            raise click.BadParameter(f"write NAME=COLUMN, such as step=iteration; got {part!r}")
        named[known] = column
    return named


def by_run(parse: Callable[[str], Any] = str) -> Callable[..., Any]:
    """A callback of an option: one value for all runs, or RUN=VALUE for some by name.

    Several go in one word, separated by commas, or the option is repeated; a run's name may have
    commas and ``=`` in it, a value no ``=``.
    """

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except DataError as error:
            raise click.BadParameter(str(error)) from None

    def value_of(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> Any:
        named: dict[str, Any] = {}
        plain = [word for word in words if "=" not in word or Path(word).is_file()]
        if plain and len(words) > 1:
            raise click.BadParameter(
                f"give one for all runs, or RUN=VALUE for each; got {', '.join(words)}"
            )
        if plain:
            return parsed(plain[0])
        for word in words:
            pieces = word.split(",")
            for piece in pieces if all("=" in each for each in pieces) else [word]:
                name, _, value = (part.strip() for part in piece.rpartition("="))
                if not name or not value:
                    raise click.BadParameter(f"write RUN=VALUE; got {piece!r}")
                if name in named:
                    raise click.BadParameter(f"run {name!r} is named twice")
                named[name] = parsed(value)
        return named or None

    return value_of


Table = Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]


def _option(*flags: str, **attributes: Any) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """An option of a table; a default is shown, unless it only stands for "by itself"."""
    return flags, {"show_default": attributes.get("default") is not None, **attributes}


#: What `lossfit.load` takes.
READING: Table = {
    "format": _option("--format", help="Format of the logs, if it is not recognized."),
    "loss": _option(
        "--loss", default="train", help="Losses to read: train, val, or the name of a column."
    ),
    "columns": _option(
        "--columns",
        callback=_columns,
        metavar="NAME=COLUMN,...",
        help="Columns of the logs by what they are: step=it,loss=train/nll,lr=rate.",
    ),
    "join": _option(
        "--join/--no-join",
        default=None,
        help="Several logs are parts of one run (found by itself where one begins where "
        "another ends).",
    ),
    "params": _option("--params", type=AMOUNT, help="Model parameters of the runs: 7B."),
    "tokens_per_step": _option("--tokens-per-step", type=AMOUNT, help="Batch size in tokens: 4M."),
    "gpu_hours": _option("--gpu-hours", type=float, help="GPU-hours of a whole run."),
}

#: What the library's functions take under these names.
ASKED: Table = {
    "axis": _option("--axis", type=click.Choice(AXES), default="auto"),
    "laws": _option(
        "--law",
        "-l",
        multiple=True,
        callback=_laws,
        help="Law (repeat to mix several); by default the learned one.",
    ),
    "schedule": _option(
        "--schedule",
        multiple=True,
        callback=by_run(),
        metavar="[RUN=]KIND@END",
        help="The learning rate that the runs will follow: cosine@250k, linear@2T, wsd@20k, "
        "1-sqrt@20k, cosine:4@20k (four cycles), constant, or a CSV with columns step (or "
        "tokens) and lr. With the run's own peak and warm-up, where these are known. Of each "
        "run by name: big=cosine@2T,small=wsd@1T, or repeat it.",
    ),
    "own": _option(
        "--own",
        multiple=True,
        callback=by_run(),
        metavar="[RUN=]KIND@END",
        help="The learning rate that the runs had, where their logs do not say: "
        "cosine@250k, as --schedule elsewhere; of each run by name too.",
    ),
    "total": _option(
        "--total",
        multiple=True,
        callback=by_run(number),
        metavar="[RUN=]END",
        help="Planned end of the runs on the axis, where the schedule is not known: 4e12, "
        "4T, 500k. Of each run by name: big=2T,small=1.4T, or repeat it.",
    ),
    "siblings": _option(
        "--siblings",
        multiple=True,
        type=click.Path(),
        help="Logs of finished runs of the project, with an lr column, to learn from.",
    ),
    "calibrate_on": _option(
        "--calibrate-on",
        multiple=True,
        type=click.Path(),
        help="Logs of finished runs: widen or narrow intervals to what held on them.",
    ),
    "share": _option("--share", is_flag=True, help="The runs are of one model: fit them together."),
    "domain": _option(
        "--domain",
        type=click.Choice(("auto", "text", "other")),
        default="auto",
        help="Whether the runs are of language models on text; auto: their names and curves tell.",
    ),
    "window": _option(
        "--window", type=WINDOW, default="auto", help="auto, all, or shares such as 0.3,1."
    ),
    "prob": _option("--prob", default=0.9, help="Probability of the intervals."),
    "draws": _option("--draws", default=1000, help="Draws for each run."),
    "random_seed": _option("--seed", default=0, help="Random seed."),
    "device": _option("--device", default="auto", help="auto, cpu, cuda, cuda:1, cuda:all."),
    "dtype": _option("--dtype", default="auto", help="On a GPU: float64 or float32."),
}

#: What a command turns into something else.
OWN: Table = {
    "run": _option(
        "--run", "-r", multiple=True, help="Run to ask about (repeat for more); all by default."
    ),
    "at": _option(
        "--at",
        multiple=True,
        help="Where on the axis: 4e12, 4T, 500k, or 2x for twice a run's data. Repeat it, "
        "or separate values by commas.",
    ),
    "compute_of": _option(
        "--compute-of", metavar="RUN", help="Give the runs the whole compute of this one."
    ),
    "target": _option(
        "--target", multiple=True, type=float, help="A loss: when is it reached? (repeat for more)"
    ),
    "plot": _option("--plot", type=FIGURE, help="Write a figure here."),
    "as_json": _option("--json", is_flag=True, help="Print JSON."),
}

#: Names that stand for several options.
GROUPS: Mapping[str, tuple[str, ...]] = {"reading": tuple(READING), "place": ("device", "dtype")}


def options(
    # keys of the table; ``"source"`` is the argument, ``"reading"`` and ``"place"`` stand for
    # several options
    *names: str,
    # attributes of an option that are another in this command, such as its help
    **changes: Mapping[str, Any],
) -> Callable[[Callable[..., Any]], Any]:
    """Give a command options of the table, in this order."""
    table = {**READING, **ASKED, **OWN}
    listed = [each for name in names for each in GROUPS.get(name, (name,))]
    listed += [name for name in changes if name not in listed]

    def decorate(command: Callable[..., Any]) -> Any:
        @wraps(command)
        def call(**values: Any) -> Any:
            parts: dict[str, dict[str, Any]] = {}
            for part, of_part in (("reading", READING), ("asked", ASKED)):
                taken = [name for name in listed if name in of_part]
                if taken:
                    parts[part] = {name: values.pop(name) for name in taken}
            return command(**parts, **values)

        decorated: Any = call
        for name in reversed(listed):
            if name == "source":
                decorated = click.argument("source", nargs=-1, required=True)(decorated)
                continue
            flags, attributes = table[name]
            decorated = click.option(*flags, name, **{**attributes, **changes.get(name, {})})(
                decorated
            )
        return decorated

    return decorate
