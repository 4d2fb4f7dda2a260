"""What trainers print: any text in which lines, or blocks of lines, name a loss and a step.

::

    step    10 | loss: 6.186164 | lr 1.0000e-04 | norm: 0.4000 | tok/sec: 163000.00
    {'loss': 6.1862, 'learning_rate': 0.0001, 'epoch': 0.01}      after a bar   10/2000 [00:03<...
    Epoch [1/5], Step [50/1200], Loss: 6.1862
    [step=10/2000,epoch=0]                                       and, in the lines that follow,
        train/CrossEntropyLoss=6.186

What launchers put before the lines is taken off (`lossfit.sources._prefixes`); names are those of
`lossfit.runs.names`.  Where a line says that it is about held-out data (``valid | loss 6.8``)
its losses are validation losses.  A step that is counted again in each epoch is carried on.
"""

from __future__ import annotations

import re

import numpy as np

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ..runs.names import HELD_OUT, is_held_out, is_of_training, may_be_loss, plain_name, role_of
from . import delimited
from ._console_steps import AT, BAR, LABEL, NEXT, OF, RANK, carried_on, ranks_of, steps_of
from ._lines import LineWords
from ._pairs import Pairs, pairs_of
from ._prefixes import PlainLine, hours_between, plain
from ._rows import Rows
from ._source import Example, Source, Table

EXAMPLE = Example(
    """loading shards
step    10 | loss: 6.186200 | lr 1.0000e-04 | norm: 0.4000 | tok/sec: 163000.00
step    20 | loss: 5.432100 | lr 2.0000e-04 | norm: 0.4000 | tok/sec: 163000.00
step    30 | loss: 5.123400 | lr 3.0000e-04 | norm: 0.4000 | tok/sec: 163000.00
step    40 | loss: 4.987600 | lr 3.0000e-04 | norm: 0.4000 | tok/sec: 163000.00
""",
    {10: 6.1862, 20: 5.4321, 30: 5.1234, 40: 4.9876},
)

INTEREST = re.compile(
    r"loss|step|iter|epoch|batch|update|train|val|test|rmse|nll|bpb|ppl|\d\s*/\s*\d|[:=]\s*[-+]?\d|\t"
    r"|[{}]|\|\s+[-+]?\d",
    re.IGNORECASE,
)
KERAS = re.compile(r"^\s*(\d+)/(\d+)\s*(?:\[[=>.\s]*\]|[━╸╺ ]{4,}|\s-\s.*\bloss:)")
MEAN_OF_EPOCH = re.compile(
    r"^\s*(?:train\s*\|\s*)?(?:\|\s*)?epoch\s+\d+\s*\|\s*(?:train\s+)?loss\s"
)
BEGINS = re.compile(r"^\s*\{\s*[\"']")  # a dict, of which each entry may have a line
CONTINUES = re.compile(r"^\s*[\"'}]")
RULE = re.compile(r"^\s*[-=+─━═]{8,}\s*$")
# A line that says no more than that losses of held-out data follow.
HEADING = re.compile(rf"^[^\d:=]{{0,40}}{HELD_OUT.pattern}[^\d=]{{0,40}}$", re.IGNORECASE)
LOOKED_AT = 4_000  # lines in which a console log shows itself
LONGEST = 1 << 14  # characters of a line that is looked at
BLOCK = 80  # lines that a block may have
MOST_TIMES = 3_000_000
MOST_NAMES = 10_000
LOSSES = ("loss", "val_loss", "other_loss")
NANOCHAT = frozenset({"loss", "lrm", "dt", "tok_sec"})  # names in its lines of pretraining


def matches(source: Source) -> bool:
    """A text that is no table, with lines that name a loss and a step or an epoch."""
    if not source.is_text:
        return False
    roles = {role_of(name) for name in delimited.header(source)}
    if roles & {"loss", "val_loss"} and roles & {"step", "epoch", "tokens"}:
        return False
    return any(_shows_points(source, measures) for measures in (False, True))


def _shows_points(source: Source, measures: bool) -> bool:
    log = _Console(measures)
    for count, (number, line) in enumerate(source.lines(head=True)):
        log.feed(number, line)
        if count > LOOKED_AT or len(log.rows) >= 3:
            break
    log.close()
    return log.points >= 2 or log.commas >= 2


def read(source: Source) -> Table:
    """The points, a row a line or a block of lines.

    Raises `DataError`: no point in the log.
    """
    log = _Console(measures=not _shows_points(source, measures=False))
    for number, line in source.lines():
        log.feed(number, line)
    if log.commas and 2 * log.commas >= log.points:
        raise DataError(
            f"{source.name}: losses such as {log.comma!r} have a decimal comma, or separate "
            "thousands: write numbers with a decimal point and no thousands separator"
        )
    flags = []
    if not source.ends_a_line and log.is_cut:
        words = f"line {log.opened[0]}, the last, was cut while writing"
        flags.append(Flag("", "cut_line", 1, words))
        log.open = {}
    if log.lacks_its_end:
        words = f"the entry that ends with line {number} is not closed: it was cut while writing"
        flags.append(Flag("", "cut_line", 1, words))
    log.close()
    if not log.points:
        raise DataError(
            f"{source.name}: no line names a loss, such as 'step 10 | loss: 3.21': give the log of "
            "a training run"
        )
    return _table(source, log, flags)


class _Console:
    """Goes through the lines and gathers rows.

    Attributes
    ----------
    rows : Rows
    points : int
        Rows with a loss.
    others : int
        Lines that are no part of a row.
    """

    def __init__(self, measures: bool = False) -> None:
        self.measures = measures  # whether a measure such as cross-entropy counts as a loss
        self.commas, self.comma = 0, ""
        self.whole: list[str] = []  # lines of a dict that goes over several
        self.about_held_out = 0  # until that line: one said so, and no more
        self.rows = Rows()
        self.times: list[str] = []
        self.points = 0
        self.others = 0
        self.epochs = 0.0  # how many there are to be, where it is said
        self.open: dict[str, float] = {}
        self.opened = (0, 0, "")  # the line where the row began, its last line, its time
        self.has_loss = False
        self.had_step = False  # whether the last row names its step
        self.epoch: float | None = None
        self.step: tuple[str, float] | None = None
        self.bars: dict[float, float] = {}
        self.names: dict[str, str] = {}  # as first printed, by plain form

    def feed(self, number: int, line: str) -> None:
        """One more line."""
        if len(line) > LONGEST or not INTEREST.search(line):
            if RULE.match(line):
                self.close()
            self.others += bool(line.strip())
            return
        bare = plain(line)
        if self.whole and CONTINUES.match(bare.text):
            self.whole.append(bare.text)
            if "}" not in bare.text and len(self.whole) < BLOCK:
                return
            bare = bare._replace(text=" ".join(self.whole))
            self.whole = []
        elif self.whole:
            cut, self.whole = " ".join(self.whole) + "}", []
            self.feed(number - 1, cut)
        if BEGINS.match(bare.text) and "}" not in bare.text:
            self.whole = [bare.text]
            return
        pairs = pairs_of(bare.text)
        keras = KERAS.match(bare.text)
        if keras is not None:
            if pairs.values and keras[1] != keras[2]:
                return  # a running mean, drawn over by the next
            pairs.progress = None
        if MEAN_OF_EPOCH.match(bare.text) and self.points:
            self.others += 1
            return
        values = self._values(pairs)
        loss = any(self._is_loss(name) for name in values)
        if pairs.comma:
            self.commas, self.comma = self.commas + 1, pairs.comma
        if loss and not values.keys() & {AT} and pairs.first is not None:
            self._first(values, pairs)
        placed = any(name == AT or role_of(name) in ("step", "epoch") for name in values)
        if pairs.bar and not loss:
            self._bar(pairs)
            return
        if not values:
            if HEADING.match(bare.text):
                self.about_held_out = number + 2
            self.others += bool(bare.text.strip())
            return
        if pairs.cell and self.open and not values.keys() & self.open.keys():
            self.open |= values
            self.has_loss |= loss
            return
        if pairs.held_out or (loss and not placed and number <= self.about_held_out):
            values = self._held_out(values)
        elif self._adds(values, bare, number):
            return
        if (placed and not self._continues(values, number)) or (
            loss and self._clashes(values, number)
        ):
            self.close()
            self._begin(values, bare, number)
        elif loss and not self.open:
            self._begin(values, bare, number)
        elif self.open and number - self.opened[1] <= BLOCK:
            for name, value in values.items():
                self.open.setdefault(name, value)
            self.opened = (self.opened[0], number if loss else self.opened[1], self.opened[2])
        else:
            self.others += 1
            return
        self.has_loss |= loss

    def _values(self, pairs: Pairs) -> dict[str, float]:
        values = {self._printed(name): value for name, value in pairs.values.items()}
        for name, total in pairs.totals.items():
            if role_of(name) == "epoch":
                self.epochs = total
            elif role_of(name) == "step":
                values[OF] = total
        alone = pairs.bar and not values
        if pairs.progress is not None and not alone and not _has_step(values):
            values[AT], values[OF] = pairs.progress
        return values

    def _printed(self, name: str) -> str:
        """The name as it was printed first: ``Step`` and ``step`` are one column."""
        plain = plain_name(name)
        known = self.names.get(plain)
        if known is None:
            if len(self.names) > MOST_NAMES:
                return name
            known = self.names[plain] = name
        return known

    def _first(self, values: dict[str, float], pairs: Pairs) -> None:
        """A number without a name at the start of a line is its step, or its epoch and its step."""
        roles = {role_of(name) for name in values}
        if "step" in roles or pairs.first is None:
            return
        if pairs.second is not None and "epoch" not in roles:
            values[self._printed("epoch")] = pairs.first
            values[self._printed("step")] = pairs.second
        elif "epoch" not in roles:
            values[self._printed("step")] = pairs.first

    def _held_out(self, values: dict[str, float]) -> dict[str, float]:
        """The losses of a line that says so are those of held-out data; its bar is another one."""
        out = {
            self._printed(f"val {name}")
            if self._is_loss(name) and not is_held_out(name) and not is_of_training(name)
            else name: value
            for name, value in values.items()
            if name not in (AT, OF)
        }
        if self.step is not None and not any(role_of(name) == "step" for name in out):
            out.setdefault(*self.step)
        return out

    def _is_loss(self, name: str) -> bool:
        return role_of(name) in LOSSES or (self.measures and may_be_loss(name))

    def _adds(self, values: dict[str, float], bare: PlainLine, number: int) -> bool:
        """Whether a line says more of the open row, which is whole: a rate, or its loss again.

        Only a step tells: another rank, or the next point of a log without steps, may have the
        same loss.
        """
        if not self.has_loss or not self.open or number - self.opened[1] > BLOCK:
            return False
        if (self.open.get(RANK), self.open.get(LABEL)) != (bare.rank, bare.label):
            return False
        same = {n for n, value in values.items() if self.open.get(n) == value}
        steps = {n for n in values if n == AT or role_of(n) == "step"}
        losses = {n for n in values if self._is_loss(n)}
        if losses - same or not steps <= same:
            return False
        if not steps and not (losses and (AT in self.open or _has_step(self.open))):
            return False
        for name, value in values.items():
            self.open.setdefault(name, value)
        return True

    def _clashes(self, values: dict[str, float], number: int) -> bool:
        if not self.open or number - self.opened[1] > BLOCK:
            return True
        return any(self._is_loss(name) and name in self.open for name in values)

    def _continues(self, values: dict[str, float], number: int) -> bool:
        """Whether a line with a step is a further line of a block that has no loss yet."""
        if not self.open or self.has_loss or number - self.opened[1] > BLOCK:
            return False
        return all(self.open.get(name, value) == value for name, value in values.items())

    def _bar(self, pairs: Pairs) -> None:
        if pairs.progress is not None and pairs.progress[1] == pairs.progress[1]:
            place, total = pairs.progress
            if self.open and self.has_loss:
                self.close()
            if len(self.bars) < 64 or total in self.bars:
                self.bars[total] = place
            if len(self.rows) and np.isnan(self.rows.last(f"{NEXT}{total:g}")):
                self.rows.amend(f"{NEXT}{total:g}", place)
        for name, value in pairs.values.items():
            if role_of(name) == "epoch":
                self.epoch = value

    def _begin(self, values: dict[str, float], bare: PlainLine, number: int) -> None:
        self.open = values
        self.opened = (number, number, bare.time)
        self.has_loss = False
        if bare.rank is not None:
            values[RANK] = bare.rank
        if bare.label is not None:
            values[LABEL] = bare.label
        roles = {role_of(name): name for name in values}
        if "epoch" in roles:
            self.epoch = values[roles["epoch"]]
        elif self.epoch is not None:
            values[self._printed("epoch")] = self.epoch
        if "step" in roles:
            self.step = (roles["step"], values[roles["step"]])
        elif AT in values:
            self.step = (AT, values[AT])
        if "step" not in roles and AT not in values:
            for total, place in self.bars.items():
                values[f"{BAR}{total:g}"] = place

    @property
    def lacks_its_end(self) -> bool:
        """Whether the log ends inside of a dict with a loss that goes over several lines."""
        return any(self._is_loss(name) for name in pairs_of(" ".join(self.whole)).values)

    @property
    def is_cut(self) -> bool:
        """Whether the open row lacks the step that the row before it names."""
        return self.had_step and bool(self.open) and not _has_step(self.open)

    def close(self) -> None:
        """The open row is whole."""
        if self.open and self.has_loss:
            self.had_step = _has_step(self.open)
            self.rows.add(self.open, self.opened[0])
            self.points += 1
            if len(self.times) <= MOST_TIMES:
                self.times.append(self.opened[2])
        self.open = {}
        self.has_loss = False


def _has_step(values: dict[str, float]) -> bool:
    return any(role_of(name) == "step" for name in values)


def _table(source: Source, log: _Console, flags: list[Flag]) -> Table:
    """The rows with one step, one rank and one clock."""
    rows = log.rows
    frame = rows.frame()
    step, total, name = steps_of(rows, frame)
    epoch_name = next((str(c) for c in frame.columns if role_of(str(c)) == "epoch"), None)
    epoch = None if epoch_name is None else frame[epoch_name].to_numpy()
    planned = None
    if step is not None and name is not None:
        step, planned = carried_on(step, total, epoch, log.epochs)
        frame[name] = step
        rest = [str(c) for c in frame.columns if role_of(str(c)) == "step" and c != name]
        frame = frame.rename(columns={c: f"{c} (not the axis)" for c in rest})
    placed = np.zeros(len(frame), dtype=bool)
    if step is not None:
        placed |= ~np.isnan(step)
    elif epoch is not None:
        placed |= ~np.isnan(epoch)
    ranks = ranks_of(rows, name)
    if ranks is not None:
        frame["rank"] = ranks
    if len(log.times) == len(frame) and all(log.times):
        hours = hours_between(log.times)
        if hours is not None:
            frame["hours"] = hours
    numbers = rows.numbers()
    if placed.any() and not placed.all():
        lost = int((~placed).sum())
        first = int(numbers[np.flatnonzero(~placed)[0]])
        words = f"lines with a loss and no step (first: line {first} of {source.name})"
        flags.append(Flag("", "stepless", lost, words))
        frame, numbers = frame[placed], numbers[placed]
    if log.others:
        flags.append(Flag("", "other_lines", log.others, "lines of the log that are no points"))
    if rows.left_out:
        listed = ", ".join(sorted(rows.left_out)[:5])
        flags.append(Flag(None, "ignored_columns", len(rows.left_out), f"rare names: {listed}"))
    frame = frame.reset_index(drop=True)
    averages = []
    if {plain_name(str(column)) for column in frame.columns} >= NANOCHAT:
        words = "the loss that nanochat prints in training is an exponential moving average"
        count = int(frame[log.names["loss"]].notna().sum())
        averages.append(Flag("", "moving_average", count, words))
    return Table(
        frame, LineWords(numbers, source.name), flags, loss_flags=averages, planned_steps=planned
    )
