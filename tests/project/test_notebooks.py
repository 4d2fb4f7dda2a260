"""The notebooks run from top to bottom, draw what they promise, and are kept without outputs."""

from __future__ import annotations

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


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Jupyter are not ours
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(root, tmp_path, monkeypatch, name):
    nbclient = pytest.importorskip("nbclient", reason="needs the extra dev")
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # with another backend no figure is shown
    notebook = read(root, name)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
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
