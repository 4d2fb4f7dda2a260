"""The command line: ``lossfit extrapolate``, ``backtest``, ``fit``, ``inspect``, ``bench``.

Answers go to stdout; notes and errors go to stderr.  Exit codes: 0 fine, 2 bad usage or input.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import __version__
from .errors import DataError, DeviceError, LossfitWarning

if TYPE_CHECKING:
    from .runs import Runs

__all__ = ["main"]

Command = TypeVar("Command", bound=Callable[..., Any])

SUFFIXES = {"k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
AXES = ("auto", "tokens", "step", "gpu_hours", "flops")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lossfit")
def main() -> None:
    """Bayesian fits of loss laws to training-loss curves.

    SOURCE is a built-in collection (llama1, llama2, llama, cosine_ablation), a log file (CSV, JSON
    lines, Parquet), or - for standard input.
    """


def _sources(command: Command) -> Command:
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


def _device(command: Command) -> Command:
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


def _load(
    source: Sequence[str],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
) -> Runs:
    from .sources import load

    return load(
        list(source),
        format=format,
        params=params,
        tokens_per_step=tokens_per_step,
        gpu_hours=gpu_hours,
    )


@contextmanager
def _guarded(notes: bool = True) -> Iterator[None]:
    """Errors as one line and exit code 2, warnings as notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LossfitWarning)
        try:
            yield
        except (DataError, DeviceError) as error:
            _say(f"error: {error}")
            sys.exit(2)
        finally:
            for one in caught:
                if issubclass(one.category, LossfitWarning):
                    if notes:
                        _say(f"note: {one.message}")
                else:
                    warnings.showwarning(one.message, one.category, one.filename, one.lineno)


def _say(text: str) -> None:
    click.echo(" ".join(text.split()), err=True)


def _mention_compilation() -> None:
    """Say why the first answer of an installation takes long."""
    from .kernels import compiled

    if not compiled():
        _say("compiling kernels, once; later runs start at once")


def _print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, allow_nan=False))


@main.command()
@_sources
@click.option(
    "--run", "-r", multiple=True, help="Run to extrapolate (repeat for more); all by default."
)
@click.option("--compute-of", metavar="RUN", help="Give the runs the whole compute of this one.")
@click.option(
    "--at",
    multiple=True,
    help="Where on the axis: 4e12, 4T, 500k, or 2x for twice a run's data. Repeat it, or separate "
    "values by commas.",
)
@click.option("--axis", type=click.Choice(AXES), default="auto", show_default=True)
@click.option(
    "--law", "-l", multiple=True, help="Law (repeat to mix several); annealing by default."
)
@click.option(
    "--total",
    help="Planned end of the runs on the axis, where the schedule is not known: 4e12, 4T, 500k.",
)
@click.option(
    "--siblings",
    multiple=True,
    type=click.Path(),
    help="Logs of finished runs of the project, with an lr column, to learn from.",
)
@click.option(
    "--window", default="auto", show_default=True, help="auto, all, or shares such as 0.3,1."
)
@click.option("--prob", default=0.9, show_default=True, help="Probability of the intervals.")
@click.option("--draws", default=1000, show_default=True, help="Draws for each run.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@_device
@click.option("--plot", type=click.Path(dir_okay=False, writable=True), help="Write a figure here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.answer/1).")
def extrapolate(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    run: tuple[str, ...],
    compute_of: str | None,
    at: tuple[str, ...],
    axis: str,
    law: tuple[str, ...],
    total: str | None,
    siblings: tuple[str, ...],
    window: str,
    prob: float,
    draws: int,
    seed: int,
    plot: str | None,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    r"""The loss of runs at compute that they did not have.

    \b
    lossfit extrapolate llama2 --run llama2-7B --compute-of llama2-70B
    lossfit extrapolate my_run.csv --at 2x --plot answer.png
    """
    from .extrapolation import extrapolate as ask

    if bool(at) == (compute_of is not None):
        raise click.UsageError("give one of --at and --compute-of")
    with _guarded():
        runs = _load(source, format, params, tokens_per_step, gpu_hours)
        names = list(run) or None
        where, axis = _where(at, runs, names, axis) if at else (None, axis)
        span = _window(window)
        planned = None if total is None else _number(total)
        finished = None
        if siblings:
            finished = _load(siblings, format, params, tokens_per_step, gpu_hours)
        _mention_compilation()
    # In the text the flags are spelt out anyway.
    with _guarded(notes=as_json):
        answer = ask(
            runs,
            names,
            at=where,
            compute_of=compute_of,
            axis=axis,
            laws=list(law) or "auto",
            total=planned,
            siblings=finished,
            window=span,
            prob=prob,
            draws=draws,
            device=device,
            dtype=dtype,
            random_seed=seed,
        )
        if as_json:
            _print_json(answer.to_dict())
        else:
            click.echo(str(answer))
    if plot is not None:
        with _guarded():
            from .plotting import plot_answers

            _save_plot(lambda: plot_answers(answer), plot)


@main.command()
@_sources
@click.option(
    "--cutoff", multiple=True, type=float, help="Share at which runs are cut; .3, .5 and .7."
)
@click.option("--horizon", multiple=True, help="Multiple of the cut, or end; 1.25, 2 and end.")
@click.option("--axis", type=click.Choice(AXES), default="auto", show_default=True)
@click.option(
    "--law", "-l", multiple=True, help="Law (repeat to mix several); annealing by default."
)
@click.option(
    "--schedules",
    default="known",
    show_default=True,
    help="What forecasts are told of the learning rate: known, masked (its end only), or none.",
)
@click.option("--siblings", is_flag=True, help="Learn priors from the other runs of the group.")
@click.option(
    "--group", metavar="KEY", help="Average within groups first: the entry of meta that names them."
)
@click.option("--prob", default=0.9, show_default=True, help="Probability of the intervals.")
@click.option("--draws", default=1000, show_default=True, help="Draws for each forecast.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@_device
@click.option("--plot", type=click.Path(dir_okay=False, writable=True), help="Write a figure here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.check/1).")
def backtest(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    cutoff: tuple[float, ...],
    horizon: tuple[str, ...],
    axis: str,
    law: tuple[str, ...],
    schedules: str,
    siblings: bool,
    group: str | None,
    prob: float,
    draws: int,
    seed: int,
    plot: str | None,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """How often intervals would have held on your own finished runs."""
    from .backtesting import backtest as check_runs

    with _guarded():
        runs = _load(source, format, params, tokens_per_step, gpu_hours)
        _mention_compilation()
        options: dict[str, Any] = {}
        if cutoff:
            options["cutoffs"] = cutoff
        if horizon:
            options["horizons"] = horizon
        check = check_runs(
            runs,
            laws=list(law) or "auto",
            siblings="others" if siblings else None,
            group=group,
            prob=prob,
            random_seed=seed,
            axis=axis,
            schedules=schedules,  # type: ignore[arg-type]
            draws=draws,
            device=device,
            dtype=dtype,
            **options,
        )
        if as_json:
            _print_json(check.to_dict())
        else:
            click.echo(str(check))
    if plot is not None:
        with _guarded():
            _save_plot(check.plot, plot)


@main.command()
@_sources
@click.option("--law", "-l", default="power_linear", show_default=True, help="Law to fit.")
@click.option("--run", "-r", multiple=True, help="Run to fit (repeat for more); all by default.")
@click.option("--axis", type=click.Choice(AXES), default="auto", show_default=True)
@click.option(
    "--window", default="auto", show_default=True, help="auto, all, or shares such as 0.3,1."
)
@click.option(
    "--draws", default=1000, show_default=True, help="Draws for each run; 0: a summary only."
)
@click.option("--method", default="auto", show_default=True, help="quadrature, ensemble or emcee.")
@click.option("--noise", default="gaussian", show_default=True, help="gaussian or student_t.")
@click.option("--prob", default=0.9, show_default=True, help="Probability of the intervals.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@_device
@click.option(
    "--out", type=click.Path(dir_okay=False, writable=True), help="Write the fit here (netCDF)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.fit_summary/1).")
def fit(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    law: str,
    run: tuple[str, ...],
    axis: str,
    window: str,
    draws: int,
    method: str,
    noise: str,
    prob: float,
    seed: int,
    out: str | None,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """Fit a law to every run and print the posterior's summary."""
    from .cli_text import fit_dict, fit_text
    from .fitting import fit as fit_runs

    with _guarded():
        runs = _load(source, format, params, tokens_per_step, gpu_hours)
        if run:
            runs = runs.select(run)
        span = _window(window)
        _mention_compilation()
    with _guarded(notes=as_json):
        options: dict[str, Any] = {"method": method, "noise": noise, "prob": prob, "dtype": dtype}
        result = fit_runs(runs, law, axis, span, draws, device, seed, **options)
        if as_json:
            _print_json(fit_dict(result, prob))
        else:
            click.echo(fit_text(result, prob))
        if out is not None:
            try:
                result.to_netcdf(out)
            except OSError as error:
                raise DataError(f"cannot write {out}: {error}") from None
            _say(f"wrote {out}")


@main.command()
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, cuda:all."
)
@click.option(
    "--dtype", default="auto", show_default=True, help="On a card: float64, float32 or both."
)
@click.option("--quick", is_flag=True, help="Batches of up to 1,000 runs, about ten seconds.")
@click.option("--seconds", default=60.0, show_default=True, help="About how long it may take.")
@click.option("--seed", default=0, show_default=True, help="Random seed of the curves.")
@click.option("--plot", type=click.Path(dir_okay=False, writable=True), help="Save a plot here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.bench/1).")
def bench(
    device: str,
    dtype: str,
    quick: bool,
    seconds: float,
    seed: int,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""How many fits and answers a second this machine gives.

    \b
    lossfit bench --device cuda --dtype both --json > card.json
    """
    from .bench import bench as measure
    from .bench import bench_text, plot_bench

    with _guarded():
        _mention_compilation()
        record = measure(
            device,
            dtype,
            seconds=min(seconds, 10.0) if quick else seconds,
            most=1_000 if quick else 1_000_000,
            seed=seed,
            say=_say,
        )
        if as_json:
            _print_json(record)
        else:
            click.echo(bench_text(record))
        if plot is not None:
            _save_plot(lambda: plot_bench(record), plot)


@main.command()
@_sources
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.inspect/1).")
def inspect(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    as_json: bool,
) -> None:
    """What was found in logs: runs, points, axes, and what cleaning did."""
    from .cli_text import inspect_dict, inspect_text

    with _guarded():
        runs = _load(source, format, params, tokens_per_step, gpu_hours)
        if as_json:
            _print_json(inspect_dict(runs))
        else:
            click.echo(inspect_text(runs, _unicode()))


def _unicode() -> bool:
    return "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()


def _where(
    at: Sequence[str], runs: Runs, names: list[str] | None, axis: str
) -> tuple[list[float] | dict[str, list[float]], str]:
    """Targets from the command line: axis values, or multiples of a run's data."""
    from .checks import choose_axis

    words = [word.strip() for one in at for word in one.split(",") if word.strip()]
    if not words:
        raise DataError("--at is empty: give an axis value such as 4e12, 4T or 2x")
    if not any(word.endswith("x") for word in words):
        return [_number(word) for word in words], axis
    asked = runs.select(names) if names else runs
    axis = choose_axis(asked, axis)
    return {
        run.name: [
            _number(word[:-1]) * run.end(axis) if word.endswith("x") else _number(word)
            for word in words
        ]
        for run in asked
    }, axis


def _number(word: str) -> float:
    factor = SUFFIXES.get(word[-1:], 1.0)
    digits = word[:-1] if factor != 1.0 else word
    try:
        return float(digits) * factor
    except ValueError:
        raise DataError(
            f"{word!r} is no axis value: write 4e12, 4T, 500k, or 2x for twice the data"
        ) from None


def _window(text: str) -> Any:
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


def _save_plot(draw: Callable[[], Any], path: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    figure = draw()
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write the figure {path}: {error}") from None
    _say(f"wrote {path}")
