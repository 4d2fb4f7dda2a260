"""Following a log that grows: nothing here waits for the clock but one test with a thread."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import lossfit
from lossfit import DataError
from lossfit.cli.watch import command
from lossfit.monitoring.tailing import AGAIN, ON, Log
from lossfit.monitoring.watching import LEAST_POINTS, Update, watch

TOTAL = 400


def line(step: int, level: float = 2.5, seed: int = 0) -> str:
    noise = np.random.default_rng([seed, step]).normal(0, 0.01)
    rate = 1e-3 * (1 + np.cos(np.pi * step / TOTAL)) / 2
    return f"s:{step} trl:{level + 6 * step**-0.5 + noise:.4f} lr:{rate:.6f} norm:1.00\n"


def lines(start: int, stop: int, **options) -> str:
    return "".join(line(step, **options) for step in range(start, stop))


def without_rate(start: int, stop: int) -> str:
    return re.sub(" lr:[0-9.]+", "", lines(start, stop))


class Growing:
    """Stands for the clock: each wait is the next thing that happens to the log."""

    def __init__(self, path, *events):
        self.path = path
        self.events = list(events)
        self.waits = []

    def __call__(self, seconds):
        self.waits.append(seconds)
        if not self.events:
            raise StopWatching
        event = self.events.pop(0)
        if callable(event):
            event(self.path)
        elif event:
            with self.path.open("a") as out:
                out.write(event)


class StopWatching(Exception):
    """Nothing more happens."""


def followed(path, *events, **options) -> list[Update]:
    """All updates until nothing more happens."""
    updates = []
    clock = Growing(path, *events)
    options = {"total": TOTAL, "draws": 200} | options
    try:
        for update in watch(path, sleep=clock, interval=3.0, **options):
            updates.append(update)
    except StopWatching:
        pass
    assert set(clock.waits) <= {3.0}
    return updates


@pytest.fixture
def log(tmp_path):
    return tmp_path / "main.log"


def test_a_log_that_grows(log):
    updates = followed(log, lines(1, 4), lines(4, 60), "", line(60), lines(61, TOTAL), target=3.0)
    problems = [update.problem for update in updates if update.problem]
    assert problems == [
        f"there is no file {log} yet",
        f"3 points so far; {LEAST_POINTS} are needed",
    ]
    answers = [update for update in updates if update.answer is not None]
    assert [update.points for update in answers] == [59, 60, TOTAL - 1]
    assert [update.new_points for update in answers] == [59, 1, TOTAL - 61]
    assert [update.position for update in answers] == [59, 60, TOTAL - 1]
    assert [update.finished for update in answers] == [False, False, True]
    assert {update.at for update in answers} == {TOTAL}
    for update in answers:
        assert update.lower < update.median < update.upper
        assert update.prob == 0.9
        curves = update.answer.draws.values[0, 0]
        assert update.prob_below == (curves < 3.0).mean()
        assert update.answer.prob_below(3.0) == update.prob_below
    assert answers[-1].upper - answers[-1].lower < answers[0].upper - answers[0].lower
    assert "59 points to 59 steps" in str(answers[0])
    assert "P(below 3)" in str(answers[0])


def test_the_answers_are_those_of_extrapolate(log):
    log.write_text(lines(1, 200))
    (update,) = watch(log, total=TOTAL, once=True, random_seed=5)
    with pytest.warns(lossfit.LossfitWarning, match="far"):
        direct = lossfit.extrapolate(lossfit.load(log), at=TOTAL, total=TOTAL, random_seed=5)
    np.testing.assert_array_equal(update.answer.draws, direct.draws)
    assert update.median == direct.frame["median"][0]
    assert update.flags == direct.frame["notes"][0]


def test_a_last_line_is_left_until_it_is_whole(log):
    log.write_text(lines(1, 50))
    whole = line(50)
    updates = followed(log, whole[:12], whole[12:], total=TOTAL)
    assert [update.points for update in updates] == [49, 50]
    assert updates[-1].loss == float(whole.split("trl:")[1][:6])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_that_grows(tmp_path, encoding):
    path = tmp_path / "log.csv"
    rows = [f"{s},{2.5 + 6 * s**-0.5 + 0.01 * (-1) ** s:.5f}" for s in range(1, 61)]
    text = "\n".join(["step,loss", *rows]) + "\n"
    data = text.encode(encoding)
    cut = len(text[: text.index("\n55,") + 4].encode(encoding))

    def grow(path):
        with path.open("ab") as out:
            out.write(data[cut:])

    path.write_bytes(data[:cut])
    updates = followed(path, grow)
    assert [update.points for update in updates] == [54, 60]


def test_a_log_that_is_started_again(log):
    log.write_text(lines(1, 100))
    updates = followed(log, lambda path: path.write_text(lines(1, 30)), lines(30, 40))
    assert [update.points for update in updates] == [99, 29, 39]
    assert [update.note for update in updates] == ["", "the log was started again", ""]
    assert updates[1].new_points == 29
    assert "started again" in str(updates[1])


def test_a_log_that_is_rotated(log):
    log.write_text(lines(1, 50))

    def rotate(path):
        path.rename(path.with_suffix(".1"))
        path.write_text(lines(50, 120))

    def lose(path):
        path.unlink()

    updates = followed(log, rotate, lose, lambda path: path.write_text(lines(1, 150, seed=1)))
    assert [update.points for update in updates] == [49, 119, 0, 149]
    assert [update.note for update in updates] == ["", ON, "", AGAIN]
    assert "there is no file" in updates[2].problem


def test_rotation_loses_no_line(log):
    """What the old file got before it was renamed is read there; copytruncate is rotation too."""
    log.write_text(lines(1, 50))

    def rotate(path):
        with path.open("a") as out:
            out.write(lines(50, 60))
        path.rename(path.with_suffix(".1"))
        path.write_text(line(60))  # too short to be told from another run yet

    def truncate(path):
        path.write_text("")
        path.write_text(lines(120, 140))

    updates = followed(log, rotate, lines(61, 120), truncate)
    answers = [update for update in updates if update.answer is not None]
    assert [update.points for update in answers] == [49, 119, 139]
    assert [update.note for update in answers] == ["", ON, ON]
    assert not any(update.broken for update in answers)


def test_a_log_that_is_rewritten_in_place(tmp_path):
    """Lightning's metrics.csv gets a column in the middle of a run, and all its rows are new."""
    path = tmp_path / "log.csv"

    def table(stop, extra):
        head = "step,loss,val_loss" if extra else "step,loss"
        rows = [f"{s},{2.5 + 6 * s**-0.5 + 0.01 * (-1) ** s:.5f}" for s in range(1, stop)]
        return "\n".join([head, *(f"{row}," if extra else row for row in rows)]) + "\n"

    path.write_text(table(60, False))
    inode = path.stat().st_ino
    updates = followed(
        path,
        lambda path: path.write_text(table(80, True)),
        lambda path: path.write_text(table(80, True).replace("8.51000", "8.51001")),  # same size
        lambda path: path.write_text(table(90, True)),
    )
    assert path.stat().st_ino == inode
    assert [update.points for update in updates] == [59, 79, 89]
    assert {update.note for update in updates} == {""}


def test_only_what_was_added_is_read(log, tmp_path):
    log.write_text(lines(1, 300))
    follower = Log(log, {})
    runs, note = follower.read(whole=False)
    assert (len(runs["main"]), note) == (299, "")
    first = follower.bytes_read
    assert first == log.stat().st_size
    assert follower.read(whole=False) == (None, "")
    with log.open("a") as out:
        out.write(line(300))
    runs, _ = follower.read(whole=False)
    assert len(runs["main"]) == 300
    assert follower.bytes_read - first == len(line(300))
    # In the middle of it another line: all of it is read again.
    text = log.read_text()
    log.write_text(text.replace("trl:2.9", "trl:2.8") + line(301))
    runs, _ = follower.read(whole=False)
    assert runs == lossfit.load(log)
    assert follower.bytes_read > 2 * first
    # A log so long that its head lies beyond what is compared before the end.
    long = tmp_path / "long.log"
    long.write_text(lines(1, 4000))
    follower = Log(long, {})
    follower.read(whole=False)
    with long.open("r+b") as out:
        out.write(lines(1, 2, level=3.0).encode())
    with long.open("a") as out:
        out.write(line(4000))
    runs, _ = follower.read(whole=False)
    assert runs == lossfit.load(long)


@pytest.mark.parametrize("kind", ["nan", "up", "zero"])
def test_a_run_that_breaks_is_told_at_the_next_look(log, kind):
    log.write_text(lines(1, 200))
    broken = {"nan": "nan", "up": "7.5", "zero": "0.0"}[kind]
    more = "".join(
        f"s:{step} trl:{broken if kind != 'up' else 7.5 + 0.2 * (-1) ** step} lr:0.0005 norm:1.00\n"
        for step in range(200, 212)
    )
    updates = followed(
        log, more[: more.index("s:206")], more[more.index("s:206") :], lines(212, 214)
    )
    assert updates[0].broken == ""
    words = {"nan": "not finite|NaN", "up": "diverged", "zero": "logged as 0"}[kind]
    assert len(updates) >= 2
    assert any(re.search(words, update.broken) for update in updates[1:3])
    told = next(update for update in updates if update.broken)
    assert str(told).startswith("! ")
    plain = told.to_dict()
    assert plain["broken"] == told.broken
    assert plain["median"] is plain["lower"] is plain["upper"] is plain["prob_below"] is None
    assert plain["notes"] == ["broken"]
    assert updates[0].to_dict()["median"] == updates[0].median
    assert str(told).endswith("no forecast")


FILES = Path(__file__).parents[1] / "sources" / "files"
NAMES = sorted({path.name for path in FILES.iterdir()} - {"wandb_runs.csv"})  # a refused one


@pytest.mark.parametrize(
    "name", sorted({path.name for path in FILES.iterdir()} - {"wandb_runs.csv"})
)
def test_every_format_is_followed(tmp_path, name):
    """Written in two parts, with a cut in the middle of a line, a log is what `load` reads."""
    data = (FILES / name).read_bytes()
    cut = int(0.7 * len(data))
    path = tmp_path / name

    def grow(path):
        with path.open("ab") as out:
            out.write(data[cut:])

    path.write_bytes(data[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        whole = lossfit.load(FILES / name)
        far = 3 * max(run.end(run.axes[0]) for run in whole)
        updates = followed(path, grow, total=None, at=far)
    last = {update.run: update for update in updates if update.answer is not None}
    for run in whole:
        if len(run) >= LEAST_POINTS:
            assert last[run.name].points == len(run)
            assert last[run.name].loss == run.loss[-1]


def test_tables_that_are_no_text_are_followed(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    steps = np.arange(1, 61)
    frame = pandas.DataFrame({"step": steps, "loss": 2.5 + 6 * steps**-0.5})
    path = tmp_path / "log.parquet"
    frame[:40].to_parquet(path)
    updates = followed(path, lambda path: frame.to_parquet(path))
    assert [update.points for update in updates] == [40, 60]
    assert {update.note for update in updates} == {""}


def test_event_files_are_followed(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from lossfit.integrations.tensorboard import report

    tell = report(tmp_path)

    def write(start, stop):
        for step in range(start, stop):
            tell({"train/loss": 2.5 + 6 * step**-0.5 + 0.01 * (-1) ** step}, step)

    write(1, 40)
    updates = followed(tmp_path, lambda path: write(40, 60), None)
    assert [update.points for update in updates] == [39, 59]
    assert {update.note for update in updates} == {""}


def test_damage_that_passes(tmp_path):
    """A state that is read while it is written is told once, and then read."""
    path = tmp_path / "trainer_state.json"

    def state(stop):
        entries = [
            {"step": s, "loss": round(2.5 + 6 * s**-0.5 + 0.01 * (-1) ** s, 4)}
            for s in range(10, stop, 10)
        ]
        return json.dumps({"max_steps": 1000, "log_history": entries}, indent=2)

    path.write_text(state(400))
    updates = followed(
        path,
        lambda path: path.write_text(state(500)[:2000]),
        lambda path: path.write_text(state(500)[:2100]),
        lambda path: path.write_text(state(500)),
        total=None,
    )
    assert updates[0].points == 39
    assert updates[-1].points == 49
    assert all("not valid JSON" in update.problem for update in updates[1:-1])
    assert updates[0].at == 1000  # the state says how long the run will be
    assert not updates[-1].finished


def test_a_reference_run(tmp_path, log):
    log.write_text(lines(1, 200))
    better, worse = tmp_path / "better.log", tmp_path / "worse.log"
    better.write_text(lines(1, TOTAL, level=2.0, seed=1))
    worse.write_text(lines(1, TOTAL, level=4.0, seed=1))
    (update,) = watch(log, total=TOTAL, reference=better, once=True)
    assert update.reference == "better"
    assert update.prob_behind > 0.99
    assert update.prob_ahead == pytest.approx(1 - update.prob_behind)
    assert update.prob_behind > 0.95
    assert f"P(beaten by better) {update.prob_behind:.3f}" in str(update)
    (update,) = watch(log, total=TOTAL, reference=str(worse), once=True)
    assert update.prob_behind < 0.01
    # As Runs, as a Run, and as a run of the log itself.
    given = lossfit.load(worse)
    for reference in (given, given["worse"], f"{worse}:worse"):
        (again,) = watch(log, total=TOTAL, reference=reference, once=True)
        assert again.prob_ahead == update.prob_ahead
    both = tmp_path / "both.csv"
    frame = (lossfit.load(log) + given).frame.drop(columns="spike")
    frame.to_csv(both, index=False)
    (same,) = watch(both, total=TOTAL, reference="worse", once=True)
    assert (same.run, same.reference) == ("main", "worse")
    assert same.prob_ahead == pytest.approx(update.prob_ahead, abs=1e-6)
    # As the answer itself compares runs.
    with pytest.warns(lossfit.LossfitWarning):
        answer = lossfit.extrapolate(
            lossfit.load(both), "main", at=TOTAL, axis="step", total={"main": TOTAL}
        )
    assert same.prob_ahead == pytest.approx(answer.prob_below("worse"), abs=0.02)


def test_references_that_are_not_there(tmp_path, log):
    log.write_text(lines(1, 60))
    with pytest.raises(DataError, match="there is no reference /no/such"):
        watch(log, reference="/no/such.log")
    with pytest.raises(DataError, match=r"llama2 has 4 runs .*name one as PATH:RUN"):
        watch(log, reference="llama2")
    with pytest.raises(DataError, match="there is no run 'other'"):
        list(watch(log, total=TOTAL, reference="other", once=True))
    hours = tmp_path / "hours.csv"
    hours.write_text("gpu_hours,loss\n1,3\n2,2.9\n3,2.8\n")
    with pytest.raises(DataError, match="the reference 'hours' has no step, which the log is"):
        list(watch(log, total=TOTAL, reference=hours, once=True))


def test_several_runs_in_one_log(tmp_path):
    path = tmp_path / "runs.csv"
    rows = "".join(
        f"{name},{s},{level + 6 * s**-0.5 + 0.01 * (-1) ** s:.5f}\n"
        for s in range(1, 41)
        for name, level in (("a", 2.0), ("b", 3.0))
    )
    path.write_text("run,step,loss\n" + rows)
    more = "".join(f"b,{s},{3 + 6 * s**-0.5 + 0.01 * (-1) ** s:.5f}\n" for s in range(41, 50))
    updates = followed(path, more)
    assert [(update.run, update.points) for update in updates] == [("a", 40), ("b", 40), ("b", 49)]
    assert [update.run for update in followed(path, run="a")] == ["a"]
    with pytest.raises(DataError, match="there is no run 'c'"):
        list(watch(path, "c", total=TOTAL, once=True))


def test_where_a_run_ends(log):
    log.write_text(lines(1, 200))
    (update,) = watch(log, once=True)
    assert update.at == TOTAL  # by the cosine that was logged
    log.write_text(without_rate(1, 100))
    with pytest.raises(DataError, match="neither its log nor a schedule says where it will end"):
        list(watch(log, once=True))
    plan = lossfit.schedules.cosine(peak=1e-3, total=TOTAL)
    (update,) = watch(log, schedule=plan, once=True)
    assert update.at == TOTAL
    (update,) = watch(log, at=150, total=TOTAL, once=True)
    assert update.at == 150
    (update,) = watch(log, total=100 * 1000, tokens_per_step=1000, once=True)
    assert (update.axis, update.at, update.finished) == ("tokens", 1e5, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"total": -1}, "total must be a positive number"),
        ({"target": "low"}, "target must be a number"),
        ({"interval": -1}, "interval must be seconds"),
        ({"laws": "line", "total": TOTAL}, "no law is called 'line'"),
        ({"format": "xml"}, "no log format is called 'xml'"),
        ({"axis": "miles", "total": TOTAL}, "no axis is called 'miles'"),
        ({"prob": 2, "total": TOTAL}, "prob must be"),
    ],
)
def test_options_that_cannot_be(log, options, words):
    log.write_text(lines(1, 60))
    with pytest.raises(DataError, match=words):
        list(itertools.islice(watch(log, once=True, **options), 1))


@pytest.mark.parametrize("count", [8, 9, 12, 20])
def test_few_points_suffice(log, count):
    log.write_text(lines(1, count + 1))
    (update,) = watch(log, total=TOTAL, once=True)
    assert update.points == count
    assert update.upper > update.lower


def test_once_without_a_log(log):
    with pytest.raises(DataError, match="there is no file"):
        list(watch(log, total=9, once=True))
    log.write_text(lines(1, 5))
    with pytest.raises(DataError, match="run 'main': 4 points so far; 8 are needed"):
        list(watch(log, total=9, once=True))


def test_a_thread_that_writes(log):
    """With the real clock, and a writer that flushes in the middle of lines."""
    text = lines(1, 121)
    done = threading.Event()

    def write():
        with log.open("w") as out:
            for i in range(0, len(text), 700):
                out.write(text[i : i + 700])
                out.flush()
                time.sleep(0.02)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    points = []
    for update in watch(log, total=121, interval=0.03, draws=50):
        if update.answer is not None:
            points.append(update.points)
    thread.join()
    assert done.is_set()
    assert points == sorted(points)
    assert points[-1] == 120
    assert len(points) > 1


# The command


def run(*words):
    return CliRunner().invoke(command, [str(word) for word in words])


def test_the_command_once(log, tmp_path):
    log.write_text(lines(1, 200))
    done = run(log, "--total", "0.4k", "--target", 3, "--once", "--reference", log)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1
    assert "main: 199 points to 199 steps" in done.stdout
    assert "P(beaten by main)" in done.stdout
    done = run(log, "--total", 400, "--target", 3, "--once", "--json")
    data = json.loads(done.stdout)
    assert data["schema"] == "lossfit.watch/1"
    assert data["at"] == 400
    assert 0 <= data["prob_below"] <= 1
    assert data["problem"] is None
    bare = tmp_path / "bare.log"
    bare.write_text(without_rate(1, 200))
    for words, message in (
        ([tmp_path / "no.log", "--once"], "there is no file"),
        ([bare, "--once"], "give --total"),
        ([log, "--once", "--total", "soon"], "'soon' is no axis value"),
    ):
        done = run(*words)
        assert done.exit_code == 2
        assert message in done.stderr
        assert done.stdout == ""


def test_the_command_explains_flags_of_this_run(log):
    log.write_text(re.sub("lr:[^ ]*", "lr:0.001000", lines(1, 200)))
    done = run(log, "--total", 400, "--once")
    assert "schedule_unknown: the logged learning rate is constant up to the end" in done.stderr
    done = run(log, "--total", 400_000, "--once")
    assert "total_far: --total 400,000 is 2,010 times the data" in done.stderr
    assert "did you mean --total 400?" in done.stderr
    log.write_text(re.sub(" lr:[^ ]*", "", lines(1, 200)))
    done = run(log, "--schedule", "cosine@400", "--once")
    assert "to 199 steps" in done.stdout
    assert "schedule_unknown" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_is_a_fine_end(log, root):
    log.write_text(lines(1, 60))
    process = subprocess.Popen(
        [
            sys.executable, "-c", "from lossfit.cli.watch import command; command()",
            str(log), "--total", "400", "--interval", "0.1", "--json",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        # A job in the background, as of nohup, ignores the signal, and its children do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    first = json.loads(process.stdout.readline())
    assert first["points"] == 59
    with log.open("a") as out:
        out.write(lines(60, 70))
    assert json.loads(process.stdout.readline())["points"] == 69
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "stopped" in errors


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_plans_by_run_are_each_runs_own(tmp_path):
    t = np.arange(50.0, 4000.0, 50.0)
    frame = pd.concat(
        pd.DataFrame({"run": name, "step": t, "loss": 2 + high + 20 * t**-0.4})
        for name, high in (("a", 0.0), ("b", 0.01))
    )
    frame.to_csv(path := tmp_path / "two.csv", index=False)
    plans = {
        "a": lossfit.schedules.cosine(1e-3, 8000),
        "b": lossfit.schedules.wsd(1e-3, 8000),
    }
    options = {"schedule": plans, "share": True, "draws": 50}
    for update in lossfit.watch(path, once=True, **options):
        answer = lossfit.extrapolate(lossfit.load(path), update.run, at=8000, **options)
        assert update.median == pytest.approx(answer.frame["median"][0], rel=1e-9)
    ends = {"a": 6000, "b": 7000}
    updates = lossfit.watch(path, once=True, total=ends, draws=50)
    assert {update.run: update.at for update in updates} == ends
    with pytest.raises(DataError, match="total of run 'b' must be a positive"):
        next(lossfit.watch(path, once=True, total={"b": -1}))


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_ladder_is_asked_too(tmp_path):
    """The answer of `watch` is that of `extrapolate` with the ladder, and differs from its own."""
    llama = lossfit.load("llama2")
    ladder = lossfit.fit_ladder(llama.select(["llama2-7B", "llama2-34B"]))
    begun = llama.select(["llama2-70B"]).until({"tokens": 4e11})
    path = tmp_path / "big.csv"
    begun.frame[["tokens", "loss"]].to_csv(path, index=False)
    plan = lossfit.schedules.cosine(1.5e-4, 2e12, 8e9, axis="tokens")
    options = {"at": 2e12, "axis": "tokens", "schedule": plan, "draws": 200}
    log = lossfit.load(path, params=7e10)
    medians = []
    for own in ({}, {"ladder": ladder}):
        (update,) = lossfit.watch(path, params=7e10, once=True, **options, **own)
        row = lossfit.extrapolate(log, **options, **own).frame.iloc[0]
        assert update.median == pytest.approx(row["median"], rel=1e-9)
        medians.append(update.median)
    assert "ladder" in row["notes"]
    assert medians[0] != pytest.approx(medians[1], abs=1e-3)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_the_command_passes_its_options_on(log):
    """--prob, --seed and --draws are those of `extrapolate`."""
    log.write_text(lines(1, 200))
    runs = lossfit.load(log)

    def answers(*words):
        done = run(log, "--total", 400, "--once", "--json", *words)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    for words, options in (
        ((), {}),
        (("--prob", 0.5), {"prob": 0.5}),
        (("--seed", 5), {"random_seed": 5}),
        (("--draws", 100), {"draws": 100}),
    ):
        found = answers(*words)
        row = lossfit.extrapolate(runs, at=400, total=400, **options).frame.iloc[0]
        for name in ("median", "lower", "upper"):
            assert found[name] == pytest.approx(row[name], rel=1e-9), (words, name)
