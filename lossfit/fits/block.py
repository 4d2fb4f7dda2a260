"""Fit a block of runs: what `fit` and `fit_to` both call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import laws
from .._base.errors import DataError
from .._base.seeds import run_keys
from ..engine.devices import Place, Work, gpu_errors
from ..runs.checks import whole
from .preparing import Source
from .settings import DOF

if TYPE_CHECKING:
    from ..laws import Law
    from ..laws.priors import Prior
    from ..runs.collection import Flat
    from .preparing import Prepared
    from .window import Rule

METHODS = ("auto", "quadrature", "ensemble", "emcee")
NOISES = ("gaussian", "student_t")
CHAINS = 4  # of the samplers, by default
TUNE = {"ensemble": 500, "student_t": 200}


@dataclass(frozen=True)
class Sampler:
    """How each run's posterior is drawn, with every option checked and "auto" settled."""

    law: Law  # with the priors asked for
    method: str  # {"quadrature", "ensemble", "emcee"}
    noise: str  # {"gaussian", "student_t"}
    # draws, chains: chains, and draws in each
    draws: int
    chains: int
    tune: int  # discarded iterations of a chain

    @classmethod
    def of(
        cls,
        law: str | Law,
        priors: Mapping[str, Prior] | None,
        *,
        method: str,
        noise: str,
        draws: int,
        chains: int | None,
        tune: int | None,
    ) -> Sampler:
        """From the options of `lossfit.fit`.

        Raises `DataError`: options that do not exist or do not fit together.
        """
        chosen = laws.get(law).with_priors(priors)
        method = _method(method, chosen)
        if noise not in NOISES:
            raise DataError(f"noise must be {' or '.join(map(repr, NOISES))}, got {noise!r}")
        if noise == "student_t" and method == "ensemble":
            raise DataError(
                "noise='student_t' does not go with method='ensemble': use method='emcee', or a "
                "law with one or two nonlinear parameters and method='quadrature'"
            )
        exact = method == "quadrature" and noise == "gaussian"
        if tune is None:
            tune = TUNE["ensemble" if noise == "gaussian" else noise]
        return cls(
            law=chosen,
            method=method,
            noise=noise,
            draws=draws,
            chains=1 if exact else whole(CHAINS if chains is None else chains, "chains", 1),
            tune=whole(tune, "tune", 0),
        )

    @property
    def exact(self) -> bool:
        """Whether the draws are exact and independent."""
        return self.method == "quadrature" and self.noise == "gaussian"

    @property
    def n_draws(self) -> int:
        """Draws of a run over all chains."""
        return self.chains * self.draws

    @property
    def work(self) -> Work:
        """What it asks of a device."""
        return work_of(self.law, self.method, self.noise)


class Block(NamedTuple):
    """Fitted runs."""

    ready: Prepared | Source  # the data as the kernels took them: windows and scales
    # shape (n_runs, n_parameters, chains * draws), or DeviceDraws: of the law's parameters and
    # sigma, for the scaled axis
    draws: Any
    info: NDArray[np.void]  # shape (n_runs,): the kernels' diagnostics


def fit_block(
    flat: Flat,  # columns of all runs on the axis
    names: tuple[str, ...],  # names of all runs
    rule: Rule,  # which part of each run is fitted
    sampler: Sampler,
    seed: int,
    first: int,
    last: int,
    *,
    where: Place,  # the CPU or GPUs
    driver: Any = None,  # the kernels' driver that serves on the CPU; by default the compiled one
    on_gpu: bool = False,  # leave the draws on the GPU
    same_bits: bool = False,  # only compiled kernels serve
    threads: int | None = None,  # of the CPU; by default one for each processor
    progress: Callable[[int], None] | None = None,  # called with the number of runs that are done
) -> Block:
    """Draw the posteriors of the runs ``first`` to ``last`` (exclusive)."""
    source = Source(
        flat,
        names,
        sampler.law,
        rule,
        first,
        last,
        keep_spikes=sampler.noise == "student_t",
        same_bits=same_bits,
        threads=threads,
    )
    names = names[first:last]
    keys = run_keys(seed, names)
    if where.gpus:
        draws, info = _on_gpus(where, source, sampler, keys, names, on_gpu, progress)
        return Block(source, draws, info)
    ready = source.all()
    if sampler.method == "emcee":
        from .emcee_reference import sample_batch

        draws, info = sample_batch(
            sampler.law,
            ready.batch,
            ready.table,
            keys,
            draws=sampler.draws,
            chains=sampler.chains,
            dof=DOF if sampler.noise == "student_t" else None,
            progress=progress,
        )
    else:
        if driver is None:
            from ..kernels import driver
        draws, info = driver.fit_batch(
            ready.batch,
            sampler.law.program,
            ready.table,
            keys,
            draws=sampler.draws,
            method=sampler.method,
            noise=sampler.noise,
            dof=DOF,
            chains=sampler.chains,
            tune=sampler.tune,
            threads=threads,
            progress=progress,
        )
    return Block(ready, draws, info)


def work_of(law: Law, method: str, noise: str) -> Work:
    """What a fit asks of a device."""
    if noise == "student_t":
        return Work.FIT_STUDENT_T
    if law.program.n_varying > 1:
        return Work.FIT_COLUMNS
    if method == "quadrature":
        return Work.FIT_ONE if len(law.nonlinear) == 1 else Work.FIT_TWO
    return Work.FIT_EMCEE if method == "emcee" else Work.FIT_ENSEMBLE


def _on_gpus(
    where: Place,
    source: Source,
    sampler: Sampler,
    keys: NDArray[np.uint64],
    names: tuple[str, ...],
    on_gpu: bool,
    progress: Callable[[int], None] | None,
) -> tuple[Any, NDArray[np.void]]:
    from ..engine.device_draws import DeviceDraws
    from ..kernels.gpu.batch import fit_batch_on

    with gpu_errors():
        result, parts = fit_batch_on(
            where.open(),
            source,
            sampler.law.program,
            None,
            keys,
            draws=sampler.draws,
            single=where.single,
            method=sampler.method,
            chains=sampler.chains,
            tune=sampler.tune,
            on_gpu=on_gpu,
            names=names,
            progress=progress,
        )
    if not on_gpu:
        return result.draws, result.info
    return DeviceDraws(tuple(p for _, p in parts), tuple(d for d, _ in parts)), result.info


def _method(method: str, law: Law) -> str:
    if method not in METHODS:
        raise DataError(f"no method is called {method!r}; there are {', '.join(METHODS)}")
    few = len(law.nonlinear) <= 2
    if method == "quadrature" and not few:
        raise DataError(
            f"law {law.name!r} has {len(law.nonlinear)} nonlinear parameters, quadrature takes 1 "
            f"or 2: use method='ensemble'"
        )
    if method == "auto":
        return "quadrature" if few else "ensemble"
    return method
