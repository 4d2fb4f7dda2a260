"""Laws of final losses in parameters and tokens: `fit_surface` and `published`.

`table` reads final losses.  `forms` are laws that are fitted with what they miss (`missed`), many
tables at once (`batch`, by `hamiltonian`); `target` is the posterior of laws that are taken for
true, sampled by `quadrature` or `ensemble`.  `constants` has published surfaces.  `against`
compares a surface with runs that it was not fitted to, `anchored` holds it to them.  `result`,
`checks` and `text` are what comes back.
"""

from __future__ import annotations

from .fitting import fit_surface, fit_surfaces, published
from .result import Surface

__all__ = ["Surface", "fit_surface", "fit_surfaces", "published"]
