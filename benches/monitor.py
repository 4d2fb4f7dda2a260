"""What a Monitor costs a training loop: a log call, a forecast, and a checkpoint.

    python -m benches.monitor

CPU seconds, warm: the mean of a log call of a run of 20,000 steps with forecasts every 500, and the
median of 200 forecasts of runs of several lengths, with and without a logged learning rate.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

import lossfit

from . import _report

TOTAL = 20_000
LENGTHS = (100, 500, 1_000, 5_000, 20_000)
BARS = {"log": 1e-3, "answer": 5e-3}  # seconds


def fed(points: int, with_rate: bool) -> tuple[lossfit.Monitor, float]:
    """A monitor of a run so long, and the CPU seconds that it took."""
    step = np.arange(1, points + 1)
    loss = 2.5 + 6 * step**-0.4 + np.random.default_rng(0).normal(0, 0.02, points)
    rate = 1e-3 * (1 + np.cos(np.pi * step / TOTAL)) / 2
    monitor = lossfit.Monitor(total=TOTAL, every=500, target=2.6)
    begin = time.process_time()
    for s, y, r in zip(step.tolist(), loss.tolist(), rate.tolist(), strict=True):
        monitor.log(step=s, loss=y, lr=r if with_rate else None)
    return monitor, time.process_time() - begin


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    record = _report.start("monitor")
    fed(2_000, True)  # warm
    rows, failures = [], []
    for with_rate in (True, False):
        for points in LENGTHS:
            monitor, seconds = fed(points, with_rate)
            times = []
            for _ in range(200):
                begin = time.process_time()
                monitor.update()
                times.append(time.process_time() - begin)
            state = len(json.dumps(monitor.state_dict()))
            answer = float(np.median(times))
            rows.append((points, with_rate, seconds / points, answer, min(times), state))
            print(
                f"{points:6,} points, {'with' if with_rate else 'without'} lr: a log call "
                f"{1e6 * seconds / points:5.0f} us, a forecast {1e3 * answer:.1f} ms (best "
                f"{1e3 * min(times):.1f}), a state {state / 1000:.0f} kB"
            )
    if max(row[2] for row in rows if row[0] >= 5_000) > BARS["log"]:
        failures.append("a log call takes more than 1 ms amortised")
    if max(row[4] for row in rows) > BARS["answer"]:
        failures.append("a forecast takes more than 5 ms")
    record["rows"] = rows
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
