"""Kernels of lossfit: flat arrays in, flat arrays out.

Nothing here knows of runs, files or pandas.
"""

from __future__ import annotations
