"""How far lossfit's draws are from the exact posterior, on random curves and priors.

The exact posterior is a stratified importance sample in plain numpy (`tests/kernels/oracles.py`);
it shares no code with the kernels.  Bars: means within 0.02 posterior standard deviations, standard
deviations within 2 %, 5/50/95 % quantiles within 0.03 standard deviations.

    python -m benches.exactness --problems 40
"""

from __future__ import annotations

import time

import numpy as np

from benches import _report
from lossfit.kernels.driver import fit_batch
from tests.kernels.oracles import EXACT, deviation, posterior, random_problem

LEAST_EFFECTIVE = 20_000  # of the oracle's sample
BARS = {"mean": 0.02, "sd": 0.02, "quantile": 0.03}


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("--laws", nargs="+", default=list(EXACT))
    arguments.add_argument("--problems", type=int, default=20, help="for each law")
    arguments.add_argument("--draws", type=int, default=400_000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    record = _report.start("exactness")
    record["rows"] = []
    failures = []
    print("worst over parameters; mean and quantiles in posterior sd, sd relative")
    for law in options.laws:
        worst = dict.fromkeys(BARS, 0.0)
        unjudged = 0
        for i in range(options.problems):
            rng = np.random.default_rng([options.seed, i])
            problem = random_problem(rng, law)
            key = rng.integers(2**63, size=1).astype(np.uint64)
            begin = time.perf_counter()
            result = fit_batch(*problem.arguments(), key, draws=options.draws)
            seconds = time.perf_counter() - begin
            exact = posterior(problem, seed=i)
            found = deviation(result.draws[0], exact)
            row = {name: float(np.abs(getattr(found, name)).max()) for name in BARS}
            nodes, bound, share, _rho, status = result.info[0]
            record["rows"].append(
                {
                    "law": law,
                    "problem": i,
                    "n": problem.x.size,
                    "seconds": seconds,
                    "oracle_effective": exact.effective,
                    "share": share,
                    **row,
                }
            )
            # An importance sample that is worth little cannot judge: its own error is larger.
            judged = exact.effective > LEAST_EFFECTIVE
            unjudged += not judged
            for name in BARS if judged else ():
                worst[name] = max(worst[name], row[name])
            missed = [name for name, bar in BARS.items() if judged and not row[name] <= bar]
            if status:
                missed.append("status")
            if missed:
                failures.append(f"{law}, problem {i} (seed {options.seed}): {', '.join(missed)}")
            mark = " <-" if missed else "" if judged else " (the oracle is too poor to judge)"
            print(
                f"{law} {i}: n {problem.x.size}, share {share:.3g}, nodes {nodes:.1f}, "
                f"bound {bound:.3f}, {seconds:.2f} s: mean {row['mean']:.4f}, "
                f"sd {row['sd']:.4f}, quantile {row['quantile']:.4f}{mark}",
                flush=True,
            )
        text = ", ".join(f"{k} {v:.4f}" for k, v in worst.items())
        print(f"{law}: worst {text}; {unjudged} not judged", flush=True)
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
