"""docs/glossary.md has every flag and every term, each once, with an example."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import lossfit

WORD = re.compile(r"[A-Za-z](?:[\w-]*\w)?")
#: What prints say in everyday English.
PLAIN = """
above again all an and another are as at averaged back be been before below best better by
calibrate_on can change changed checked come compute curves data docs down each ended ends equal
equal-weight every fall falls farthest finished first fit fitted for forecast forecasts from gains
gave had halves happens has have held here high how how_we_checked_it in interval is it its itself
known language later learning-rate lie like log longer look loss lowest md model models more
multi-power name near needed never no nor not nothing of off on one only or other outcome over
overtaken overtakes passes plan probability project projects rate real record rows same saves saw
seen so stopped stretched such takes taking tenth than that the their there these they this to
together tokens too two under up vs was were when where which wins with without would
"""
TABLES = ("notes", "extra")  # what messages by flag are called where they are made


def _texts(node: ast.AST | None) -> Iterator[str]:
    """The strings that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _flags_of(node: ast.AST) -> Iterator[str]:
    """Flags that a statement or expression names."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in [t for each in targets for t in getattr(each, "elts", [each])]:
            if isinstance(target, ast.Name) and target.id.endswith("MEANINGS"):
                for key in getattr(node.value, "keys", ()):
                    yield from _texts(key)
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
                yield from _texts(target.slice) if target.value.id in TABLES else ()
    elif isinstance(node, ast.Call):
        function, arguments = node.func, node.args
        if isinstance(function, ast.Name) and function.id == "Flag" and len(arguments) > 1:
            yield from _texts(arguments[1])
        if isinstance(function, ast.Attribute) and function.attr == "append" and arguments:
            owner = function.value
            yield from _texts(arguments[0]) if getattr(owner, "id", "") == "flags" else ()


def flags_of_the_code(folder: Path) -> set[str]:
    """Every flag that lossfit's sources name."""
    files = [path for path in folder.rglob("*.py") if "kernels" not in path.parts]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    return {flag for node in nodes for flag in _flags_of(node)}


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    part = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_every_flag_is_explained_once(root):
    table = rows((root / "docs" / "glossary.md").read_text(), "Flags")
    known = [row[0].strip("` ") for row in table]
    assert [name for name, count in Counter(known).items() if count > 1] == []
    assert known == sorted(known)
    named = flags_of_the_code(root / "lossfit")
    assert len(named) > 60  # the search finds them
    missing = sorted(named - set(known))
    assert not missing, f"docs/glossary.md lacks the flags {missing}: add a row for each"


def test_every_term_and_flag_has_a_meaning_and_an_example(root):
    text = (root / "docs" / "glossary.md").read_text()
    table = rows(text, "Terms") + rows(text, "Flags")
    assert [row for row in table if len(row) != 3 or not all(row)] == []
    terms = [term.lower() for row in rows(text, "Terms") for term in row[0].split(", ")]
    assert [name for name, count in Counter(terms).items() if count > 1] == []


def test_the_search_finds_flags_however_they_are_given(tmp_path):
    (tmp_path / "made.py").write_text(
        "A_MEANINGS: dict[str, str] = {'one': 'x'}\n"
        "flags = [Flag(name, 'two', 1, 'x')]\n"
        "flags.append('three' if late else 'four')\n"
        "notes['five'] = 'x'\n"
        "rate, extra['six'] = 1, 'x'\n"
        "frame['loss'] = 'no flag'\n"
    )
    assert flags_of_the_code(tmp_path) == {"one", "two", "three", "four", "five", "six"}


def printed() -> str:
    """What answers of all kinds print, without the explanations of flags."""
    runs = lossfit.load("llama2")
    seven = runs.select(["llama2-7B"])
    half = seven.until(0.5)
    blind = lossfit.Runs.from_frame(half.frame[["run", "step", "tokens", "loss"]])
    few = {"axis": "tokens", "draws": 50}
    made = (
        lossfit.extrapolate(runs, "llama2-7B", compute_of="llama2-70B", draws=50),
        lossfit.extrapolate(blind, at=[2e12, 4e12], **few),
        lossfit.extrapolate(blind, at=2e12, total=2e12, **few),
        lossfit.extrapolate(half, at=2e12, laws=["power", "multi_power"], **few),
        lossfit.extrapolate(half, at=2e12, share=True, **few),
        lossfit.extrapolate(half, at=2e12, siblings=runs, calibrate_on=runs, **few),
        lossfit.what_if(half, schedules=["wsd", "constant"], at=2e12, **few),
        lossfit.best_tail(half, segments=8, **few),
        lossfit.race(runs, axis="gpu_hours", draws=50),
    )
    text = "\n".join(map(str, made))
    for name in runs.names:
        text = text.replace(name, "")
    return re.sub(r"^  ! (\w+).*$", r"\1", text, flags=re.M)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_every_word_of_an_answer_is_explained_or_plain(root):
    text = (root / "docs" / "glossary.md").read_text()
    table = rows(text, "Terms") + rows(text, "Flags")
    known = {word.lower() for row in table for word in WORD.findall(row[0])}
    words = {word.lower() for word in WORD.findall(printed())}
    assert {"learned", "cosine_10", "p", "longer_plan"} <= words  # what is printed is read
    known |= set(PLAIN.split())
    lacking = sorted(word for word in words - known if word.removesuffix("s") not in known)
    assert not lacking, f"docs/glossary.md explains no {lacking}: add a row, or it is plain English"
