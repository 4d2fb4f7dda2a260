"""Errors and warnings that lossfit raises on purpose."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from .terminal import printable


class DataError(ValueError):
    """Input that cannot be used as it is; the message names the run, the row and the fix.

    Examples
    --------
    >>> import lossfit
    >>> try:
    ...     lossfit.load("llama3")
    ... except lossfit.DataError as error:
    ...     print(error)
    there is no collection and no file 'llama3'; did you mean 'llama'...
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*map(_clean, words))


class DeviceError(RuntimeError):
    """The requested device cannot be used; the message names what is missing and the fix.

    Examples
    --------
    >>> import lossfit
    >>> try:
    ...     fit = lossfit.fit(lossfit.load("llama2"), axis="tokens", device="cuda:99")
    ... except lossfit.DeviceError as error:
    ...     print("no such GPU")
    no such GPU
    """


class LossfitWarning(UserWarning):
    """Something a careful reader of the answer would want to know.

    Attributes
    ----------
    notes : dict of str to str
        Where it is about reading logs: their flags, which answers repeat, each with its words.

    Examples
    --------
    >>> import warnings
    >>> import lossfit
    >>> warnings.simplefilter("ignore", lossfit.LossfitWarning)  # answers print their flags too
    """

    def __init__(self, *words: object, notes: Mapping[str, str] | None = None) -> None:
        super().__init__(*map(_clean, words))
        self.notes = dict(notes or {})


def warn(what: str, words: str | Mapping[str, str], stacklevel: int = 1) -> None:
    """Give the one warning of an answer, to whom called the caller; none where there are no words.

    Words by flag are told with their flags.
    """
    if not isinstance(words, str):
        words = "; ".join(f"{flag}: {note}" for flag, note in words.items())
    if words:
        warnings.warn(LossfitWarning(f"{what}: {words}"), stacklevel=stacklevel + 2)


def _clean(word: object) -> object:
    """A message without what could control a terminal: names of runs and files stand in it."""
    return printable(word) if isinstance(word, str) else word
