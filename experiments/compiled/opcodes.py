"""What every instruction of a compiled program is to the hardware, read from its HLO text: names alone do not tell."""

import functools
import re
from typing import NamedTuple

from geodesic.experiments.compiled import collectives, hlo

MATRIX, COLLECTIVE, OTHER, CONTAINER = "matrix", "collective", "other", "container"

_COLLECTIVES = (*collectives.KINDS, "collective-broadcast", "ragged-all-to-all", "send", "recv")
_SOURCE = re.compile(r'op_name="([^"]*)"')
# cuBLAS, cuDNN and oneDNN are called by name.
_MATRIX_CALL = re.compile(r'custom_call_target="[^"]*(?:gemm|conv|matmul|dot|fmha)[^"]*"', re.IGNORECASE)
# Some kernels carry no instruction's name, such as those that are replayed from a CUDA graph.
_MATRIX_KERNEL = re.compile(r"gemm|cutlass|cublas|xmma|cudnn|conv|nvjet|dot", re.IGNORECASE)
_COLLECTIVE_KERNEL = re.compile(r"nccl|" + "|".join(name.replace("-", ".?") for name in collectives.KINDS),
                                re.IGNORECASE)


class Instruction(NamedTuple):
    kind: str       # MATRIX: convolutions, dots and fusions around them; COLLECTIVE; CONTAINER: loops, calls; OTHER
    source: str     # the part of the model that it was made for, as jax names it; "" where the compiler invented it


def instructions(text: str) -> dict[str, Instruction]:
    """Maps the name of every instruction, in every computation, to what it is."""
    bodies, _ = hlo.computations(text)

    @functools.cache
    def within(computation: str) -> set[str]:
        return {kind(line) for line in bodies.get(computation, ())}

    def kind(line: str) -> str:
        found = hlo.parse(line)
        if not found:
            return OTHER
        opcode = found.opcode
        if opcode.removesuffix("-start").removesuffix("-done") in _COLLECTIVES:
            return COLLECTIVE
        if opcode in ("convolution", "dot", "ragged-dot") or _MATRIX_CALL.search(line):
            return MATRIX
        if opcode in ("while", "conditional", "call"):
            return CONTAINER
        inside = set().union(*(within(name) for name in hlo.called(line)))
        return next((known for known in (COLLECTIVE, MATRIX) if known in inside), OTHER)

    @functools.cache
    def source(computation: str) -> str:
        """What the computation was made for: its product, or else the first instruction that tells."""
        lines = sorted(bodies.get(computation, ()), key=lambda line: kind(line) != MATRIX)
        return next((found[1] for line in lines if (found := _SOURCE.search(line))), "")

    result = {}
    for lines in bodies.values():
        for line in lines:
            if found := hlo.parse(line):
                own = _SOURCE.search(line)
                inner = (source(name) for name in hlo.called(line))
                result[found.name] = Instruction(kind(line), own[1] if own else next(filter(None, inner), ""))
    return result


def of_kernel(name: str) -> Instruction:
    """Guesses what a kernel is whose name is no instruction's."""
    kind = COLLECTIVE if _COLLECTIVE_KERNEL.search(name) else MATRIX if _MATRIX_KERNEL.search(name) else OTHER
    return Instruction(kind, "")
