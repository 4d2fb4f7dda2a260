"""The layers of docs/architecture.md: imports run one way, between rooms and between files.

Imports inside functions and under ``TYPE_CHECKING`` count: a name that is only needed to read a
file ties it all the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

# From the bottom up: a room may import from rooms before it in this list, and from itself.
LAYERS = (
    "_base",
    "kernels",
    "schedules",
    "laws",
    "engine",
    "runs",
    "sources",
    "fits",
    "forecasts",
    "backtests",
    "answers",
    "races",
    "phase_models",
    "surfaces",
    "ladders",
    "plans",
    "sweep",
    "plotting",
    "reports",
    "monitoring",
    "integrations",
    "diagnostics",
    "cli",
)
# The package's own files: __init__ imports nothing but errors until a name is asked for.
TOP = ("__init__", "__main__")


def modules(root: Path) -> dict[str, Path]:
    """Dotted names of all source files, kernels included."""
    files = [path for path in (root / "lossfit").rglob("*.py") if "kernels" not in path.parts]
    named = {path.relative_to(root).with_suffix(""): path for path in files}
    kernels = (root / "kernels").rglob("*.py")
    named |= {"lossfit" / path.relative_to(root).with_suffix(""): path for path in kernels}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in named.items()}


@cache
def statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """The imports of a file."""
    found = ast.walk(ast.parse(path.read_text()))
    return [node for node in found if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of lossfit that a file imports, wherever in it the import stands."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        else:
            base = package.split(".")
            base = base[: len(base) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{module}.{alias.name}" in known:
                    yield f"{module}.{alias.name}"
                elif module in known:
                    yield module


@cache
def arrows(root: Path) -> dict[str, set[str]]:
    """For each file the files that it imports."""
    known = modules(root)
    found = {name: set(imports(name, path, known)) - {name} for name, path in known.items()}
    return {name: {to for to in targets if to != "lossfit"} for name, targets in found.items()}


def room(module: str) -> str:
    """The room of a module."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports from a room above."""
    height = {name: i for i, name in enumerate(LAYERS)}
    return sorted(
        f"{name} imports {target}"
        for name, targets in graph.items()
        if room(name) in height
        for target in targets
        if height[room(target)] > height[room(name)]
    )


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that import each other in a circle (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph.get(name, ()):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return groups


def test_the_page_lists_the_rooms_in_this_order(root):
    page = (root / "docs" / "architecture.md").read_text()
    assert tuple(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == LAYERS


def test_every_file_has_a_room(root):
    rooms = {room(name) for name in modules(root)} - {"", *TOP}
    assert rooms == set(LAYERS)


def test_rooms_import_only_from_rooms_below(root):
    assert upward(arrows(root)) == []


def test_no_files_import_each_other_in_a_circle(root):
    graph = {
        name: targets for name, targets in arrows(root).items() if room(name) not in ("", *TOP)
    }
    assert circles(graph) == []


@pytest.mark.parametrize("name", LAYERS[:-1])
def test_an_import_from_above_is_found(root, name):
    graph = dict(arrows(root))
    own = next(module for module in graph if room(module) == name)
    above = next(module for module in graph if room(module) == LAYERS[-1])
    graph[own] = graph[own] | {above}
    assert f"{own} imports {above}" in upward(graph)


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_views_exist_and_nothing_else_goes_up():
    from lossfit._base.views import VIEWS, view

    assert all(callable(view(name)) for name in VIEWS)


def test_names_of_the_package_itself_are_not_a_way_round(root):
    """``from .. import fit`` would hide an import from above: only the version is taken so."""
    for name, path in modules(root).items():
        if room(name) in ("", *TOP):
            continue
        for node in statements(path):
            if not isinstance(node, ast.ImportFrom) or node.level == 0 or node.module:
                continue
            depth = len(name.split(".")) - (0 if path.stem == "__init__" else 1)
            if node.level == depth:
                rooms = {alias.name for alias in node.names} - {"__version__"}
                assert rooms <= set(LAYERS), f"{name} imports {rooms} from lossfit"
