"""Names and numbers in a line of text, however a trainer writes them.

``pairs_of("step 10/2000 | loss: 3.21 | lr 1.0e-04 | tok/sec: 1,051,300")`` gives step 10 (of 2000),
loss 3.21, lr 1e-4 and tok/sec 1051300.  The name of a number is the text before it, back to the
number or the delimiter before that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..runs.names import HELD_OUT, TRAINED_ON, is_held_out, is_loss, plain_name, role_of

TOKEN = re.compile(
    r"""
    (?P<skip>\d{4}[-/]\d\d?[-/]\d\d?(?:[T\ ]\d\d?:\d\d(?::\d\d)?\S*)?
      |\d+:\d\d(?::\d\d)?(?:[.,]\d+)?|0[xX][0-9a-fA-F]+|\d+(?:\.\d+){2,}|n/a)
    |(?<![\w.])
     (?P<number>[-+]?(?:\d{1,3}(?:,\d{3})+(?![\d])(?:\.\d+)?|\d{1,3}(?:_\d{3})+(?![\d_])
       |\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)
       |[-+]?(?:[nN][aA][nN]|[iI]nf(?:inity)?|INF)(?!\w))
     (?:\s*/\s*(?P<total>\d[\d,]*)(?!\w|\.\d)(?!\s*/))?
     (?P<unit>%|[kKMBGT](?![A-Za-z/])|[A-Za-zµμ]+(?:/[A-Za-z]+)*)?
    """,
    re.VERBOSE,
)
# tensor(2.3, device='cuda:0', grad_fn=...), np.float64(2.3), array(2.3)
WRAPPED = re.compile(r"\b(?:tensor|(?:np|numpy|jnp|torch)\.\w+|array|Array|float|Decimal)\(\s*")
BEHIND = re.compile(r",\s*(?:device|grad_fn|dtype|requires_grad|weak_type)=[^,){}]*")
EPOCH_OF = re.compile(r"\b(Epoch|Iter)\((\w+)\)", re.IGNORECASE)
COUNTED = r"(\d[\d,]*) (step|iteration|update|epoch)s?\b"
# What some tools print otherwise than as names and numbers, written so: where a text is in a line,
# the pattern is replaced.
REWRITTEN: tuple[tuple[str, re.Pattern[str], Any], ...] = (
    # "Train: 0 [ 150/1251 (12%)]" of timm
    ("[", re.compile(r"^(Train|Test|Val\w*|Eval\w*): (?=\d+ \[)"), r"\1 | Epoch: "),
    # "3epoch:train:101-200batch: loss=..." of ESPnet
    ("batch:", re.compile(r"\b(\d+)epoch:(\w+):\d+-(\d+)batch:"), r"\2 | epoch: \1 | batch: \3 | "),
    # "10: 5.96, 6.06 avg loss, 0.001 rate" of Darknet
    (" avg loss, ", re.compile(r"^\s*(?:(\d+): )?(\S+), (\S+) avg loss, (\S+) rate"),
     lambda m: f"{f'step {m[1]} | ' * bool(m[1])}loss {m[2]} | avg loss {m[3]} | lr {m[4]}"),
    # "100it/480it", "1.2kit/10.0kit" of tqdm in a log file
    ("it/", re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([kM]?)it/(\d+(?:\.\d+)?)([kM]?)it\b"),
     lambda m: f"{amount_of(m[1], m[2]):.0f}/{amount_of(m[3], m[4]):.0f}"),
    # "lr(LinearWarmup): 0.001", "LR (group 0)=6e-5", and verl's "lr(1e-3):0.3"
    ("lr(", re.compile(r"\blr\((1e-\d)\)[:=]\s*(\d*\.?\d+(?:e-?\d+)?)", re.IGNORECASE),
     lambda m: f"lr:{float(m[1]) * float(m[2]):.9g}"),
    ("(", re.compile(r"\b(lr|learning rate|learning_rate)\s?\((?![\d.]+(?:e-?\d+)?\))[^()]{1,40}\)",
                     re.IGNORECASE), r"\1"),
    # "2.5f0" of Julia
    ("f", re.compile(r"(?<=\d)f(?=-?\d+\b)"), "e"),
    # "5 of 10"
    (" of ", re.compile(r"(?<=\d)\s+of\s+(?=\d)"), "/"),
    # "training loss after 100 steps: 2.5", "After 100 steps, loss = 2.5"
    ("fter ", re.compile(rf"\b((?:\w+ )?(?:loss|cost)) after {COUNTED}[:=,]?", re.IGNORECASE),
     r"\3 \2 | \1:"),
    ("fter ", re.compile(rf"\bafter {COUNTED}", re.IGNORECASE), r"\2 \1"),
    # "| train/loss | 2.3 |" of a table that has a row for each name
    ("|", re.compile(r"^\s*\|\s*([^|\d\s][^|]*?)\s*\|\s*([-+.\deE]+|nan|inf)\s*\|\s*$"), r"\1: \2"),
)  # fmt: skip
EDGE = re.compile(r"[|,;()\[\]{}<>\t]|\s{2,}|\s-\s|\s>\s")
END = re.compile(r"[\s:=\[({\"'#~≈→>-]+$")
START = re.compile(r"^(?:(?:/\w+)+\s+)?[\s:.\"'*=>#•~-]+|^(?:/\w+)+\s+")
SPLIT = re.compile(
    r"(?:^|[|\[(\s])(?P<word>train|training|val|valid|validation|validate|validating|eval|evaluation"
    r"|evaluating|evaluate|test|testing|dev|holdout)"
    r"(?:\s*[\])|>]|\s*:(?!\s*[-+]?\d*\.\d)|\s+-\s|\.\.\.|(?=\s+(?:epoch|step|iter|iteration|loss|set|on|metrics|results?"
    r"|error)\b))"
    r"|\b(?:phase|split|mode|stage|subset|partition|dataset)[\"']?\s*[=:]\s*[\"']?(?P<mode>[a-z]+)"
    r"|^\W*(?P<counter>val|valid|validation|eval|evaluation|test|dev)_(?:step|epoch|iter)\b",
    re.IGNORECASE,
)
# A name such as "node1: step" ends in a known one, unless these go before it.
NOT_COUNTED = re.compile(
    r"(?<![a-z])(?:per|every|each|best|max|min|last|next|total|warm_?up|save|log|logging|eval\w*|ms"
    r"|sec|seconds?|time|avg|average|mean|num|number|remaining|since|from|to|after|until|of|in"
    r"|resum\w*|start\w*|load\w*|checkpoint|decay|delay|accum\w*)(?![a-z])"
)
TIMES = frozenset({"s", "ms", "us", "sec", "secs", "min", "mins", "h", "hr", "hrs", "hours"})
SIZES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
NO_COUNT = frozenset({"%", *TIMES})
WORDS = 4  # of a name, counted from its end
BARE = re.compile(r"\s*:?\s+[-+]?\d*\.\d")
COMMA = re.compile(r",(?:\d{1,2}|\d{4,})(?![\d,.])")
COUNTERS = frozenset({"step", "global_step", "iteration", "iter", "epoch", "update"})


@dataclass(slots=True)
class Pairs:
    """What a line says."""

    # by the name as it is printed; the first of equal names
    values: dict[str, float] = field(default_factory=dict)
    # where a number is followed by "/ total"
    totals: dict[str, float] = field(default_factory=dict)
    # a fraction without a name, such as 10/2000: where it stands and where
    # it ends
    progress: tuple[float, float] | None = None
    first: float | None = None  # a whole number without a name at the start of the line
    second: float | None = None  # another one after it, as in ``[1, 2000] loss: 2.1``
    held_out: bool = False  # whether the line says that it is about held-out data
    bar: bool = False  # whether it is a progress bar
    cell: bool = False  # whether it is a row of a table that has a row for each name
    comma: str = ""  # a loss that may have a decimal comma, as it is written


def amount_of(number: str, unit: str | None = None) -> float:
    """A number as trainers print it: 1,051,300 or 1_000 or 1.2e4 or 12k."""
    value = float(number.replace(",", "").replace("_", ""))
    return value * SIZES[unit] if unit in SIZES else value


def pairs_of(line: str) -> Pairs:
    """The names and numbers in a line."""
    out = Pairs()
    if "(" in line:
        line = BEHIND.sub("", WRAPPED.sub("", line))
        line = EPOCH_OF.sub(r"\2 | \1", line)
    for text, pattern, form in REWRITTEN:
        if text in line:
            plain = pattern.sub(form, line)
            out.cell = out.cell or (text == "|" and plain is not line and plain != line)
            line = plain
    out.bar = "%|" in line or "it/s" in line or "s/it" in line
    for about in SPLIT.finditer(line):
        word = (about["word"] or about["mode"] or about["counter"]).lower()
        out.held_out = HELD_OUT.fullmatch(word) is not None
        if out.held_out or TRAINED_ON.fullmatch(word):
            break
    at = 0
    waiting = ""  # a name whose number comes after that of a step: "loss at step 10: 3.2"
    for match in TOKEN.finditer(line):
        text = line[at : match.start()]
        at = match.end()
        _, number, total, unit = match.groups()
        if number is None:
            continue
        name = _name(text)
        if unit is None and "," not in number and "_" not in number:
            value = float(number)
        else:
            value = amount_of(number, unit)
        if not name:
            if total is not None:
                out.progress = out.progress or (value, amount_of(total))
            elif unit == "it":  # "1234it [00:10, 12.3it/s, loss=2.3]", a bar without an end
                out.progress = out.progress or (value, float("nan"))
            elif waiting:
                out.values.setdefault(waiting, value)
                waiting = ""
            elif unit is None and number.isdigit():
                if not out.values and out.first is None:
                    out.first = value if not text.strip(" \t[(#") else None
                elif out.first is not None and out.second is None and not out.values:
                    out.second = value
            continue
        if unit in NO_COUNT and role_of(name) in ("step", "epoch"):
            continue  # of a bar, "Steps:  45%|####  | 900/2000"; or of time, "time/batch = 0.5s"
        if unit is None and number.isdigit() and role_of(name) == "":
            name = _known_end(name)
        loss, step = _parts(name)
        if unit is None and number.isdigit() and is_loss(name) and not loss:
            if out.progress is None and "step" not in out.values and BARE.match(line, at):
                out.values["step"], waiting = value, name  # "Validation loss 1000: 2.1"
                continue
            rest = COMMA.match(line, at)
            if rest is not None:
                out.comma = f"{number}{rest[0]}"
                continue
        elif "," in number and "." not in number and is_loss(name):
            out.comma = number  # thousands, or decimals: the whole log tells
        if loss:
            waiting, name = loss, step
        if total is not None:
            if role_of(name) not in ("step", "epoch") and out.progress is None:
                out.progress = (value, amount_of(total))
                continue
            out.totals.setdefault(name, amount_of(total))
        out.values.setdefault(name, value)
    return out


@lru_cache(maxsize=65536)
def _known_end(name: str) -> str:
    """Of ``node1: step``, ``msg="done" step`` or ``stdout F step`` the name that is a counter."""
    words = re.split(r"[\s\"'=]+", name)
    for count in (1, 2):
        end = " ".join(words[-count:])
        if plain_name(end) in COUNTERS:
            before = name[: len(name) - len(end)]
            if not NOT_COUNTED.search(before.lower()) and not is_loss(before):
                return end
            if is_held_out(before) and re.search(r"\bat\s*$", before):
                return end  # "Eval results at step 50"
    return name


@lru_cache(maxsize=65536)
def _name(text: str) -> str:
    """The name in the text before a number."""
    text = END.sub("", text)
    piece = START.sub("", EDGE.split(text)[-1])
    if not any(map(str.isalpha, piece)) and piece != "#":
        return ""
    words = piece.split()
    if len(words) > WORDS:
        piece = " ".join(words[-WORDS:])
    return piece


@lru_cache(maxsize=4096)
def _parts(name: str) -> tuple[str, str]:
    """``validation loss at step`` as a loss and a step; two empty words for any other name."""
    before, _, last = name.rpartition(" ")
    if not before or role_of(last) not in ("step", "epoch"):
        return "", ""
    before = re.sub(r"\s+(?:at|after|for|of|in|on)$", "", before)
    if is_loss(before) or before.lower().endswith("cost"):
        return before, last
    return "", ""
