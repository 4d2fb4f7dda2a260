"""What a launch executed."""

from __future__ import annotations

from dataclasses import dataclass

from tests.gpu.emulator.memory import ATOMIC, READ, SPACES, STRONG_READ, WRITE

__all__ = ["Loop", "Report"]


@dataclass
class Loop:
    """A loop: blocks of instructions from which control returns to the first of them.

    Attributes
    ----------
    places : list of int
        The instructions of the body, in the order of the PTX.
    line : int
        Line of the PTX where the loop starts.
    depth : int
        1 for a loop that is in no other one.
    iterations : int
        How often threads executed the first instruction.
    threads, warps : int
        Instructions of the body that threads, and warps, executed.
    threads_by_opcode, warps_by_opcode : dict
        The same by opcode.
    """

    function: str
    places: list
    line: int
    depth: int
    iterations: int
    threads: int
    warps: int
    threads_by_opcode: dict
    warps_by_opcode: dict


class Report:
    """Counts of the instructions of one launch.

    A thread that is in a group but whose guard does not hold is counted all the same, as it takes
    a place in the warp.

    Attributes
    ----------
    thread_counts, warp_counts : list of int
        For each instruction of the program, how many threads executed it, and how many groups of
        threads of one warp that did so together.
    steps : int
        Instructions issued for groups of threads of any warps.
    global_load_bytes, global_store_bytes : int
        Bytes that threads loaded from, and stored in, global memory (without atomics).
    shared_loads, shared_stores, local_loads, local_stores, global_atomics, shared_atomics : int
        Accesses by threads; one to a vector counts once.
    """

    def __init__(self, machine):
        self.program = program = machine.program
        size = len(program.instructions)
        self.thread_counts, self.warp_counts = [0] * size, [0] * size
        self.steps = 0
        for code in machine.code.values():
            for place in range(code.block.start, code.block.end):
                if place not in program.is_pseudo:
                    self.thread_counts[place] = code.threads
                    self.warp_counts[place] = code.warps
                    self.steps += code.visits
        traffic = machine.memory.traffic
        loads = traffic[:, READ] + traffic[:, STRONG_READ]  # number and bytes, by space
        self.global_load_bytes = int(loads[SPACES["global"], 1])
        self.global_store_bytes = int(traffic[SPACES["global"], WRITE, 1])
        self.global_atomics = int(traffic[SPACES["global"], ATOMIC, 0])
        self.shared_loads = int(loads[SPACES["shared"], 0])
        self.shared_stores = int(traffic[SPACES["shared"], WRITE, 0])
        self.shared_atomics = int(traffic[SPACES["shared"], ATOMIC, 0])
        self.local_loads = int(loads[SPACES["local"], 0])
        self.local_stores = int(traffic[SPACES["local"], WRITE, 0])

    def _by_opcode(self, counts, places=None):
        result = {}
        for place in range(len(counts)) if places is None else places:
            if counts[place]:
                opcode = self.program.instructions[place].opcode
                result[opcode] = result.get(opcode, 0) + counts[place]
        return dict(sorted(result.items(), key=lambda item: -item[1]))

    def thread_counts_by_opcode(self):
        """Opcode -> how many threads executed it, most first."""
        return self._by_opcode(self.thread_counts)

    def warp_counts_by_opcode(self):
        """Opcode -> how often warps executed it, most first."""
        return self._by_opcode(self.warp_counts)

    def loops(self):
        """The loops that were executed, those with most instructions first.

        Returns
        -------
        list of Loop
            A loop within another one is counted in both.
        """
        bodies = {}
        for function_start in self.program.start:
            bodies |= _natural_loops(self.program.blocks, function_start)
        found = []
        for header, body in bodies.items():
            if not self.thread_counts[header]:
                continue
            blocks = self.program.blocks
            places = [p for start in sorted(body) for p in range(start, blocks[start].end)]
            places = [place for place in places if place not in self.program.is_pseudo]
            function = self.program.functions[self.program.function_of[header]]
            found.append(
                Loop(
                    function=function.name,
                    places=places,
                    line=self.program.instructions[header].line,
                    depth=sum(header in other for other in bodies.values()),
                    iterations=self.thread_counts[header],
                    threads=sum(self.thread_counts[place] for place in places),
                    warps=sum(self.warp_counts[place] for place in places),
                    threads_by_opcode=self._by_opcode(self.thread_counts, places),
                    warps_by_opcode=self._by_opcode(self.warp_counts, places),
                )
            )
        return sorted(found, key=lambda loop: -loop.threads)

    def __str__(self):
        total = sum(self.thread_counts)
        warps = sum(self.warp_counts)
        lines = [
            f"{total} thread-instructions, {warps} warp-instructions"
            f" ({total / warps if warps else 0:.1f} threads)",
            f"global: {self.global_load_bytes} bytes loaded, {self.global_store_bytes} stored",
            f"shared: {self.shared_loads} loads, {self.shared_stores} stores",
        ]
        for opcode, count in list(self.warp_counts_by_opcode().items())[:20]:
            lines.append(f"{count:12} {opcode}")
        return "\n".join(lines)


def _natural_loops(blocks, entry):
    """First block of each loop -> the blocks of its body."""
    order, seen = [], {entry}
    stack = [(entry, iter(blocks[entry].next))]
    while stack:  # depth first, without recursion
        node, successors = stack[-1]
        for successor in successors:
            if successor in blocks and successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(blocks[successor].next)))
                break
        else:
            order.append(node)
            stack.pop()
    order.reverse()
    rank = {node: i for i, node in enumerate(order)}
    before = {node: [] for node in order}
    for node in order:
        for successor in blocks[node].next:
            if successor in rank:
                before[successor].append(node)
    dominators = _dominators(order, rank, before)

    def dominates(one, other):
        while rank[other] > rank[one]:
            other = dominators[other]
        return one == other

    bodies = {}
    for node in order:
        for header in blocks[node].next:
            if header in rank and dominates(header, node):
                body = bodies.setdefault(header, {header})
                todo = [node]
                while todo:
                    block = todo.pop()
                    if block not in body:
                        body.add(block)
                        todo += before[block]
    return bodies


def _dominators(order, rank, before):
    """Immediate dominator of each block (the algorithm of Cooper, Harvey and Kennedy)."""
    dominators = {order[0]: order[0]}
    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            known = [p for p in before[node] if p in dominators]
            best = known[0]
            for other in known[1:]:
                while best != other:
                    while rank[best] > rank[other]:
                        best = dominators[best]
                    while rank[other] > rank[best]:
                        other = dominators[other]
            if dominators.get(node) != best:
                dominators[node] = best
                changed = True
    return dominators
