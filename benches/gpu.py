"""Fits and answers a second on a GPU, or on the CPU: `lossfit bench`, with its record kept.

Usage: python -m benches.gpu [--device cuda] [--dtype both] [--seconds 120] [--json]
"""

from __future__ import annotations

from benches._report import OUT, finish, parser, start
from lossfit.diagnostics.speed import bench, plot_bench


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--device", default="auto")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--seconds", type=float, default=120.0)
    given = options.parse_args()
    record = start("gpu")
    found = bench(given.device, given.dtype, seconds=given.seconds, say=print)
    record.update(found)
    if given.json:
        OUT.mkdir(exist_ok=True)
        plot_bench(found).savefig(OUT / "bench_gpu.png", dpi=150)
    finish(record, given.json, [])


if __name__ == "__main__":
    main()
