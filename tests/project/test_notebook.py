"""A notebook that shows every result: what its cells display is looked at."""

from __future__ import annotations

import os

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

from tests.base.results import MAKE  # noqa: E402

pytest.importorskip("ipykernel")


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_a_notebook_shows_every_result(root, tmp_path):
    names = sorted(MAKE)
    cells = [nbformat.v4.new_code_cell("from tests.base.results import example")]
    cells += [nbformat.v4.new_code_cell(f"example({name!r})") for name in names]
    notebook = nbformat.v4.new_notebook(cells=cells)
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "Agg"}
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(root)}}
    )
    client.execute(env=environment)
    for name, cell in zip(names, notebook.cells[1:], strict=True):
        shown = [out["data"] for out in cell.outputs if out.output_type == "execute_result"]
        assert len(shown) == 1, name
        html = shown[0]["text/html"]
        assert "<table" in html, name
        assert "data:image/png;base64," in html, name
        assert "\x1b" not in html, name
        assert "<b>run" not in html, name
        assert len(shown[0]["text/plain"]) < 300, name
    nbformat.write(notebook, tmp_path / "results.ipynb")
