"""Fit a law to many runs: `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._base.errors import DataError
from .._base.seeds import Seed, seed_integer
from .._base.summaries import check_prob
from ..engine.devices import cpu_seconds, place
from ..engine.serving import FIT_SECONDS, engine_of, serve
from ..runs.checks import as_runs, choose_axis, whole
from .block import Sampler, fit_block
from .window import WindowSpec, rule_of

if TYPE_CHECKING:
    import pandas as pd

    from ..laws import Law
    from ..laws.priors import Prior
    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from .posterior import Fit

KEPT = ("draws", "device", "summary")
SUMMARY_RUNS = 512  # runs whose draws are held at a time when only a summary is kept
SUMMARY_RUNS_ON_GPUS = 16384  # the same where a GPU is to be kept busy
SUMMARY_DRAWS = 1000  # draws behind a summary when draws=0


def fit(
    runs: Runs | pd.DataFrame,
    law: str | Law = "power_linear",
    axis: AnyAxis = "auto",
    window: WindowSpec = "auto",
    draws: int = 1000,
    device: str = "auto",
    random_seed: Seed = 0,
    *,
    method: Literal["auto", "quadrature", "ensemble", "emcee"] = "auto",
    noise: Literal["gaussian", "student_t"] = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    dtype: str = "auto",
    keep: Literal["draws", "device", "summary"] = "draws",
    prob: float = 0.9,
    chains: int | None = None,
    tune: int | None = None,
    progress: bool = False,
) -> Fit:
    """Posterior of a loss law for every run.

    Parameters
    ----------
    runs : Runs or pandas.DataFrame
        The runs; a tidy frame goes through `Runs.from_frame`.
    law : str or Law
        A name in ``lossfit.laws.NAMES``, or a law of your own.
    axis : str
        ``"tokens"``, ``"step"``, ``"gpu_hours"`` or ``"flops"``; ``"auto"`` takes the first of
        these that every run has.
    window : "auto", "all", (low, high) or dict by run
        Which part of each run is fitted: the rule of `window`, all of it, or two shares of
        the run's end on the axis.
    draws : int
        Posterior draws for each run (and chain); 0 keeps a summary only, made from 1,000 draws.
    device : str
        Where to compute: ``"cpu"``; ``"cuda"`` or ``"cuda:1"``, one GPU; ``"cuda:all"``, all
        GPUs, among which the runs are split.  ``"auto"`` takes a GPU where there is one, the method
        has CUDA kernels, and the runs are so many that it pays (docs/gpu.md); else the CPU.
    random_seed : int, numpy.random.Generator or None
        Draws depend on it and on the run's name only, not on the other runs or on threads; to the
        last bit where compiled kernels serve (docs/compiling.md).
    method : {"auto", "quadrature", "ensemble", "emcee"}
        ``"quadrature"``: exact independent draws, for one or two nonlinear parameters;
        ``"ensemble"``: affine-invariant sampler on the marginal posterior of the nonlinear ones;
        ``"emcee"``: the emcee package on all parameters, the slow reference.  ``"auto"`` is
        quadrature where it can be.
    noise : {"gaussian", "student_t"}
        Noise of unknown size; Student's t with 4 degrees of freedom keeps outliers (spikes too)
        from bending the curve.
    priors : dict of Prior, optional
        Replace the law's priors by name (`lossfit.priors`).
    dtype : {"auto", "float64", "float32"}
        Precision of a GPU's arithmetic.  ``"auto"`` is float64 on GPUs that compute it at half
        the rate of float32 (A100, H100, B200 and their like), and float32 on others.  The CPU
        computes in float64.
    keep : {"draws", "device", "summary"}
        Where the draws are kept: ``"draws"`` brings them to the host; ``"device"`` leaves them on
        the GPU (`Fit.device_draws`), from which `Fit.summary` brings the numbers that it shows;
        with ``"summary"`` only mean, standard deviation and interval of each parameter are kept:
        for very many runs.
    prob : float
        Probability of the kept summary's intervals.
    chains : int, optional
        Chains where the method samples (4); exact draws have one.
    tune : int, optional
        Discarded iterations of the samplers, for each chain (emcee finds its own).
    progress : bool
        Show a bar.

    Returns
    -------
    Fit
        Draws of the law's parameters for every run, or their summary.

    Raises
    ------
    DataError
        Input or options that do not fit together; the message names the run and the fix.
    DeviceError
        A GPU is asked for and cannot be used; the message names what is missing and the fix.

    Warns
    -----
    LossfitWarning
        Once, if a run has flags that matter for the answer (see `Fit.diagnostics`).

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2")
    >>> fit = lossfit.fit(runs, law="power", axis="tokens", draws=200)
    >>> table = fit.summary(prob=0.9)  # mean, sd and interval of each parameter
    >>> fit.predict([2e12, 4e12]).dims
    ('chain', 'draw', 'run', 'at')
    """
    result = fit_quietly(
        runs,
        law,
        axis,
        window,
        draws,
        device,
        random_seed,
        method=method,
        noise=noise,
        priors=priors,
        dtype=dtype,
        keep=keep,
        prob=prob,
        chains=chains,
        tune=tune,
        progress=progress,
    )
    result.warn(stacklevel=3)
    return result


def fit_quietly(
    runs: Runs | pd.DataFrame,
    law: str | Law,
    axis: str,
    window: WindowSpec,
    draws: int,
    device: str,
    random_seed: Seed,
    *,
    method: str = "auto",
    noise: str = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    dtype: str = "auto",
    keep: str = "draws",
    prob: float = 0.9,
    chains: int | None = None,
    tune: int | None = None,
    progress: bool = False,
) -> Fit:
    """`fit` without the warning, for callers that give their own."""
    from .._base.progress import bar
    from .._base.summaries import Moments
    from .posterior import Fit
    from .settings import Settings

    runs = as_runs(runs)
    axis = choose_axis(runs, axis)
    draws = whole(draws, "draws", 0)
    sampler = Sampler.of(
        law,
        priors,
        method=method,
        noise=noise,
        draws=draws or SUMMARY_DRAWS,
        chains=chains,
        tune=tune,
    )
    if keep not in KEPT:
        raise DataError(f"keep must be 'draws', 'device' or 'summary', got {keep!r}")
    summary_only = keep == "summary" or draws == 0
    check_prob(prob)
    # Draws that shall stay on a GPU are worth one, however few they are.
    seconds = cpu_seconds(sampler.work, len(runs), sampler.n_draws)
    where = place(sampler.work, device, dtype, None if keep == "device" else seconds)
    if keep == "device" and (draws == 0 or not where.gpus):
        raise DataError(
            "keep='device' keeps draws on a GPU, and "
            + ("there are none with draws=0" if where.gpus else "this fit runs on the CPU")
            + ": use keep='draws' or 'summary'"
        )
    seed = seed_integer(random_seed)
    rule = rule_of(window, runs)
    flat = runs.flat(axis)
    n_runs = len(runs)
    step = n_runs
    if summary_only:
        step = SUMMARY_RUNS_ON_GPUS if where.gpus else SUMMARY_RUNS
    start, end = np.empty(n_runs), np.empty(n_runs)
    count = np.empty(n_runs, np.int32)
    number = np.float32 if summary_only else np.float64
    scales = np.empty((n_runs, 2), number)
    info: Any = None
    result: Any = None
    with bar(n_runs, "fitting", progress) as advance:
        driver = None
        if not where.gpus and sampler.method != "emcee":
            seconds = _seconds(sampler.law, n_runs if sampler.exact else np.inf)
            driver = serve("driver", "_fit_range", seconds)
        for first in range(0, n_runs, step):
            block = slice(first, min(first + step, n_runs))
            ready, drawn, found = fit_block(
                flat,
                runs.names,
                rule,
                sampler,
                seed,
                block.start,
                block.stop,
                where=where,
                driver=driver,
                on_gpu=keep == "device" or summary_only,
                progress=advance,
            )
            start[block], end[block], count[block] = ready.start, ready.end, ready.n_points
            scales[block] = ready.scales
            if info is None:
                info = np.empty(n_runs, [(name, number) for name in found.dtype.names or ()])
            info[block] = found
            if not summary_only:
                result = drawn
                continue
            if result is None:
                result = Moments.empty(n_runs, len(sampler.law.parameters) + 1)
            if where.gpus:
                result.take(block, drawn.describe(prob, sampler.law, ready.end))
            else:
                result.fill(block, sampler.law.in_axis_units(drawn, ready.end), prob)
    settings = Settings(
        axis=axis,
        window=rule.text,
        method=sampler.method,
        noise=sampler.noise,
        device=where.device,
        random_seed=seed,
        chains=sampler.chains,
        draws=sampler.draws,
        prob=prob,
        dtype=where.dtype,
        engine=engine_of(driver),
    )
    return Fit(
        runs=runs,
        law=sampler.law,
        settings=settings,
        start=start,
        end=end,
        count=count,
        scales=scales,
        info=info,
        draws=None if summary_only or keep == "device" else result,
        moments=result if summary_only else None,
        device_draws=result if keep == "device" else None,
    )


def _seconds(law: Law, n_runs: float) -> float:
    """About what fits by quadrature take in plain Python."""
    return FIT_SECONDS * n_runs * (1 if len(law.nonlinear) == 1 else 40)
