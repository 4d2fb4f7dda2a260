"""Writes docs/chinchillas_death.md and its figures: ``make docs``.

The questions that lossfit was built for, each answered on the built-in curves by a public function.  Every number
on the page is computed here; the words around it are chosen by rules stated in `verdict` and in the sections.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

import lossfit

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images" / "chinchillas_death"
SURE = 0.95  # a claim is supported at this probability, and not supported at one less it
PROB = 0.9


SURFACES = {
    "epoch": "Epoch's constants",
    "hoffmann": "Hoffmann's constants",
    "chinchilla": "our fit of Chinchilla's points",
}


class Box(NamedTuple):
    """One claim and what the curves say of it."""

    claim: str
    number: str
    verdict: str


class Section(NamedTuple):
    title: str
    text: str
    boxes: list[Box]
    code: str
    figures: list[tuple[str, str]]  # file name, what it shows


def verdict(probability: float) -> str:
    """The word for the probability of a claim."""
    if probability >= SURE:
        return "supported"
    if probability <= 1 - SURE:
        return "not supported"
    return "can't tell"


def percent(p: float) -> str:
    if p > 0.999:
        return "above 0.999"
    return "below 0.001" if p < 0.001 else f"{p:.3g}"


def interval(row: Any, digits: int = 3, sign: str = "") -> str:
    form = f"{{:{sign}.{digits}f}}"
    return (
        f"{form.format(row['median'])} ({form.format(row['lower'])} to {form.format(row['upper'])})"
    )


def hours(x: float) -> str:
    return f"{x:,.3g}" if x < 1000 else f"{round(x, -3):,.0f}"


def billions(x: float) -> str:
    return f"{x / 1e9:.0f}B" if x >= 1e10 else f"{x / 1e9:.2g}B"


def save(figure: Any, name: str) -> str:
    IMAGES.mkdir(parents=True, exist_ok=True)
    # no software version or date in the file: it is the same on every machine that draws the same
    figure.savefig(IMAGES / name, dpi=110, metadata={"Software": None})
    mpl.pyplot.close(figure)
    return name


def phases_section() -> Section:
    runs = lossfit.load("llama")
    found = lossfit.phases(runs, prob=PROB)
    frame = found.frame.set_index(["run", "phase"])
    names = list(runs.names)
    line, tip = (
        [float(frame.loc[(n, phase), "prob_exists"]) for n in names] for phase in ("linear", "tip")
    )
    shares = {
        phase: np.array([float(frame.loc[(n, phase), "share_median"]) for n in names])
        for phase in ("linear", "tip")
    }
    explained = [n for n in names if "schedule_explains" in found.flags[n]]
    unsure = [n for n in names if "cannot_tell" in found.flags[n]]
    figure = save(found.plot(run="llama2-7B").figure, "phases.png")
    text = (
        f"Four models of phases are compared on each of the eight curves: one power law; with a line "
        f"after it; with a flat end; with both. Beside them stands a law without phases that "
        f"responds to the cosine schedule. The line begins at {100 * shares['linear'].min():.0f} to "
        f"{100 * shares['linear'].max():.0f} % of a run, the tip at "
        f"{100 * shares['tip'].min():.0f} to {100 * shares['tip'].max():.0f} % (medians)."
    )
    boxes = [
        Box(
            "Every curve falls as a power law first, then almost linearly.",
            f"P(a linear phase) {percent(min(line))} on the least clear of {len(names)} curves",
            verdict(min(line)),
        ),
        Box(
            "The very tip flattens.",
            f"P(a flat end) {percent(min(tip))} to {percent(max(tip))}",
            verdict(min(tip)),
        ),
        Box(
            "These are phases of learning, more than the mark of the learning rate.",
            f"the schedule alone predicts held-out parts better on {len(explained)} of {len(names)} "
            f"curves, phases do on {len(names) - len(explained) - len(unsure)}, about equally on "
            f"{len(unsure)}",
            "not supported"
            if len(explained) == len(names)
            else ("supported" if not explained and not unsure else "can't tell"),
        ),
    ]
    code = (
        'found = lossfit.phases(lossfit.load("llama"))\nprint(found)\nfound.plot(run="llama2-7B")'
    )
    return Section(
        "The three phases",
        text,
        boxes,
        code,
        [(figure, "Llama 2 7B: where the line and the tip begin")],
    )


def crossing(table: Any, ahead: str, behind: str, rank: int = 1) -> Any:
    rows = table[
        (table["overtaker"] == ahead) & (table["overtaken"] == behind) & (table["rank"] == rank)
    ]
    return rows.iloc[0] if len(rows) else None


def race_section() -> Section:
    figures, tables, lines = [], {}, []
    for family in ("llama1", "llama2"):
        race = lossfit.race(lossfit.load(family), axis="gpu_hours", prob=PROB)
        tables[family] = race.overtakes()
        figures.append(
            (save(race.plot().figure, f"race_{family}.png"), f"{family}: loss against GPU-hours")
        )
        figures.append(
            (
                save(race.plot_leader().figure, f"leader_{family}.png"),
                f"{family}: probability of leading",
            )
        )
        sure = tables[family]
        sure = sure[(sure["prob_ever"] >= 0.5)].sort_values("median")
        for _, row in sure.iterrows():
            again = "" if row["rank"] == 1 else ", again"
            where = "in the data" if row["prob_inside"] > 0.5 * row["prob_ever"] else "forecast"
            lines.append(
                f"| {row['overtaker']} | {row['overtaken']}{again} | {hours(row['median'])} "
                f"({hours(row['lower'])} to {hours(row['upper'])}) | {percent(row['prob_ever'])} | "
                f"{where} |"
            )
        bias = race.bias(forecast=False)
        worst = bias.loc[bias["median"].idxmax()]
        lines_bias = (
            f"{interval(worst)} nats at {hours(worst['at'])} GPU-hours" if len(bias) else "none"
        )
        tables[family + "_bias"] = (lines_bias, worst)
    one, two = tables["llama1"], tables["llama2"]
    late = crossing(one, "llama1-65B", "llama1-33B")
    dips = [
        crossing(two, "llama2-70B", "llama2-34B"),
        crossing(two, "llama2-34B", "llama2-70B"),
    ]
    returns = float(dips[1]["prob_inside"]) if dips[1] is not None else 0.0
    first = [
        crossing(two, big, small)
        for big, small in (
            ("llama2-13B", "llama2-7B"),
            ("llama2-34B", "llama2-13B"),
            ("llama2-70B", "llama2-34B"),
        )
    ]
    back = [
        crossing(two, "llama2-7B", other) for other in ("llama2-13B", "llama2-34B", "llama2-70B")
    ]
    p_back = min(0.0 if row is None else float(row["prob_inside"]) for row in back)
    p_late = 0.0 if late is None else float(late["prob_ever"])
    text = (
        "Beyond a run's own end the curves are forecasts, drawn dashed. Crossings in GPU-hours with "
        f"probability above one half, medians and {100 * PROB:.0f} % intervals:\n\n"
        "| overtakes | whom | GPU-hours | P(ever) | |\n|---|---|---|---|---|\n" + "\n".join(lines)
    )
    bias_line, bias_row = tables["llama2_bias"]
    boxes = [
        Box(
            "Small models lead in GPU-hours and are overtaken in the order of size (Llama 2).",
            "; ".join(
                f"{row['overtaker'][7:]} passes {row['overtaken'][7:]} at {hours(row['median'])}, "
                f"P {percent(row['prob_ever'])}"
                for row in first
                if row is not None
            ),
            verdict(min(0.0 if row is None else float(row["prob_ever"]) for row in first)),
        ),
        Box(
            "Then they seem to come back: 7B passes 13B, 34B and 70B at its tip.",
            f"P(inside the data) {percent(p_back)} for the least clear of the three",
            verdict(p_back),
        ),
        Box(
            "LLaMA 1 33B is never overtaken by the 65B.",
            f"inside the data P(overtaken) {percent(0.0 if late is None else float(late['prob_inside']))}; "
            f"by the end of the 65B, with the 33B forecast, {percent(p_late)}"
            + ("" if late is None else f", at {hours(late['median'])} GPU-hours"),
            verdict(1 - p_late),
        ),
        Box(
            "Llama 2 34B rises above the 70B and comes back below it.",
            "no crossing"
            if dips[0] is None or dips[1] is None
            else f"70B passes at {hours(dips[0]['median'])}, 34B passes back at "
            f"{hours(dips[1]['median'])} GPU-hours, P {percent(returns)}",
            verdict(returns),
        ),
        Box(
            "Stopping every small run when it is first overtaken biases the frontier (Llama 2).",
            f"the frontier would lie up to {bias_line} too high",
            "supported" if bias_row["lower"] > 0 else "can't tell",
        ),
    ]
    code = (
        'race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours")\nprint(race)\n'
        "race.overtakes(); race.frontier(); race.bias(); race.plot(); race.plot_leader()"
    )
    return Section("LLaMA 1 and 2 as a race in GPU-hours", text, boxes, code, figures)


def compute_section() -> Section:
    runs = lossfit.load("llama2")
    answer = lossfit.extrapolate(runs, "llama2-7B", compute_of="llama2-70B", prob=PROB)
    row = answer.frame.iloc[0]
    below = float(np.ravel(answer.prob_below("llama2-70B"))[0])
    laws = [
        f"| `{r['law']}` | {r['weight']:.2g} | {interval(r)} |" for _, r in answer.by_law.iterrows()
    ]
    surfaces = []
    small, big = (6.7e9, 70e9 * 2e12 / 6.7e9), (70e9, 2e12)
    for name in ("epoch", "hoffmann"):
        gap = lossfit.surfaces.published(name).gap(small, big)
        surfaces.append(f"| {SURFACES[name]} | {gap['median']:+.3f} |")
    fitted = lossfit.surfaces.published("chinchilla", prob=PROB).gap(small, big)
    own = lossfit.fit_surface(runs, prob=PROB).gap(small, big)
    seventy = float(runs["llama2-70B"].loss[-5:].mean())
    # The answer goes on from where the run is; here its cosine is stretched from the start.
    tokens = 2e12 * float(row["horizon_ratio"])
    long = lossfit.schedules.cosine(3e-4, tokens / 4e6, 2000, 0.1)
    stretched = lossfit.what_if(
        runs, "llama2-7B", schedules={"stretched": long}, at=tokens, axis="tokens", prob=PROB
    )
    stretched_row = stretched.frame.set_index("schedule").loc["stretched"]
    laws.append(f"| `what_if`: its cosine over the whole length | | {interval(stretched_row)} |")
    figure = save(answer.plot().figure, "compute_of_70B.png")
    text = (
        f"Llama 2 7B at {hours(float(row['at']))} GPU-hours, {row['horizon_ratio']:.1f} times its own; the 70B "
        f"ended at {seventy:.3f}.\n\n"
        "| law | weight | loss |\n|---|---|---|\n"
        + "\n".join(laws)
        + "\n\nA surface of final losses says by how much the 7B would lie *above* the 70B at equal "
        "compute (6 x params x tokens):\n\n| surface | 7B less 70B |\n|---|---|\n"
        + "\n".join(surfaces)
        + f"\n| our fit of Chinchilla's points | {interval(fitted, sign='+')} |"
        f"\n| the same law fitted to the four Llama 2 runs | {interval(own, sign='+')} |\n\n"
        "Published constants are points: their sources report no joint error from which an interval "
        "would follow. The intervals of our fits know of what the law misses "
        "([how_we_checked_it.md](how_we_checked_it.md#surfaces)), and reach to both sides of zero: surfaces can't tell at "
        "this distance. That of the last row is mostly the prior: four sizes, one number of tokens."
    )
    boxes = [
        Box(
            "With the 70B's compute the 7B would have reached a lower loss than it did.",
            f"{interval(row)} against {runs['llama2-7B'].loss[-5:].mean():.3f}",
            verdict(float((answer.draws.values < runs["llama2-7B"].loss[-5:].mean()).mean())),
        ),
        Box(
            "It would have beaten the 70B.",
            f"P {percent(below)}, {row['horizon_ratio']:.1f} times its own data, farther than any forecast was "
            f"ever checked; with its cosine over the whole length {interval(stretched_row)} against "
            f"{seventy:.3f}; by a surface {fitted['median']:+.3f} above the 70B",
            verdict(below),
        ),
    ]
    code = (
        'answer = lossfit.extrapolate(runs, "llama2-7B", compute_of="llama2-70B")\nprint(answer)\n'
        'answer.by_law; answer.prob_below("llama2-70B")'
    )
    return Section(
        "The 7B with the 70B's compute",
        text,
        boxes,
        code,
        [(figure, "Llama 2 7B extrapolated to the 70B's GPU-hours")],
    )


TIP_CUT = 0.8


def tip_section() -> Section:
    runs = lossfit.load("llama")
    rows, errors, covered = [], {}, {}
    for law, words in (
        ("auto", "the schedule's law"),
        ("power", "power law"),
        ("power_linear", "power law and line"),
    ):
        check = lossfit.backtest(
            runs, cutoffs=(TIP_CUT,), horizons=("end",), laws=law, axis="tokens", prob=PROB
        )
        frame = check.frame
        wrong = frame["median"] - frame["observed"]
        errors[law], covered[law] = wrong.to_numpy(), int(frame["covered"].sum())
        rows.append(
            f"| {words} | {np.abs(wrong).mean():.4f} | {wrong.mean():+.4f} | {covered[law]} of "
            f"{len(frame)} |"
        )
    scenario = lossfit.what_if(runs, "llama2-7B", schedules={"constant": "constant"}, prob=PROB)
    lift = scenario.differences().iloc[0]
    figure = save(scenario.plot().figure, "tip_constant.png")
    text = (
        f"Cut each of the eight runs at {100 * TIP_CUT:.0f} % and predict its end: what does the law need to "
        "know?\n\n| law | mean absolute error | mean error | in the "
        f"{100 * PROB:.0f} % interval |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "Had the learning rate stayed at its peak, the 7B would have ended "
        f"{interval(lift, sign='+')} nats higher, by the law that responds to it: the near-linear fall is the "
        "cosine's middle, where the rate falls fastest, and the flat end its end, where it stops falling."
    )
    straight = errors["power_linear"]
    share = float((straight < 0).mean())
    better = float((np.abs(errors["auto"]) < np.abs(straight)).mean())
    boxes = [
        Box(
            "A line that is continued falls too low at the tip: the curve flattens.",
            f"on {100 * share:.0f} % of the runs, by {-straight.mean():.4f} nats on average",
            "supported" if share == 1 else "can't tell" if share > 0.5 else "not supported",
        ),
        Box(
            "The flattened tip is an artefact of the cosine.",
            f"told of the cosine only, the law predicts the tip within its interval on "
            f"{covered['auto']} of {len(runs)} runs, and better than the line on "
            f"{100 * better:.0f} %",
            "supported" if covered["auto"] == len(runs) and better == 1 else "can't tell",
        ),
    ]
    code = (
        f'lossfit.backtest(runs, cutoffs=({TIP_CUT},), horizons=("end",), laws="power_linear")\n'
        'lossfit.what_if(runs, "llama2-7B", schedules={"constant": "constant"}).plot()'
    )
    return Section(
        "Is the flattened tip an artefact of the cosine?",
        text,
        boxes,
        code,
        [(figure, "Llama 2 7B under its cosine and at a constant learning rate")],
    )


def stretched_section() -> Section:
    runs = lossfit.load("llama")
    tokens = 1e12
    older = runs["llama1-7B"]
    final = float(older.loss[-5:].mean())
    error = float(older.loss[-5:].std(ddof=1) / np.sqrt(5) + 0.003)  # and the reading's
    short = lossfit.schedules.cosine(3e-4, tokens / 4e6, 2000, 0.1)
    scenario = lossfit.what_if(
        runs, "llama2-7B", schedules={"cosine to 1T": short}, at=tokens, axis="tokens", prob=PROB
    )
    frame = scenario.frame.set_index("schedule")
    drop = scenario.differences().iloc[0]
    draws = scenario.draws.sel(run="llama2-7B", schedule="cosine to 1T").values.ravel()
    own = scenario.draws.sel(run="llama2-7B", schedule="own").values.ravel()
    noise = np.random.default_rng(0).normal(0, error, draws.size)
    above = float((own > final + noise).mean())
    explained = float((draws < final + noise).mean())
    figure = save(scenario.plot().figure, "stretched.png")
    text = (
        f"At 1 T tokens LLaMA 1 7B had finished its cosine at {final:.3f}; Llama 2 7B was halfway through one of "
        f"2 T tokens, at {interval(frame.loc['own'])}. Under a cosine that ends at 1 T tokens it would "
        f"have been at {interval(frame.loc['cosine to 1T'])} there. The two families differ in data and "
        "context length too (2,048 and 4,096 tokens), so their losses are compared with that in mind."
    )
    boxes = [
        Box(
            "Llama 2 7B is worse than LLaMA 1 7B at 1 T tokens.",
            f"{interval(frame.loc['own'])} against {final:.3f}, P {percent(above)}",
            verdict(above),
        ),
        Box(
            "The stretched cosine is why: unstretched, it would have been no worse.",
            f"unstretched {interval(drop, sign='+')} nats; P(below LLaMA 1 7B) {percent(explained)}",
            verdict(explained),
        ),
    ]
    code = (
        "short = lossfit.schedules.cosine(3e-4, 250_000, 2000, 0.1)\n"
        'lossfit.what_if(runs, "llama2-7B", schedules={"cosine to 1T": short}, at=1e12)'
    )
    return Section(
        "Was Llama 2 7B hurt at 1 T tokens by its stretched cosine?",
        text,
        boxes,
        code,
        [(figure, "Llama 2 7B under its own cosine and under one that ends at 1 T tokens")],
    )


def ablation_section() -> Section:
    runs = lossfit.load("cosine_ablation")
    lines, wrong, inside, longer = [], [], [], []
    figures = []
    for budget in ("7.7M", "12.8M"):
        names = [n for n in runs.names if n.startswith(f"{budget}/")]
        cycles = [n.partition("/")[2] for n in names]
        fitted = runs.select([f"{budget}/1.0", f"{budget}/5.0"])
        plans = {c: runs[n].schedule for c, n in zip(cycles, names, strict=True)}
        end = fitted[f"{budget}/1.0"].end("tokens")
        scenario = lossfit.what_if(
            fitted, f"{budget}/1.0", schedules=plans, at=end, axis="tokens", share=True, prob=PROB
        )
        frame = scenario.frame.set_index("schedule")
        for cycle, name in zip(cycles, names, strict=True):
            row, seen = frame.loc[cycle], float(runs[name].loss[-1])
            held = cycle not in ("1.0", "5.0")
            lines.append(
                f"| {budget} | {cycle} | {seen:.3f} | {interval(row)} | "
                f"{'forecast' if held else 'fitted'} |"
            )
            if held:
                wrong.append(abs(float(row["median"]) - seen))
                inside.append(float(row["lower"]) - 0.003 <= seen <= float(row["upper"]) + 0.003)
        gaps = scenario.differences("1.0").set_index("schedule")
        longer.append(min(1 - float(gaps.loc[c, "prob_better"]) for c in ("1.5", "2.0", "5.0")))
        if budget == "12.8M":
            figures.append(
                (save(scenario.plot().figure, "cosine_ablation.png"), "Figure A1, 12.8 M sequences")
            )
    text = (
        "Fitted to the cycles 1.0 and 5.0 of a budget, the law predicts the four others (readings "
        "are good to about 0.003):\n\n| sequences | cycle / budget | observed | median and interval | |\n"
        "|---|---|---|---|---|\n" + "\n".join(lines)
    )
    boxes = [
        Box(
            "A cosine longer than the budget costs: by half and more.",
            f"P(worse than 1.0) {percent(min(longer))} for the least clear of 1.5, 2 and 5 at both budgets",
            verdict(min(longer)),
        ),
        Box(
            "The learning rate explains figure A1.",
            f"mean absolute error {np.mean(wrong):.4f}, largest {max(wrong):.4f} nats; "
            f"{sum(inside)} of {len(inside)} within the {100 * PROB:.0f} % interval and the reading's error",
            "supported"
            if sum(inside) >= 0.8 * len(inside) and max(wrong) <= 0.01
            else "can't tell",
        ),
    ]
    code = (
        'two = runs.select(["12.8M/1.0", "12.8M/5.0"])\n'
        'lossfit.what_if(two, "12.8M/1.0", schedules=plans, at=end, share=True)'
    )
    return Section("Chinchilla's figure A1", text, boxes, code, figures)


def tail_section() -> Section:
    lines, boxes, figures = [], [], []
    budget = lossfit.load("cosine_ablation")
    asked = [
        ("Llama 2 7B, from its warm-up on", lossfit.load("llama2"), "llama2-7B", None),
        (
            "Chinchilla's ablation, 12.8 M sequences, six cycles together",
            budget.select([name for name in budget.names if name.startswith("12.8M/")]),
            "12.8M/1.0",
            True,
        ),
    ]
    for words, runs, name, share in asked:
        tail = lossfit.best_tail(runs, run=name, share=share, prob=PROB)
        frame = tail.frame.set_index("schedule")
        for other in frame.index[1:]:
            row = frame.loc[other]
            lines.append(
                f"| {words} | {other} | {row['gain']:+.4f} ({row['gain_lower']:+.4f} to "
                f"{row['gain_upper']:+.4f}) |"
            )
        ratio = tail.lr / tail.lr[0]
        flat = float(tail.at[ratio >= 0.9].max())
        file = f"best_tail_{len(figures)}.png"
        figures.append((save(tail.plot().figure, file), words))
        cosine = frame.loc["cosine"]
        boxes.append(
            Box(
                f"Another tail than the cosine is better ({words}).",
                f"the best one stays above 90 % of its start to "
                f"{100 * (flat - tail.start) / (tail.total - tail.start):.0f} % of the tail, ends at "
                f"{100 * ratio[-1]:.0f} %, and saves {cosine['gain']:.4f} ({cosine['gain_lower']:.4f} to "
                f"{cosine['gain_upper']:.4f}) nats over a cosine to 10 %; "
                f"{100 * tail.below:.0f} % of it lie below every learning rate in the data"
                + (
                    ", and it rests at 0 for a part, where nothing is trained"
                    * ("idle" in tail.flags)
                ),
                verdict(float(cosine["prob_better"]))
                if not tail.below
                else "can't tell"
                if tail.within is None
                else f"{verdict(float(tail.within.frame.set_index('schedule').loc['cosine', 'prob_better']))} "
                "(by the best tail within the data's learning rates)",
            )
        )
    text = (
        "The non-increasing learning rate, of no set shape, that minimises the expected final loss under the stack of "
        "the two laws that respond to it, from the same start and with the same end as the tails that it is compared "
        "with.\n\n| runs | compared tail | the best saves |\n|---|---|---|\n" + "\n".join(lines)
    )
    code = (
        'tail = lossfit.best_tail(lossfit.load("llama2"), run="llama2-7B")\nprint(tail)\n'
        "tail.schedule; tail.plot()"
    )
    return Section("What tail is best?", text, boxes, code, figures)


GOOD = 0.01  # nats above the best


def epochs_section() -> Section:
    unique = 1e12
    lines = []
    sources: dict[str, Any] = {name: name for name in SURFACES}
    sources["the same law fitted to the four Llama 2 runs"] = lossfit.load("llama2")
    regrets = {}
    for name, source in sources.items():
        plan = lossfit.plan(source, params=7e9, epochs=7, unique_tokens=unique, prob=PROB)
        row = regrets[name] = plan.regret.loc["regret"]
        best = plan.optimum
        size, epochs = best.loc["params"], best.loc["epochs"]
        known = np.isfinite(size["lower"])
        width = f" ({billions(size['lower'])} to {billions(size['upper'])})" if known else ""
        lines.append(
            f"| {SURFACES.get(name, name)} | {billions(size['median'])}{width}, "
            f"{epochs['median']:.2g} epochs | "
            f"{interval(row, sign='+') if known else format(row['median'], '+.3f')} |"
        )
        if name == "chinchilla":
            figure = save(plan.plot().figure, "seven_epochs.png")
    row = regrets["chinchilla"]
    text = (
        "A budget of 7B x 7 x 1 T tokens (2.9e23 FLOP) and 1 T unique tokens; what repeats are worth is taken from "
        "Muennighoff et al. 2023, within a factor of two.\n\n"
        "| surface | best for the same compute | 7B for 7 epochs lies above it by |\n|---|---|---|\n"
        + "\n".join(lines)
    )
    boxes = [
        Box(
            "7B for 7 epochs over the data you have is a good way to spend the compute.",
            f"{interval(row, sign='+')} nats above the best, by our fit of Chinchilla's points (a good way: "
            f"within {GOOD} nats)",
            "can't tell"
            if row["lower"] < GOOD < row["upper"]
            else verdict(float(row["upper"] < GOOD)),
        )
    ]
    code = 'lossfit.plan("epoch", params=7e9, epochs=7, unique_tokens=1e12)'
    return Section(
        "7B for 7 epochs",
        text,
        boxes,
        code,
        [(figure, "Loss along the budget, with 1 T unique tokens")],
    )


LARGEST = {"llama1": "llama1-65B", "llama2": "llama2-70B"}


def ladder_section() -> Section:
    lines, boxes = [], []
    for collection, largest in LARGEST.items():
        runs = lossfit.load(collection)
        ladder = lossfit.fit_ladder(
            runs.select([name for name in runs.names if name != largest]), prob=PROB
        )
        run = runs[largest]
        end = run.end("tokens")
        assert run.params is not None
        answer = ladder.extrapolate(run.params, [end / 4, end / 2, end], run=f"{largest}, unseen")
        for _, row in answer.frame.iterrows():
            seen = float(np.interp(row["at"], run.axis("tokens"), run.loss))
            lines.append(f"| {largest} | {row['at'] / 1e12:.2g} T | {interval(row)} | {seen:.3f} |")
        final = answer.frame.iloc[-1]
        outcome = float(run.loss[-5:].mean())
        boxes.append(
            Box(
                f"Three smaller sisters tell where {largest} ends.",
                f"{interval(final)}; it ended at {outcome:.3f}",
                verdict(float(final["lower"] < outcome < final["upper"])),
            )
        )
    figure = save(answer.plot().figure, "ladder.png")
    best = lossfit.fit_ladder(lossfit.load("llama2"), prob=PROB).frontier([1e23, 1e24], draws=300)
    sizes = [
        f"{row['compute']:.0e} FLOP {billions(row['params'])} ({billions(row['params_lower'])} to "
        f"{billions(row['params_upper'])})"
        for _, row in best.iterrows()
    ]
    text = (
        "The curve of the largest run of each family, from the whole curves of the three smaller ones and its own "
        "schedule; nothing of it was seen ([a ladder](howto/a_ladder.md)).\n\n"
        "| run | at tokens | forecast | its curve there |\n|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n\nThe frontier from Llama 2's whole curves, every size planned to end on its budget: the best size is at "
        + ", at ".join(sizes)
        + ". Four sizes on one number of tokens do not tell it better."
    )
    code = (
        'smaller = lossfit.load("llama2").select(["llama2-7B", "llama2-13B", "llama2-34B"]); '
        "ladder = lossfit.fit_ladder(smaller); "
        "print(ladder.extrapolate(params=7e10, at=2e12))"
    )
    return Section(
        "The largest from its smaller sisters", text, boxes, code, [(figure, "Llama 2 70B, unseen")]
    )


def page(sections: list[Section]) -> str:
    """The page in Markdown."""
    lines = [
        "# Chinchilla's death, and what the curves say",
        "",
        "Small models seem to catch up: plotted against GPU-hours, the curves of LLaMA 1 and 2 cross, and cross "
        "back. This page asks of the built-in curves every question that started lossfit. Each claim gets a number with "
        f"its {100 * PROB:.0f} % interval and a verdict: *supported* at a probability of {SURE} or more (or by "
        "the rule that is stated), *not supported* at one of "
        f"{1 - SURE:.2f} or less, and else *these data can't tell*.",
        "",
        "The page is written by `make docs`, from [chinchillas_death.py](chinchillas_death.py). The curves are readings of "
        "published figures (`lossfit/data/README.md`), good to about 0.003 nats.",
        "",
        "| | claim | verdict |",
        "|---|---|---|",
    ]
    for letter, section in zip("abcdefghij", sections, strict=False):
        lines += [f"| {letter} | {box.claim} | **{box.verdict}** |" for box in section.boxes]
    for letter, section in zip("abcdefghij", sections, strict=False):
        lines += ["", f"## ({letter}) {section.title}", "", section.text, ""]
        for box in section.boxes:
            lines += [
                f"> **Claim.** {box.claim}<br>",
                f"> **Our number.** {box.number}<br>",
                f"> **Verdict.** {box.verdict}",
                "",
            ]
        for name, words in section.figures:
            lines += [f"![{words}](images/chinchillas_death/{name})", ""]
        lines += ["```python", section.code.replace("; ", "\n"), "```"]
    return "\n".join(lines) + "\n"


SECTIONS: dict[str, Callable[[], Section]] = {
    "phases": phases_section,
    "race": race_section,
    "compute": compute_section,
    "tip": tip_section,
    "stretched": stretched_section,
    "ablation": ablation_section,
    "tail": tail_section,
    "epochs": epochs_section,
    "ladder": ladder_section,
}


def main(*names: str) -> None:
    """Write the page; print the named sections only where there are names."""
    mpl.use("Agg")
    # The page spells out what the flags say.
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    sections = [SECTIONS[name]() for name in names or SECTIONS]
    if names:
        print(page(sections))
    else:
        (HERE / "chinchillas_death.md").write_text(page(sections), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
