"""Faults that exporters have, done to a file: each a small change after which it still is a model that runs."""

import re

import numpy as np
from onnx import helper, numpy_helper


def nodes(model, *kinds: str) -> list:
    return [node for node in model.graph.node if node.op_type in kinds]


def array(model, name: str):
    return next(one for one in model.graph.initializer if one.name == name)


def change(model, name: str, function) -> None:
    """Puts other numbers in the place of a weight's."""
    stored = array(model, name)
    values = np.asarray(function(numpy_helper.to_array(stored).copy()), numpy_helper.to_array(stored).dtype)
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def attribute(node, name: str, value) -> None:
    for place, known in enumerate(node.attribute):
        if known.name == name:
            del node.attribute[place]
            break
    node.attribute.append(helper.make_attribute(name, value))


def get(node, name: str):
    return next(helper.get_attribute_value(known) for known in node.attribute if known.name == name)


def kernels(model, least: int = 1) -> list[str]:
    """The names of convolutions' weights of at least this size, once each."""
    return sorted({node.input[1] for node in nodes(model, "Conv") if get(node, "kernel_shape")[0] >= least})


def pad_moved(model, rng) -> None:
    """All padding of a strided convolution at the end, as "SAME" has it."""
    strided = [node for node in nodes(model, "Conv") if get(node, "strides")[0] == 2 and sum(get(node, "pads"))]
    for node in _alike(strided, rng):
        pads = get(node, "pads")
        attribute(node, "pads", [0, 0, pads[0] + pads[2], pads[1] + pads[3]])


def pool_pad_moved(model, rng) -> None:
    for node in nodes(model, "MaxPool"):
        pads = get(node, "pads")
        attribute(node, "pads", [pads[2], pads[3], pads[0], pads[1]] if pads[0] != pads[2] else [0, 0, 2, 2])


def stride_moved(model, rng) -> None:
    """The stride of a block on its other convolution."""
    blocks = sorted({node.name.rpartition("/conv1")[0] for node in nodes(model, "Conv")
                     if "/conv1/" in node.name and get(node, "strides")[0] == 2})
    block = blocks[rng.integers(len(blocks))]
    for node in nodes(model, "Conv"):
        if node.name.startswith((f"{block}/conv1/", f"{block}/conv2/")):
            attribute(node, "strides", [1, 1] if "/conv1/" in node.name else [2, 2])


def sign_of_a_channel(model, rng) -> None:
    """Of all weights that make one channel: a single number may be of a unit that no picture reaches."""
    def flip(values):
        values[rng.integers(len(values))] *= -1
        return values

    change(model, _one(kernels(model), rng), flip)


def outputs_swapped(model, rng) -> None:
    change(model, _one(kernels(model), rng), lambda values: values[[1, 0, *range(2, len(values))]])


def kernel_transposed(model, rng) -> None:
    change(model, _one(kernels(model, 3), rng), lambda values: values.swapaxes(2, 3))


def bias_forgotten(model, rng) -> None:
    change(model, _one(sorted({node.input[2] for node in nodes(model, "Conv", "Gemm") if len(node.input) > 2}), rng),
           lambda values: 0 * values)


def mean_swapped(model, rng) -> None:
    """Blue first."""
    change(model, nodes(model, "Sub")[0].input[1], lambda values: values[::-1])


def std_of_another_range(model, rng) -> None:
    change(model, nodes(model, "Div")[0].input[1], lambda values: values * 256 / 255)


def colours_swapped(model, rng) -> None:
    change(model, nodes(model, "Conv")[0].input[1], lambda values: values[:, ::-1])


def epsilon_of_batch_norm(model, rng) -> None:
    """1e-3 in place of 1e-5, where all variances are 1."""
    for name in kernels(model):
        change(model, name, lambda values: values * np.sqrt((1 + 1e-5) / (1 + 1e-3)))


def axis_of_a_mean(model, rng) -> None:
    """Over the batch in place of the features."""
    for node in nodes(model, "ReduceMean"):
        attribute(node, "axes", [0])


def axis_of_the_length(model, rng) -> None:
    attribute(nodes(model, "ReduceL2")[-1], "axes", [0])


def mirror_dropped(model, rng) -> None:
    """The mirrored image is the image."""
    node = nodes(model, "Slice")[0]
    replacement = helper.make_node("Identity", [node.input[0]], list(node.output), node.name)
    node.CopyFrom(replacement)


def mirror_of_the_other_axis(model, rng) -> None:
    change(model, nodes(model, "Slice")[0].input[3], lambda values: values - 1)


def rectifier_dropped(model, rng) -> None:
    for node in _alike(nodes(model, "Relu"), rng):
        node.op_type = "Identity"


def pool_of_another_kind(model, rng) -> None:
    for node in nodes(model, "GlobalAveragePool"):
        node.op_type = "GlobalMaxPool"


def border_of_an_average(model, rng) -> None:
    for node in _alike(nodes(model, "AveragePool"), rng):
        attribute(node, "count_include_pad", 0)


def branches_in_another_order(model, rng) -> None:
    for node in _alike(nodes(model, "Concat"), rng):
        first, second, *others = node.input
        node.input[:] = [second, first, *others]


RESNET = (pad_moved, pool_pad_moved, stride_moved, sign_of_a_channel, outputs_swapped, kernel_transposed,
          bias_forgotten, mean_swapped, std_of_another_range, colours_swapped, epsilon_of_batch_norm, axis_of_a_mean,
          axis_of_the_length, mirror_dropped, mirror_of_the_other_axis, rectifier_dropped, pool_of_another_kind)
INCEPTION = (pool_pad_moved, sign_of_a_channel, border_of_an_average, branches_in_another_order, rectifier_dropped)


def _one(names: list[str], rng) -> str:
    return names[rng.integers(len(names))]


def _alike(found: list, rng) -> list:
    """One of the nodes, and with it that of the mirrored half, which has the same name but for a number."""
    plain = lambda node: re.sub(r"_\d+$", "", node.name)
    chosen = plain(found[rng.integers(len(found))])
    return [node for node in found if plain(node) == chosen]
