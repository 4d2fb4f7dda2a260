"""The README's code blocks, run in order in one namespace."""

from __future__ import annotations

import doctest
import re

import pytest


def blocks(text: str) -> list[tuple[int, str]]:
    """Line number and code of every block marked ``python``."""
    found = re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S)
    return [(text.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in found]


def test_code_blocks_run(root, tmp_path, monkeypatch):
    readme = root / "README.md"
    examples = blocks(readme.read_text(encoding="utf-8"))
    assert examples, "the README shows no code"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {"__name__": "readme"}
    for line, code in examples:
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, "README.md", str(readme), line)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            runner.run(test, clear_globs=False)
            if runner.failures:
                pytest.fail(f"README.md, line {line}: the output differs (see above)")
            names = test.globs
        else:
            exec(compile("\n" * (line - 1) + code, str(readme), "exec"), names)
