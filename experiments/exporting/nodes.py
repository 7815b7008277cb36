"""Nodes of ONNX while they are made: their names, the arrays that they take, and the order of every array's axes.

A map is kept channels first, as ONNX has it, and every array knows the order in which its axes lie: only where an
operation asks for another order is there a Transpose.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from onnx import helper

from geodesic.experiments.exporting.trace import Graph, Op, Value

# The order of a map [B,H,W,C].
MAP = (0, 3, 1, 2)


class Nodes:
    """nodes, weights (name -> array): what has been made so far of a graph."""

    def __init__(self, graph: Graph, input: str):
        self.nodes, self.weights, self.scope = [], {}, ""
        self._users = {}
        for op in graph.ops:
            for value in op.inputs:
                if isinstance(value, Value):
                    self._users.setdefault(value, []).append(op)
        # Value -> (name, order): axis order[i] of the value is the i-th of the array.
        self._made: dict[Value, tuple[str, tuple[int, ...]]] = {graph.input: (input, natural(graph.input))}
        # Value -> where each of its features lies in the value, of those that lie in another order.
        self.shuffled: dict[Value, np.ndarray] = {}
        self._arrays: dict[bytes, str] = {}
        self._taken: dict[str, int] = {}
        self._outputs = graph.outputs
        if len(graph.input.shape) == 4:
            self._made[graph.input] = (self.ordered(graph.input, MAP), MAP)

    def node(self, kind: str, inputs: list[str], name: str = "", **attributes) -> str:
        """Adds a node of one output; gives the output's name."""
        name = name or self._fresh(f"{self.scope}/{kind}" if self.scope else kind)
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def array(self, values: np.ndarray, what: str = "value") -> str:
        """The name of known numbers; the same numbers have one name."""
        values = np.asarray(values, np.float32 if np.asarray(values).dtype == np.float64 else None)
        key = f"{values.dtype}{values.shape}".encode() + hashlib.sha256(values.tobytes()).digest()
        if key not in self._arrays:
            self._arrays[key] = self._fresh(f"{self.scope}/{what}" if self.scope else what)
            self.weights[self._arrays[key]] = np.ascontiguousarray(values)
        return self._arrays[key]

    def ordered(self, value: Value, order: tuple[int, ...]) -> str:
        """The name of a value with its axes in this order."""
        name, now = self._made[value]
        if now != order:
            name = self.node("Transpose", [name], perm=[now.index(axis) for axis in order])
        return name

    def order(self, value: Value) -> tuple[int, ...]:
        """In which a value's axes lie now."""
        return self._made[value][1]

    def give(self, op: Op, name: str, order: tuple[int, ...] | None = None) -> None:
        """Says which array, with its axes in which order, is the output of an operation."""
        self._made[op.output] = (name, natural(op.output) if order is None else order)

    def known(self, values: np.ndarray, order: tuple[int, ...], what: str = "value") -> str:
        """Known numbers, to be broadcast with a value whose axes lie in this order."""
        values = np.asarray(values)
        if values.ndim:
            values = values.reshape((1,) * (len(order) - values.ndim) + values.shape).transpose(order)
        if values.size == 1:
            return self.array(values.reshape(()), what)
        while values.shape[0] == 1:
            values = values[0]
        return self.array(values, what)

    def only_dense(self, value: Value) -> bool:
        """Whether dense layers alone use this value."""
        return value not in self._outputs and all(op.name == "dense" for op in self._users.get(value, []))

    def finish(self, outputs: Sequence[str]) -> None:
        """Gives the graph's outputs their names."""
        made = [self.ordered(value, natural(value)) for value in self._outputs]
        for name, output in zip(made, outputs, strict=True):
            makers = [node for node in self.nodes if name in node.output]
            if makers and made.count(name) == 1 and not any(name in node.input for node in self.nodes):
                makers[0].output[0] = output
            else:
                self.scope = ""
                self.node("Identity", [name], name=output)

    def _fresh(self, wanted: str) -> str:
        self._taken[wanted] = count = self._taken.get(wanted, 0) + 1
        return wanted if count == 1 else f"{wanted}_{count}"


def natural(value: Value) -> tuple[int, ...]:
    """The order in which a value's axes are numbered."""
    return tuple(range(len(value.shape)))
