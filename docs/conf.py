"""The site that `make site` builds: these pages, a gallery and the reference of all public names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import lossfit

HERE = Path(__file__).parent

project = "lossfit"
author = "The lossfit authors"
copyright = author
version = release = lossfit.__version__

extensions = [
    "myst_nb",  # pages of Markdown, and the notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_templates", "gallery/*.ipynb", "sg_execution_times.rst"]
html_theme = "pydata_sphinx_theme"
html_title = "lossfit"
html_show_sourcelink = False
# The sidebar lists the pages of a section: these are in none.
html_sidebars: dict[str, list[str]] = {
    page: [] for page in [*(path.stem for path in HERE.glob("*.md")), "howto/*", "notebooks/*"]
}
html_theme_options = {
    "header_links_before_dropdown": 3,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Notebooks are kept without outputs: the site runs them.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
shutil.copytree(HERE.parent / "examples" / "notebooks", HERE / "notebooks", dirs_exist_ok=True)

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
# Blocks of plain text hold formulas and output: nothing is to be coloured in them.
highlight_language = "none"

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say it in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# The gallery draws into files by itself.  A backend in the environment would reach the kernels of
# the notebooks, which then show no figure.
os.environ.pop("MPLBACKEND", None)
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "matplotlib_animations": False,
}
# Nothing is fetched when the site is built.
suppress_warnings = ["config.cache"]
linkcheck_ignore = [r"https?://localhost.*"]
