"""What launchers, log collectors and terminals put around the lines that a trainer prints.

``plain`` takes it off: colours and other control codes, rank tags of srun, torchrun, mpirun and
Ray, the times and pod names of kubectl, the names of docker compose, and the head that ``logging``,
absl, loguru or systemd write.  The rank and the time are kept.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\ufeff]"
)
DATE = r"(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[-/]\d{1,2}(?:[-/]\d{2,4})?)"
CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?:\s?(?:Z|UTC|[+-]\d{2}:?\d{2}))?"
STEP_WORDS = r"(?:global_?step|step|iter|iteration|epoch|batch|update|loss|train|val)"
# What a line is about, which no launcher says.
PARTS = r"(?:train(?:ing)?|val|valid\w*|eval\w*|test(?:ing)?|dev|held[-_ ]?out|infer(?:ence|ring))"

# Each is tried at the start of a line, again and again until none is there.  The names of groups
# say what is kept: a rank, a label that may be a rank or a step, a time.
ALWAYS = re.compile(
    rf"""\s*(?:
      \[(?:default|rank|gpu|worker|local_rank|node)[\s:=]?(?P<rank1>\d+)\]:?
    | \[\d+,mpirank:(?P<rank7>\d+),[\w-]+\](?:<\w+>)?:
    | (?!{STEP_WORDS}[-_]?\d)[a-z][a-z_.-]*(?P<rank8>\d+):(?=\ )
    | \[(?P<rank2>\d+)(?:,\d+)?\](?:<\w+>)?:(?=\s|\S)
    | \((?:rank|gpu|worker)[\s:=]?(?P<rank3>\d+)\):?
    | (?:rank|gpu|worker)[\s:=_]?(?P<rank4>\d+)\s?(?:[:|>]|\]:?)(?=\s)
    | \((?:[\w.@:-]+\ )?pid=(?P<rank5>\d+)(?:,\ ?[\w.=:\ ]+)?\)
    | \[(?:pod|container)/[^\]\s]{{1,200}}\]
    | (?!{STEP_WORDS}[-_]?\d+\s*\|)[A-Za-z][\w.-]*[-_](?P<rank6>\d+)\s+\|(?=\s)
    | (?P<label>\d{{1,4}}):(?=\s+\S)
    | \[(?P<time4>\d\d/\d\d\ \d\d:\d\d:\d\d)\s[\w.]+\]:?
    | [\[(]?(?P<time1>{DATE}[T\ ,]+{CLOCK})[\])]?(?=$|[\s:|\-,\]\[])
    | \[(?!{PARTS}\])[A-Za-z_][\w.-]*\]:?
        (?=\s*[\[(]?{DATE}[T\ ,])
    | [\[(]?(?P<time2>{CLOCK})[\])]?(?=\s)
    | [IWEF](?P<time3>(?:20\d\d)?\d{{4}}\ \d\d:\d\d:\d\d\.\d+)\s+\d+\s+[\w./-]+:\d+\]
    | (?P<time5>[A-Z][a-z]{{2}}\ [\ \d]\d\ \d\d:\d\d:\d\d)\s[\w.-]+\s[A-Za-z_][\w./-]*(?:\[\d+\])?:
    | (?P<time6>[A-Z][a-z]{{2}}\ [\ \d]\d\ \d\d:\d\d:\d\d)(?=\ )
    | (?:INFO|DEBUG|WARNING|ERROR|CRITICAL):(?!{STEP_WORDS}\b)[A-Za-z_][\w.]*:(?=\S)
    | \[?\b(?:INFO|DEBUG|WARN(?:ING)?|ERROR|CRITICAL|NOTICE|TRACE|SUCCESS)\b
        (?:\ *\]|[|][\w./]+:\d+\])?(?:\s*[:|>\-](?=\s|\w))?
    | \[[A-Za-z][\w./-]*\.py:\d+(?::\w+)?\]
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# After a time or a level there are names of loggers, hosts and lines of source.
AFTER = re.compile(
    rf"""\s*(?:
      (?!(?:step|iter|iteration|epoch|batch|update|loss)\b)[\w.<>@-]+:\d+(?=\t)
    | (?!s:\d+\ (?:trl|tel|eval):)(?![^\n]{{0,3}}{STEP_WORDS}\b)
        [\w.<>@-]+(?::[\w.<>]+)*:\d+(?=[\s:\]|])\]?(?:\s*[:|\-](?=\s))?
    | (?!{PARTS}\b)(?!{STEP_WORDS}[\s_]?\d)
        [A-Za-z_][\w.]*\s+[-|]\s+
    | (?!{STEP_WORDS}\b)[A-Za-z_]\w*(?:\.\w+)*:(?=[A-Za-z\[{{]|\d+/\d|{DATE}[T\ ,]|{CLOCK})
    | \[(?!{PARTS}\])[A-Za-z_][A-Za-z_./\ |-]*\]:?
    | [A-Za-z_][\w.]*\ +[-|]\ +(?=(?:INFO|DEBUG|WARN\w*|ERROR)\b)
    | (?:stdout|stderr)\ [FP](?=\ )
    | [-|:>](?=\s)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


class PlainLine(NamedTuple):
    """A line without what was put around it."""

    text: str
    rank: int | None  # the rank, process or replica that printed it
    label: int | None  # a number and a colon at its start: a rank (srun -l) or a step
    time: str  # the time at its start, as it is written; "" for none


def plain(line: str) -> PlainLine:
    """The line without control codes and prefixes."""
    if "\x1b" in line or not line.isprintable():
        line = CONTROL.sub("", line)
    if line[:1] == "{" or (line[:1].isdigit() and ":" not in line[:48]):
        return PlainLine(line, None, None, "")  # of JSON or a table: quick, for they are long
    rank: int | None = None
    label: int | None = None
    time = ""
    at = 0
    dressed = False  # with a time or a level, after which further names come
    for _ in range(12):
        match = ALWAYS.match(line, at)
        if match is None and dressed:
            match = AFTER.match(line, at)
        if match is None or match.end() == at:
            break
        if match.end() >= len(line.rstrip()) and match.lastgroup not in ("time1", "time2"):
            break  # nothing would be left
        at = match.end()
        kind = match.lastgroup
        if kind is None:
            dressed = True
        elif kind.startswith("rank"):
            rank = int(match.group(kind)) if rank is None else rank
        elif kind == "label":
            if label is not None:
                at = match.start()
                break
            label = int(match.group(kind))
        else:
            dressed = True
            time = time or match.group(kind)
    return PlainLine(line[at:] if at else line, rank, label, time)


FORMS = (
    "%Y-%m-%d %H:%M:%S",
    "%m-%d %H:%M:%S",
    "%m-%d-%Y %H:%M:%S",
    "%m-%d-%y %H:%M:%S",
    "%m%d %H:%M:%S",
    "%Y%m%d %H:%M:%S",
    "%b %d %H:%M:%S",
    "%H:%M:%S",
)


def hours_between(times: list[str]) -> list[float] | None:
    """Hours since the first of these times; None if one of them cannot be read.

    Times without a date that go back have passed midnight.
    """
    hours: list[float] = []
    first: datetime | None = None
    form = ""
    last, days = 0.0, 0.0
    for text in times:
        whole, _, part = text.replace(",", ".").partition(".")
        whole = re.sub(r"\s?(?:Z|UTC|[+-]\d{2}:?\d{2})$", "", whole.replace("/", "-"))
        whole = " ".join(whole.replace("T", " ", 1).split())
        try:
            if not form:
                form = next(f for f in FORMS if _reads(whole, f))
            moment = _moment(whole, form)
        except (StopIteration, ValueError):
            return None
        first = first or moment
        digits = re.match(r"\d+", part)
        now = (moment - first).total_seconds() + (float(f"0.{digits.group()}") if digits else 0.0)
        if form == "%H:%M:%S":
            if now + days < last - 1800:
                days += 86400.0
            now += days
        last = now
        hours.append(now / 3600)
    start = hours[0] if hours else 0.0
    return [hour - start for hour in hours]


def _moment(text: str, form: str) -> datetime:
    """The time; a form without a year gets a leap year's, for a leap day needs one."""
    if form == FORMS[0]:
        return datetime.fromisoformat(text)
    if "%Y" in form:
        return datetime.strptime(text, form)
    return datetime.strptime(f"2024 {text}", f"%Y {form}")


def _reads(text: str, form: str) -> bool:
    try:
        datetime.strptime(
            f"2024 {text}" if "%Y" not in form else text, f"%Y {form}" if "%Y" not in form else form
        )
    except ValueError:
        return False
    return True
