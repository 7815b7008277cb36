"""From images to embeddings: the step on the devices, and a whole source through it."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import hosts
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process.mesh import AXIS


class Embedded(NamedTuple):
    """Row i is image i of the source. Where `readable` is False the row is zero, and `problems` has a line for it."""

    embeddings: np.ndarray  # f32[N,D], or f32[N,h,w,C] of a layer's map; not normalised
    readable: np.ndarray    # bool[N]
    problems: list[str]


def normalize(images, input):
    """u8[B,H,W,3] -> f32[B,H,W,3]: on the device, so that bytes cross the bus; NumPy's arrays here. input: that
    section, for mean and std.
    """
    return (images.astype(np.float32) - np.float32(input.mean)) / np.float32(input.std)


def make_embed(embedder, input, *, layer: str | tuple[str, ...] = "", pooled: bool = True,
               average_horizontal_flips: bool = False) -> Callable:
    """(variables, images) -> f32[B,D], not normalised: the mathematics, for any number of images on one device.

    images: u8[B,S,S,3], or f32[B,S,S,3] as `normalize` gives them where input is None. The other arguments are those of
    `make_embed_step`.
    """

    def pick(named, layer):
        if layer not in named:
            raise UserError(f"layer {layer!r} is not one of {', '.join(named)}")
        values = named[layer].astype(jnp.float32)
        return jnp.mean(values, axis=(1, 2)) if pooled and values.ndim == 4 else values

    def one_view(variables, images):
        if not layer:
            return embedder.apply(variables, images, train=False)
        named = embedder.apply(variables, images, train=False, method="features")
        return pick(named, layer) if isinstance(layer, str) else {name: pick(named, name) for name in layer}

    def mean(one, mirrored):
        # A map of the mirrored image is turned back, so that its places are those of the image.
        return (one + (jnp.flip(mirrored, 2) if mirrored.ndim == 4 else mirrored)) / 2

    def embed(variables, images):
        images = images if input is None else normalize(images, input)
        embeddings = one_view(variables, images)
        if average_horizontal_flips:
            embeddings = jax.tree.map(mean, embeddings, one_view(variables, jnp.flip(images, 2)))
        return embeddings

    return embed


def make_embed_step(embedder, mesh: jax.sharding.Mesh, input, *, layer: str | tuple[str, ...] = "",
                    pooled: bool = True, average_horizontal_flips: bool = False) -> Callable:
    """jit'ed (variables, images u8[B,S,S,3] split along B) -> f32[B,D] on every device, not normalised.

    input: that section of a configuration. layer: where the embedding is taken from, averaged over its map; "" is the
    embedder's own. Of several layers, named in a tuple, it gives each by its name. pooled: False gives the layer's map
    as it is, f32[B,h,w,C]. average_horizontal_flips: gives the mean of what the image and its mirror give.
    """
    embed = make_embed(embedder, input, layer=layer, pooled=pooled, average_horizontal_flips=average_horizontal_flips)
    sharded = jax.shard_map(embed, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS))
    return jax.jit(sharded, out_shardings=NamedSharding(mesh, P()))


def embed_source(embed: Callable, variables, source: datasets.Source, mesh: jax.sharding.Mesh, *, input, loader,
                 batch_size: int, progress: Callable[[int], None] = lambda images: None, one_shape: bool = False,
                 detection=None) -> Embedded:
    """Every image of the source through `embed`. An image that cannot be read is reported, not fatal.

    Each process reads its share, and all of them return everything.
    input, loader: the sections `input` and `run` of a configuration. batch_size: images at a time, over all devices.
    progress: is told of images of all processes. one_shape: batches are of this size also where there are few images.
    detection: of a detector that section, into whose height and width images are letterboxed.
    """
    embeddings, readable = None, np.zeros(len(source), bool)
    size = batch_size if one_shape else even_batch(batch_size, len(source), mesh.size)
    for places, rows, count in batches_of(embed, variables, source, mesh, input=input, loader=loader, batch_size=size,
                                          detection=detection):
        if embeddings is None:
            embeddings = np.zeros((len(source), *rows.shape[1:]), np.float32)
        embeddings[places], readable[places] = rows, True
        progress(count)
    return Embedded(embeddings, readable, [datasets.problem(source, index) for index in np.flatnonzero(~readable)])


def batches_of(embed: Callable, variables, source: datasets.Source, mesh: jax.sharding.Mesh, *, input, loader,
               batch_size: int, detection=None) -> Iterator[tuple[np.ndarray, Any, int]]:
    """As `embed_source`, batch by batch in the order of the source: (places of the images that could be read i[b], what
    `embed` gives of them, images gone through).
    """
    batches = (datasets.eval_batches if detection is None else
               functools.partial(datasets.detection_eval_batches, detection=detection))
    for batch in batches(source, input=input, batch_size=batch_size, threads=loader.loader_threads,
                         workers=loader.loader_workers, buffer=loader.loader_buffer, **hosts.share()):
        # Where each row comes from travels with it: devices need not be in the order of their hosts.
        placed = meshes.put_batch(mesh, {"image": batch["image"], "mask": batch["mask"],
                                         "index": batch["index"].astype(np.int32)})
        rows = jax.tree.map(np.asarray, embed(variables, placed["image"]))
        mask, index = meshes.everywhere(placed["mask"]), meshes.everywhere(placed["index"])
        yield index[mask], jax.tree.map(lambda values, mask=mask: values[mask], rows), int((index >= 0).sum())


def even_batch(wanted: int, images: int, devices: int) -> int:
    """Images at a time: as configured, fewer where there are few, and always the same number for every device.

    Few sizes only, because each is a program to compile.
    """
    few = 1 << max(images - 1, 0).bit_length()
    return math.ceil(min(max(wanted, 1), few) / devices) * devices
