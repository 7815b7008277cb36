"""What several operations are together: ReLU, PReLU, softplus, softmax, means, lengths, convolutions and dense layers
with all that is multiplied and added to their results, BatchNorm among it.

A pattern replaces the last of its operations; those before it go where nothing else uses them. What is folded into
weights is worked out in float64.
"""

import dataclasses
import math

import numpy as np

from geodesic.experiments.exporting.trace import Graph, Op, Value


def recognised(graph: Graph) -> Graph:
    """The graph with patterns in place of operations: softplus, relu, prelu, softmax, mean, mean_pool, length, conv and
    dense with a bias, affine."""
    for replace in (_softplus, _rectifier, _softmax, _mean, _length, _layer, _affine, _folded):
        graph = _replaced(graph, replace)
    return graph


def _replaced(graph: Graph, replace) -> Graph:
    """The graph in which `replace(op, producers, uses)` has given another operation for some, or None."""
    ops, producers, uses = [], {}, graph.uses()
    for op in graph.ops:
        op = replace(op, producers, uses) or op
        producers[op.output] = op
        ops.append(op)
    return Graph(graph.input, ops, graph.outputs).without_unused()


def _made_by(value, name: str, producers: dict) -> Op | None:
    op = producers.get(value) if isinstance(value, Value) else None
    return op if op is not None and op.name == name else None


def _is(value, number: float) -> bool:
    return isinstance(value, np.ndarray) and value.size > 0 and bool((value == number).all())


def _split(op: Op) -> tuple[Value, np.ndarray] | None:
    """(the input that depends on the images, the one that is known) of an operation of two, in either order."""
    if len(op.inputs) != 2 or sum(isinstance(value, Value) for value in op.inputs) != 1:
        return None
    return (*op.inputs,) if isinstance(op.inputs[0], Value) else (*op.inputs[::-1],)


def _softplus(op: Op, producers: dict, uses: dict) -> Op | None:
    """max(x, 0) + log(1 + exp(-|x|)), but for what is not a number."""
    if op.name != "select_n" or not (wrong := _made_by(op.inputs[0], "ne", producers)) or (
            wrong.inputs[0] is not wrong.inputs[1]):
        return None
    shifted, total = _made_by(wrong.inputs[0], "sub", producers), _made_by(op.inputs[1], "add", producers)
    if not shifted or not total or not _is(shifted.inputs[1], 0):
        return None
    largest = _made_by(total.inputs[0], "max", producers)
    small = _behind(total.inputs[1], ("log1p", "exp", "neg", "abs"), producers)
    if largest and small and largest.inputs[0] is shifted.inputs[0] and _is(largest.inputs[1], 0) and (
            small.inputs[0] is shifted.output):
        return dataclasses.replace(op, name="softplus", inputs=shifted.inputs[:1])
    return None


def _rectifier(op: Op, producers: dict, uses: dict) -> Op | None:
    """max(x, 0); where(x <= 0, 0, x); where(x > 0, x, slope * x)."""
    if op.name == "max" and (given := _split(op)) and _is(given[1], 0):
        return dataclasses.replace(op, name="relu", inputs=[given[0]])
    if op.name != "select_n" or len(op.inputs) != 3:
        return None
    chosen, otherwise, where_true = op.inputs
    compared = producers.get(chosen) if isinstance(chosen, Value) else None
    if compared is None or not _is(compared.inputs[1], 0):
        return None
    x = compared.inputs[0]
    if compared.name in ("le", "lt") and otherwise is x and _is(where_true, 0):
        return dataclasses.replace(op, name="relu", inputs=[x])
    sloped = _made_by(otherwise, "mul", producers)
    if compared.name in ("gt", "ge") and where_true is x and sloped and (given := _split(sloped)) and given[0] is x:
        return dataclasses.replace(op, name="prelu", inputs=[x, given[1]])
    return None


def _mean(op: Op, producers: dict, uses: dict) -> Op | None:
    """A sum, or the sum of every window, divided by how many there are."""
    if op.name != "div":
        return None
    total, number = op.inputs
    summed, size = _made_by(total, "reduce_sum", producers), _behind(number, ("convert_element_type",), producers)
    free = _made_by(size.inputs[0], "dim_as_value", producers) if size else None  # height times width
    if summed and None not in (sizes := [summed.inputs[0].shape[axis] for axis in summed.params["axes"]]):
        count = math.prod(sizes)
        if _is(number, count) if isinstance(count, int) else free and free.params["dim"] == count:
            return dataclasses.replace(op, name="mean", inputs=summed.inputs, params=summed.params)
    windows = _made_by(total, "reduce_window_sum", producers)
    if windows and _is(number, math.prod(windows.params["window_dimensions"])):
        return dataclasses.replace(op, name="mean_pool", inputs=windows.inputs, params=windows.params)
    return None


def _length(op: Op, producers: dict, uses: dict) -> Op | None:
    """The square root of a sum of squares."""
    if op.name != "sqrt" or not (summed := producers.get(op.inputs[0])):
        return None
    kept = summed.name == "reshape" and len(summed.output.shape) > len(summed.inputs[0].shape)
    reduced = _made_by(summed.inputs[0], "reduce_sum", producers) if kept else summed
    if reduced is None or reduced.name != "reduce_sum":
        return None
    squared = producers.get(reduced.inputs[0])
    if squared is None or not (squared.name == "square" or (squared.name == "mul" and squared.inputs[0]
                                                           is squared.inputs[1])):
        return None
    return dataclasses.replace(op, name="length", inputs=squared.inputs[:1],
                               params={"axes": reduced.params["axes"], "kept": kept})


def _softmax(op: Op, producers: dict, uses: dict) -> Op | None:
    """e / sum(e) of e = exp(x - max(x)), along one axis."""
    if op.name != "div" or not (exponent := _made_by(op.inputs[0], "exp", producers)):
        return None
    summed = _behind(op.inputs[1], ("reshape", "reduce_sum"), producers)
    shifted = _made_by(exponent.inputs[0], "sub", producers)
    if not summed or not shifted or summed.inputs[0] is not exponent.output:
        return None
    largest = _behind(shifted.inputs[1], ("reshape", "max", "reduce_max"), producers)
    if not largest or largest.inputs[0] is not shifted.inputs[0] or largest.params["axes"] != summed.params["axes"]:
        return None
    return dataclasses.replace(op, name="softmax", inputs=shifted.inputs[:1], params={"axis": summed.params["axes"][0]})


def _behind(value, names: tuple[str, ...], producers: dict) -> Op | None:
    """The last operation of this chain of them, the nearest to the result first, each of one `Value`."""
    for name in names:
        op = _made_by(value, name, producers)
        if op is None:
            return None
        value = next(one for one in op.inputs if isinstance(one, Value))
    return op


def _layer(op: Op, producers: dict, uses: dict) -> Op | None:
    """A convolution, or a product with a known matrix, as a layer: x, kernel and a bias of zeros."""
    if op.name == "conv_general_dilated" and isinstance(op.inputs[1], np.ndarray):
        kernel = op.inputs[1].transpose(op.params["dimension_numbers"].rhs_spec)  # [F,C/groups,K,K]
        return dataclasses.replace(op, name="conv", inputs=[op.inputs[0], kernel, np.zeros(len(kernel))])
    if op.name == "dot_general" and isinstance(op.inputs[0], Value) and isinstance(op.inputs[1], np.ndarray):
        matrix, contracted = op.inputs[1], op.params["dimension_numbers"]
        if matrix.ndim == 2 and len(op.inputs[0].shape) == 2 and contracted in (
                (((1,), (0,)), ((), ())), (((1,), (1,)), ((), ()))):
            matrix = matrix.T if contracted[0][1] == (0,) else matrix  # [D,F]
            return dataclasses.replace(op, name="dense", inputs=[op.inputs[0], matrix, np.zeros(len(matrix))])
    return None


def _affine(op: Op, producers: dict, uses: dict) -> Op | None:
    """x * scale + shift, of a chain of sums and products with known numbers for each feature, in float64."""
    if op.name not in ("add", "sub", "mul", "div") or not (given := _split(op)) or op.output.dtype != np.float32:
        return None
    (x, known), reverse = given, isinstance(op.inputs[1], Value)
    for_each_feature = known.size in (1, x.shape[-1]) and known.shape[-1:] in ((), (known.size,))
    if not for_each_feature or (op.name == "div" and reverse):
        return None
    chain, known = [(op.name, op.inputs)], known.reshape(-1).astype(np.float64)
    scale, shift = np.ones(1), np.zeros(1)
    before = _made_by(x, "affine", producers)
    if before and uses[x] == 1:
        (x, scale, shift), chain = before.inputs, [*before.params["chain"], *chain]
    with np.errstate(divide="ignore"):
        factor = {"mul": known, "div": 1 / known, "add": 1.0, "sub": -1.0 if reverse else 1.0}[op.name]
    plus = {"add": known, "sub": known if reverse else -known}.get(op.name, 0.0)
    return dataclasses.replace(op, name="affine", inputs=[x, scale * factor, shift * factor + plus],
                               params={"chain": chain})


def _folded(op: Op, producers: dict, uses: dict) -> Op | None:
    """What is done to each feature of a layer's result becomes part of the layer."""
    if op.name != "affine":
        return None
    x, scale, shift = op.inputs
    layer = producers.get(x)
    if layer is None or layer.name not in ("conv", "dense") or uses[x] != 1:
        return None
    _, kernel, bias = layer.inputs
    factor = np.broadcast_to(scale, bias.shape)
    kernel = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
    return dataclasses.replace(layer, inputs=[layer.inputs[0], kernel, bias * factor + shift], output=op.output)
