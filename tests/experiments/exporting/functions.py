"""Functions of images to export, with seeded weights, and what onnxruntime makes of them."""

import jax
import numpy as np
import onnxruntime

from geodesic import embedders
from geodesic.embedders.cpu import backend
from geodesic.experiments.exporting import write


def weights(module, size: int, seed: int = 0):
    """Variables whose numbers say something: no statistic is 0 or 1, no scale 1."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), "float32"))

    def leaf(path, like):
        name = path[-1].key
        if name in ("var", "scale"):
            return rng.uniform(0.5, 1.5, like.shape).astype(np.float32)
        if name == "p":
            return np.float32(2.5)
        spread = np.sqrt(2 / np.prod(like.shape[:-1])) if len(like.shape) > 1 else 0.1
        return (spread * rng.standard_normal(like.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def embedder(name: str, size: int = 32, layer: str = "embedding", **fields):
    """The function of images f32[B,S,S,3] that an embedder is, in the forms that are exported."""
    module = embedders.build(name, convolution="native", **fields)
    variables = weights(module, size)

    def function(images):
        with backend.compiling_for("tpu"):
            return module.apply(variables, images, method="features")[layer]

    return function


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, *shape), np.float32)


def model(function, *shape: int, dtype=np.float32):
    return write.onnx_model(function, shape, dtype, ("output",), {})


def kinds(made) -> list[str]:
    """The operators of a model's nodes, in order."""
    return [node.op_type for node in made.graph.node]


def arrays(made, given: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": given})


def run(made, given: np.ndarray) -> np.ndarray:
    return arrays(made, given)[0]


def difference(function, made, given: np.ndarray) -> float:
    """The greatest difference between a function and its model, as a share of the largest number, for all images and
    for the first alone."""
    wanted = np.asarray(jax.jit(function)(given))
    found = [run(made, given), run(made, given[:1])]
    assert found[0].shape == wanted.shape and found[1].shape == wanted[:1].shape
    return max(np.abs(rows - wanted[:len(rows)]).max() / np.abs(wanted).max() for rows in found)
