"""What functions say in the same words stands in the docstring of each."""

from __future__ import annotations

import inspect

import pytest

import lossfit
from lossfit._base.documented import documented, entries_of


def test_own_words_stand_in_place_of_shared_ones():
    shared = entries_of("first : int\n    Of all.\nthird : str\n    Of all.\n    More.\n")

    @documented(shared, Returns="int\n    Shared.")
    def function(first, second=2, *, third="", fourth=0):
        """Sum.

        Parameters
        ----------
        second, fourth : int
            Its own.

        Examples
        --------
        >>> 1
        """

    assert function.__doc__ == (
        "Sum.\n\nParameters\n----------\nfirst : int\n    Of all.\nsecond, fourth : int\n"
        "    Its own.\nthird : str\n    Of all.\n    More.\n\nReturns\n-------\nint\n"
        "    Shared.\n\nExamples\n--------\n>>> 1"
    )


def test_a_section_that_no_docstring_has_is_refused():
    def function():
        """Sum.

        Wrong
        -----
        Text.
        """

    with pytest.raises(ValueError, match="not in tuple"):
        documented({})(function)


def test_help_has_the_shared_words():
    words = inspect.getdoc(lossfit.plotting.plot_answer)
    assert 'scale : {"auto", "log", "linear"}\n    Of the axis.\n' in words
    assert words.index("Parameters") < words.index("Returns") < words.index("Examples")
