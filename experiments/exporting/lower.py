"""Operations as nodes of ONNX, version 17 of its operators."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from geodesic.experiments.exporting import trace
from geodesic.experiments.exporting.nodes import MAP, Nodes, natural
from geodesic.experiments.exporting.trace import Graph, Op, Value

OPSET = 17
_PLAIN = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "pow": "Pow",
          "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf", "neg": "Neg",
          "abs": "Abs", "le": "LessOrEqual", "lt": "Less", "ge": "GreaterOrEqual", "gt": "Greater", "eq": "Equal",
          "relu": "Relu", "prelu": "PRelu", "softplus": "Softplus"}
_REDUCTIONS = {"mean": "ReduceMean", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "length": "ReduceL2"}
DTYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32,
           np.dtype(np.int64): TensorProto.INT64, np.dtype(np.uint8): TensorProto.UINT8,
           np.dtype(np.bool_): TensorProto.BOOL}


def lowered(graph: Graph, input: str, outputs: Sequence[str]) -> Nodes:
    """The nodes of a graph. input, outputs: what these arrays are called. Raises UserError for an operation that no
    operator is known for."""
    to = Nodes(graph, input)
    for op in graph.ops:
        to.scope = op.where.partition(" (")[0]
        if op.name in _PLAIN:
            _elementwise(to, op)
        elif op.name in _REDUCTIONS:
            _reduce(to, op)
        elif op.name in _OTHERS:
            _OTHERS[op.name](to, op)
        else:
            raise trace.unknown(op.name, op.where)
    to.finish(outputs)
    return to


def _elementwise(to: Nodes, op: Op, kind: str = "") -> None:
    order = next(to.order(value) for value in op.inputs if isinstance(value, Value))
    names = [to.ordered(value, order) if isinstance(value, Value) else to.known(value, order) for value in op.inputs]
    to.give(op, to.node(kind or _PLAIN[op.name], names), order)


def _affine(to: Nodes, op: Op) -> None:
    """One or two operations as they were written, and more of them as a product and a sum."""
    x, scale, shift = op.inputs
    order, chain = to.order(x), op.params["chain"]
    name = to.ordered(x, order)
    if len(chain) > 2:
        chain = [("mul", [x, scale]), ("add", [x, shift])]
    for kind, inputs in chain:
        name = to.node(_PLAIN[kind], [name if isinstance(value, Value) else to.known(value, order) for value in inputs])
    to.give(op, name, order)


def _conv(to: Nodes, op: Op) -> None:
    x, kernel, bias = op.inputs
    params, spec = op.params, op.params["dimension_numbers"]
    if params["lhs_dilation"] != (1,) * len(params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise trace.unknown("transposed or batch-grouped convolution", op.where)
    names = [to.ordered(x, spec.lhs_spec), to.array(kernel, "weight")]
    names += [to.array(bias, "bias")] if np.any(bias) else []
    to.give(op, to.node("Conv", names, kernel_shape=kernel.shape[2:], strides=params["window_strides"],
                        pads=_pads(params["padding"]), dilations=params["rhs_dilation"],
                        group=params["feature_group_count"]), spec.out_spec)


def _dense(to: Nodes, op: Op) -> None:
    x, kernel, bias = op.inputs
    kernel = kernel[:, to.shuffled[x]] if x in to.shuffled else kernel
    to.give(op, to.node("Gemm", [to.ordered(x, (0, 1)), to.array(kernel, "weight"), to.array(bias, "bias")], transB=1))


def _pads(padding) -> list[int]:
    return [low for low, _ in padding] + [high for _, high in padding]


def _pool(kind: str, **attributes) -> Callable:
    def lower(to: Nodes, op: Op) -> None:
        params, order = op.params, MAP
        outside = [params[key][axis] for key in ("window_dimensions", "window_strides") for axis in (0, 3)]
        if outside != [1] * 4 or {*params["base_dilation"]} != {1} or {*params["window_dilation"]} != {1}:
            raise trace.unknown(f"{op.name} over batch or channels, or dilated", op.where)
        pooled = to.node(kind, [to.ordered(op.inputs[0], order)], kernel_shape=params["window_dimensions"][1:3],
                         strides=params["window_strides"][1:3], pads=_pads(params["padding"][1:3]), **attributes)
        to.give(op, pooled, order)
    return lower


def _reduce(to: Nodes, op: Op) -> None:
    x, axes, kept = op.inputs[0], op.params["axes"], op.params.get("kept", False)
    order = to.order(x)
    name = to.ordered(x, order)
    places = sorted(order.index(axis) for axis in axes)
    if op.name == "mean" and not kept and order == MAP and places == [2, 3]:
        to.give(op, to.node("Flatten", [to.node("GlobalAveragePool", [name])]))
        return
    left = order if kept else tuple(axis for axis in order if axis not in axes)
    to.give(op, to.node(_REDUCTIONS[op.name], [name], axes=places, keepdims=int(kept)),
            tuple(sorted(left).index(axis) for axis in left))


def _reduce_sum(to: Nodes, op: Op) -> None:
    x, axes = op.inputs[0], op.params["axes"]
    order = to.order(x)
    places = np.array(sorted(order.index(axis) for axis in axes), np.int64)
    left = tuple(axis for axis in order if axis not in axes)
    to.give(op, to.node("ReduceSum", [to.ordered(x, order), to.array(places, "axes")], keepdims=0),
            tuple(sorted(left).index(axis) for axis in left))


def _reshape(to: Nodes, op: Op) -> None:
    x, shape = op.inputs[0], op.output.shape
    order = to.order(x)
    known = all(isinstance(size, int) for size in x.shape[1:])
    if len(x.shape) == 4 and order == MAP and len(shape) == 2 and shape[0] is None and known:
        places = np.arange(math.prod(x.shape[1:])).reshape(x.shape[1:]).transpose(2, 0, 1).reshape(-1)
        moved = bool((places != np.arange(len(places))).any())
        if not moved or to.only_dense(op.output):
            to.give(op, to.node("Flatten", [to.ordered(x, order)]))
            to.shuffled |= {op.output: places} if moved else {}
            return
    before, after = ([axis for axis, size in enumerate(sizes) if size != 1] for sizes in (x.shape, shape))
    found = natural(op.output)
    if [x.shape[axis] for axis in before] == [shape[axis] for axis in after]:  # axes of 1 come or go: all others stay
        found = tuple(after[before.index(axis)] for axis in order if axis in before)
        found += tuple(axis for axis in range(len(shape)) if axis not in after)
    else:
        order = natural(x)
    sizes = np.array([shape[axis] if isinstance(shape[axis], int) else -1 for axis in found], np.int64)
    if (sizes == -1).sum() > 1 and shape[found[0]] is None and x.shape[order[0]] is None:
        sizes[0] = 0  # the batch is as it was
    if (sizes == -1).sum() > 1:
        raise trace.unknown("reshape to several sizes that depend on the batch or on the images' size", op.where)
    to.give(op, to.node("Reshape", [to.ordered(x, order), to.array(sizes, "shape")]), found)


def _expand(to: Nodes, op: Op) -> None:
    x, sizes = op.inputs[0], [1 if size is None else size for size in op.output.shape]
    if not all(isinstance(size, int) for size in sizes):
        raise trace.unknown("broadcast to a size that is free", op.where)
    sizes = np.array(sizes, np.int64)
    to.give(op, to.node("Expand", [to.ordered(x, natural(x)), to.array(sizes, "shape")]))


def _transpose(to: Nodes, op: Op) -> None:
    order, permutation = to.order(op.inputs[0]), op.params["permutation"]
    to.give(op, to.ordered(op.inputs[0], order), tuple(permutation.index(axis) for axis in order))


def _concatenate(to: Nodes, op: Op) -> None:
    order = next(to.order(value) for value in op.inputs if isinstance(value, Value))
    if any(isinstance(value, np.ndarray) for value in op.inputs):
        raise trace.unknown("concatenate of what depends on no picture", op.where)
    to.give(op, to.node("Concat", [to.ordered(value, order) for value in op.inputs],
                        axis=order.index(op.params["dimension"])), order)


def _slice(to: Nodes, op: Op) -> None:
    x, params = op.inputs[0], op.params
    order, steps = to.order(x), params["strides"] or (1,) * len(x.shape)
    cut = [axis for axis, size in enumerate(x.shape) if size is not None
           and (params["start_indices"][axis], params["limit_indices"][axis], steps[axis]) != (0, size, 1)]
    if not all(isinstance(params[key][axis], int) for key in ("start_indices", "limit_indices") for axis in cut):
        raise trace.unknown("slice of a size that is free", op.where)
    _cut(to, op, [params["start_indices"][axis] for axis in cut], [params["limit_indices"][axis] for axis in cut],
         [order.index(axis) for axis in cut], [steps[axis] for axis in cut])


def _reverse(to: Nodes, op: Op) -> None:
    axes = [to.order(op.inputs[0]).index(axis) for axis in op.params["dimensions"]]
    _cut(to, op, [-1] * len(axes), [np.iinfo(np.int64).min] * len(axes), axes, [-1] * len(axes))


def _cut(to: Nodes, op: Op, starts, ends, axes, steps) -> None:
    order = to.order(op.inputs[0])
    numbers = [to.array(np.array(values, np.int64), what) for values, what in
               ((starts, "starts"), (ends, "ends"), (axes, "axes"), (steps, "steps"))]
    to.give(op, to.node("Slice", [to.ordered(op.inputs[0], order), *numbers]), order)


def _product(to: Nodes, op: Op) -> None:
    """Any product of two arrays. What is the same for all images leaves the batch to the other."""
    (contracted, batched), letters = op.params["dimension_numbers"], iter("abcdefghijklmnopqrstuvwxyz")
    left, right = ([""] * len(value.shape) for value in op.inputs)
    for pairs in (batched, contracted):
        for one, other in zip(*pairs, strict=True):
            left[one] = right[other] = next(letters)
    for side in (left, right):
        side[:] = [letter or next(letters) for letter in side]
    result = [left[axis] for axis in batched[0]]
    for side, axes in ((left, (*contracted[0], *batched[0])), (right, (*contracted[1], *batched[1]))):
        result += [letter for axis, letter in enumerate(side) if axis not in axes]
    names, terms = [], []
    for value, side in zip(op.inputs, (left, right), strict=True):
        if isinstance(value, np.ndarray):
            same = tuple(axis for axis in batched[0 if side is left else 1] if value.shape[axis] == 1)
            names.append(to.array(np.squeeze(value, same), "weight"))
            terms.append("".join(letter for axis, letter in enumerate(side) if axis not in same))
        else:
            order = to.order(value)
            names.append(to.ordered(value, order))
            terms.append("".join(side[axis] for axis in order))
    to.give(op, to.node("Einsum", names, equation=f"{terms[0]},{terms[1]}->{''.join(result)}"))


def _power(to: Nodes, op: Op) -> None:
    order = to.order(op.inputs[0])
    exponent = to.array(np.float32(op.params["y"] if op.name == "integer_pow" else 2))
    to.give(op, to.node("Pow", [to.ordered(op.inputs[0], order), exponent]), order)


def _rsqrt(to: Nodes, op: Op) -> None:
    order = to.order(op.inputs[0])
    to.give(op, to.node("Reciprocal", [to.node("Sqrt", [to.ordered(op.inputs[0], order)])]), order)


def _softmax(to: Nodes, op: Op) -> None:
    order = to.order(op.inputs[0])
    to.give(op, to.node("Softmax", [to.ordered(op.inputs[0], order)], axis=order.index(op.params["axis"])), order)


def _choose(to: Nodes, op: Op) -> None:
    """select_n(which, where false, where true) is Where(which, where true, where false)."""
    which, no, yes = op.inputs
    _elementwise(to, Op("where", [which, yes, no], {}, op.output, op.where), "Where")


def _convert(to: Nodes, op: Op) -> None:
    order, dtype = to.order(op.inputs[0]), np.dtype(op.params["new_dtype"])
    if dtype not in DTYPES:
        raise trace.unknown(f"convert_element_type to {dtype}", op.where)
    to.give(op, to.node("Cast", [to.ordered(op.inputs[0], order)], to=DTYPES[dtype]), order)


_OTHERS: dict[str, Callable] = {
    "affine": _affine, "conv": _conv, "dense": _dense, "dot_general": _product, "reduce_window_max": _pool("MaxPool"),
    "mean_pool": _pool("AveragePool", count_include_pad=1), "reduce_sum": _reduce_sum, "reshape": _reshape,
    "squeeze": _reshape, "expand_dims": _reshape, "expand": _expand, "transpose": _transpose,
    "concatenate": _concatenate, "slice": _slice, "rev": _reverse, "integer_pow": _power, "square": _power,
    "rsqrt": _rsqrt, "softmax": _softmax, "select_n": _choose, "convert_element_type": _convert}
