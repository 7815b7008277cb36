"""An ONNX file in eight bits, by onnxruntime's own tools: a quarter of the size.

Weights are whole numbers of eight bits; the range of what a layer is given is measured anew in every call (dynamic
quantisation), over all pictures of the call, so that a picture's numbers depend a little on its neighbours.
"""

import logging
import os
import tempfile

import onnx
from onnxruntime import quantization


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its convolutions and products in eight bits, but for the first layer: that one is small, and what
    it is given has the widest range.

    Weights are unsigned and symmetric: processors without instructions for eight bits lose digits of signed ones, and
    then give other numbers than those on which the file was proven.
    """
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    first = [node.name for node in layers if node.input[1] == layers[0].input[1]]  # of the mirrored picture too
    with tempfile.TemporaryDirectory() as folder:
        path, disabled = os.path.join(folder, "model.onnx"), logging.root.manager.disable
        logging.disable(logging.WARNING)  # that there are further tools
        try:
            quantization.quantize_dynamic(
                model, path, op_types_to_quantize=["Conv", "MatMul"], weight_type=quantization.QuantType.QUInt8,
                nodes_to_exclude=first, extra_options={"WeightSymmetric": True})
        finally:
            logging.disable(disabled)
        made = onnx.load(path)
    onnx.checker.check_model(made, full_check=True)
    return made
