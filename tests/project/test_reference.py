"""The reference names every public object, and each says what it takes and gives.

`numpydoc.validate` reads every docstring.  What it is not asked for:

* GL01, GL02: a docstring begins on the line of its quotes, and ends where it ends.
* GL03, ES01: not every object needs an extended summary.
* SA01, SA04: not every object needs a "See Also"; the text links what is near.
* SS05: it takes nouns ("Draws of the loss") for verbs in the third person.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from functools import cached_property

import pytest
from numpydoc.validate import validate

import lossfit

MODULES = ("laws", "plotting", "priors", "schedules", "surfaces")
TWICE = {"laws.Law", "laws.Linear", "laws.Nonlinear", "surfaces.Surface", "surfaces.fit_surface",
         "surfaces.fit_surfaces", "laws.priors.checked"}  # fmt: skip
"""Public elsewhere under a shorter name, or of no use to users."""

NOT_ASKED = {"GL01", "GL02", "GL03", "ES01", "SA01", "SA04", "SS05"}

COSTLY = ("backtest", "best_tail", "extrapolate", "fit", "fit_ladder", "phases", "plan", "race",
          "what_if")  # fmt: skip
"""What the examples of a function and of its result ask with equal words is computed once."""


def listed(root) -> list[str]:
    """Names in the tables of the reference."""
    text = (root / "docs" / "api.rst").read_text()
    return re.findall(r"^   ([A-Za-z_][\w.]*)$", text, re.M)


def public() -> set[str]:
    names = {name for name in lossfit.__all__ if name not in (*MODULES, "__version__")}
    for name in (*(m for m in MODULES if m != "priors"), "laws.priors"):
        module = importlib.import_module(f"lossfit.{name}")
        names |= {f"{name}.{each}" for each in module.__all__}
    return names - TWICE


def object_of(name: str):
    value = lossfit
    for part in name.split("."):
        value = getattr(value, part)
    return value


def members(name: str) -> list[str]:
    """Public methods and properties of a class, those of our own base classes too."""
    kinds = (property, cached_property, classmethod, staticmethod)
    return [
        f"{name}.{key}"
        for base in object_of(name).__mro__
        if base.__module__.startswith("lossfit.")
        for key, value in vars(base).items()
        if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))
    ]


def documented() -> dict[str, str]:
    """Every public class, function, method and property, and which of these it is."""
    kinds = {}
    for name in sorted(public()):
        value = object_of(name)
        if inspect.isclass(value):
            kinds[name] = "class"
            kinds |= dict.fromkeys(members(name), "member")
        elif callable(value):
            kinds[name] = "function"
    return kinds


def undocumented_fields(value: type) -> list[str]:
    """Arguments of a class that stand neither among its parameters nor among its attributes.

    A result is made by a function: readers look for its attributes, which are its arguments.
    """
    text = inspect.getdoc(value) or ""
    headings = ", ".join(re.findall(r"^(\w[\w, ]*) :", text, re.M))
    told = set(headings.split(", "))
    try:
        arguments = inspect.signature(value).parameters.values()
    except ValueError:  # exceptions have none that can be read
        return []
    plain = [a.name for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
    return [name for name in plain if not name.startswith("_") and name not in told]


def faults(name: str, kind: str) -> list[str]:
    """What is wrong with a docstring."""
    errors = [e for e in validate(f"lossfit.{name}")["errors"] if e[0] not in NOT_ASKED]
    if kind == "member":  # the example of the class or of the function that makes it shows them
        errors = [e for e in errors if e[0] != "EX01"]
    if kind == "class":
        errors = [e for e in errors if e[0] != "PR01"]
        if missing := undocumented_fields(object_of(name)):
            errors.append(("PR01", f"not documented: {', '.join(missing)}"))
    return [f"{name}: {code} {text}" for code, text in errors]


def example(name: str) -> doctest.DocTest:
    return doctest.DocTestParser().get_doctest(
        inspect.getdoc(object_of(name)) or "", {}, name, None, None
    )


def remembered(function):
    """The function, which gives the same answer again to a question of the same words."""
    answers = {}

    def ask(*args, **options):
        question = repr((args, options))
        if question not in answers:
            answers[question] = function(*args, **options)
        return answers[question]

    return ask


def test_the_reference_names_every_public_object(root):
    names = listed(root)
    assert len(names) == len(set(names)), "a name stands twice"
    assert public() - set(names) == set(), "missing in docs/api.rst"
    assert set(names) - public() == set(), "docs/api.rst names what is not public"


def test_every_docstring_is_complete():
    kinds = documented()
    assert len(kinds) > 250
    wrong = [fault for name, kind in kinds.items() for fault in faults(name, kind)]
    assert wrong == [], "\n".join(wrong)


def test_a_docstring_that_is_not_complete_is_told():
    def wanting(first: int, second: int) -> int:
        """Does.

        Parameters
        ----------
        first : int
        """
        return first + second

    lossfit.wanting = wanting
    try:
        codes = {fault.split()[1] for fault in faults("wanting", "function")}
    finally:
        del lossfit.wanting
    assert {"PR01", "PR07", "RT01", "EX01"} <= codes


@pytest.mark.slow
def test_every_example_runs(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    for name in COSTLY:
        monkeypatch.setattr(lossfit, name, remembered(object_of(name)))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    out: list[str] = []
    # An answer says in its print what it warns of.
    setup = "import warnings, lossfit\nwarnings.simplefilter('ignore', lossfit.LossfitWarning)"
    exec(setup, {})
    examples = [example(name) for name in documented()]
    for one in examples:
        skipped = [e.source for e in one.examples if doctest.SKIP in e.options]
        assert not skipped, f"{one.name} has an example that does not run"
        runner.run(one, out=out.append)
        plt.close("all")
    assert sum(bool(each.examples) for each in examples) > 100
    assert list(tmp_path.iterdir()) == [], "an example leaves files behind"
    assert runner.failures == 0, "".join(out)
