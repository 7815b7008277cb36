"""What a file is to compute: a run's function of images, to be written, and what the run itself gives for them.

Of an embedder it is the embedding, the scores of the classes, or a layer's map. Of a detector it is the box and the
scores of every point of its levels, or what is left of them after suppression.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from geodesic.embedders.cpu import backend
from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import detecting, detector, embedding
from geodesic.heads.detection import postprocess
from geodesic.metrics import retrieval

# Output -> the arrays that a file gives, in their order.
ARRAYS = {"embedding": ("embedding",), "scores": ("scores",), "map": ("map",), "boxes": ("boxes", "scores"),
          "detections": ("boxes", "scores", "classes")}
# What only a detector has.
OF_DETECTORS = ("detections", "boxes")


def function(run, wanted, dtype: str, points: bool = False) -> Callable:
    """The function of images that is exported, with its weights, to be traced for an accelerator: images as the file
    takes them -> the arrays of ARRAYS, one alone or a tuple.

    wanted: an `export_wanted.Wanted`. dtype: that the network computes in. points: of detections, all points before
    any are suppressed.
    """
    config, variables = run.config, jax.tree.map(np.asarray, run.variables)
    if wanted.output in OF_DETECTORS:
        detect = _detect(run, native(run.embedder, dtype), wanted.output == "detections" and not points,
                         wanted.preprocessing)
        return _for_accelerators(lambda images: detect(variables, images))
    embed = embedding.make_embed(
        native(up_to(run.embedder, wanted.layer), dtype), config.input if wanted.preprocessing else None,
        layer=wanted.layer, pooled=wanted.output != "map",
        average_horizontal_flips=config.evaluation.average_horizontal_flips)
    loss, params = run.classifier if wanted.output == "scores" else (None, None)

    def rows(images):
        rows = embed(variables, images)
        if loss is not None:
            scores = loss.scores(params, rows)
            return scores if loss.probabilities is None else loss.probabilities(scores)
        if wanted.output == "map":
            return rows
        length = jnp.sqrt(jnp.sum(rows * rows, axis=-1, keepdims=True))
        return rows / jnp.maximum(length, np.finfo(np.float32).tiny)

    return _for_accelerators(rows)


def expected(run, wanted, pixels: np.ndarray, dtype: str) -> dict[str, np.ndarray]:
    """What a file should give for pixels u8[N,H,W,3], by the names of its arrays: by the run's own program, on the CPU.
    """
    try:
        mesh = meshes.make(jax.devices("cpu")[:1])
    except RuntimeError as error:
        raise UserError("files are compared on the CPU, which jax does not have here: set JAX_PLATFORMS=cuda,cpu or "
                        "the like") from error
    # Sums of bfloat16 depend on the form of a convolution: there it is the exported one.
    embedder = up_to(run.embedder, wanted.layer)
    embedder = embedder.clone(dtype=dtype) if dtype == "float32" else native(embedder, dtype)
    if wanted.output == "detections":
        step = detecting.make_detect_step(embedder, mesh, run.config)
    elif wanted.output == "boxes":
        step = jax.jit(_detect(run, embedder, False, True))
    else:
        step = embedding.make_embed_step(
            embedder, mesh, run.config.input, layer=wanted.layer, pooled=wanted.output != "map",
            average_horizontal_flips=run.config.evaluation.average_horizontal_flips)
    with backend.compiling_for("tpu" if dtype != "float32" else backend.name()):
        given = step(meshes.replicate(mesh, run.variables), meshes.put_batch(mesh, pixels))
    given = [np.asarray(array) for array in jax.tree.leaves(given)]
    if wanted.output == "scores":
        given = [run.classifier.predict(given[0])]
    elif wanted.output == "embedding":
        given = [retrieval.normalized(given[0])]
    return dict(zip(ARRAYS[wanted.output], given, strict=True))


def as_taken(run, wanted, pixels: np.ndarray) -> np.ndarray:
    """Pixels u8[N,H,W,3] as the file takes them."""
    return pixels if wanted.preprocessing else embedding.normalize(pixels, run.config.input)


def up_to(embedder, layer: str):
    """The network without what lies above a layer of its trunk, and may have weights for one size alone."""
    if layer in ("", "pool", "embedding"):
        return embedder
    return embedder.clone(head=None, neck="none", pooling="average", embedding_size=None)


def native(embedder, dtype: str):
    """The network with convolutions in the form that all compilers know."""
    fields = {"convolution": "native", "dtype": dtype}
    if getattr(embedder, "stem", "") == "space_to_depth":
        fields["stem"] = "imagenet"  # the same parameters and values, of odd sides too
    return embedder.clone(**fields)


def _for_accelerators(function: Callable) -> Callable:
    def traced(images):
        with backend.compiling_for("tpu"):
            return function(images)
    return traced


def _detect(run, network, suppressed: bool, preprocessing: bool) -> Callable:
    """(variables, images) -> (boxes, scores) of all points, or `postprocess.Detections`."""
    config, points = run.config, detector.points(network, run.config.detection)
    if suppressed:
        found = detecting.make_detect(network, config, normalized=not preprocessing)
        return lambda variables, images: tuple(found(variables, images))

    def detect(variables, images):
        images = embedding.normalize(images, config.input) if preprocessing else images
        outputs = {name: jnp.concatenate(levels, axis=1).astype(jnp.float32)
                   for name, levels in network.apply(variables, images, train=False).items()}
        scores, (height, width) = jax.nn.sigmoid(outputs["logits"]), network.head.image_size
        if "offsets" in outputs:
            boxes = postprocess.decode_anchors(jnp.asarray(points.places), outputs["offsets"])
        else:
            boxes = postprocess.decode(jnp.asarray(points.places), jnp.asarray(points.strides), outputs["distances"])
            scores = jnp.sqrt(scores * jax.nn.sigmoid(outputs["centerness"])[..., None])
        return jnp.clip(boxes, 0.0, jnp.array([width, height, width, height], jnp.float32)), scores

    return detect
