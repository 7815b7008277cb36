"""Embedder, loss and optimizer of a configuration, and the train state they share."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from geodesic import losses
from geodesic.configs import limits
from geodesic.datasets import mixing
from geodesic.errors import UserError
from geodesic.experiments.trained import network
from geodesic.experiments.training import optimizer
from geodesic.experiments.training.sharding import state_shardings


@struct.dataclass
class TrainState:
    """Everything that learns or remembers: one checkpoint holds it all."""

    step: jax.Array
    params: dict            # {"embedder": ..., "loss": {"prototypes": f32[C,D]} or {}}
    batch_stats: dict       # the embedder's running statistics
    loss_state: dict        # the loss's running statistics and memories
    opt_state: optax.OptState


class Model(NamedTuple):
    """What a run trains and how, built from its configuration; no arrays.

    Attributes:
      embedder: the network, a Flax module: apply(variables, images f32[B,S,S,3], train=...) -> outputs, an array
        [B,...] or a tree of them.
      loss: its apply(params, state, outputs, targets, rng) is of the global batch; targets are what a batch holds
        beside its images, by name.
      optimizer, schedule: the update rule, and the learning rate by step.
      input: the section of the configuration that says how an image becomes the network's input.
      batch: name -> the shapes and dtypes of one update's batch, over all devices; "image" and the targets.
      parts: accumulation steps that a batch is cut into.
      trunk_learns_from: the first step in which the trunk learns; None where it never does.
      seed: what the initialisation and all random numbers of the steps are drawn from.
      variables: what `embedder.apply` takes, as shapes and dtypes.
      embedding_size: D, or what else the network's outputs have as their last axis.
      num_classes, steps_per_epoch, total_steps: of the run.
    """

    embedder: nn.Module
    loss: losses.Loss
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    input: Any
    batch: dict[str, Any]
    parts: int
    trunk_learns_from: int | None
    seed: int
    variables: dict
    embedding_size: int
    num_classes: int
    steps_per_epoch: float
    total_steps: int


def build(config, task, num_classes: int, num_examples: int, mesh: jax.sharding.Mesh) -> Model:
    """The model of a configuration and its task, of which `network`, `loss` and `targets` are used.

    Raises UserError for a name, field or value that the parts do not know.
    """
    limits.check(config)
    _check_batch(config, mesh)
    embedder, size = task.network(config), config.input.image_size
    steps_per_epoch = (config.items_per_epoch or num_examples) / config.batch_size
    total_steps = config.total_steps or max(round(config.num_epochs * steps_per_epoch), 1)
    schedule = optimizer.make_schedule(config, steps_per_epoch, total_steps)
    learns_from = round(config.optimizer.head_only_epochs * steps_per_epoch)
    outputs, variables = network.abstract(embedder, size)
    one = {"image": jax.ShapeDtypeStruct((size, size, 3), jnp.uint8), **task.targets(config)}
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((config.batch_size, *leaf.shape), leaf.dtype), one)
    return Model(
        embedder=embedder, loss=task.loss(config, num_classes, mesh),
        optimizer=optimizer.make_optimizer(config.optimizer, schedule, learns_from), schedule=schedule,
        input=config.input, batch=batch, parts=config.accumulation_steps,
        trunk_learns_from=learns_from if config.optimizer.trunk_learning_rate_factor else None, seed=config.seed,
        variables=variables, embedding_size=network.size_of(outputs), num_classes=num_classes,
        steps_per_epoch=steps_per_epoch, total_steps=total_steps)


def make_loss(config, num_classes: int, mesh: jax.sharding.Mesh) -> losses.Loss:
    """The loss of `config.loss`, and how it is computed: of embeddings, and the target "label".

    Raises UserError where examples are mixed and the loss takes one class of each.
    """
    loss, mixes = _named_loss(config, num_classes, mesh), mixing.is_on(config.augment)
    if mixes and not loss.mixed_targets:
        known = [name for name in losses.LOSSES if losses.build(name, num_classes=3).mixed_targets]
        raise UserError(f"augment.mixup_alpha and augment.cutmix_alpha give an example two classes, and the loss "
                        f"{config.loss.name} takes one: use {' or '.join(known)}, or set both to 0")

    def apply(params, state, outputs, targets, rng):
        label = targets["label"]
        labels = losses.Mixed(label, targets["other_label"], targets["label_weight"]) if mixes else label
        return loss.apply(params, state, outputs, labels, rng)

    return loss._replace(apply=apply)


def _named_loss(config, num_classes: int, mesh: jax.sharding.Mesh) -> losses.Loss:
    # A memory counts the parts of an accumulated step, and the configuration steps.
    options, pairs = config.loss, {"memory_size": config.loss.memory_size,
                                   "memory_start_step": config.loss.memory_start_step * config.accumulation_steps}
    sampling = {"sample_rate": config.loss.sample_rate, "update": config.loss.sample_update}
    shared = {"num_classes": num_classes, "mesh": mesh, "chunk_size": options.chunk_size}
    if options.name == "combine":
        weights = {name: weight for name, weight in options.combine.items() if weight}
        kinds = {name: pairs if name in losses.PAIR_LOSSES else sampling for name in weights}
        if pairs not in kinds.values() or sampling not in kinds.values():  # what none can do, all refuse
            kinds = dict.fromkeys(weights, pairs | sampling)
        return losses.combine(weights, **shared, hyper_parameters={name: dict(options[name]) for name in weights},
                              options=kinds)
    losses.hyper_parameters(options.name)  # the clear error for an unknown name
    return losses.build(options.name, **shared, **pairs, **sampling, **dict(options[options.name]))


def _check_batch(config, mesh: jax.sharding.Mesh) -> None:
    parts = mesh.size * config.accumulation_steps
    if config.batch_size < 1 or config.batch_size % parts:
        raise UserError(f"batch_size {config.batch_size} does not divide into {mesh.size} devices x "
                        f"{config.accumulation_steps} accumulation steps: use a multiple of {parts}")


def init_state(model: Model, mesh: jax.sharding.Mesh) -> TrainState:
    """The state before the first step, a function of the model's seed, each array created where it lives."""
    def init():
        return _state(model, network.init_embedder(model.embedder, model.input.image_size, model.seed))

    return jax.jit(init, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, mesh)))()


def abstract_state(model: Model, mesh: jax.sharding.Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the train state, without computing it."""
    state = jax.eval_shape(functools.partial(_state, model), model.variables)
    return jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                        state, state_shardings(mesh, state))


def embedder_variables(state: TrainState) -> dict:
    """What `embedder.apply` takes."""
    return {"params": state.params["embedder"], "batch_stats": state.batch_stats}


def _state(model: Model, variables: dict) -> TrainState:
    _, loss_rng = network.split(model.seed)
    loss_params, loss_state = model.loss.init(loss_rng, model.embedding_size)
    params = {"embedder": variables["params"], "loss": loss_params}
    return TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], loss_state,
                      model.optimizer.init(params))
