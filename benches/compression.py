"""Compressing a curve leaves its posterior unchanged; binning it does not.

For curves of several lengths and ranges of log x: the posterior of alpha with pseudo-points and
from the points themselves (largest difference of the log posterior within 18 nats of its maximum,
shift of the mean in posterior sd), and from 16, 32 and 64 log-spaced bins weighted by their counts.

    python -m benches.compression
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benches import _report
from benches.peers import ALPHA, NOISE, PRIOR_SD
from lossfit import laws
from lossfit.kernels import driver
from lossfit.kernels.columns import ORDERS
from lossfit.kernels.compress import compress
from lossfit.kernels.marginal import evaluate, set_up
from lossfit.kernels.work import LANES, RunPrior, make_work

Floats = NDArray[np.float64]
NODES = 512


def log_posterior(law: str, x: Floats, y: Floats, weight: Floats, order: int) -> Floats:
    """At `NODES` even values of log alpha."""
    program = laws.get(law).program
    model = driver._model(program)
    tables = driver.tables()
    work = make_work(x.size, tables)
    p = program.n_linear
    prior = RunPrior(
        np.array([[*ALPHA[:2], 2.0, *ALPHA[2:]]]),
        np.zeros(p),
        (NOISE[1] / np.array(PRIOR_SD[:p])[program.order]) ** 2,
        np.zeros(p),
        *NOISE,
    )
    n_points, centre, total, mass = compress(x, y, weight, order, tables, work)
    set_up(x.size, n_points, centre, total, mass, model, prior, work)
    z = np.linspace(np.log(ALPHA[0]), np.log(ALPHA[1]), NODES)
    out = np.empty(NODES)
    for first in range(0, NODES, LANES):
        work.z[0] = z[first : first + LANES]
        evaluate(LANES, n_points, model, prior, work)
        out[first : first + LANES] = work.logp
    return out


def moments(logp: Floats) -> tuple[float, float]:
    z = np.linspace(np.log(ALPHA[0]), np.log(ALPHA[1]), NODES)
    w = np.exp(logp - logp.max())
    w /= w.sum()
    mean = float((w * np.exp(z)).sum())
    return mean, float(np.sqrt((w * (np.exp(z) - mean) ** 2).sum()))


def binned(x: Floats, y: Floats, bins: int) -> tuple[Floats, Floats, Floats]:
    which = np.minimum((np.log(x / x[0]) / np.log(x[-1] / x[0]) * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    full = count > 0
    means = [np.bincount(which, v, bins)[full] / count[full] for v in (np.log(x), y)]
    return np.exp(means[0]), means[1], count[full].astype(float)


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    record = _report.start("compression")
    record["rows"] = []
    failures = []
    print(
        "range of log x, points: pseudo-points, error in nats, shift of the mean in sd; then bins"
    )
    for law in ("power", "power_linear"):
        for span in (1.2, 3, 5, 8):
            for n in (200, 2000, 20_000):
                rng = np.random.default_rng(n)
                x = np.linspace(np.exp(-span), 1, n)
                y = 1.75 + 0.2 * x**-0.3 - 0.06 * x + rng.normal(0, 0.004, n)
                one = np.ones(n)
                order = laws.get(law).program.pseudo_points(span / 2)
                exact = log_posterior(law, x, y, one, -1)
                short = log_posterior(law, x, y, one, order)
                near = exact > exact.max() - 18
                error = float(np.abs((short - short.max()) - (exact - exact.max()))[near].max())
                mean, sd = moments(exact)
                shift = abs(moments(short)[0] - mean) / sd
                gaps = []
                for bins in (16, 32, 64):
                    low, spread = moments(log_posterior(law, *binned(x, y, bins), -1))
                    gaps.append((bins, (low - mean) / sd, spread / sd))
                record["rows"].append([law, span, n, ORDERS[order], error, shift, gaps])
                print(
                    f"{law:13} {span:3g} {n:6}: {ORDERS[order]:3} {error:.1e} {shift:.1e};  "
                    + ", ".join(f"{b} bins {g:+.2f} sd x{s:.2f}" for b, g, s in gaps)
                )
                if error > 1e-3 or shift > 1e-4:
                    failures.append(f"{law}, range {span}, {n} points: {error:.1e} nats")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
