"""``lossfit ladder``: the curve of a model of a size that was never trained, or has only begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .._base.errors import DataError
from .._base.units import amount_of as number
from ..runs.schedule_words import shape_of
from .common import guarded, load_runs, save_plot, show, show_arrivals
from .options import AMOUNT, by_run, options

if TYPE_CHECKING:
    from ..runs.collection import Runs


@click.command()
@click.option(
    "--size",
    multiple=True,
    metavar="RUN=N,...",
    callback=by_run(),
    help="Parameters of runs: small=100M,large=1B; or repeat it.",
)
@click.option("--params", type=AMOUNT, metavar="N", help="The size that is asked for: 70B.")
@click.option("--begun", type=click.Path(), help="Log of a run that has begun, of that size.")
@options(
    "source", "format", "loss", "columns", "tokens_per_step", "at", "target", "schedule",
    "prob", "draws", "random_seed", "plot",
    schedule={
        "multiple": False,
        "callback": None,
        "metavar": "KIND@END",
        "help": "Of the run to come: cosine@2T, linear@2T, wsd@2T, constant; by default that of "
        "the largest run, stretched to the end."
    },
    as_json={"help": "Print JSON (schema lossfit.ladder_answer/1 or lossfit.answer/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    size: dict[str, str] | str | None,
    params: float | None,
    begun: str | None,
    target: tuple[float, ...],
    at: tuple[str, ...],
    plot: str | None,
    as_json: bool,
) -> None:
    r"""The curve of a model of a size that was never trained, from finished smaller ones.

    SOURCE are finished runs of several sizes, with params and lr columns where they have them.

    \b
    lossfit ladder small.csv medium.csv large.csv --params 70B --at 2T --schedule cosine@2T
    lossfit ladder ladder.csv --params 70B --begun big.csv --at 2T
    lossfit ladder ladder.csv                     # what the ladder says of itself
    """
    from ..answers.extrapolation import extrapolate
    from ..ladders import fit_ladder

    if at and params is None:
        raise click.UsageError("--at needs --params: which size is asked for?")
    if params is not None and not at:
        raise click.UsageError("--params needs --at: where on its curve?")
    if begun is not None and params is None:
        raise click.UsageError("--begun needs --params and --at")
    if isinstance(size, str):
        raise click.BadParameter(
            "write RUN=N, such as small=100M (--params is the size asked for)", param_hint="--size"
        )
    sizes = {name: AMOUNT.convert(value, None, None) for name, value in (size or {}).items()}
    word = asked.pop("schedule")
    with guarded(notes=as_json):
        runs = load_runs(source, {**reading, "params": sizes or None})
        for run in runs:
            if run.params is None:
                raise DataError(
                    f"run {run.name!r} has no params, which a ladder needs: give "
                    f"--size {run.name}=100M, or a column params (--params is the size asked for)"
                )
        ladder = fit_ladder(runs, prob=asked["prob"], random_seed=asked["random_seed"])
        if params is None:
            result: Any = ladder
            show(ladder, as_json)
        else:
            places = [number(w) for each in at for w in each.split(",") if w.strip()]
            plan = None if word is None else shape_of(word, max(places), "tokens")
            if begun is None:
                result = ladder.extrapolate(
                    params, places, plan, tokens_per_step=reading["tokens_per_step"], **asked
                )
            else:
                begun_runs = load_runs([begun], {**reading, "params": params})
                result = extrapolate(
                    _one(begun_runs), at=places, axis="tokens", ladder=ladder, schedule=plan,
                    **asked,
                )  # fmt: skip
            show_arrivals(result, target, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: result.plot().figure, plot)


def _one(runs: Runs) -> Runs:
    if len(runs) != 1:
        raise DataError(f"--begun is the log of one run, and has {len(runs)}: name one file of one")
    return runs
