"""Fit a law to many runs: `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import laws
from .._base.errors import DataError
from .._base.ragged import Floats
from .._base.seeds import Seed, run_keys, seed_integer
from ..engine.devices import Place, Work, card_errors, place
from ..engine.serving import FIT_SECONDS, engine_of, serve
from ..runs.checks import as_runs, check_prob, choose_axis, whole
from .preparing import prepare
from .settings import DOF
from .window import WindowSpec, rule_of

if TYPE_CHECKING:
    import pandas as pd

    from ..laws import Law
    from ..laws.priors import Prior
    from ..runs.collection import Runs
    from .posterior import Fit
    from .preparing import Prepared

__all__ = ["KEPT", "METHODS", "NOISES", "fit", "fit_quietly", "work_of"]

METHODS = ("auto", "quadrature", "ensemble", "emcee")
NOISES = ("gaussian", "student_t")
KEPT = ("draws", "device", "summary")
CHAINS = 4  # of the samplers, by default
TUNE = {"ensemble": 500, "student_t": 200}
SUMMARY_RUNS = 512  # runs whose draws are held at a time when only a summary is kept
SUMMARY_RUNS_ON_CARDS = 16384  # the same where a GPU is to be kept busy
SUMMARY_DRAWS = 1000  # draws behind a summary when draws=0


def fit(
    runs: Runs | pd.DataFrame,
    law: str | Law = "power_linear",
    axis: str = "auto",
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
        GPUs, among which the runs are split.  ``"auto"`` takes a GPU where there is one and the
        method has CUDA kernels, else the CPU.
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
    chosen = laws.get(law).with_priors(priors)
    axis = choose_axis(runs, axis)
    method = _method(method, chosen)
    if noise not in NOISES:
        raise DataError(f"noise must be {' or '.join(map(repr, NOISES))}, got {noise!r}")
    if noise == "student_t" and method == "ensemble":
        raise DataError(
            "noise='student_t' does not go with method='ensemble': use method='emcee', or a law "
            "with one or two nonlinear parameters and method='quadrature'"
        )
    if keep not in KEPT:
        raise DataError(f"keep must be 'draws', 'device' or 'summary', got {keep!r}")
    draws = whole(draws, "draws", 0)
    summary_only = keep == "summary" or draws == 0
    check_prob(prob)
    where = place(work_of(chosen, method, noise), device, dtype)
    if keep == "device" and (draws == 0 or not where.cards):
        raise DataError(
            "keep='device' keeps draws on a GPU, and "
            + ("there are none with draws=0" if where.cards else "this fit runs on the CPU")
            + ": use keep='draws' or 'summary'"
        )
    draws = draws or SUMMARY_DRAWS
    seed = seed_integer(random_seed)
    exact = method == "quadrature" and noise == "gaussian"
    chains = 1 if exact else whole(CHAINS if chains is None else chains, "chains", 1)
    tune = whole(
        TUNE["ensemble" if noise == "gaussian" else noise] if tune is None else tune, "tune", 0
    )
    rule = rule_of(window, runs)
    flat = runs.flat(axis)
    n_runs = len(runs)
    keep_spikes = noise == "student_t"
    step = n_runs
    if summary_only:
        step = SUMMARY_RUNS_ON_CARDS if where.cards else SUMMARY_RUNS
    start, end = np.empty(n_runs), np.empty(n_runs)
    count = np.empty(n_runs, np.int32)
    scales = np.empty((n_runs, 2), np.float32 if summary_only else np.float64)
    info: Any = None
    result: Any = None
    with bar(n_runs, "fitting", progress) as advance:
        driver = None
        if not where.cards and method != "emcee":
            driver = serve("driver", "_fit_range", _seconds(chosen, n_runs if exact else np.inf))
        for first in range(0, n_runs, step):
            last = min(first + step, n_runs)
            block = slice(first, last)
            ready = prepare(flat, runs.names, chosen, rule, first, last, keep_spikes=keep_spikes)
            start[block], end[block], count[block] = ready.start, ready.end, ready.n_points
            scales[block] = ready.scales
            keys = run_keys(seed, runs.names[first:last])
            if where.cards:
                from ..engine.device_draws import in_axis_units

                on_card = keep == "device" or summary_only
                names = runs.names[first:last]
                drawn, found = _draw_on(
                    where, ready, chosen, keys, draws, method, chains, tune, on_card, names, advance
                )
            else:
                drawn, found = _draw(
                    driver, ready, chosen, keys, draws, method, noise, chains, tune, advance
                )
            if info is None:
                number = np.float32 if summary_only else np.float64
                info = np.empty(n_runs, [(name, number) for name in found.dtype.names or ()])
            info[block] = found
            if summary_only:
                if result is None:
                    result = Moments.empty(n_runs, len(chosen.parameters) + 1)
                if where.cards:
                    result.take(block, drawn.describe(prob, in_axis_units(chosen, ready.end)))
                else:
                    result.fill(block, _in_axis_units(chosen, drawn, ready.end), prob)
            else:
                result = drawn
    settings = Settings(
        axis=axis,
        window=rule.text,
        method=method,
        noise=noise,
        device=where.device,
        random_seed=seed,
        chains=chains,
        draws=draws,
        prob=prob,
        dtype=where.dtype,
        engine=engine_of(driver),
    )
    return Fit(
        runs=runs,
        law=chosen,
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


def _draw(
    driver: Any,
    ready: Prepared,
    law: Law,
    keys: np.ndarray[Any, np.dtype[np.uint64]],
    draws: int,
    method: str,
    noise: str,
    chains: int,
    tune: int,
    advance: Any,
) -> tuple[Floats, NDArray[np.void]]:
    """Scaled draws (n_runs, n_parameters, chains * draws) and the kernels' diagnostics."""
    if method == "emcee":
        from .emcee_reference import sample_batch

        dof = DOF if noise == "student_t" else None
        return sample_batch(
            law,
            ready.batch,
            ready.table,
            keys,
            draws=draws,
            chains=chains,
            dof=dof,
            progress=advance,
        )
    result = driver.fit_batch(
        ready.batch,
        law.program,
        ready.table,
        keys,
        draws=draws,
        method=method,
        noise=noise,
        dof=DOF,
        chains=chains,
        tune=tune,
        progress=advance,
    )
    return result.draws, result.info


def _draw_on(
    where: Place,
    ready: Prepared,
    law: Law,
    keys: np.ndarray[Any, np.dtype[np.uint64]],
    draws: int,
    method: str,
    chains: int,
    tune: int,
    on_card: bool,
    names: tuple[str, ...],
    advance: Any,
) -> tuple[Any, NDArray[np.void]]:
    """`_draw` on GPUs; with `on_card` the draws are `DeviceDraws`."""
    from ..engine.device_draws import DeviceDraws
    from ..kernels.gpu.batch import fit_batch_on

    with card_errors():
        result, parts = fit_batch_on(
            where.open(),
            ready.batch,
            law.program,
            ready.table,
            keys,
            draws=draws,
            single=where.single,
            method=method,
            chains=chains,
            tune=tune,
            on_card=on_card,
            names=names,
            progress=advance,
        )
    if not on_card:
        return result.draws, result.info
    return DeviceDraws(tuple(p for _, p in parts), tuple(d for d, _ in parts)), result.info


def work_of(law: Law, method: str, noise: str) -> Work:
    """What a fit asks of a device."""
    if noise == "student_t":
        return Work.FIT_STUDENT_T
    if law.program.n_varying > 1:
        return Work.FIT_COLUMNS
    if method == "quadrature":
        return Work.FIT_ONE if len(law.nonlinear) == 1 else Work.FIT_TWO
    return Work.FIT_EMCEE if method == "emcee" else Work.FIT_ENSEMBLE


def _in_axis_units(law: Law, draws: Floats, end: Floats) -> list[Floats]:
    """Parameters in the units of the axis, each (n_runs, n_draws), sigma last."""
    named = {name: draws[:, k] for k, name in enumerate((*law.parameters, "sigma"))}
    if law.to_axis_units is not None:
        named = law.to_axis_units(named, end[:, None])
    return [named[name] for name in (*law.parameters, "sigma")]


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
