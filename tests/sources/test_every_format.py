"""What holds for every log format; a new one is tested as soon as it is registered.

Each reader carries a small log, its `EXAMPLE`, and the points in it.
"""

from __future__ import annotations

import gzip
from importlib import import_module
from pathlib import Path

import pytest

import lossfit
from lossfit import DataError
from lossfit.sources import READERS, survey
from lossfit.sources._source import Example

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")

LEAST_POINTS = 4


def example_of(name: str) -> Example:
    return import_module(f"lossfit.sources.{name}").EXAMPLE


def data_of(name: str) -> bytes:
    """The example as bytes; skipped where the package that writes it is missing."""
    try:
        return example_of(name).data
    except ImportError as error:
        pytest.skip(f"{name} needs {error.name}")


def points(runs: lossfit.Runs) -> dict[float, float]:
    """Losses by step of the only run."""
    assert len(runs) == 1
    return dict(zip(runs.frame["step"].tolist(), runs.frame["loss"].tolist(), strict=True))


def points_or_refused(path: Path, name: str) -> dict[float, float] | None:
    """The points; None where the log is refused, by a message that names it."""
    try:
        return points(lossfit.load(path, format=name))
    except DataError as error:
        message = str(error)
    assert path.stem in message
    return None


CURVES = [name for name in READERS if example_of(name).losses]
REFUSED = [name for name in READERS if not example_of(name).losses]
TEXTS = [name for name in CURVES if isinstance(example_of(name).log, str)]


@pytest.mark.parametrize("name", READERS)
def test_it_is_documented(root, name):
    page = (root / "docs" / "formats.md").read_text()
    module = import_module(f"lossfit.sources.{name}")
    assert f"\n| `{name}` | " in page or name in REFUSED
    assert module.matches.__doc__
    assert module.read.__doc__


@pytest.mark.parametrize("name", CURVES)
def test_its_example_is_recognized_and_read(tmp_path, name):
    path = tmp_path / "some.log"
    path.write_bytes(data_of(name))
    runs, (log,) = survey(path)
    assert log.format == name
    assert points(runs) == example_of(name).losses
    assert len(example_of(name).losses) >= LEAST_POINTS
    assert runs == lossfit.load(path, format=name)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_curve_is_refused(tmp_path, name):
    path = tmp_path / "some.log"
    path.write_bytes(data_of(name))
    with pytest.raises(DataError, match=r"some\.log"):
        lossfit.load(path)


@pytest.mark.parametrize("name", TEXTS)
def test_packing_line_ends_and_encodings_do_not_matter(tmp_path, name):
    data = data_of(name)
    path = tmp_path / "some.log"
    forms = {
        "gzip": gzip.compress(data),
        "line ends of Windows": data.replace(b"\n", b"\r\n"),
        "UTF-16": data.decode().encode("utf-16"),
        "a byte-order mark": b"\xef\xbb\xbf" + data,
        "no last line end": data.rstrip(b"\n"),
    }
    for form, changed in forms.items():
        path.write_bytes(changed)
        assert points(survey(path)[0]) == example_of(name).losses, form


@pytest.mark.parametrize("name", TEXTS)
def test_a_log_that_is_cut_gives_the_points_before_the_cut_or_an_error(tmp_path, name):
    data, losses = data_of(name), example_of(name).losses
    path = tmp_path / "some.log"
    read = 0
    for size in range(2 * len(data) // 3, len(data)):
        path.write_bytes(data[:size])
        loaded = points_or_refused(path, name)
        if loaded is None:
            continue
        read += 1
        # The last number may be cut in its middle; what stands before it may not change.
        assert list(loaded) == list(losses)[: len(loaded)]
        assert list(loaded.items())[:-1] == list(losses.items())[: len(loaded) - 1]
    assert read or data.lstrip()[:1] == b"{"  # a document is valid as a whole only


@pytest.mark.parametrize("name", TEXTS)
def test_no_point_is_made_up_from_a_line_of_another_kind(tmp_path, name):
    lines = data_of(name).splitlines(keepends=True)
    path = tmp_path / "some.log"
    for at in range(1, len(lines) + 1):
        path.write_bytes(b"".join([*lines[:at], b"*** warning: clock skew ***\n", *lines[at:]]))
        loaded = points_or_refused(path, name)
        assert loaded is None or loaded.items() <= example_of(name).losses.items()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("data", [b"", b"\n", b"nothing of interest\n", b"\x00\x01\x02"])
def test_what_is_no_log_of_it_is_refused(tmp_path, name, data):
    path = tmp_path / "some.log"
    path.write_bytes(data)
    with pytest.raises(DataError, match="some"):
        lossfit.load(path, format=name)
