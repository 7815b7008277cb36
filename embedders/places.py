"""What each place of a map adds to the embedding: the embedding is the sum of them all.

With it a cosine is a sum over the places of two images, without a gradient and without an approximation:
<a, b> / (|a| |b|) = sum of <a_i, b> / (|a| |b|), where a_i is what place i of the first image adds.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from ..errors import UserError


class Contributions(NamedTuple):
    """embeddings: f32[B,D], not normalised. parts: f32[B,h,w,D], whose sum over the h * w places is the embedding."""

    embeddings: jnp.ndarray
    parts: jnp.ndarray


def contributions(embedder: nn.Module, variables: dict, images: jnp.ndarray, layer: str = "") -> Contributions:
    """What each place of the pooled map adds to the embedding of each image.

    * Average pooling: each place adds its vector, divided by the number of places. With the maximum, a channel is added
      by the place that has it (by equal ones in equal shares); with the generalised mean, by each place in proportion
      to x^p, so that p = 1 is the average and the largest p the maximum; flattened, by the weights of the place.
    * What follows is affine: it is applied to every part, and its constant is spread over all places evenly. LayerNorm
      divides by the deviation of the image's whole pooled vector, which is taken as it is: a part says what the place
      adds at that deviation.

    For average pooling it is the map of Stylianou, Souvenir, Pless: Visualizing Deep Similarity Networks, 2019,
    arXiv:1901.00536, and of Zhu, Yang, Chen: Visual Explanation for Deep Metric Learning, 2019, arXiv:1909.12977.

    Args:
      embedder: an `Embedder` without a head.
      variables: of it.
      images: f32[B,H,W,3], already shifted and scaled.
      layer: of its `features`, averaged over its map, in place of the embedding.

    Returns:
      Contributions. They are the float32 sums of what the embedder computes, equal to it but for rounding.

    Raises:
      UserError: the embedder has a head, which need not be a sum over places, or the layer is no map.

    Example:
      >>> import jax
      >>> from geodesic import embedders
      >>> embedder = embedders.build("resnet8", embedding_size=4, pooling="generalised_mean")
      >>> images = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
      >>> embeddings, variables = embedder.init_with_output(jax.random.key(1), images)
      >>> found = embedders.contributions(embedder, variables, images)
      >>> found.parts.shape, bool(abs(found.parts.sum(axis=(1, 2)) - embeddings).max() < 1e-6)
      ((1, 4, 4, 4), True)
    """
    return of_features(embedder, variables, embedder.apply(variables, images, train=False, method="features"), layer)


def of_features(embedder: nn.Module, variables: dict, named: dict[str, jnp.ndarray], layer: str = "") -> Contributions:
    """As `contributions`, of images whose `features` are known: name -> layer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import embedders
      >>> from geodesic.embedders import places
      >>> found = places.of_features(embedders.build("resnet8"), {}, {"stage1": jnp.ones((1, 2, 2, 3))}, "stage1")
      >>> found.parts[0, 0, 0].tolist()
      [0.25, 0.25, 0.25]
    """
    if embedder.head is not None and not layer:
        raise UserError("the embedding is a head's, which need not be a sum over the places of a map: name a layer of "
                        "the trunk")
    wanted = layer or embedder.layer
    if wanted not in named or named[wanted].ndim != 4:
        maps = ", ".join(name for name, value in named.items() if value.ndim == 4)
        raise UserError(f"{wanted!r} is not a map of this embedder; its maps are {maps}")
    x = named[wanted].astype(jnp.float32)
    if layer:
        return Contributions(x.mean(axis=(1, 2)), x / (x.shape[1] * x.shape[2]))
    return Contributions(named["embedding"], _through_neck(embedder, _Kept(variables), x, named["pool"]))


class _Kept:
    """What the neck has learnt: `has` a part, and a part `of` its name as a function of the module that it is of."""

    def __init__(self, variables: dict):
        self._collections = {name: values["neck"] for name, values in variables.items() if "neck" in values}

    def has(self, name: str) -> bool:
        return any(name in values for values in self._collections.values())

    def of(self, name: str) -> dict:
        return {kind: values[name] for kind, values in self._collections.items() if name in values}


def _through_neck(embedder: nn.Module, kept: _Kept, x: jnp.ndarray, pooled: jnp.ndarray) -> jnp.ndarray:
    norm = lambda **fields: embedder.norm(False)(dtype=jnp.float32, **fields)
    if not kept.has("fc"):  # neck "none", or no size
        return _placed(x) if embedder.pooling == "flatten" else _SHARES[embedder.pooling](x, kept)
    if embedder.neck == "bn_fc_bn":
        x = norm().apply(kept.of("bn_in"), x)
    flat = embedder.pooling == "flatten"
    parts = x if flat else _SHARES[embedder.pooling](x, kept)
    if embedder.neck == "layer_norm":
        parts = _normalised(parts, pooled, flat)
    dense = kept.of("fc")["params"]
    kernel = dense["kernel"].reshape(*x.shape[1:], -1) if flat else dense["kernel"]
    parts = jnp.einsum("bhwc,hwcd->bhwd" if flat else "bhwc,cd->bhwd", parts, kernel, precision="highest")
    after = norm(use_scale=False).apply if embedder.neck == "bn_fc_bn" else lambda _, values: values
    constant = after(kept.of("bn_out"), dense["bias"])
    # Whatever is affine: f(part) - f(0) is linear in the part, and the constant is everyone's.
    linear = after(kept.of("bn_out"), parts) - after(kept.of("bn_out"), jnp.zeros_like(dense["bias"]))
    return linear + constant / (x.shape[1] * x.shape[2])


def _normalised(parts: jnp.ndarray, pooled: jnp.ndarray, flat: bool) -> jnp.ndarray:
    """Parts of flax's LayerNorm of the pooled vector, without scale and bias, at that vector's deviation."""
    deviation = jnp.sqrt(jnp.var(pooled, axis=-1) + 1e-6)[:, None, None, None]
    mean = pooled.mean(axis=-1)[:, None, None, None] if flat else parts.mean(axis=-1, keepdims=True)
    return (parts - mean) / deviation


def _average(x: jnp.ndarray, kept: _Kept) -> jnp.ndarray:
    return x / (x.shape[1] * x.shape[2])


def _max(x: jnp.ndarray, kept: _Kept) -> jnp.ndarray:
    largest = x == x.max(axis=(1, 2), keepdims=True)
    return jnp.where(largest, x, 0.0) / largest.sum(axis=(1, 2), keepdims=True)


def _generalised_mean(x: jnp.ndarray, kept: _Kept) -> jnp.ndarray:
    p = kept.of("generalised_mean")["params"]["p"]
    largest = jnp.maximum(x.max(axis=(1, 2), keepdims=True), 1e-6)
    powers = (jnp.maximum(x, 1e-6) / largest) ** p  # a share does not change with the scale, and cannot overflow
    shares = powers / powers.sum(axis=(1, 2), keepdims=True)
    return shares * largest * powers.mean(axis=(1, 2), keepdims=True) ** (1 / p)


def _placed(x: jnp.ndarray) -> jnp.ndarray:
    """Of a map that is only flattened, each place's part: its own channels, and 0 in those of all others."""
    places = x.shape[1] * x.shape[2]
    own = jnp.eye(places).reshape(1, *x.shape[1:3], places, 1)
    return (own * x.reshape(x.shape[0], 1, 1, places, -1)).reshape(*x.shape[:3], -1)


# Pooling -> (map [B,h,w,C], what the neck has learnt) -> parts [B,h,w,C] whose sum is the pooled vector.
_SHARES: dict[str, Callable] = {
    "average": _average,
    "max": _max,
    "average_max": lambda x, kept: _average(x, kept) + _max(x, kept),
    "generalised_mean": _generalised_mean,
}
