"""Options that several functions take, written once: types, defaults and what they mean."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

ITEM = re.compile(r"^ *(\w+) : .*\n(?:(?: {8,}.*)?\n)*", re.M)
PLACE = re.compile(r"^ *\*\*options\b.*\n(?: {8,}.*\n)*", re.M)


def described(taken: type, text: str | None, defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Show a function's ``**options: Unpack[TypedDict]`` as the parameters that they are.

    Signature and docstring are what ``help()``, notebooks and the reference read; editors and type
    checkers read the TypedDict.

    Parameters
    ----------
    taken : TypedDict class
        The options that the function takes.
    text : str or None
        Docstring with an entry ``name : type`` for each; they stand where the function's docstring
        has ``**options``.
    defaults : dict
        By option.
    """
    kinds = {n: getattr(kind, "__forward_arg__", kind) for n, kind in taken.__annotations__.items()}
    entries = {m[1]: m[0].rstrip() + "\n" for m in ITEM.finditer((text or "").rstrip() + "\n")}

    def finish(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        names = [name for name in defaults if name in kinds]
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kinds[name]
            )
            for name in names
        ]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *more]
        )
        if function.__doc__:  # there is none under python -OO
            told = "".join(entries[name] for name in names)
            function.__doc__ = PLACE.sub(lambda _: told, function.__doc__, count=1)
        return function

    return finish


def check_names(given: Collection[str], known: Collection[str], function: str) -> None:
    """Raise what Python raises where a keyword argument is unknown."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
