"""Medians, in place."""

from __future__ import annotations

from .maths import kernel

__all__ = ["median", "median_of_five"]


@kernel
def median(n, values):
    """Median of ``values[:n]``, which is left partly sorted (Hoare's selection)."""
    half = n // 2
    low = 0
    high = n - 1
    while low < high:
        pivot = values[half]
        i = low
        j = high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                t = values[i]
                values[i] = values[j]
                values[j] = t
                i += 1
                j -= 1
        if j < half:
            low = i
        if i > half:
            high = j
    upper = values[half]
    if n % 2 == 1:
        return upper
    lower = values[0]
    for i in range(1, half):
        lower = max(lower, values[i])
    return 0.5 * (lower + upper)


@kernel
def median_of_five(a, b, c, d, e):
    """Median of five numbers."""
    low = max(min(a, b), min(c, d))
    high = min(max(a, b), max(c, d))
    return max(min(e, low), min(max(e, low), high))
