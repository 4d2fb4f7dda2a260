"""The notebooks run from top to bottom, draw what they promise, and are kept without outputs."""

from __future__ import annotations

import os

import pytest

NAMES = ("every_result", "headline", "ladder_to_70B", "own_wandb_run")


def read(root, name):
    nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
    path = root / "examples" / "notebooks" / f"{name}.ipynb"
    return nbformat.read(path, as_version=4)


def test_every_notebook_is_named_here(root):
    assert sorted(p.stem for p in (root / "examples" / "notebooks").glob("*.ipynb")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs(root, name):
    for cell in read(root, name).cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.fixture(scope="module")
def kernel(root, tmp_path_factory):
    """A kernel of Jupyter, which all notebooks run in, one after another."""
    jupyter_client = pytest.importorskip("jupyter_client", reason="needs the extra dev")
    utils = pytest.importorskip("jupyter_core.utils")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment.pop("MPLBACKEND", None)  # with another backend no figure is shown
    manager = jupyter_client.AsyncKernelManager(kernel_name="python3")
    place = tmp_path_factory.mktemp("notebooks")
    utils.run_sync(manager.start_kernel)(cwd=str(place), env=environment)
    yield manager
    utils.run_sync(manager.shutdown_kernel)(now=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Jupyter are not ours
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(root, kernel, name):
    nbclient = pytest.importorskip("nbclient", reason="needs the extra dev")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
    notebook = read(root, name)
    # Nothing is left of the notebook before.
    clear = "%reset -f\nimport matplotlib; matplotlib.rcdefaults(); del matplotlib"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(clear))
    client = nbclient.NotebookClient(notebook, km=kernel, timeout=300)
    client.execute()
    client.kc.stop_channels()
    cells = [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]
    outputs = [each for cell in cells for each in cell.outputs]
    figures = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(figures) == sum(cell.source.endswith(".plot();") for cell in cells)
    tables = [each for each in outputs if "text/html" in each.get("data", {})]
    if name == "every_result":  # all but the last cell show a result, with table and picture
        assert len(tables) == len(cells) - 1
        pictures = ["<img" in each["data"]["text/html"] for each in tables]
        assert pictures == [False] + [True] * (len(tables) - 1)  # runs are a table only
    else:
        assert figures
        assert "90 % interval" in "".join(each.get("text", "") for each in outputs)
