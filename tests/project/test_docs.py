"""The code blocks of README.md and of the pages for readers, and the links of all pages."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

PAGES = (
    "README.md",
    "docs/start.md",
    "docs/how_to_choose.md",
    "docs/what_an_answer_means.md",
    "docs/when_not_to_trust_it.md",
    "docs/howto/my_log.md",
    "docs/howto/my_schedule.md",
    "docs/howto/finished_runs.md",
    "docs/howto/a_ladder.md",
    "docs/howto/a_race.md",
    "docs/howto/a_plan.md",
    "docs/howto/a_sweep.md",
    "docs/howto/on_a_gpu.md",
    "docs/howto/in_a_training_loop.md",
    "docs/howto/the_command_line.md",
)
"""Pages whose blocks marked ``python`` run, in order, in one namespace a page."""

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)(?:#([^)\s]+))?\)")


def blocks(text: str) -> list[tuple[int, str]]:
    """Line number and code of every block marked ``python``."""
    matches = re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S)
    return [(text.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in matches]


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(root, tmp_path, monkeypatch, page):
    path = root / page
    examples = blocks(path.read_text(encoding="utf-8"))
    assert examples, f"{page} shows no code"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {"__name__": "docs"}
    # A page for readers lets warnings be; README shows how to silence them.
    if page != "README.md":
        exec(
            "import warnings, lossfit\nwarnings.simplefilter('ignore', lossfit.LossfitWarning)", {}
        )
    for line, code in examples:
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, page, str(path), line)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            runner.run(test, clear_globs=False)
            if runner.failures:
                pytest.fail(f"{page}, line {line}: the output differs (see above)")
            names = test.globs
        else:
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), names)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
@pytest.mark.parametrize(
    ("page", "first"), [("README.md", "llama2-7B with"), ("docs/start.md", "my_run at")]
)
def test_what_a_page_shows_is_what_is_printed(root, tmp_path, monkeypatch, page, first):
    """The answer that README and the first page explain, but for what they leave out (...)."""
    import lossfit

    text = (root / page).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    if page == "README.md":
        runs = lossfit.load("llama2")
        printed = str(lossfit.extrapolate(runs, run="llama2-7B", compute_of="llama2-70B"))
    else:
        names: dict[str, object] = {}
        for _, code in blocks(text)[:2]:
            exec(code, names)
        printed = str(names["answer"])
    printed = " ".join(printed.split())
    shown = re.search(rf"^```\n({first}.*?)^```", text, re.M | re.S)
    assert shown is not None
    parts = [" ".join(part.split()) for part in re.split(r"\.\.\.", shown.group(1))]
    assert [part for part in parts if part not in printed] == []


def test_every_page_for_readers_is_run(root):
    pages = {str(path.relative_to(root)) for path in (root / "docs" / "howto").glob("*.md")}
    assert pages <= set(PAGES)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}


def test_links_lead_somewhere(root):
    broken = []
    for page in [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *root.glob("benches/*.md")]:
        for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            if not path.exists():
                broken.append(f"{page.relative_to(root)}: {target}")
            elif anchor and path.suffix == ".md" and anchor not in anchors(path):
                broken.append(f"{page.relative_to(root)}: {target}#{anchor}")
    assert broken == []
