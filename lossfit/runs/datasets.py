"""Built-in collections of runs; ``lossfit/data/README.md`` tells where the numbers are from.

===================  ===========================================================================
``llama1``           LLaMA 1, 7B to 65B: training loss by tokens and GPU-hours
``llama2``           Llama 2, 7B to 70B: the same
``llama``            both
``cosine_ablation``  Chinchilla's cosine-cycle ablation: two budgets, six cycle lengths
===================  ===========================================================================
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from .._base.errors import DataError
from ..schedules import shapes as schedules
from .collection import Runs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAMES", "collection"]

NAMES: tuple[str, ...] = ("llama1", "llama2", "llama", "cosine_ablation")

LLAMA_BATCH = 4e6  # tokens; both papers, table of hyperparameters
LLAMA_WARMUP = 2000  # steps; both papers
LLAMA_FINAL_RATIO = 0.1  # both papers
LLAMA_PEAKS = {
    "7B": 3.0e-4,
    "13B": 3.0e-4,
    "33B": 1.5e-4,
    "34B": 1.5e-4,
    "65B": 1.5e-4,
    "70B": 1.5e-4,
}
LLAMA_SOURCES = {
    "llama1": "Touvron et al. 2023, arXiv 2302.13971, figure 1 (read from the figure)",
    "llama2": "Touvron et al. 2023, arXiv 2307.09288, figure 5 (read from the figure)",
}
ABLATION_SOURCE = "Hoffmann et al. 2022, arXiv 2203.15556, figure A1 (read from the figure)"
ABLATION_SEQUENCES = {"7.7M": 7.7e6, "12.8M": 12.8e6}
ABLATION_SEQUENCE_TOKENS = 2048  # assumed: the figure counts sequences only
ABLATION_FINAL_RATIO = 0.1


def collection(name: str) -> Runs:
    """The built-in collection of that name.

    Raises
    ------
    DataError
        If there is none.
    """
    if name == "cosine_ablation":
        return _cosine_ablation()
    if name in NAMES:
        return _llama(name)
    raise DataError(f"no collection is called {name!r}; there are {', '.join(NAMES)}")


def _table(file: str) -> pd.DataFrame:
    import pandas as pd

    with files("lossfit").joinpath("data", file).open("rb") as stream:
        return pd.read_csv(stream, dtype={"run": str, "budget": str, "cosine_cycle": str})


def _llama(name: str) -> Runs:
    frame = _table("llama_curves.csv")
    frame = frame[frame["run"].str.startswith(name)]
    last = frame.groupby("run", sort=False)["tokens"].last()
    plans = {
        run: schedules.cosine(
            LLAMA_PEAKS[run.partition("-")[2]],
            tokens / LLAMA_BATCH,
            LLAMA_WARMUP,
            LLAMA_FINAL_RATIO,
        )
        for run, tokens in last.items()
    }
    meta = {
        run: {"family": family, "source": LLAMA_SOURCES[family], "reading_error": 0.003}
        for run in last.index
        for family in [run.partition("-")[0]]
    }
    return Runs.from_frame(frame, tokens_per_step=LLAMA_BATCH, schedules=plans, meta=meta)


def _cosine_ablation() -> Runs:
    frame = _table("chinchilla_cosine_ablation.csv")
    frame["run"] = frame["budget"] + "/" + frame["cosine_cycle"]
    frame["tokens"] = frame["million_sequences"] * 1e6 * ABLATION_SEQUENCE_TOKENS
    plans, meta = {}, {}
    for run in frame["run"].unique():
        budget, _, cycle = run.partition("/")
        tokens = ABLATION_SEQUENCES[budget] * ABLATION_SEQUENCE_TOKENS
        plans[run] = schedules.cosine(
            1.0, float(cycle) * tokens, final_ratio=ABLATION_FINAL_RATIO, axis="tokens"
        )
        meta[run] = {
            "budget": budget,
            "cosine_cycle": float(cycle),
            "tokens_planned": tokens,
            "source": ABLATION_SOURCE,
            "reading_error": 0.003,
        }
    return Runs.from_frame(frame[["run", "tokens", "loss"]], schedules=plans, meta=meta)
