"""Errors and warnings that lossfit raises on purpose."""

from __future__ import annotations

__all__ = ["DataError", "DeviceError", "LossfitWarning"]


class DataError(ValueError):
    """Input that cannot be used as it is; the message names the run, the row and the fix."""


class DeviceError(RuntimeError):
    """The requested device cannot be used; the message names what is missing and the fix."""


class LossfitWarning(UserWarning):
    """Something a careful reader of the answer would want to know."""
