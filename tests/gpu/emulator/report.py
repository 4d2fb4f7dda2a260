"""What a launch executed."""

from __future__ import annotations

__all__ = ["Report"]


class Report:
    """Counts of the instructions of one launch.

    Attributes
    ----------
    thread_counts, warp_counts : list of int
        For each instruction of the program, how many threads executed it, and how many groups of
        threads of one warp that did so together.
    """

    def __init__(self, machine):
        self.program = machine.program
        size = len(self.program.instructions)
        self.thread_counts, self.warp_counts = [0] * size, [0] * size
        for code in machine.code.values():
            for place in range(code.block.start, code.block.end):
                self.thread_counts[place] = code.threads
                self.warp_counts[place] = code.warps

    def _by_opcode(self, counts):
        result = {}
        for instruction, count in zip(self.program.instructions, counts, strict=True):
            if count:
                result[instruction.opcode] = result.get(instruction.opcode, 0) + count
        return dict(sorted(result.items(), key=lambda item: -item[1]))

    def thread_counts_by_opcode(self):
        """Opcode -> how many threads executed it, most first."""
        return self._by_opcode(self.thread_counts)

    def warp_counts_by_opcode(self):
        """Opcode -> how often warps executed it, most first."""
        return self._by_opcode(self.warp_counts)
