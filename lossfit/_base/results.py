"""What every result can do: show itself, give its numbers, go to a file and come back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from .errors import DataError
from .ragged import Floats
from .summaries import check_prob, quantiles
from .terminal import printable
from .views import view

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["auto", "log", "linear"]  # of the axis of compute in figures
R = TypeVar("R", bound="Result")


class Result:
    """The base of what lossfit's functions give: a frozen dataclass with these methods.

    A subclass has ``frame``, ``to_dict`` and ``plot``, says in `_keys` what tells rows of the frame
    apart, and gives the draws of the rows.

    Attributes
    ----------
    _keys : tuple of str
        Columns of the frame that tell its rows apart.
    _view : str
        The name before the dot of its views ``text`` and ``line``; "" where it has its own methods.
    _transient : dict of str to callable
        Fields that are made again and never stored, with what stands in their place.
    """

    _keys: ClassVar[tuple[str, ...]] = ()
    _view: ClassVar[str] = ""
    _transient: ClassVar[Mapping[str, Callable[[], Any]]] = {}

    if TYPE_CHECKING:

        @property
        def frame(self) -> pd.DataFrame:
            """A table of the answer, with the columns median, lower and upper."""

        @property
        def prob(self) -> float:
            """Probability of the intervals."""

        def to_dict(self) -> dict[str, Any]:
            """Plain data for JSON."""

    def _row_draws(self) -> Floats | None:
        """Draws of the frame's rows, shape (rows, draws); None where none were kept."""
        return None

    def _head(self, rows: int) -> pd.DataFrame:
        """The first rows of the frame: what a notebook shows."""
        return self.frame.head(rows)

    def to_frame(self) -> pd.DataFrame:
        """The frame, indexed by what tells its rows apart.

        Returns
        -------
        pandas.DataFrame
            The columns of ``frame``; the answer's come first.

        Examples
        --------
        >>> import lossfit
        >>> runs = lossfit.load("llama2")
        >>> answer = lossfit.extrapolate(runs, run="llama2-7B", at=[2.5e12, 4e12], axis="tokens")
        >>> answer.to_frame().loc["llama2-7B"].shape[0]
        2
        """
        return self.frame.set_index(list(self._keys))

    @property
    def median(self) -> pd.Series:
        """The posterior medians, indexed like `to_frame`."""
        return self.to_frame()["median"]

    def interval(self, prob: float | None = None) -> pd.DataFrame:
        """Equal-tailed credible intervals of any probability.

        Parameters
        ----------
        prob : float, optional
            Between 0 and 1; by default that of the result.

        Returns
        -------
        pandas.DataFrame
            Columns lower and upper, indexed like `to_frame`.

        Raises
        ------
        DataError
            No such probability; a result that kept no draws, asked for another than its own.

        Examples
        --------
        >>> import lossfit
        >>> runs = lossfit.load("llama2")
        >>> answer = lossfit.extrapolate(runs, run="llama2-7B", at=4e12, axis="tokens")
        >>> list(answer.interval(0.5).columns)
        ['lower', 'upper']
        """
        table = self.to_frame()[["lower", "upper"]]
        if prob is None or abs(check_prob(prob) - self.prob) < 1e-12:
            return table
        draws = self._row_draws()
        if draws is None:
            raise DataError(
                f"{type(self).__name__} kept no draws, only intervals of probability "
                f"{self.prob:g}: ask again with prob={prob:g}"
            )
        table = table.copy()
        table["lower"], table["upper"] = quantiles(draws, ((1 - prob) / 2, (1 + prob) / 2))
        return table

    def to_netcdf(self, path: str | os.PathLike[str]) -> None:
        """Write the result and all that it rests on to a netCDF file; `from_netcdf` reads it.

        Parameters
        ----------
        path : str or path
            The file to write.

        Raises
        ------
        DataError
            The file cannot be written; the result holds a law of your own in a place that cannot
            be stored.

        Notes
        -----
        The group ``lossfit`` is what `from_netcdf` reads; ``frame`` and ``draws`` are for xarray.
        """
        view("result.write")(self, path)

    @classmethod
    def from_netcdf(cls: type[R], path: str | os.PathLike[str], law: Any = None) -> R:
        """Read a result that `to_netcdf` wrote.

        Parameters
        ----------
        path : str or path
            The file.
        law : Law, optional
            The law, if it is none of lossfit's own (a file cannot hold its functions).

        Returns
        -------
        Result
            The result, of the class that it is asked of.

        Raises
        ------
        DataError
            No such file; a file of something else; a damaged one.  The message says which part.
        """
        result: R = view("result.read")(path, law, cls)
        return result

    def _stored(self) -> dict[str, Any]:
        """The fields as they are stored."""
        return {
            item.name: self._transient[item.name]() if item.name in self._transient
            else getattr(self, item.name)
            for item in fields(self)  # type: ignore[arg-type]
        }  # fmt: skip

    def _checked(self) -> None:
        """Raise a `DataError` for a result, read from a file, that contradicts itself."""
        check_prob(self.prob)
        _ = self.frame

    def _text(self) -> str:
        """A few readable lines: what ``print`` shows."""
        return str(view(f"{self._view}.text")(self)) if self._view else self._line()

    def _line(self) -> str:
        """The answer in a line: what an interpreter shows."""
        return str(view(f"{self._view}.line")(self))

    def _of_the_data(self) -> list[str]:
        """What was done to the logs and must be known: lines for the end of the text."""
        runs, names = self._read()
        if not hasattr(runs, "_columns"):
            return []
        lines = [f"  ! {words}" for words in view("runs.loud")(runs, names).values()]
        others = view("runs.said")(runs, names)
        return [*lines, f"  As read: {'; '.join(others.values())}."] if others else lines

    def _read(self) -> tuple[Any, Any]:
        """The runs that the result is about, and the names of some if it is not about all."""
        return getattr(self, "runs", None), getattr(self, "names", None)

    # The one place where names of runs could reach a terminal: without codes that control it.
    def __str__(self) -> str:
        return printable("\n".join([self._text(), *self._of_the_data()]))

    def __repr__(self) -> str:
        return printable(self._line())

    def __getstate__(self) -> dict[str, Any]:
        # What was computed on the way is made again.
        return self._stored()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _repr_html_(self) -> str:
        html: str = view("result.html")(self)
        return html
