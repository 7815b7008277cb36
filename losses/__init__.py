"""Losses: embeddings [B,D] and labels [B] -> a scalar. Pure functions.

    loss = losses.build("arcface", num_classes=1000, scale=64.0, margin=0.5)
    params, state = loss.init(rng, embedding_size=512)
    value, state, scalars = loss.apply(params, state, embeddings, labels, rng)

A loss of one's own is a function of an axis and of keyword hyper-parameters that returns a `Loss`, and a line in
CLASS_LOSSES or PAIR_LOSSES.
"""

import inspect

import jax

from ..errors import UserError
from . import adaptive, class_axis, classification, combination, margin, pairs, partial_fc, proxies, ranking, triplets
from .by_class import is_by_class as is_by_class
from .class_axis import ClassAxis
from .labels import Mixed as Mixed
from .labels import check_labels as check_labels
from .labels import checked
from .loss import Loss
from .pair_axis import PairAxis

# Losses that compare embeddings with prototypes of the classes: name -> function of a ClassAxis.
CLASS_LOSSES = {
    "adacos": adaptive.adacos,
    "adaface": adaptive.adaface,
    "arcface": margin.arcface,
    "combined": margin.combined,
    "cosface": margin.cosface,
    "curricularface": adaptive.curricularface,
    "elasticface": adaptive.elasticface,
    "magface": adaptive.magface,
    "normface": margin.normface,
    "proxy_anchor": proxies.proxy_anchor,
    "proxy_nca": proxies.proxy_nca,
    "sigmoid": classification.sigmoid,
    "soft_triple": proxies.soft_triple,
    "softmax": classification.softmax,
    "sphereface": margin.sphereface,
    "subcenter_arcface": margin.subcenter_arcface,
}

# Losses that compare embeddings with each other: name -> function of a PairAxis.
PAIR_LOSSES = {
    "circle": pairs.circle,
    "contrastive": pairs.contrastive,
    "lifted_structure": pairs.lifted_structure,
    "margin_pairs": triplets.margin_pairs,
    "multi_similarity": pairs.multi_similarity,
    "n_pairs": pairs.n_pairs,
    "nt_xent": pairs.nt_xent,
    "recall_at_k": ranking.recall_at_k,
    "smooth_ap": ranking.smooth_ap,
    "sup_con": pairs.sup_con,
    "triplet": triplets.triplet,
}

LOSSES = CLASS_LOSSES | PAIR_LOSSES


def hyper_parameters(name: str) -> dict[str, object]:
    """The hyper-parameters of a loss.

    Args:
      name: the loss, of LOSSES.

    Returns:
      Name -> default.

    Raises:
      UserError: the name is unknown.

    Example:
      >>> from geodesic import losses
      >>> losses.hyper_parameters("cosface")
      {'scale': 64.0, 'margin': 0.4}
    """
    if name not in LOSSES:
        raise UserError(f"unknown loss {name!r}; known: {', '.join(sorted(LOSSES))}")
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(name: str, *, num_classes: int, mesh: jax.sharding.Mesh | None = None, chunk_size: int = 0,
          sample_rate: float = 1.0, update: str = "all", logits_dtype: str = "float32", memory_size: int = 0,
          memory_start_step: int = 0, **values) -> Loss:
    """The named loss.

    Args:
      name: the loss, of LOSSES.
      num_classes: C; labels are below it.
      mesh: devices, with the axis "data". Prototypes are then split over them by class, and have `num_classes` rows
        rounded up to the device count; pair losses split the anchors.
      chunk_size: classes (of pair losses: anchors) at a time on one device, 0 for all: the same loss in less memory.
      sample_rate: Partial FC (losses/partial_fc.py), the share of classes in one step's softmax; 1 for pair losses.
      update: Partial FC, what becomes of prototypes that are not sampled, "all" or "sampled"; "all" for pair losses.
      logits_dtype: what the logits are stored in for the backward pass, "float32" or "bfloat16", for half the memory;
        "float32" for pair losses.
      memory_size: cross-batch memory (losses/memory.py) of pair losses, in examples; 0 for none.
      memory_start_step: batches before the first one that is remembered.
      **values: the loss's hyper-parameters; those that are left out have their defaults.

    Returns:
      The loss; see `Loss` for what it can do.

    Raises:
      UserError: a name or hyper-parameter is unknown, or a value cannot be.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import losses
      >>> loss = losses.build("arcface", num_classes=10, margin=0.3)
      >>> params, state = loss.init(jax.random.key(0), embedding_size=4)
      >>> value, state, scalars = loss.apply(params, state, jnp.ones((2, 4)), jnp.array([3, 7]), jax.random.key(1))
      >>> value.shape, jax.tree.map(jnp.shape, params)
      ((), {'prototypes': (10, 4)})
    """
    known = hyper_parameters(name)
    for key in values:
        if key not in known:
            raise UserError(f"{name} has no hyper-parameter {key!r}; it takes {', '.join(known)}")
    if num_classes < 1:
        raise UserError(f"{name} needs at least one class, got num_classes={num_classes}")
    if chunk_size < 0 or memory_size < 0:
        raise UserError(f"chunk_size and memory_size are counts, 0 for none; got {chunk_size} and {memory_size}")
    if name in PAIR_LOSSES:
        if sample_rate != 1:
            raise UserError(f"sample_rate is a share of prototypes, and {name} has none: use 1, got {sample_rate}")
        if update != "all":
            raise UserError(f"update says what becomes of prototypes, and {name} has none: use 'all', got {update!r}")
        if logits_dtype != "float32":
            raise UserError(f"logits_dtype is of logits, and {name} has none: use 'float32', got {logits_dtype!r}")
        axis = PairAxis(mesh, chunk_size=chunk_size, memory_size=memory_size, memory_start_step=memory_start_step)
    else:
        if memory_size:
            raise UserError(f"cross-batch memory is for losses of pairs ({', '.join(PAIR_LOSSES)}), not {name}: "
                            f"use memory_size 0")
        axis = ClassAxis(num_classes, mesh, chunk_size=chunk_size, sample_rate=sample_rate, update=update,
                         logits_dtype=logits_dtype)
        partial_fc.check(axis)
        class_axis.check(axis)
    return checked(LOSSES[name](axis, **values), num_classes)


def combine(weights: dict[str, float], *, hyper_parameters: dict[str, dict] | None = None,
            options: dict[str, dict] | None = None, **shared) -> Loss:
    """The sum of the named losses times their weights.

    Args:
      weights: name -> factor; losses whose factor is 0 are left out.
      hyper_parameters: name -> the hyper-parameters of that loss, where it has other than its defaults.
      options: name -> arguments of `build` for that loss alone.
      **shared: arguments of `build` for all, `num_classes` among them.

    Returns:
      The loss, see `combination.weighted_sum`.

    Raises:
      UserError: no factor is other than 0, or `build` raises it.

    Example:
      >>> import jax
      >>> from geodesic import losses
      >>> loss = losses.combine({"arcface": 1.0, "multi_similarity": 0.5, "triplet": 0.0}, num_classes=10,
      ...                       options={"multi_similarity": {"memory_size": 64}})
      >>> params, state = loss.init(jax.random.key(0), 4)
      >>> list(params), list(state["multi_similarity"])
      (['arcface', 'multi_similarity'], ['memory'])
    """
    used = {name: weight for name, weight in sorted(weights.items()) if weight}
    if not used:
        raise UserError(f"a combination needs at least one loss with a weight; got {weights}")
    extra = lambda given, name: given[name] if given and name in given else {}
    built = {name: build(name, **shared, **extra(options, name), **extra(hyper_parameters, name)) for name in used}
    return combination.weighted_sum(built, used)
