"""Names and numbers in a line of text, however a trainer writes them.

``pairs_of("step 10/2000 | loss: 3.21 | lr 1.0e-04 | tok/sec: 1,051,300")`` gives step 10 (of 2000),
loss 3.21, lr 1e-4 and tok/sec 1051300.  The name of a number is the text before it, back to the
number or the delimiter before that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from ..runs.names import HELD_OUT, is_loss, role_of

__all__ = ["Pairs", "amount_of", "pairs_of"]

TOKEN = re.compile(
    r"""
    (?P<skip>\d{4}[-/]\d\d?[-/]\d\d?(?:[T\ ]\d\d?:\d\d(?::\d\d)?\S*)?
      |\d+:\d\d(?::\d\d)?(?:[.,]\d+)?|0[xX][0-9a-fA-F]+|\d+(?:\.\d+){2,}|n/a)
    |(?<![\w.])
     (?P<number>[-+]?(?:\d{1,3}(?:,\d{3})+(?![\d])(?:\.\d+)?|\d{1,3}(?:_\d{3})+(?![\d_])
       |\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)
       |[-+]?(?:[nN][aA][nN]|[iI]nf(?:inity)?|INF)(?!\w))
     (?:\s*/\s*(?P<total>\d[\d,]*)(?![\w.])(?!\s*/))?
     (?P<unit>%|[kKMBGT](?![A-Za-z/])|[A-Za-zµμ]+(?:/[A-Za-z]+)*)?
    """,
    re.VERBOSE,
)
# tensor(2.3, device='cuda:0', grad_fn=...), np.float64(2.3), array(2.3)
WRAPPED = re.compile(r"\b(?:tensor|(?:np|numpy|jnp|torch)\.\w+|array|Array|float|Decimal)\(\s*")
BEHIND = re.compile(r",\s*(?:device|grad_fn|dtype|requires_grad|weak_type)=[^,){}]*")
EPOCH_OF = re.compile(r"\b(Epoch|Iter)\((\w+)\)", re.IGNORECASE)
EDGE = re.compile(r"[|,;()\[\]{}<>\t]|\s{2,}|\s-\s|\s>\s")
END = re.compile(r"[\s:=\[({\"'#~≈→>-]+$")
START = re.compile(r"^[\s:.\"'*=>#•-]+")
SPLIT = re.compile(
    r"(?:^|[|\[(\s])(?P<word>train|training|val|valid|validation|eval|evaluation|test|dev)"
    r"(?:\s*[\])|:>]|\s+-\s|(?=\s+(?:epoch|step|iter|iteration|loss|set|on|metrics)\b))",
    re.IGNORECASE,
)
SIZES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
WORDS = 4  # of a name, counted from its end


@dataclass(slots=True)
class Pairs:
    """What a line says.

    Attributes
    ----------
    values : dict of str to float
        By the name as it is printed; the first of equal names.
    totals : dict of str to float
        Where a number is followed by "/ total".
    progress : tuple of float or None
        A fraction without a name, such as 10/2000: where it stands and where it ends.
    first : float or None
        A whole number without a name at the start of the line.
    second : float or None
        Another one after it, as in ``[1, 2000] loss: 2.1``.
    held_out : bool
        Whether the line says that it is about held-out data.
    bar : bool
        Whether it is a progress bar.
    """

    values: dict[str, float] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    progress: tuple[float, float] | None = None
    first: float | None = None
    second: float | None = None
    held_out: bool = False
    bar: bool = False


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
    out.bar = "%|" in line or "it/s" in line or "s/it" in line
    about = SPLIT.search(line)
    if about is not None:
        out.held_out = HELD_OUT.fullmatch(about["word"].lower()) is not None
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
            elif waiting:
                out.values.setdefault(waiting, value)
                waiting = ""
            elif unit is None and number.isdigit():
                if not out.values and out.first is None:
                    out.first = value if not text.strip(" \t[(#") else None
                elif out.first is not None and out.second is None and not out.values:
                    out.second = value
            continue
        if unit == "%" and role_of(name) in ("step", "epoch"):
            continue  # of a bar: "Steps:  45%|####  | 900/2000"
        loss, step = _parts(name)
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
    if is_loss(before):
        return before, last
    return "", ""
