"""What a compiled program moves to and from a device's main memory, and what it could spare, read from its HLO text.

XLA's own count, `cost_analysis()["bytes accessed"]`, takes every operand of every instruction for main memory. A TPU's
compiler keeps much in the chip's vector memory, and says so in the layouts of its arrays.
"""

import math
import re
from typing import NamedTuple

from jax.extend import core

from geodesic.experiments.compiled import hlo

_MAIN = 0
# These name or await what another instruction moves.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
         "opt-barrier", "while", "conditional", "call", "copy-done", "slice-done", "async-done", "async-update",
         "all-reduce-done", "all-gather-done", "collective-permute-done", "send-done", "recv-done"}
_COPIES = {"copy-start", "slice-start"}
_PARAMETER = re.compile(r" parameter\((\d+)\)")
_UPDATE = "dynamic-update-slice"
_PARTLY = {"slice", "dynamic-slice", "gather", _UPDATE}     # read a part of their first operand, or write one
_ARITHMETIC = {"add", "subtract", "multiply", "divide", "select", "maximum", "minimum", "compare"}
_PRODUCTS = {"conv_general_dilated", "dot_general"}


def main_memory(text: str) -> int:
    """Counts the bytes that one run of the program reads from main memory and writes to it.

    Where only slices of an array are read, or one is written into it, the slices alone count. Loops count as often as
    the compiler knows of, else once.
    """
    bodies, total = _Bodies(text), 0
    for one, times, types in hlo.executed(text):
        if one.opcode in _COPIES:  # (destination, source, ...) or the other way round, of which one may be a slice
            ends = hlo.arrays(one.type)[:2]
            total += times * min(end.size for end in ends) * sum(end.space == _MAIN for end in ends)
        elif one.opcode not in _FREE:
            total += times * sum(array.size for array in _moved(one, types, bodies) if array.space == _MAIN)
    return total


class _Bodies(dict):
    """Maps the name of a computation to its instructions."""

    def __init__(self, text: str):
        super().__init__()
        self._lines, _ = hlo.computations(text)

    def __missing__(self, name: str) -> list[hlo.Instruction]:
        self[name] = [one for line in self._lines.get(name, ()) if (one := hlo.parse(line))]
        return self[name]


def _moved(one: hlo.Instruction, types: dict[str, str], bodies: _Bodies) -> list[hlo.Array]:
    """Lists the arrays that an instruction reads and writes."""
    read, written = [], hlo.arrays(one.type)
    operands = list(dict.fromkeys(one.operands))
    inside, names = [one], operands
    if one.opcode == "fusion":
        inside = bodies[hlo.called(one.line)[0]]
        given = {found[1]: each.name for each in inside if (found := _PARAMETER.search(each.line))}
        operands, names = one.operands, [given.get(str(place), "") for place in range(len(one.operands))]
    inner = {each.name: each.type for each in inside} if one.opcode == "fusion" else types
    for operand, name in zip(operands, names, strict=True):
        whole = hlo.arrays(types.get(operand, ""))
        readers = [each for each in inside if name in each.operands]
        if not readers or any(each.opcode not in _PARTLY or each.operands[0] != name for each in readers):
            read += whole
            continue
        read += [_sized(each.type, whole) for each in readers if each.opcode != _UPDATE]
        for each in readers:
            if each.opcode == _UPDATE:  # in place: what was there is not read, and only the update is written
                update = _sized(inner[each.operands[1]], whole)
                written = [update if array.size == whole[0].size else array for array in written]
    return read + written


def _sized(part: str, whole: list[hlo.Array]) -> hlo.Array:
    """Makes an array of the type `part` that lies where `whole` does."""
    return hlo.Array(sum(array.size for array in hlo.arrays(part)), whole[0].space)


class Convolutions(NamedTuple):
    """The convolutions that a program runs, and those that do the work around them on the way."""

    count: int
    computing_operands: int     # those that normalise or activate what they read, or take a gradient through either
    summing_results: int        # those that sum what they write: for a normalisation, or for its gradient


def convolutions(text: str) -> Convolutions:
    """Counts the convolutions that are instructions, as for TPUs; GPUs call those of a library."""
    bodies = _Bodies(text)

    def arithmetic(one: hlo.Instruction) -> bool:
        return one.opcode in _ARITHMETIC or any(arithmetic(inner) for name in hlo.called(one.line)
                                                for inner in bodies[name] if one.opcode == "fusion")

    count = computing = summing = 0
    for one, times, _ in hlo.executed(text):
        inside = [inner for name in hlo.called(one.line) for inner in bodies[name]] if one.opcode == "fusion" else [one]
        named = {inner.name: inner for inner in inside}
        products = [inner for inner in inside if inner.opcode == "convolution"]
        count += times * len(products)
        for product in products:
            seen, ahead = set(), list(product.operands)
            while ahead:
                name = ahead.pop()
                if name in named and name not in seen:
                    seen.add(name)
                    ahead += named[name].operands
            computing += times * any(arithmetic(named[name]) for name in seen)
        summing += times * len(products) * any(inner.opcode == "reduce" for inner in inside)
    return Convolutions(count, computing, summing)


def least(jaxpr) -> int:
    """Counts the bytes if each convolution and product moved its operands and result once, and all else were free."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in _PRODUCTS:
            total += sum(math.prod(value.aval.shape) * value.aval.dtype.itemsize
                         for value in (*equation.invars, *equation.outvars))
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += times * sum(least(inner) for inner in core.jaxprs_in_params(equation.params))
    return total
