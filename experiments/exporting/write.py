"""The ONNX file of a function of images."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from geodesic.errors import UserError
from geodesic.experiments.exporting import lower, patterns, trace

# The oldest format of files that has these operators.
_IR_VERSION = 8
# A file of protocol buffers holds 2 GiB.
_MOST_BYTES = 2**31 - 2**20


def onnx_model(function: Callable, shape: tuple[int | str, ...], dtype, outputs: Sequence[str],
               notes: dict[str, str], least: int = 1) -> onnx.ModelProto:
    """The ONNX model of a function of images dtype[B,*shape], for any B, to one array or several.

    shape, least: as of `trace.images`: sizes may be free. outputs: what the arrays are called. notes: what the file
    says of itself. Raises UserError for a primitive that no operator is known for, and for weights that no ONNX file
    can hold.
    """
    graph = patterns.recognised(trace.trace(function, shape, dtype, least))
    made = lower.lowered(graph, "images", outputs)
    size = sum(values.nbytes for values in made.weights.values())
    if size > _MOST_BYTES:
        raise UserError(f"an ONNX file holds 2 GiB, and these weights are {size / 2**30:.1f} GiB: export stablehlo")
    sizes = [["batch" if size is None else size if isinstance(size, int) else str(size) for size in value.shape]
             for value in graph.outputs]
    model = helper.make_model(
        helper.make_graph(
            made.nodes, "geodesic",
            [helper.make_tensor_value_info("images", lower.DTYPES[np.dtype(dtype)], ["batch", *shape])],
            [helper.make_tensor_value_info(output, lower.DTYPES[value.dtype], of)
             for output, value, of in zip(outputs, graph.outputs, sizes, strict=True)],
            [numpy_helper.from_array(values, name) for name, values in made.weights.items()]),
        opset_imports=[helper.make_opsetid("", lower.OPSET)], ir_version=_IR_VERSION, producer_name="geodesic")
    helper.set_model_props(model, notes)
    onnx.checker.check_model(model, full_check=True)
    return model
