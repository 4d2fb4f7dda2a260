"""Options that several functions take, written once: types, defaults and what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from .documented import documented, entries_of, sections_of

F = TypeVar("F", bound=Callable[..., Any])


def described(taken: type, text: str | None, defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Show a function's ``**options: Unpack[TypedDict]`` as the parameters that they are.

    Signature and docstring are what ``help()``, notebooks and the reference read; editors and type
    checkers read the TypedDict.

    Parameters
    ----------
    taken : TypedDict class
        The options that the function takes.
    text : str or None
        Docstring with an entry ``name : type`` for each, among its attributes.
    defaults : dict
        By option.
    """
    kinds = {n: getattr(kind, "__forward_arg__", kind) for n, kind in taken.__annotations__.items()}
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kinds[name]
        )
        for name, value in defaults.items()
        if name in kinds
    ]

    def finish(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *more]
        )
        return documented(entries_of(sections_of(text).get("Attributes", "")))(function)

    return finish


def check_names(given: Collection[str], known: Collection[str], function: str) -> None:
    """Raise what Python raises where a keyword argument is unknown."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
