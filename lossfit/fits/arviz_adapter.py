"""The only file that knows versions of ArviZ (0.23 on Python 3.11, 1.x from Python 3.12 on).

ArviZ is slow to import, so it is imported inside the functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def version() -> tuple[int, int]:
    """Major and minor version of the installed ArviZ."""
    from importlib.metadata import version as installed

    major, minor = installed("arviz").split(".")[:2]
    return int(major), int(minor)


@contextmanager
def _quiet() -> Iterator[None]:
    """ArviZ's own deprecations and its remarks on single chains are not the user's business."""
    import logging

    logger = logging.getLogger("arviz")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _arviz() -> Any:
    with _quiet():
        import arviz
    return arviz


def to_datatree(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any] | None = None) -> Any:
    """Groups in the container that the installed ArviZ's own functions take.

    Parameters
    ----------
    groups : mapping of str to Dataset
        ``posterior``, ``log_likelihood`` and so on; empty ones are left out.
    attrs : mapping, optional
        Attributes of the whole.

    Returns
    -------
    xarray.DataTree or arviz.InferenceData
        A DataTree for ArviZ 1.x; InferenceData for ArviZ 0.x, whose functions take no DataTree.
        Both give a group by name: ``tree["posterior"]["alpha"]``.
    """
    filled = {name: group for name, group in groups.items() if group is not None}
    if version() < (1, 0):
        with _quiet():
            return _arviz().InferenceData(attrs=dict(attrs or {}), **filled)
    import xarray as xr

    tree = xr.DataTree.from_dict(filled)
    tree.attrs.update(attrs or {})
    return tree


def diagnostics(posterior: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Effective sample size and R-hat of every variable of draws with dims (chain, draw, ...)."""
    arviz = _arviz()
    with _quiet():
        ess = arviz.ess(posterior)
        # R-hat compares chains; asked about one, ArviZ 0.x logs a complaint.
        if posterior.sizes["chain"] < 2:
            return ess, ess.where(False)
        return ess, arviz.rhat(posterior)


def summary(data: Any, prob: float = 0.9) -> pd.DataFrame:
    """ArviZ's own summary table, with intervals of the given probability."""
    arviz = _arviz()
    with _quiet():
        if version() < (1, 0):
            return arviz.summary(data, hdi_prob=prob)
        return arviz.summary(data, ci_prob=prob, ci_kind="eti")


def plot_pair(
    posterior: xr.Dataset,  # Dataset, dims (chain, draw)
    var_names: Iterable[str],
) -> Any:
    """Pairwise scatter of the posterior of one run, drawn by ArviZ."""
    arviz = _arviz()
    names = list(var_names)
    tree = to_datatree({"posterior": posterior})
    size = (1.9 * len(names) + 0.5, 1.9 * len(names) + 0.5)
    with _quiet():
        if version() < (1, 0):
            axes = arviz.plot_pair(
                tree,
                var_names=names,
                marginals=True,
                figsize=size,
                textsize=9,
                scatter_kwargs={"alpha": 0.2, "color": "#0072B2"},
            )
            return _tidy(axes.ravel()[0].figure)
        collection = arviz.plot_pair(
            tree,
            var_names=names,
            marginal=True,
            backend="matplotlib",
            figure_kwargs={"figsize": size, "figsize_units": "inches"},
            visuals={"scatter": {"alpha": 0.2, "s": 6, "color": "#0072B2"}},
        )
        return _tidy(collection.viz["figure"].item())


def _tidy(figure: Any) -> Any:
    """Less margin, and tick labels at the rim only, where they do not run into other panels."""
    figure.set_layout_engine("none")
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.08, top=0.94, wspace=0.08, hspace=0.08)
    for ax in figure.axes:
        place = ax.get_subplotspec()
        if place is not None:
            # Heights of marginal densities mean nothing, so the first panel's labels go too.
            first = place.is_first_col() and not place.is_first_row()
            ax.tick_params(labelleft=first, labelbottom=place.is_last_row(), labelsize=8)
    return figure
