"""One self-contained page about runs: `report`.

`build` asks the questions, `curves` makes what the figures draw, `tables` and `sections` what is
read (`ladder_part`: when losses are reached, and ladders), and `page` the file; ``page.js`` draws
with plotly.js, which is copied into the page.
"""

from __future__ import annotations

from .build import Report, report

__all__ = ["Report", "report"]
