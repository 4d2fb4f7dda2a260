"""The command line: ``lossfit COMMAND``; each command is a file of this room.

Answers go to stdout; notes and errors go to stderr.  Exit codes: 0 fine, 2 bad usage or input.
"""

from __future__ import annotations

from importlib import import_module

import click

from .. import __version__

__all__ = ["main"]

# In the order of the help text: a command's file has its name.
NAMES = (
    "extrapolate",
    "race",
    "what-if",
    "phases",
    "ladder",
    "plan",
    "watch",
    "report",
    "backtest",
    "fit",
    "store",
    "inspect",
    "bench",
    "warmup",
    "doctor",
)


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
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lossfit")
def main() -> None:
    """Bayesian fits of loss laws to training-loss curves.

    SOURCE is a built-in collection (llama1, llama2, llama, cosine_ablation), a log file or a folder
    of them (docs/formats.md lists the formats), or - for standard input.
    """
