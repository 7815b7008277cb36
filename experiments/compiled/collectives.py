"""What a compiled program moves between devices, read from its HLO text."""

import collections

from geodesic.experiments.compiled import hlo

KINDS = ("all-gather", "all-reduce", "all-to-all", "reduce-scatter", "collective-permute")


def bytes_moved(text: str) -> dict[str, int]:
    """Counts the bytes of the results of each kind of collective on one device, in one run of the program.

    A collective in a loop counts once for every turn that the compiler knows of. A reduce-scatter counts what it
    leaves, not what it adds up.
    """
    moved = collections.Counter()
    for one, times, _ in hlo.executed(text, fusions=True):
        kind = one.opcode.removesuffix("-start")
        if kind in KINDS:
            sizes = [array.size for array in hlo.arrays(one.type)]
            # The start of an asynchronous gather or permute gives its operands too, and first.
            if kind != one.opcode and kind != "all-reduce":
                sizes = sizes[len(sizes) // 2:]
            moved[kind] += times * sum(sizes)
    return dict(moved)
