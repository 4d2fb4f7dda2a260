"""Jobs to test the launch layer with."""

from __future__ import annotations

import numpy as np

from lossfit.kernels.gpu.chunks import Spec
from lossfit.kernels.gpu.launch import Job


def ragged(lengths, seed=0):
    """Values and offsets of runs of these lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.random.default_rng(seed).standard_normal(int(offsets[-1])), offsets


class Sums(Job):
    """Sum and first value of each run by array operations: needs no kernel.

    Each run also says which chunk it was in, so that tests see the chunks.
    """

    def __init__(self, values, offsets, factor=2.0):
        self.values, self.offsets = values, offsets
        self.n_runs = len(offsets) - 1
        self.factor = np.array([factor])
        self.sums = np.full(self.n_runs, np.nan)
        self.order = []
        self.fills = 0

    def points(self, start, stop):
        return int(self.offsets[stop] - self.offsets[start])

    def constants(self):
        return (self.factor,)

    def inputs(self, start, stop):
        return (
            Spec((self.points(start, stop),), np.float64),
            Spec((stop - start + 1,), np.uint32),
        )

    def fill(self, start, stop, inputs):
        self.fills += 1
        inputs[0][...] = self.values[self.offsets[start] : self.offsets[stop]]
        inputs[1][...] = self.offsets[start : stop + 1] - self.offsets[start]

    def scratch(self, start, stop):
        return (Spec((self.points(start, stop),), np.float64),)

    def outputs(self, start, stop):
        return (Spec((stop - start,), np.float64),)

    def launch(self, chunk):
        (values, offsets), (scratch,) = chunk.inputs, chunk.scratch
        (out,), (factor,) = chunk.outputs, chunk.constants
        scratch[...] = values * factor
        for r in range(len(chunk)):
            out[r] = scratch[offsets[r] : offsets[r + 1]].sum()

    def collect(self, start, stop, outputs):
        assert np.isnan(self.sums[start:stop]).all()  # once for each run
        self.sums[start:stop] = outputs[0]
        self.order.append((start, stop))

    @property
    def expected(self):
        parts = np.split(self.values * self.factor[0], self.offsets[1:-1])
        return np.array([part.sum() for part in parts])


class KeptSums(Sums):
    """Keeps the sums on the device too."""

    def __init__(self, values, offsets):
        super().__init__(values, offsets)
        self.parts = []

    def kept(self, start, stop):
        return (Spec((stop - start, 1), np.float64),)

    def launch(self, chunk):
        super().launch(chunk)
        chunk.kept[0][:, 0] = chunk.outputs[0]

    def keep(self, start, stop, device, kept):
        self.parts.append((start, stop, device.number, kept[0]))
