"""Laws of final losses in parameters and tokens: `fit_surface` and `published`.

`table` reads final losses, `target` is the posterior, sampled by `quadrature` or `ensemble`;
`constants` has published surfaces; `result`, `checks` and `text` are what comes back.
"""

from __future__ import annotations

from .fitting import fit_surface, published
from .result import Surface

__all__ = ["Surface", "fit_surface", "published"]
