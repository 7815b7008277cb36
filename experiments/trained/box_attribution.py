"""Which places of a picture make the score of a detector's box.

Its towers are no sum over the places of a map (GroupNorm, several ReLUs), so what a place adds is gradient times value
at the trunk's maps that the head reads, and `error` says what their sum lacks.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from geodesic.datasets import box_views
from geodesic.errors import UserError
from geodesic.experiments.trained import attribution, detector, embedding, inputs
from geodesic.heads.detection import postprocess, pyramid


class Boxed(NamedTuple):
    """A picture, and one of the boxes that a detector finds in it.

    name: its class. score: as `run.detect` gives it. logit: ln(score / (1 - score)), which the maps are of.
    box: f32[4], x1, y1, x2, y2 in pixels of the picture. shown: f32[4], the same in pixels of `view`.
    map: f64[h,w], what each cell of the trunk's finest map adds to the logit; a cell of a coarser map shares its number
    out evenly. gradient: f64[h,w], Grad-CAM of the logit at the map of the level that found the box.
    error: how far the sum of `map` is from the logit. view: u8[H,W,3], the letterboxed picture.
    output: place of the box among the head's outputs, and of its class among the names.
    """

    name: str
    score: float
    logit: float
    box: np.ndarray
    shown: np.ndarray
    map: np.ndarray
    gradient: np.ndarray
    error: float
    view: np.ndarray
    output: tuple[int, int]


def boxed(run, image, name: str = "") -> Boxed:
    """What the score of the best box is made of: of all classes, or of the one that is named.

    Args:
      run: a loaded run of --config.task=detection.
      image: as of `run.detect`, one of them.
      name: a class.

    Raises UserError for a run that is no detector, an image that cannot be read, a class that there is not, and where
    no box is found.
    """
    if run.config.task != "detection":
        raise UserError(f"{run.workdir} is no detector, but a run of --config.task={run.config.task}")
    attribution.check_class(run.class_names, name)
    source = inputs.as_source([image])
    seen = box_views.eval_view(source[0], run.config.input, run.config.detection)
    maps, points = _maps(run, seen.image), detector.points(run.embedder, run.config.detection)
    point, label, score, corners = _best(run, maps, points, seen, name, source.paths[0])
    logit, slopes = jax.value_and_grad(lambda given: _logit(_outputs(run, given), point, label))(maps)
    constant = float(_logit(_outputs(run, jax.tree.map(jnp.zeros_like, maps)), point, label))
    finest = max(one.shape[1:3] for one in maps.values())
    map_ = sum(_shared_out((slopes[layer] * maps[layer]).sum(axis=-1), finest) for layer in maps)
    map_ = map_ + constant / map_.size
    level = int(np.searchsorted(np.cumsum(points.sizes), point, side="right"))
    layer = run.embedder.head_layers[min(level, len(maps) - 1)]  # coarser levels are made of the coarsest map
    weights = slopes[layer].mean(axis=(1, 2), keepdims=True)
    cam = np.maximum(np.asarray((weights * maps[layer]).sum(axis=-1)[0], np.float64), 0)
    box = box_views.to_picture(corners[None], seen.scale, seen.offset, seen.size)[0]
    return Boxed(run.class_names[label], score, float(logit), box, corners, map_, cam,
                 abs(float(map_.sum()) - float(logit)), seen.image, (point, label))


def scores_of(run, views: np.ndarray, output: tuple[int, int]) -> np.ndarray:
    """f64[N]: the score of one output, `Boxed.output`, in other views u8[N,H,W,3], the box being what it may."""
    return np.array([jax.nn.sigmoid(_logit(_outputs(run, _maps(run, view)), *output)) for view in views], np.float64)


def _best(run, maps: dict, points, seen: box_views.Letterboxed, name: str, path: str):
    """(place among the outputs, of the class, score, its box f32[4] in pixels of the view), as detection has them."""
    options, names = run.config.detection, run.class_names
    scores, sides, decoded = postprocess.scored(_outputs(run, maps), jnp.asarray(points.places),
                                                jnp.asarray(points.strides))
    scores, sides = (np.concatenate([np.asarray(level[0]) for level in levels]) for levels in (scores, sides))
    height, width = seen.image.shape[:2]
    boxes = np.clip(decoded(np.arange(len(sides)), sides), 0, np.float32([width, height, width, height]))
    inside = box_views.to_picture(boxes, seen.scale, seen.offset, seen.size)
    there = (inside[:, 2:] > inside[:, :2]).all(axis=1)[:, None]  # what lies on the letterbox's border is nothing
    asked = np.arange(len(names)) == names.index(name) if name else True
    scores = np.where(there & asked, scores, 0.0)
    point, label = map(int, np.unravel_index(scores.argmax(), scores.shape))
    score = float(scores[point, label])
    if score <= options.smallest_score:
        raise UserError(f"no {name or 'box'} is found in {path}: the best score is {score:.2g}, and "
                        f"detection.smallest_score is {options.smallest_score:g}")
    return point, label, score, boxes[point]


def _maps(run, view: np.ndarray) -> dict[str, jnp.ndarray]:
    """Layer -> f32[1,h,w,C], the trunk's maps that the head reads, of one view."""
    images = embedding.normalize(jnp.asarray(view[None]), run.config.input)
    return _trunk(run.embedder, run.variables, images)


def _outputs(run, maps: dict[str, jnp.ndarray]) -> dict:
    return _head(run.embedder.head, {kind: values["head"] for kind, values in run.variables.items()
                                     if "head" in values}, maps)


@functools.partial(jax.jit, static_argnums=0)
def _trunk(network, variables: dict, images: jnp.ndarray) -> dict[str, jnp.ndarray]:
    named = network.apply(variables, images, train=False, method="features")
    return {layer: named[layer].astype(jnp.float32) for layer in network.head_layers}


@functools.partial(jax.jit, static_argnums=0)
def _head(head, variables: dict, maps: dict[str, jnp.ndarray]) -> dict:
    return jax.tree.map(lambda level: level.astype(jnp.float32), head.apply(variables, maps, False))


def _logit(outputs: dict, point: int, label: int) -> jnp.ndarray:
    """ln(score / (1 - score)) of an output; of anchors it is the logit of the class itself."""
    logit = jnp.concatenate([level[0] for level in outputs["logits"]])[point, label]
    if "centerness" not in outputs:
        return logit
    centre = jnp.concatenate([level[0] for level in outputs["centerness"]])[point]
    log_score = 0.5 * (jax.nn.log_sigmoid(logit) + jax.nn.log_sigmoid(centre))
    return log_score - jnp.log(-jnp.expm1(log_score))


def _shared_out(map_: jnp.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map f[1,h,w] on the cells of a finer one, f64[H,W]: each cell's number in equal parts on those it covers."""
    cells = (size[0] // map_.shape[1]) * (size[1] // map_.shape[2])
    return np.asarray(pyramid.repeated(map_[..., None], size)[0, ..., 0], np.float64) / cells
