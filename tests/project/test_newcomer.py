"""CONTRIBUTING.md's "Add a ..." sections, done to the letter in a copy of the repository.

The page's own code blocks are the change: a block ``python title=PATH`` is written to PATH, a block
``diff title=PATH`` is applied to it, and the blocks ``sh`` are the tests to run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

BLOCK = re.compile(r'^( *)```(\w+) title="([^"]+)"\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A code block of the page."""

    language: str
    title: str
    text: str


class Section(NamedTuple):
    """What a section of the page asks for."""

    text: str
    changes: list[Block]
    commands: list[list[str]]


def section(page: str, heading: str) -> Section:
    """The section under a heading."""
    _, _, rest = page.partition(f"\n## {heading}\n")
    assert rest, f"CONTRIBUTING.md has no section {heading!r}"
    text = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = [
        Block(language, title, textwrap.dedent(body))
        for _, language, title, body in BLOCK.findall(text)
    ]
    commands = []
    for block in blocks:
        for line in block.text.splitlines() if block.language == "sh" else ():
            options = re.fullmatch(r'make pytest PYTEST_ARGS="([^"]*)"', line)
            assert options, f"not a command of this page: {line!r}"
            commands.append(shlex.split(options[1]))
    return Section(text, [b for b in blocks if b.language != "sh"], commands)


def apply(folder: Path, block: Block) -> None:
    """Write a new file, or apply a hunk, whose unmarked lines the file has in this order."""
    path = folder / block.title
    if block.language != "diff":
        assert not path.exists(), f"{block.title} is there already"
        path.write_text(block.text)
        return
    lines = block.text.splitlines(keepends=True)
    assert all(line[0] in " +-" for line in lines), block.text
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    content = path.read_text()
    assert content.count(before) == 1, f"{block.title} has not these lines once:\n{before}"
    path.write_text(content.replace(before, after))


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The repository as a newcomer has it: what git tracks, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no checkout of the repository")
    for name in os.fsdecode(listed.stdout).split("\0")[:-1]:
        source, target = root / name, tmp_path / "lossfit-copy" / name
        if source.is_file() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return tmp_path / "lossfit-copy"


def run_tests(folder: Path, options: list[str]) -> str:
    """Run tests in the copy; its output, if they are green."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


LATER = pytest.mark.nightly(only="like the case before it")
NUMBERS = {"Two": 2, "Three": 3}


def follow(copy: Path, heading: str, most_files: int) -> Section:
    """Make the changes of a section; the page must count its files right."""
    asked = section((copy / "CONTRIBUTING.md").read_text(), heading)
    for block in asked.changes:
        apply(copy, block)
    touched = {block.title for block in asked.changes}
    counted = re.search(r"\b(Two|Three) files change\b", asked.text)
    assert counted, "the page says how many files change"
    assert NUMBERS[counted[1]] == len(touched) <= most_files
    return asked


def test_a_law_is_added_as_the_page_says(copy):
    asked = follow(copy, "Add a law", 2)
    quick, _thorough = asked.commands
    assert re.search(r"^4 passed", run_tests(copy, quick), re.MULTILINE)


def test_a_log_format_is_added_as_the_page_says(copy):
    asked = follow(copy, "Add a log format", 3)
    (quick,) = asked.commands
    assert re.search(r"^9 passed", run_tests(copy, quick), re.MULTILINE)


@pytest.mark.nightly(only="compiles the kernels for another law")
def test_the_thorough_tests_of_an_added_law(copy):
    asked = follow(copy, "Add a law", 2)
    assert re.search(r"\d\d passed", run_tests(copy, asked.commands[1]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"t": draws["t"] * x_ref', '"t": draws["t"]'),
        pytest.param("return exp(-x / t)", "return exp(-2.0 * x / t)", marks=LATER),
        pytest.param(', "t": 0.5}', "}", marks=LATER),
    ],
    ids=["a unit is forgotten", "a column is not the formula's", "the example is incomplete"],
)
def test_a_wrong_law_is_not_green(copy, old, new):
    asked = follow(copy, "Add a law", 2)
    path = copy / asked.changes[0].title
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(AssertionError, match=r"\d failed|Error"):
        run_tests(copy, asked.commands[0])
