"""From images to boxes: the step on the devices, and a whole source through it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic import datasets
from geodesic.datasets import box_views
from geodesic.errors import UserError
from geodesic.experiments.process import hosts
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process.mesh import AXIS
from geodesic.experiments.trained import detector, embedding
from geodesic.heads.detection import postprocess


class Detected(NamedTuple):
    """What is found in one picture, best first.

    Attributes:
      boxes: f32[K,4], x1, y1, x2, y2 in pixels of the picture.
      scores: f32[K].
      classes: i64[K], places among the class names.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def above(self, threshold: float) -> "Detected":
        """Those whose scores are at least this."""
        return Detected(*(values[self.scores >= threshold] for values in self))


class Found(NamedTuple):
    """Of every image of a source what is found in it; nothing where `readable` is False, and `problems` has a line.

    Attributes:
      images: a `Detected` for each image.
      sizes: i64[N,2], height and width of the pictures; 0 where they cannot be read.
      readable: bool[N].
      problems: lines.
    """

    images: list[Detected]
    sizes: np.ndarray
    readable: np.ndarray
    problems: list[str]


def make_detect(network, config, *, normalized: bool = False) -> Callable:
    """(variables, images u8[B,H,W,3]) -> `postprocess.Detections` in pixels of the network's input: the mathematics, on
    one device, of the network, decoding, the search for candidates and suppression.

    config: the sections `input` and `detection` are read. normalized: images are f32[B,H,W,3], as
    `embedding.normalize` gives them. Raises UserError for values that cannot be.
    """
    options, points = config.detection, detector.points(network, config.detection)
    if not 0 <= options.smallest_score < 1:
        raise UserError(f"detection.smallest_score is at least 0 and below 1; got {options.smallest_score:g}")

    def detect(variables, images):
        images = images if normalized else embedding.normalize(images, config.input)
        outputs = network.apply(variables, images, train=False)
        return postprocess.detect(
            outputs, points.places, points.strides, image_size=network.head.image_size,
            smallest=options.smallest_score, candidates=options.candidates, suppression=options.suppression,
            threshold=options.threshold, sigma=options.sigma, kept=options.kept)

    return detect


def make_detect_step(network, mesh: jax.sharding.Mesh, config) -> Callable:
    """jit'ed `make_detect`, of images split along B, with its result on every device: one program."""
    sharded = jax.shard_map(make_detect(network, config), mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS))
    return jax.jit(sharded, out_shardings=NamedSharding(mesh, P()))


def detect_source(detect: Callable, variables, source: datasets.Source, mesh: jax.sharding.Mesh, *, config,
                  progress: Callable[[int], None] = lambda images: None) -> Found:
    """Every image of a source through `detect`. An image that cannot be read is reported, not fatal.

    Each process reads its share, and all of them return everything. progress: is told of images of all processes.
    Raises UserError where what is found is not finite.
    """
    loader, nothing = config.run, Detected(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    images, sizes = [nothing] * len(source), np.zeros((len(source), 2), np.int64)
    size = embedding.even_batch(config.evaluation.batch_size, len(source), mesh.size)
    for batch in datasets.detection_eval_batches(
            source, input=config.input, detection=config.detection, batch_size=size, threads=loader.loader_threads,
            workers=loader.loader_workers, buffer=loader.loader_buffer, **hosts.share()):
        # Where each row comes from travels with it: devices need not be in the order of their hosts.
        placed = meshes.put_batch(mesh, {**batch, "index": batch["index"].astype(np.int32)})
        found = jax.tree.map(np.asarray, detect(variables, placed["image"]))
        of = {name: meshes.everywhere(placed[name]) for name in ("index", "mask", "scale", "offset", "size")}
        for row in np.flatnonzero(of["mask"]):
            there, index = found.classes[row] >= 0, int(of["index"][row])
            boxes, scores = found.boxes[row][there], found.scores[row][there]
            if not (np.isfinite(boxes).all() and np.isfinite(found.scores[row]).all()):
                raise UserError(f"{source.paths[index]}: what is found is not finite")
            boxes = box_views.to_picture(boxes, of["scale"][row], of["offset"][row], of["size"][row])
            inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # what lies on the letterbox's border is nothing
            images[index] = Detected(boxes[inside], scores[inside], found.classes[row][there][inside].astype(np.int64))
            sizes[index] = of["size"][row]
        progress(int((of["index"] >= 0).sum()))
    readable = sizes.all(axis=1)
    return Found(images, sizes, readable, [datasets.problem(source, index) for index in np.flatnonzero(~readable)])
