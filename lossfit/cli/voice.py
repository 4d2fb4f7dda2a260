"""How the command line speaks: how much, in which colours, and in its own words."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Any

import click

from .._base.progress import silence

LEVEL = "lossfit.level"  # in the context: -1 quiet, 0, 1 verbose
BEGUN = "lossfit.begun"
COLOURS = {"error": "red", "note": "yellow"}
#: What Python's words for a thing are here, beside the names of options.
WORDS = (
    (re.compile(r"\bRuns\.with_schedule\(\.\.\.\)|\bwith_schedule\(\)"), "--schedule"),
    (re.compile(r"\bRuns\.flags\b"), "lossfit inspect"),
)
#: An option that a message names again in brackets.
TWICE = re.compile(
    r"(?P<option>--[\w-]+)(?P<value>(?: [^\s()]+)*) \((?P=option)(?: on the command line)?\)"
)


def voices() -> list[click.Parameter]:
    """The options ``--quiet`` and ``--verbose``, which every command has."""

    def level(value: int) -> Any:
        def called(ctx: click.Context, param: click.Parameter, given: bool) -> None:
            ctx.find_root().meta.setdefault(BEGUN, time.monotonic())
            if given:
                ctx.find_root().meta[LEVEL] = value
                if value < 0:
                    silence()
                    ctx.find_root().call_on_close(lambda: silence(False))

        return called

    return [
        click.Option(
            ["--quiet", "-q"], is_flag=True, expose_value=False, callback=level(-1),
            help="The answer and errors only.",
        ),
        click.Option(
            ["--verbose", "-v"], is_flag=True, expose_value=False, callback=level(1),
            help="What is done, and how long it took.",
        ),
    ]  # fmt: skip


def _level() -> int:
    ctx = click.get_current_context(silent=True)
    return 0 if ctx is None else int(ctx.find_root().meta.get(LEVEL, 0))


def quiet() -> bool:
    """Whether only the answer and errors are wanted."""
    return _level() < 0


def verbose() -> bool:
    """Whether more is wanted."""
    return _level() > 0


def seconds() -> float:
    """Since the command began."""
    ctx = click.get_current_context(silent=True)
    begun = time.monotonic() if ctx is None else ctx.find_root().meta.get(BEGUN, time.monotonic())
    return float(time.monotonic() - begun)


def bars() -> bool:
    """Whether long work shows a bar: on a terminal, unless it is to be quiet."""
    return sys.stderr.isatty() and not quiet()


def colours() -> bool | None:
    """For click: no colours where NO_COLOR is set, else those of a terminal only."""
    return False if os.environ.get("NO_COLOR") else None


def coloured(text: str, kind: str) -> str:
    """A line in the colour of its kind."""
    return click.style(text, fg=COLOURS[kind]) if kind in COLOURS else text


def in_options(text: str) -> str:
    """A message of the library with the names of this command's options for those of arguments.

    Examples
    --------
    In ``lossfit extrapolate`` ``total= would sharpen it`` becomes ``--total would sharpen it``.
    """
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return text
    flags = {
        param.name: max(param.opts, key=len)
        for param in ctx.command.params
        if isinstance(param, click.Option) and param.name
    }
    flags |= {"laws": flags.get("laws", "--law"), "random_seed": "--seed"}
    if "schedule" in flags:
        for pattern, words in WORDS:
            text = pattern.sub(words, text)
    names = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))

    def argument(match: re.Match[str]) -> str:
        value = (match[2] or "").strip("'\"")
        if " " in value:  # as a shell takes it
            value = f"'{value}'"
        return flags[match[1]] + (f" {value}" if value not in ("", "True", "...") else "")

    text = re.sub(rf"(?<![\w.-])({names})=('[^']*'|\.\.\.|[\w.]*\w)?", argument, text)
    # What a message adds for readers of Python's words stands there already.
    text = TWICE.sub(r"\g<option>\g<value>", text)
    return re.sub(rf"^(error: |note: )?({names}) (?=must |is |are )",
                  lambda match: f"{match[1] or ''}{flags[match[2]]} ", text)  # fmt: skip
