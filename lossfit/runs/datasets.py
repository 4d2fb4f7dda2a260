"""Built-in collections of runs; ``lossfit/data/README.md`` tells where the numbers are from.

===================  ===========================================================================
``llama1``           LLaMA 1, 7B to 65B: training loss by tokens and GPU-hours
``llama2``           Llama 2, 7B to 70B: the same
``llama``            both
``cosine_ablation``  Chinchilla's cosine-cycle ablation: two budgets, six cycle lengths
===================  ===========================================================================
"""

from __future__ import annotations

import csv
from importlib.resources import files
from itertools import groupby

import numpy as np

from .._base.errors import DataError
from .._base.ragged import spans
from ..schedules import kinds as schedules
from .collection import Runs
from .intake import clean
from .known import Known
from .raw import Raw

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

    Raises `DataError`: if there is none.
    """
    if name == "cosine_ablation":
        return _cosine_ablation()
    if name in NAMES:
        return _llama(name)
    raise DataError(f"no collection is called {name!r}; there are {', '.join(NAMES)}")


def _columns(file: str) -> dict[str, list[str]]:
    """The cells of a packaged table; without pandas, whose import takes longer than an answer."""
    with files("lossfit").joinpath("data", file).open(encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    return dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))


def _raw(runs: list[str], **columns: list[float]) -> Raw:
    """Rows that are grouped by run; axes by name, ``loss`` and perhaps ``params``."""
    names = tuple(dict.fromkeys(runs))
    lengths = [sum(1 for _ in rows) for _, rows in groupby(runs)]
    arrays = {name: np.array(values) for name, values in columns.items()}
    loss, params = arrays.pop("loss"), arrays.pop("params", None)
    return Raw(names, spans(np.array(lengths)), loss, arrays, params=params)


def _llama(name: str) -> Runs:
    cells = _columns("llama_curves.csv")
    rows = [i for i, run in enumerate(cells["run"]) if run.startswith(name)]
    runs = [cells["run"][i] for i in rows]
    numbers = {
        column: [float(cells[column][i]) for i in rows]
        for column in ("params", "tokens", "gpu_hours", "loss")
    }
    last = dict(zip(runs, numbers["tokens"], strict=True))
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
        for run in last
        for family in [run.partition("-")[0]]
    }
    known = Known(tokens_per_step=LLAMA_BATCH, schedules=plans, meta=meta)
    return Runs._of(clean(_raw(runs, **numbers), known))


def _cosine_ablation() -> Runs:
    cells = _columns("chinchilla_cosine_ablation.csv")
    runs = [f"{a}/{b}" for a, b in zip(cells["budget"], cells["cosine_cycle"], strict=True)]
    sequences = [float(n) for n in cells["million_sequences"]]
    plans, meta = {}, {}
    for run in dict.fromkeys(runs):
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
    raw = _raw(
        runs,
        tokens=[n * 1e6 * ABLATION_SEQUENCE_TOKENS for n in sequences],
        loss=[float(loss) for loss in cells["loss"]],
    )
    return Runs._of(clean(raw, Known(schedules=plans, meta=meta)))
