"""The network of a configuration: its embedder with its head, and the embedder's variables before any training."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from geodesic import embedders, heads
from geodesic.errors import UserError


def make_embedder(options, head=None) -> nn.Module:
    """The embedder of the sections `embedder` and `head` of a configuration; without the second it has no head.

    Fields that are None are left to the embedder. Raises UserError for a name, field or value that there is not, and
    for fields of the neck beside a head, which takes its place.
    """
    fields = {key: value for key, value in options.items() if key != "name" and value is not None}
    if head is not None and head.name:
        given = [f"{key}={fields[key]}" for key in ("pooling", "neck", "dropout") if key in fields]
        if given:
            raise UserError(f"head {head.name!r} takes the place of pooling and neck, and config.embedder has "
                            f"{', '.join(given)}: leave it out, or the head")
        fields |= {"head": make_head(head), "head_layers": head.layers}
    elif head is not None and head.layers:
        raise UserError(f"head.layers {head.layers} are of no head: give --config.head.name=..., one of "
                        f"{', '.join(heads.HEADS)}")
    return embedders.build(options.name, **fields)


def make_head(options) -> nn.Module:
    """The head of the section `head` of a configuration. Raises UserError for a name or value that there is not."""
    return heads.build(options.name, **(dict(options[options.name]) if options.name in heads.HEADS else {}))


def image_size(config) -> int | tuple[int, int]:
    """Pixels of what the network of a configuration sees: the side of a square, or the height and width of a
    detector's images. All functions here take either.
    """
    return (config.detection.height, config.detection.width) if config.task == "detection" else config.input.image_size


def init_embedder(embedder: nn.Module, image_size: int | tuple[int, int], seed: int) -> dict:
    """{"params", "batch_stats"} of an embedder before its first step: a function of the run's seed alone."""
    rng, _ = split(seed)
    return {"batch_stats": {}} | _init(embedder, image_size, rng)[1]


def untrained(embedder: nn.Module, config) -> dict:
    """The variables with which a run of this configuration started: the control of what its training has done."""
    # Compiled: one by one its hundreds of small operations take seconds.
    return jax.jit(lambda: init_embedder(embedder, image_size(config), config.seed))()


def split(seed: int) -> tuple[jax.Array, jax.Array]:
    """The keys from which a run initialises its embedder and its loss."""
    embedder_rng, loss_rng = jax.random.split(jax.random.key(seed))
    return embedder_rng, loss_rng


def abstract(embedder: nn.Module, image_size: int | tuple[int, int]) -> tuple[Any, dict]:
    """(outputs of two images, variables): their shapes and dtypes, of which nothing is computed."""
    outputs, variables = jax.eval_shape(functools.partial(_init, embedder, image_size), jax.random.key(0))
    return outputs, {"batch_stats": {}} | variables


def size_of(outputs) -> int:
    """How many numbers an embedding has; 0 of a network whose output is several arrays."""
    return outputs.shape[-1] if hasattr(outputs, "shape") else 0


def layers(embedder: nn.Module, image_size: int | tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """The named layers of an embedder, each with the shape that it gives for one image. Nothing is computed.

    What a detector gives in place of an embedding is no layer.
    """
    images = jax.ShapeDtypeStruct(_shape(image_size), jnp.float32)
    variables = jax.eval_shape(lambda rng, images: embedder.init(rng, images, train=False), jax.random.key(0), images)
    order = []

    def features(variables, images):
        named = embedder.apply(variables, images, train=False, method="features")
        order.extend(named)  # from the first layer to the last, which jax's sorted dictionaries forget
        return named

    shapes = jax.eval_shape(features, variables, images)
    return {name: tuple(shapes[name].shape[1:]) for name in order if hasattr(shapes[name], "shape")}


def _init(embedder: nn.Module, image_size: int | tuple[int, int], rng: jax.Array):
    """(embeddings of two blank images, variables)."""
    return embedder.init_with_output(rng, jnp.zeros(_shape(image_size), jnp.float32), train=False)


def _shape(image_size: int | tuple[int, int]) -> tuple[int, int, int, int]:
    """Of two images."""
    height, width = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    return 2, height, width, 3
