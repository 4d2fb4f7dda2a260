"""Kernels for a question: compiled ones, or the same functions uncompiled while there are none.

``serve("driver", "_fit_range", seconds)`` gives the module `lossfit.kernels.driver`, or its import
in plain Python where the kernels are not compiled yet and the question is small; see
`lossfit.kernels.engines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._base.progress import say
from .._base.ragged import Floats, Ints

if TYPE_CHECKING:
    from ..kernels.columns import Program
    from ..kernels.paths import Paths, Shapes

# Of one run in plain Python, as measured on one core; they decide who serves and nothing else.
FORECAST_SECONDS = 0.15
CURVE_SECONDS = 1.5
FIT_SECONDS = 0.4
_PREDICT_SECONDS = 1e-5  # of a point of a curve
_FEATURE_SECONDS = 1e-5  # of a response at a time


def serve(module: str, kernel: str, seconds: float, *, same_bits: bool = False) -> Any:
    """A module of the kernels for a question.

    Parameters
    ----------
    module, kernel : str
        Such as ``"driver"`` and ``"_fit_range"``.
    seconds : float
        About what the question would take in plain Python.
    same_bits : bool
        Whether the answer is promised to the last bit: only compiled kernels serve then.

    Returns
    -------
    module
        See `engine_of` for which it is.
    """
    from ..kernels.engines import choose

    told = False

    def tell(waited: float) -> None:
        nonlocal told
        if not told and waited > 0.5:
            say("compiling kernels, once (about a minute); later answers come at once")
            told = True

    name = f"{module}.{kernel}"
    return choose((name,), seconds, same_bits=same_bits, tell=tell).load(module)


def engine_of(module: Any) -> str:
    """``"compiled"`` or ``"uncompiled"``: what a module of `serve` is; a GPU has compiled ones."""
    return "uncompiled" if ".uncompiled." in getattr(module, "__name__", "") else "compiled"


def only_compiled() -> None:
    """Wait until the kernels of fits are compiled, for work whose bits are promised."""
    for module, kernel in (
        ("windows", "_find_range"),
        ("windows", "_take_range"),
        ("driver", "_fit_range"),
    ):
        serve(module, kernel, 0.0, same_bits=True)


def predict_batch(program: Program, draws: Floats, at: Floats) -> Floats:
    """Curves of draws at scaled axis values; see `lossfit.kernels.driver.predict_batch`."""
    seconds = _PREDICT_SECONDS * at.size * draws.shape[2]
    kernels = serve("driver", "_predict_range", seconds)
    curves: Floats = kernels.predict_batch(program, draws, at)
    return curves


def feature_table(
    shapes: Shapes, paths: Paths, times: Floats, groups: Ints, units: Floats
) -> tuple[Floats, Floats]:
    """LR time and responses of the first path; see `lossfit.kernels.paths.feature_table`."""
    kernels = serve("paths", "_feature_table", _FEATURE_SECONDS * times.size * len(units))
    table: tuple[Floats, Floats] = kernels.feature_table(
        0, shapes, paths, times, groups, units, 1.0
    )
    return table
