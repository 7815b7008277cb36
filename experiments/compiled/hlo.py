"""The text of a compiled program (HLO): its computations, their instructions, and the sizes of arrays."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{\s*$")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_OPERAND = re.compile(r"%([\w.\-]+)")
# f32[8,16]{1,0:T(8,128)S(1)}: the layout may name a memory space.
_ARRAY = re.compile(r"\b([a-z]+?)(\d*)(?:e\d+m\d+\w*)?\[([\d,]*)\](?:\{[^}]*?(?:S\((\d+)\))?\})?")


class Instruction(NamedTuple):
    name: str
    type: str
    opcode: str
    operands: list[str]     # names
    line: str


class Array(NamedTuple):
    size: int       # bytes
    space: int      # of memory: 0 is the main one, 1 a TPU's vector memory, 5 a GPU's host


def parse(line: str) -> Instruction | None:
    found = _INSTRUCTION.match(line)
    return found and Instruction(*found.groups()[:3], _OPERAND.findall(found[4].split(")", 1)[0]), line)


def arrays(type_text: str) -> list[Array]:
    """Lists the arrays of an HLO type such as f32[8,16]{1,0}, or of a tuple of such."""
    return [Array(math.ceil((int(bits) if bits else 8) / 8) * math.prod(int(n) for n in dims.split(",") if n),
                  int(space or 0)) for _, bits, dims, space in _ARRAY.findall(type_text)]


def computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Splits a program into its computations: {name: lines}, and the name of the entry."""
    bodies, entry, lines = {}, "", []
    for line in text.splitlines():
        opening = _COMPUTATION.match(line)
        if opening and not line.startswith(" "):
            lines = bodies.setdefault(opening[1], [])
            entry = opening[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)
    return bodies, entry


def called(line: str) -> list[str]:
    """Lists the computations that an instruction calls."""
    names = _CALLED.findall(line)
    for branches in _BRANCHES.findall(line):
        names += [branch.strip().lstrip("%") for branch in branches.split(",")]
    return names


def executed(text: str, fusions: bool = False) -> Iterator[tuple[Instruction, int, dict[str, str]]]:
    """Lists what one run of the program executes: (instruction, how often, {name: type} of its computation).

    What a fusion or a reduction consists of is left out, unless `fusions`. Loops run as often as the compiler knows,
    else once.
    """
    bodies, entry = computations(text)

    def visit(name: str, times: int):
        instructions = [found for line in bodies[name] if (found := parse(line))]
        types = {one.name: one.type for one in instructions}
        for one in instructions:
            yield one, times, types
            if fusions or one.opcode in ("while", "conditional", "call"):
                trips = _TRIPS.search(one.line) if one.opcode == "while" else None
                for inner in called(one.line):
                    if inner in bodies:
                        yield from visit(inner, times * (int(trips[1]) if trips else 1))

    return visit(entry, 1)
