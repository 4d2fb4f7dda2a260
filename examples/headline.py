"""Would Llama 2 7B, given the 70B's compute, have been better than the 70B: the answer in lines.

python examples/headline.py [figure.png]
"""

from __future__ import annotations

import sys
import warnings

import matplotlib as mpl

import lossfit


def main(figure: str | None = None) -> lossfit.Answer:
    """Ask, print, and draw if a path is given."""
    runs = lossfit.load("llama2")
    with warnings.catch_warnings():
        # The printed answer spells its flags out.
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        answer = lossfit.extrapolate(runs, run="llama2-7B", compute_of="llama2-70B", prob=0.9)
    print(answer)
    print()
    print(answer.by_law[["law", "weight", "lower", "median", "upper"]].to_string(index=False))
    if figure is not None:
        mpl.use("Agg")
        answer.plot().figure.savefig(figure, dpi=150)
        print(f"wrote {figure}")
    return answer


if __name__ == "__main__":
    main(*sys.argv[1:2])
