"""``lossfit watch``: follow a growing log and answer again as points arrive."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .._base.errors import DataError
from .common import guarded, say, show_text, with_finished_runs
from .options import AMOUNT, options

if TYPE_CHECKING:
    from ..monitoring.watching import Update


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "--reference",
    metavar="RUN_OR_FILE",
    help="A run to compare with: of the log by name, FILE, FILE:RUN, or a built-in run.",
)
@click.option("--interval", default=5.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Answer for what is there, and stop.")
@options(
    "reading", "run", "at", "target", "axis", "laws", "schedule", "total", "siblings",
    "calibrate_on", "share", "domain", "window", "prob", "draws", "random_seed",
    "place",
    run={"multiple": False, "help": "Run of the log; all of them by default."},
    target={"multiple": False, "help": "A loss: how probable is it to end below?"},
    at={
        "multiple": False,
        "type": AMOUNT,
        "help": "Where on the axis: 4e12, 4T, 500k; by default where the run will end.",
    },
    total={
        "help": "Where the runs will end on the axis, if no schedule or log says so: 20k; of each "
        "by name: big=20k,small=10k, or repeat it."
    },
    as_json={"help": "A line of JSON each (lossfit.watch/1)."},
)  # fmt: skip
def command(
    file: str, reading: dict[str, Any], asked: dict[str, Any], as_json: bool, **given: Any
) -> None:
    r"""Follow a growing log and answer again as points arrive; Ctrl-C stops.

    \b
    lossfit watch main.log --total 20k --target 3.2
    lossfit watch main.log --reference best.log --json
    """
    from ..monitoring.watching import watch

    with guarded():
        # Finished runs may be in another format than the log that is followed.
        asked = with_finished_runs(asked, reading | {"format": None})
        if reading.pop("join"):
            raise DataError("watch follows one log: --join is for commands that read several")
        updates = watch(file, **reading, **given, **asked)
        told: set[str] = set()
        try:
            for update in updates:
                if as_json:
                    show_text(json.dumps(update.to_dict(), allow_nan=False))
                elif update.problem:
                    say(str(update))
                else:
                    show_text(str(update))
                    _tell(update, told)
        except KeyboardInterrupt:
            say("stopped")


def _tell(update: Update, told: set[str]) -> None:
    """Each flag that matters, once, in words."""
    from ..fits.flags import QUIET

    meanings = update.answer.meanings if update.answer is not None else {}
    for flag in update.flags:
        if flag not in told and flag not in QUIET:
            told.add(flag)
            say(f"note: {flag}: {meanings.get(flag, 'see Runs.flags')}")
