"""Non-maximum suppression inside an ONNX file: after the boxes and scores of all points, what is found in a picture."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# What a file gives that `suppressed` goes on with.
POINTS = ("points/boxes", "points/scores")


def suppressed(model: onnx.ModelProto, levels: Sequence[int], *, threshold: float, smallest: float, candidates: int,
               kept: int) -> onnx.ModelProto:
    """A model that gives POINTS, f32[B,P,4] and f32[B,P,C], as one that gives boxes f32[B,K,4], scores f32[B,K] and
    classes i32[B,K], best first: what `heads.detection.postprocess.detect` makes of the same numbers.

    levels: how many points each has. kept: K. The other arguments are those of that function.
    """
    boxes, scores = POINTS
    shape = next(value for value in model.graph.output if value.name == scores).type.tensor_type.shape
    points, classes = (size.dim_value for size in shape.dim[1:])
    to = _Nodes(model.graph)
    if any(size * classes > candidates for size in levels):
        scores = _best_of_levels(to, scores, levels, classes, candidates)
    scores = to.node("Transpose", scores, perm=[0, 2, 1])  # [B,C,P]
    chosen = to.node("NonMaxSuppression", boxes, scores, to.array(np.int64([kept])),
                     to.array(np.float32([threshold])), to.array(np.float32([smallest])))  # [M,3]: image, class, point
    nothing = to.node("Mul", scores, to.array(np.float32(0)))
    left = to.node("ScatterND", nothing, chosen, to.node("GatherND", scores, chosen))
    left = to.node("Reshape", left, to.array(np.int64([0, points * classes])))
    if kept > points * classes:
        left = to.node("Pad", left, to.array(np.int64([0, 0, 0, kept - points * classes])))
    best, place = to.node("TopK", left, to.array(np.int64([kept])), outputs=("scores", "suppression/places"))
    there = to.node("Greater", best, to.array(np.float32(0)))
    number = to.array(np.int64(points))
    label = to.node("Cast", to.node("Div", place, number), to=TensorProto.INT32)
    to.node("Where", there, label, to.array(np.int32(-1)), outputs=("classes",))
    last = to.array(np.int64([2]))
    point = to.node("Unsqueeze", to.node("Mod", place, number), last)
    found = to.node("GatherND", boxes, point, batch_dims=1)
    to.node("Where", to.node("Unsqueeze", there, last), found, to.array(np.float32(0)), outputs=("boxes",))
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, kind, ["batch", kept, *more]) for name, kind, more in
        (("boxes", TensorProto.FLOAT, (4,)), ("scores", TensorProto.FLOAT, ()), ("classes", TensorProto.INT32, ())))
    onnx.checker.check_model(model, full_check=True)
    return model


def _best_of_levels(to: "_Nodes", scores: str, levels: Sequence[int], classes: int, candidates: int) -> str:
    """The scores with 0 in place of those that are not among a level's best."""
    parts, start = [], 0
    for size in levels:
        part = to.node("Slice", scores, *(to.array(np.int64([value])) for value in (start, start + size, 1)))
        start += size
        if size * classes > candidates:
            flat = to.node("Reshape", part, to.array(np.int64([0, size * classes])))
            best = to.node("TopK", flat, to.array(np.int64([candidates])), outputs=(to.name("TopK"), to.name("places")))
            least = to.node("Slice", best[0], *(to.array(np.int64([value])) for value in (-1, candidates, 1)))
            least = to.node("Unsqueeze", least, to.array(np.int64([2])))
            part = to.node("Where", to.node("GreaterOrEqual", part, least), part, to.array(np.float32(0)))
        parts.append(part)
    return to.node("Concat", *parts, axis=1)


class _Nodes:
    """Adds nodes and arrays to a graph, below a name of their own."""

    def __init__(self, graph):
        self._graph, self._count = graph, 0

    def name(self, kind: str) -> str:
        self._count += 1
        return f"suppression/{kind}_{self._count}"

    def array(self, values: np.ndarray) -> str:
        name = self.name("value")
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes):
        """The name of its output, or the names that were given."""
        made = outputs or (self.name(kind),)
        self._graph.node.append(helper.make_node(kind, inputs, made, self.name(kind), **attributes))
        return made[0] if len(made) == 1 else made
