"""Whether draws are what they were: fingerprints of every kind of answer on the built-in curves.

A change that is to change no number (a move of files, a faster kernel) is checked by two runs of
this script, one before and one after it: ``--save`` in the first, ``--compare`` in the second.
Answers of different machines differ in the last bits; compare runs of one machine only.

    python -m benches.same_draws --save before.npz
    python -m benches.same_draws --compare before.npz
    python -m benches.same_draws --compare before.npz --relative 1e-12
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import lossfit


def _extrapolate() -> Iterator[tuple[str, np.ndarray]]:
    runs = lossfit.load("llama2")
    for law in ("auto", "power", "multi_power"):
        answer = lossfit.extrapolate(
            runs, "llama2-7B", axis="tokens", at=[1.5e12, 2.2e12, 4e12, 6e12], laws=law
        )
        yield law, np.asarray(answer.draws)
    answer = lossfit.extrapolate(runs, compute_of="llama2-70B", draws=500)
    yield "compute_of", np.asarray(answer.draws)
    answer = lossfit.extrapolate(lossfit.load("llama1"), at=3e12, draws=500)
    yield "llama1", np.asarray(answer.draws)
    sizes = lossfit.load("cosine_ablation")
    yield "cosine", np.asarray(lossfit.extrapolate(sizes, at=[8e9, 2e10], draws=200).draws)


def _fit() -> Iterator[tuple[str, np.ndarray]]:
    runs = lossfit.load("llama2")
    for law in ("power", "power_linear", "power_offset", "power_linear_offset"):
        fit = lossfit.fit(runs, law, draws=500)
        yield law, fit.draws
        yield f"{law} info", np.asarray(fit.diagnostics[["effective_nodes", "acceptance", "rho1"]])
    few = runs.select(["llama2-7B"])
    yield "broken_power", lossfit.fit(few, "broken_power", draws=64, chains=1, tune=50).draws
    options = {"noise": "student_t", "draws": 50, "chains": 1, "tune": 20}
    yield "student_t", lossfit.fit(few, "power_linear", **options).draws
    yield "predict", lossfit.fit(runs, "power").predict([1e12, 3e12]).to_numpy()


def _race() -> Iterator[tuple[str, np.ndarray]]:
    race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours", draws=500)
    yield "curves", race.curves
    yield "leads", race.leads


def _what_if() -> Iterator[tuple[str, np.ndarray]]:
    runs = lossfit.load("llama2").select(["llama2-7B"])
    short = lossfit.schedules.cosine(peak=3e-4, total=250_000, warmup=2000)
    schedules = {"unstretched": short, "constant": "constant"}
    yield "curves", lossfit.what_if(runs, schedules=schedules, at=1e12).curves


def _plan() -> Iterator[tuple[str, np.ndarray]]:
    plan = lossfit.plan("chinchilla", params=7e9, epochs=7, unique_tokens=1e12)
    yield "params", plan.params
    yield "loss", plan.loss


def _fit_to() -> Iterator[tuple[str, np.ndarray]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.zarr"
        options = {"law": "power_linear", "draws": 100, "device": "cpu"}
        lossfit.fit_to(path, lossfit.load("llama2"), **options)
        store = lossfit.open_store(path)
        for name in ("mean", "sd", "lower", "upper", "acceptance", "rho1"):
            yield name, np.asarray(store[name])


SECTIONS: dict[str, Callable[[], Iterator[tuple[str, np.ndarray]]]] = {
    "extrapolate": _extrapolate,
    "fit": _fit,
    "race": _race,
    "what_if": _what_if,
    "plan": _plan,
    "fit_to": _fit_to,
}


def collect(sections: list[str]) -> dict[str, np.ndarray]:
    """The arrays of some kinds of answer, by "kind: what"."""
    arrays = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for section in sections:
            for name, values in SECTIONS[section]():
                arrays[f"{section}: {name}"] = np.array(values, np.float64)
    return arrays


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest relative difference; infinite where shapes or missing values differ."""
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    there = np.isfinite(a)
    if not there.any():
        return 0.0
    return float(np.max(np.abs(a[there] - b[there]) / np.maximum(np.abs(a[there]), 1e-300)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--save", metavar="FILE", help="keep the arrays")
    parser.add_argument("--compare", metavar="FILE", help="compare with kept arrays")
    parser.add_argument("--relative", type=float, default=0.0, help="difference that is allowed")
    options = parser.parse_args()
    arrays = collect(options.sections or list(SECTIONS))
    for name, values in arrays.items():
        print(f"{hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()}  {name}")
    if options.save:
        np.savez_compressed(options.save, **arrays)
    if options.compare:
        with np.load(options.compare) as before:
            worst = {name: difference(before[name], values) for name, values in arrays.items()}
        for name, gap in worst.items():
            print(f"{'same' if gap == 0 else f'{gap:.1e}':>8}  {name}")
        sys.exit(max(worst.values()) > options.relative)


if __name__ == "__main__":
    main()
