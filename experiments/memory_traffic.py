"""What a compiled program moves to and from a device's main memory, and what it could spare, read from its HLO text.

XLA's own count, `cost_analysis()["bytes accessed"]`, takes every operand of every instruction for main memory. A TPU's
compiler keeps much in the chip's vector memory, and says so in the layouts of its arrays.
"""

import math
from typing import NamedTuple

from jax.extend import core

from experiments import hlo

_MAIN = 0
# These name or await what another instruction moves.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
         "opt-barrier", "while", "conditional", "call", "copy-done", "slice-done", "async-done", "async-update",
         "all-reduce-done", "all-gather-done", "collective-permute-done", "send-done", "recv-done"}
_COPIES = {"copy-start", "slice-start"}
_ARITHMETIC = {"add", "subtract", "multiply", "divide", "select", "maximum", "minimum", "compare"}
_PRODUCTS = {"conv_general_dilated", "dot_general"}


def main_memory(text: str) -> int:
    """Bytes that one run of the program reads from main memory and writes to it.

    Arrays count whole, also where an instruction takes a slice of one or writes into one. Loops count as often as the
    compiler knows of, else once.
    """
    total = 0
    for one, times, types in hlo.executed(text):
        if one.opcode in _FREE:
            continue
        result = hlo.arrays(one.type)
        if one.opcode in _COPIES:  # (destination, source, ...) or the other way round, of which one may be a slice
            size = min(array.size for array in result[:2])
            total += times * size * sum(array.space == _MAIN for array in result[:2])
            continue
        read = [array for name in one.operands for array in hlo.arrays(types.get(name, ""))]
        total += times * sum(array.size for array in (*read, *result) if array.space == _MAIN)
    return total


class Convolutions(NamedTuple):
    """How many a program runs, and for how many nothing beside them reads or writes memory."""

    count: int
    computing_operands: int     # from what is read: normalises, activates, or takes a gradient through either
    summing_results: int        # before they are written: the statistics of a normalisation, or of its gradient


def convolutions(text: str) -> Convolutions:
    """Of convolutions that are instructions, as for TPUs; GPUs call a library's."""
    bodies, _ = hlo.computations(text)
    parsed = {}

    def body(name: str) -> list[hlo.Instruction]:
        if name not in parsed:
            parsed[name] = [one for line in bodies.get(name, ()) if (one := hlo.parse(line))]
        return parsed[name]

    def arithmetic(one: hlo.Instruction) -> bool:
        return one.opcode in _ARITHMETIC or any(arithmetic(inner) for name in hlo.called(one.line)
                                                for inner in body(name) if one.opcode == "fusion")

    count = computing = summing = 0
    for one, times, _ in hlo.executed(text):
        inside = [inner for name in hlo.called(one.line) for inner in body(name)] if one.opcode == "fusion" else [one]
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
    """Bytes, if every convolution and product reads its operands and writes its result once, and all else is free."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in _PRODUCTS:
            total += sum(math.prod(value.aval.shape) * value.aval.dtype.itemsize
                         for value in (*equation.invars, *equation.outvars))
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += times * sum(least(inner) for inner in core.jaxprs_in_params(equation.params))
    return total
