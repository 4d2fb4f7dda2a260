"""The command line: ``lossfit COMMAND``; each command is a file of this room.

Answers go to stdout; notes and errors go to stderr.  Exit codes: 0 fine, 2 bad usage or input.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from .. import __version__
from .voice import voices

# In the order of the help text: a command's file has its name.
NAMES = (
    "extrapolate",
    "race",
    "what-if",
    "best-tail",
    "phases",
    "ladder",
    "surface",
    "plan",
    "watch",
    "report",
    "backtest",
    "priors",
    "fit",
    "store",
    "inspect",
    "bench",
    "warmup",
    "doctor",
)


def as_written(text: str | None) -> str:
    """A help text with click's mark for lines that stay as they are, not spelt out."""
    return (text or "").replace("\\b", "\b")


class _Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return list(NAMES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name not in NAMES:
            return None
        module = import_module(f".{name.replace('-', '_')}", __package__)
        command: click.Command = module.command
        command.name = name
        command.help = as_written(command.help)
        if not any(param.name == "quiet" for param in command.params):
            command.params += voices()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; of one that is not there, those with a name like it."""
        near = get_close_matches(args[0], NAMES, 1, 0.5) if args else []
        if near and near[0] != args[0] and args[0] not in NAMES and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lossfit")
def main() -> None:
    r"""Bayesian fits of loss laws to training-loss curves.

    SOURCE is a built-in collection (llama1, llama2, llama, cosine_ablation), a log file or a folder
    of them (docs/formats.md lists the formats), or - for standard input.

    \b
    lossfit inspect my_run.csv                  what was found in a log
    lossfit extrapolate my_run.csv --at 2x      where its loss is going
    lossfit COMMAND --help                      every option, with examples
    """


main.help = as_written(main.help)
