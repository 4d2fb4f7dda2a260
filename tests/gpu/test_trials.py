"""Every kernel of the catalogue, natively and by the PTX interpreter, against the CPU."""

from __future__ import annotations

import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit.diagnostics.kernel_catalogue import catalogue
from lossfit.diagnostics.kernel_trials import trial, trials_of
from tests.gpu.emulated import EmulatedDevice

TRIALS = trials_of()


def test_every_kernel_is_tried():
    entries = {(e.name, dtype) for e in catalogue() for dtype in e.precisions}
    tried = {(e.name, dtype) for (_, dtype), some in TRIALS.items() for e in some}
    assert tried == entries


@pytest.mark.interpreted
@pytest.mark.parametrize(("family", "dtype"), TRIALS)
def test_a_kernel_gives_what_the_cpu_gives(family, dtype, new_device):
    # What a kernel leaves behind is seen natively, where a second time costs nothing.
    times = 1 if new_device is EmulatedDevice else 2
    outcome = trial(family, dtype, [new_device()], times=times)
    assert outcome.passed, outcome
