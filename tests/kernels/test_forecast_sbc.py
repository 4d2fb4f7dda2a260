from __future__ import annotations

import pytest

from benches.sbc_forecast import SETTINGS, p_value, simulate
from lossfit.laws import find


@pytest.mark.parametrize("setting", SETTINGS)
def test_ranks_are_uniform(setting):
    ranks = simulate(find("annealing"), SETTINGS[setting], 3000, seed=1)
    for what, values in ranks.items():
        assert p_value(values) > 1e-4, what


def test_a_wrong_prior_is_seen():
    """The same test fails a posterior whose discrepancy is too small."""
    from dataclasses import replace

    import benches.sbc_forecast as bench

    law = find("annealing")
    small = replace(law, discrepancies=tuple(0.3 * size for size in law.discrepancies))
    grid = small.grid
    wrong = replace(law)
    ranks = simulate(wrong, SETTINGS["many points, late in a cosine"], 10, seed=1)
    assert set(ranks) >= {"Lc", "a", "B"}
    original = bench.forecast_batch

    def too_sure(curves, _grid, *args, **options):
        return original(curves, grid, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "forecast_batch", too_sure)
        ranks = simulate(law, SETTINGS["many points, late in a cosine"], 3000, seed=1)
    assert min(p_value(values) for values in ranks.values()) < 1e-6
