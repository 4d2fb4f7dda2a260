from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.runs import datasets


def test_llama_is_the_figure_with_what_the_papers_say():
    runs = lossfit.load("llama")
    assert len(runs) == 8
    assert len(runs.frame) == 654
    assert runs.axes == ("tokens", "step", "gpu_hours", "flops")
    assert runs.names == (*lossfit.load("llama1").names, *lossfit.load("llama2").names)
    run = runs["llama2-7B"]
    assert (run.params, run.end("tokens"), run.end("gpu_hours")) == (6.7e9, 2e12, 184_320)
    assert run.end("step") == 500_000
    assert run.end("flops") == 6 * 6.7e9 * 2e12
    assert run.loss[-1] == pytest.approx(1.745, abs=0.01)
    assert run.schedule == lossfit.schedules.cosine(3e-4, 500_000, 2000, 0.1)
    assert runs["llama1-65B"].schedule.total == 350_000
    assert runs["llama1-65B"].schedule.peak == 1.5e-4
    assert "2307.09288" in run.meta["source"]
    # The one spike that the paper's figure shows for Llama 2.
    llama2 = lossfit.load("llama2").frame
    assert set(llama2["run"][llama2["spike"]]) <= {"llama2-70B"}


def test_the_cosine_ablation_has_its_schedules_by_tokens():
    runs = lossfit.load("cosine_ablation")
    assert len(runs) == 12
    assert runs.axes == ("tokens",)
    # As read from the figure; the warm-up, which is not known, explains the small differences.
    shares = {"1.0": 0.10, "1.1": 0.12, "1.25": 0.20, "1.5": 0.34, "2.0": 0.56, "5.0": 0.92}
    for run in runs:
        budget, cycle = run.name.split("/")
        assert run.schedule.axis == "tokens"
        assert run.schedule(run.meta["tokens_planned"]) == pytest.approx(shares[cycle], abs=0.0155)
        assert run.meta["budget"] == budget
        assert run.end("tokens") <= run.meta["tokens_planned"]
    assert runs["12.8M/1.0"].end("tokens") == pytest.approx(12.65e6 * 2048)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["llama_curves.csv", "chinchilla_cosine_ablation.csv"])
def test_the_packaged_tables_are_the_readings(shared, root, name):
    packaged = (root / "lossfit" / "data" / name).read_bytes()
    assert packaged == (shared / "data" / "figures" / name).read_bytes()


@pytest.mark.shared
def test_real_curves_load(shared):
    found = {}
    for path in sorted((shared / "data" / "curves").glob("*.csv")):
        if path.stem == "chinchilla_points":  # a table of final losses
            continue
        runs = lossfit.load(path)
        frame = pd.read_csv(path)
        assert len(runs) == frame["run"].nunique()
        assert len(runs.frame) == len(frame)  # these files are clean: no row goes
        found[path.stem] = runs
    blips = found["gemstones"]["gemstone-1024x28"]
    assert blips.axis("step")[blips.spike].tolist() == [28_620]
    schedule = found["multipowerlaw_25m_100m"]["mpl25M-cosine_24000"]
    np.testing.assert_allclose(
        lossfit.schedules.cosine(3e-4, 24_000, 2160, 0.1)(schedule.axis("step")),
        schedule.lr,
        atol=2e-9,
    )


def test_an_unknown_collection_is_named():
    with pytest.raises(lossfit.DataError, match="there are llama1, llama2"):
        datasets.collection("llama3")
