"""What a compiled program moves between devices, read from its HLO text."""

import collections
import math
import re

_KINDS = "all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute"
_COLLECTIVE = re.compile(rf"= (.*?) ({_KINDS})(-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{\s*$")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ARRAY = re.compile(r"(\w+?)(\d*)\[([\d,]*)\]")


def bytes_moved(hlo: str) -> dict[str, int]:
    """Kind of collective -> bytes of its results on one device, in one run of the program.

    A collective in a loop counts once for every turn that the compiler knows of. A reduce-scatter counts what it
    leaves, not what it adds up.
    """
    bodies, entry = computations(hlo)
    moved = collections.Counter()

    def visit(name: str, times: int) -> None:
        for line in bodies[name]:
            found = _COLLECTIVE.search(line)
            if found:
                shapes, kind, start = found.groups()
                # The start of an asynchronous gather or permute gives its operands too, and first.
                moved[kind] += times * _bytes(shapes, results_only=bool(start) and kind != "all-reduce")
                continue
            trips = _TRIPS.search(line)
            for inner in called(line):
                if inner in bodies:
                    visit(inner, times * (int(trips[1]) if trips and " while(" in line else 1))

    visit(entry, 1)
    return dict(moved)


def called(line: str) -> list[str]:
    """The computations that an instruction calls."""
    names = _CALLED.findall(line)
    for branches in _BRANCHES.findall(line):
        names += [branch.strip().lstrip("%") for branch in branches.split(",")]
    return names


def computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """({name: its lines}, the name of the entry)."""
    bodies, entry, lines = {}, "", []
    for line in hlo.splitlines():
        opening = _COMPUTATION.match(line)
        if opening and not line.startswith(" "):
            lines = bodies.setdefault(opening[1], [])
            entry = opening[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)
    return bodies, entry


def _bytes(shapes: str, results_only: bool) -> int:
    """Of an HLO type such as f32[8,16]{1,0} or a tuple of them."""
    sizes = [math.ceil((int(bits) if bits else 8) / 8) * math.prod(int(n) for n in dims.split(",") if n)
             for _, bits, dims in _ARRAY.findall(shapes)]
    return sum(sizes[len(sizes) // 2:] if results_only else sizes)
