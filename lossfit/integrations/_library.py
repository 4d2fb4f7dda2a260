"""Libraries that lossfit does without until somebody asks for them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["library"]


def library(module: str, extra: str) -> Any:
    """A module of a library.

    Raises
    ------
    ImportError
        The library is not there, or lacks something; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"lossfit.integrations.{extra} needs {module.partition('.')[0]}, which cannot be "
            f"imported ({error}): pip install 'lossfit[{extra}]'"
        ) from error
