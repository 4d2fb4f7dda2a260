from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from importlib.util import find_spec

import pytest

import lossfit
from tests.gpu import compiled

HEAVY = ("numba", "pandas", "xarray", "arviz", "matplotlib", "scipy", "emcee", "click")


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_import_is_light():
    code = (
        "import sys, lossfit, lossfit._base.errors; "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert in_a_fresh_process(code) == "[]"


def test_schedules_and_priors_are_light():
    code = (
        "import sys, lossfit; lossfit.schedules.constant(1.0)(3); lossfit.priors.normal(0, 1); "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert in_a_fresh_process(code) == "[]"


def test_import_is_quick():
    code = "import time; t = time.perf_counter(); import lossfit; print(time.perf_counter() - t)"
    best = min(float(in_a_fresh_process(code)) for _ in range(3))
    assert best < 0.3


def test_every_public_name_is_there():
    for name in lossfit.__all__:
        assert getattr(lossfit, name) is not None
        assert name in dir(lossfit)
    with pytest.raises(AttributeError, match="no attribute 'fittings'"):
        lossfit.fittings  # noqa: B018


def test_the_function_fit_is_not_hidden_by_a_module():
    code = (
        "import lossfit, lossfit.fits.fitting, lossfit.fits.posterior; "
        "import lossfit.answers.extrapolation; "
        "print(callable(lossfit.fit), callable(lossfit.extrapolate), callable(lossfit.load))"
    )
    assert in_a_fresh_process(code) == "True True True"


def test_type_checkers_see_every_lazy_name(root):
    """The lazy table and the imports for type checkers name the same things."""
    text = (root / "lossfit" / "__init__.py").read_text()
    block = text.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    lazy = text.split("_HOMES = {")[1].split("}")[0]
    eager = {"DataError", "DeviceError", "LossfitWarning", "__version__"}
    names = set(re.findall(r'^    "(\w+)":', lazy, re.M))
    seen = {n for line in re.findall(r"import (.+)", block) for n in line.split(", ")}
    assert names == seen == set(lossfit.__all__) - eager


def test_the_package_has_its_data_and_the_version_is_one():
    package = files("lossfit")
    for name in ("py.typed", "data/llama_curves.csv", "data/README.md", "kernels/__init__.py"):
        assert package.joinpath(*name.split("/")).is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", lossfit.__version__)


def test_the_changelog_knows_the_version(root):
    assert lossfit.__version__ in (root / "CHANGELOG.md").read_text()


def test_every_package_is_listed_for_setuptools(root):
    """A package left out of pyproject.toml would be missing from the wheel."""
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [path.parent for path in (root / "lossfit").rglob("__init__.py")]
    there = {".".join(folder.relative_to(root).parts) for folder in folders}
    kernels = {"lossfit.kernels", "lossfit.kernels.gpu", "lossfit.kernels.uncompiled"}
    assert there | kernels == set(listed)


def test_kernels_are_compiled_where_numba_cuda_is():
    """Tests of CUDA kernels are skipped where it is not; where it is, none may be."""
    if find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda is not installed: the extra cuda-check has it")
    assert compiled.missing() is None


def test_what_quick_leaves_out_is_there(root):
    """Names in `SLOW` of files and tests that have moved would put them back into `make quick`."""
    from tests.conftest import SLOW

    for name in SLOW:
        place, _, test = name.partition("::")
        path = root / "tests" / place
        assert path.exists(), name
        assert not test or f"def {test}(" in path.read_text(), name


def test_the_conda_recipe_asks_for_what_the_package_does(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = {f"python{project['requires-python']}", *project["dependencies"]}
    recipe = (root / "docs" / "recipe.yaml").read_text()
    run = recipe.split("  run:\n")[1].split("\n\n")[0].replace("matplotlib-base", "matplotlib")
    assert {line.strip("- ").replace(" ", "") for line in run.splitlines()} == wanted
    assert f'version: "{lossfit.__version__}"' in recipe
