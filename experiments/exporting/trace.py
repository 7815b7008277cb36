"""A function's jaxpr as a flat list of operations. What does not depend on the images is computed: weights, mostly.

Shapes follow NumPy's rule of broadcasting: what is the same along an axis has 1 there. The batch is symbolic, None in a
shape, and an array that is the same for all images has 1 in its place. Height and width may be symbolic too: a shape
then has jax's own expressions of them.
"""

import dataclasses
import os
import re
import sysconfig
from collections.abc import Callable

import jax
import numpy as np
from jax import export

from geodesic.errors import UserError

# Primitives that are a function of their own, in this parameter of theirs.
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr",
          "custom_vjp_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr"}
_SAME = ("stop_gradient", "copy", "copy_p", "name")


@dataclasses.dataclass(eq=False)
class Value:
    """An array that depends on the images, or on their size. shape: None is the batch."""

    shape: tuple
    dtype: np.dtype


@dataclasses.dataclass(eq=False)
class Op:
    """name: of the primitive, or of a pattern. inputs: `Value`s and, of what is known, NumPy arrays. where: the module
    of the network and the line of code that it comes from."""

    name: str
    inputs: list
    params: dict
    output: Value
    where: str


@dataclasses.dataclass
class Graph:
    """ops: each after those whose output it takes."""

    input: Value
    ops: list[Op]
    outputs: list[Value]

    def producers(self) -> dict[Value, Op]:
        return {op.output: op for op in self.ops}

    def uses(self) -> dict[Value, int]:
        """How often each value is used; being an output is a use."""
        counts = {output: 1 for output in self.outputs}
        for op in self.ops:
            for value in op.inputs:
                if isinstance(value, Value):
                    counts[value] = counts.get(value, 0) + 1
        return counts

    def without_unused(self) -> "Graph":
        needed, kept = {*self.outputs}, []
        for op in reversed(self.ops):
            if op.output in needed:
                kept.append(op)
                needed |= {value for value in op.inputs if isinstance(value, Value)}
        return Graph(self.input, kept[::-1], self.outputs)


def images(shape: tuple[int | str, ...], dtype, least: int = 1) -> jax.ShapeDtypeStruct:
    """Any number of images. shape: of one; a size that is free is its name, or its name times a number, such as
    32*height. least: what a free size is at least.

    Example:
      >>> from geodesic.experiments.exporting import trace
      >>> trace.images(("height", "32*width", 3), "uint8", least=32).shape
      (b, height, 32*width, 3)
    """
    limits = [f"{size} >= {least}" for size in shape if isinstance(size, str)]
    return jax.ShapeDtypeStruct(export.symbolic_shape(", ".join(map(str, ("b", *shape))), constraints=limits), dtype)


def trace(function: Callable, shape: tuple[int | str, ...], dtype, least: int = 1) -> Graph:
    """The operations of a function of images.

    function: of dtype[B,*shape], for any B, to one array or several; it is traced as it is, so that it is for the
    caller to choose forms of convolution. shape, least: as of `images`. Raises UserError where a result does not depend
    on the images.
    """
    given = images(shape, dtype, least)
    closed = jax.make_jaxpr(function)(given)
    taken, tracer = Value(_sizes(given.shape), np.dtype(dtype)), _Tracer()
    outputs = tracer.run(closed.jaxpr, closed.consts, [taken])
    if not all(isinstance(output, Value) for output in outputs):
        raise UserError("what is to be exported does not depend on the picture")
    whole = [tracer.full(output, var.aval, "the output")
             for output, var in zip(outputs, closed.jaxpr.outvars, strict=True)]
    return Graph(taken, tracer.ops, whole).without_unused()


class _Tracer:
    """Evaluates a jaxpr: arrays that are known as NumPy's, all others as operations, which it collects."""

    def __init__(self):
        self.ops: list[Op] = []

    def run(self, jaxpr, consts, arguments, outer: str = "") -> list:
        known = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))
        for eqn in jaxpr.eqns:
            inputs = [np.asarray(var.val) if hasattr(var, "val") else known[var] for var in eqn.invars]
            outputs = self._equation(eqn, inputs, _where(eqn, outer))
            known |= dict(zip(eqn.outvars, outputs, strict=True))
        return [np.asarray(var.val) if hasattr(var, "val") else known[var] for var in jaxpr.outvars]

    def emit(self, name: str, inputs: list, params: dict, shape, dtype, where: str) -> Value:
        self.ops.append(Op(name, inputs, params, Value(tuple(shape), np.dtype(dtype)), where))
        return self.ops[-1].output

    def full(self, value, aval, where: str):
        """The value with its whole shape, but for the batch."""
        wanted = tuple(1 if size is None else size for size in _sizes(aval.shape))
        if isinstance(value, np.ndarray):
            if value.shape != wanted and not all(isinstance(size, int) for size in wanted):
                raise unknown("broadcast to a size that is free", where)
            return np.broadcast_to(value, wanted)
        shape = tuple(size if mine is not None else None for mine, size in zip(value.shape, wanted, strict=True))
        return value if shape == value.shape else self.emit("expand", [value], {}, shape, value.dtype, where)

    def _equation(self, eqn, inputs: list, where: str) -> list:
        name, params = eqn.primitive.name, eqn.params
        if name in _CALLS:
            inner = params[_CALLS[name]]
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs, where)
        if name == "scan":
            return self._scan(eqn, inputs, where)
        if name in _SAME:
            return inputs
        aval = eqn.outvars[0].aval
        if name == "dim_as_value":  # a number that depends on the images' size
            return [self.emit(name, [], params, (), aval.dtype, where)]
        if name == "broadcast_in_dim":
            return [self._broadcast(inputs[0], params, where)]
        if name not in _ELEMENTWISE:
            inputs = [self.full(value, var.aval, where) for value, var in zip(inputs, eqn.invars, strict=True)]
        if all(isinstance(value, np.ndarray) for value in inputs):
            # Of what is the same for all images there is one: the batch is 1.
            plain = {key: _for_one(value, name, where) for key, value in params.items()}
            found = eqn.primitive.bind(*inputs, **plain)
            return [np.asarray(one) for one in (found if eqn.primitive.multiple_results else [found])]
        if name == "convert_element_type" and np.dtype(params["new_dtype"]) == inputs[0].dtype:
            return inputs
        if name == "split":
            ends = np.cumsum(params["sizes"])
            return [self._cut(inputs[0], params["axis"], end - size, end, where)
                    for size, end in zip(params["sizes"], ends, strict=True)]
        if name == "gather" and isinstance(inputs[1], np.ndarray) and inputs[1].ndim == 1:
            return [self._part(inputs, params, aval, where)]
        if eqn.primitive.multiple_results:
            raise unknown(name, where)
        shape = _broadcast_shapes(inputs) if name in _ELEMENTWISE else _sizes(aval.shape)
        return [self.emit(name, inputs, params, shape, aval.dtype, where)]

    def _broadcast(self, value, params: dict, where: str):
        """New axes have the size 1, and so have those along which the value is repeated."""
        shape = [1] * len(params["shape"])
        for axis, size in zip(params["broadcast_dimensions"], value.shape, strict=True):
            shape[axis] = size
        if isinstance(value, np.ndarray):
            return value.reshape(shape)
        if tuple(shape) == value.shape:
            return value
        return self.emit("reshape", [value], {}, shape, value.dtype, where)

    def _scan(self, eqn, inputs: list, where: str) -> list:
        """A loop as its steps, one after the other."""
        params, body = eqn.params, eqn.params["jaxpr"]
        if not isinstance(params["length"], int):
            raise unknown("scan over a size that is free", where)
        consts, carried = params["num_consts"], params["num_carry"]
        carry, sequences = inputs[consts:consts + carried], inputs[consts + carried:]
        sequences = [self.full(value, var.aval, where)
                     for value, var in zip(sequences, eqn.invars[consts + carried:], strict=True)]
        places, given = range(params["length"]), {}
        for place in reversed(places) if params["reverse"] else places:
            found = self.run(body.jaxpr, body.consts, [*inputs[:consts], *carry, *(
                self._row(value, place, where) for value in sequences)], where)
            carry, given[place] = found[:carried], found[carried:]
        return [*carry, *(self._stacked([given[place][at] for place in places], var.aval, where)
                          for at, var in enumerate(eqn.outvars[carried:]))]

    def _row(self, value, place: int, where: str):
        if isinstance(value, np.ndarray):
            return value[place]
        row = self._cut(value, 0, place, place + 1, where)
        return self.emit("reshape", [row], {}, value.shape[1:], value.dtype, where)

    def _part(self, inputs: list, params: dict, aval, where: str) -> Value:
        """One part of an array, at a known place: as a slice, from which axes go."""
        (value, places), of = inputs, params["dimension_numbers"]
        starts = [0] * len(value.shape)
        for axis, place in zip(of.start_index_map, places, strict=True):
            if value.shape[axis] is None or not 0 <= place <= value.shape[axis] - params["slice_sizes"][axis]:
                raise unknown("gather of images, or beyond the end", where)
            starts[axis] = int(place)
        sizes = _sizes(params["slice_sizes"])
        limits = [None if size is None else start + size for start, size in zip(starts, sizes, strict=True)]
        part = self.emit("slice", [value], {"start_indices": starts, "limit_indices": limits, "strides": None}, sizes,
                         value.dtype, where)
        shape = _sizes(aval.shape)
        return part if shape == part.shape else self.emit("reshape", [part], {}, shape, value.dtype, where)

    def _cut(self, value: Value, axis: int, start: int, end: int, where: str) -> Value:
        starts, limits, shape = [0] * len(value.shape), [*value.shape], [*value.shape]
        starts[axis], limits[axis], shape[axis] = int(start), int(end), int(end - start)
        return self.emit("slice", [value], {"start_indices": starts, "limit_indices": limits, "strides": None}, shape,
                         value.dtype, where)

    def _stacked(self, rows: list, aval, where: str):
        if all(isinstance(row, np.ndarray) for row in rows):
            return np.stack(rows)
        lines = [row[None] if isinstance(row, np.ndarray) else self.emit(
            "reshape", [row], {}, (1, *row.shape), row.dtype, where) for row in rows]
        return self.emit("concatenate", lines, {"dimension": 0}, _sizes(aval.shape), aval.dtype, where)


# Primitives of each number alone: of arrays whose shapes may differ where one has 1.
_ELEMENTWISE = {"add", "sub", "mul", "div", "max", "min", "pow", "integer_pow", "square", "sqrt", "rsqrt", "exp", "log",
                "tanh", "logistic", "erf", "neg", "abs", "le", "lt", "ge", "gt", "eq", "select_n",
                "convert_element_type"}


def unknown(name: str, where: str) -> UserError:
    return UserError(f"no operator of ONNX is known for the primitive {name!r}, at {where.strip()}: export stablehlo, "
                     f"which knows all, or teach experiments/exporting/lower.py this one")


def _broadcast_shapes(inputs: list) -> tuple:
    """NumPy's rule, with the batch for None."""
    rank = max(len(value.shape) for value in inputs)
    padded = [(1,) * (rank - len(value.shape)) + tuple(value.shape) for value in inputs]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


def _sizes(shape) -> tuple:
    """A shape of jax with None in place of what depends on the batch."""
    return tuple(None if _of_batch(size) else size for size in shape)


def _of_batch(size) -> bool:
    return not isinstance(size, int) and "b" in re.findall(r"\w+", str(size))


def _for_one(param, name: str, where: str):
    """A parameter for a batch of one."""
    if isinstance(param, tuple):
        return tuple(_for_one(one, name, where) for one in param)
    if type(param).__name__ != "_DimExpr":
        return param
    if not _of_batch(param):
        raise unknown(f"{name} of a size that is free", where)
    return 1


def _where(eqn, outer: str) -> str:
    """The module of the network that an equation is of, and the line of code."""
    # Flax names a method of a module Module.method, and the whole network by its class: what is left are the names of
    # the modules inside.
    parts = [part for part in str(eqn.source_info.name_stack).split("/") if part and "(" not in part]
    whole = next((part.partition(".")[0] for part in parts if "." in part), "")
    names = [part for place, part in enumerate(parts) if "." not in part and (place or part != whole)]
    outside, _, outer_line = outer.partition(" (")
    module = "/".join(filter(None, [outside, *names]))
    installed = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), "<")
    frames = eqn.source_info.traceback.frames if eqn.source_info.traceback is not None else ()
    line = next((f"{os.path.basename(os.path.dirname(frame.file_name))}/{os.path.basename(frame.file_name)}:"
                 f"{frame.line_num})" for frame in frames if not frame.file_name.startswith(installed)), outer_line)
    return f"{module} ({line}" if line else module
