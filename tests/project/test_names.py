"""A name says what it holds: words that only point are rare among the names that the code binds."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

POINTING = ("found", "one", "some", "mine", "kept", "brought", "there")
MOST = 0.015  # of all names bound; well-kept libraries have 0 to 0.002


def bound_names(tree: ast.AST) -> Counter[str]:
    """Names that assignments, loops, arguments and definitions bind, with how often they do."""
    names: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] += 1
        elif isinstance(node, ast.arg):
            names[node.arg] += 1
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] += 1
    return names


def names_of(folders: list[Path]) -> dict[str, Counter[str]]:
    """Names bound in each file of some folders."""
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return {
        str(path): bound_names(ast.parse(path.read_text()))
        for path in files
        if path.parts[-3:-1] != ("lossfit", "kernels")
    }


def test_names_say_what_they_hold(root):
    by_file = names_of([root / "lossfit", root / "kernels"])
    total = sum(sum(names.values()) for names in by_file.values())
    pointing = {path: sum(names[word] for word in POINTING) for path, names in by_file.items()}
    worst = sorted(pointing, key=lambda path: pointing[path], reverse=True)[:5]
    share = sum(pointing.values()) / total
    assert total > 10_000
    assert share < MOST, f"{share:.2%} of names point; most in {', '.join(worst)}"


def test_every_binding_is_counted():
    tree = ast.parse(
        "def one(some, *there):\n"
        "    found = kept = [mine for mine in some]\n"
        "    return found, kept\n"
    )
    assert bound_names(tree) == Counter(["one", "some", "there", "found", "kept", "mine"])
