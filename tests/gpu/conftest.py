"""The devices on which the tests of kernels run."""

from __future__ import annotations

import pytest

from tests.gpu import compiled
from tests.gpu.tested import KINDS, device_class


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that ask for `new_device` on the device of ``--device``.

    Without that option they are run natively, and those marked ``interpreted`` by the PTX
    interpreter too, which takes longer and sees races and reads out of bounds.
    """
    if "new_device" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--device", None)
    kinds = ["native"]
    if metafunc.definition.get_closest_marker("interpreted"):
        kinds.append("ptx")
    metafunc.parametrize("new_device", [chosen] if chosen else kinds, indirect=True)


@pytest.fixture
def new_device(request: pytest.FixtureRequest):
    """The class of the devices that the test is run on."""
    assert request.param in KINDS
    if (reason := compiled.missing()) is not None:
        pytest.skip(reason)
    found = device_class(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    return found
