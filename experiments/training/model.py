"""Embedder, loss and optimizer of a configuration, and the train state they share."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from geodesic import embedders, losses
from geodesic.configs import limits
from geodesic.datasets import mixing
from geodesic.errors import UserError
from geodesic.experiments.trained import network
from geodesic.experiments.training import distillation, groups, kept_views, optimizer, phases, rules
from geodesic.experiments.training.sharding import state_shardings


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that learns or remembers: one checkpoint holds it all. A pytree, which has `ema` where there is one.
    """

    step: jax.Array
    params: dict            # {"embedder": ..., "loss": {"prototypes": f32[C,D]} or {}}
    batch_stats: dict       # the embedder's running statistics
    loss_state: dict        # the loss's running statistics and memories
    opt_state: optax.OptState
    ema: dict = dataclasses.field(default_factory=dict)  # the running average of {"params", "batch_stats"}, or {}

    def replace(self, **fields) -> "TrainState":
        """The state with other values of these fields."""
        return dataclasses.replace(self, **fields)


def _flatten(state: TrainState) -> tuple[list, tuple[str, ...]]:
    # Without an average, the tree is that of versions that had none, and so are its checkpoints.
    names = tuple(field.name for field in dataclasses.fields(state) if field.name != "ema" or state.ema != {})
    return [(jax.tree_util.GetAttrKey(name), getattr(state, name)) for name in names], names


jax.tree_util.register_pytree_with_keys(
    TrainState, _flatten, lambda names, values: TrainState(**dict(zip(names, values, strict=True))))


class Model(NamedTuple):
    """What a run trains and how, built from its configuration; no arrays.

    Attributes:
      embedder: the network, a Flax module: apply(variables, images f32[B,S,S,3], train=...) -> outputs, an array
        [B,...] or a tree of them.
      loss: its apply(params, state, outputs, targets, rng) is of the global batch; targets are what a batch holds
        beside its images, by name.
      optimizer, schedule: the update rule, and the learning rate by step.
      input: the section of the configuration that says how an image becomes the network's input.
      image_size: height and width in pixels of what the network sees.
      batch: name -> the shapes and dtypes of one update's batch, over all devices; "image" and the targets. Where views
        are kept, "image" is a tree of the layers in its place.
      parts: accumulation steps that a batch is cut into.
      phases: which parts of the network learn when.
      ema_decay: the share of the running average that stays in a step; 0 for no average.
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
    image_size: tuple[int, int]
    batch: dict[str, Any]
    parts: int
    phases: phases.Phases
    ema_decay: float
    seed: int
    variables: dict
    embedding_size: int
    num_classes: int
    steps_per_epoch: float
    total_steps: int


def build(config, task, num_classes: int, num_examples: int, mesh: jax.sharding.Mesh,
          schedule: optax.Schedule | None = None) -> Model:
    """The model of a configuration and its task, of which `network`, `loss` and `targets` are used.

    schedule: the learning rate by step, in place of the configuration's.
    Raises UserError for a name, field or value that the parts do not know.
    """
    limits.check(config)
    rules.check_sampling(config)
    _check_batch(config, mesh)
    embedder, size = task.network(config, num_classes), network.image_size(config)
    steps_per_epoch = (config.items_per_epoch or num_examples) / config.batch_size
    total_steps = config.total_steps or max(round(config.num_epochs * steps_per_epoch), 1)
    schedule = schedule or optimizer.make_schedule(config, steps_per_epoch, total_steps)
    outputs, variables = network.abstract(embedder, size)
    loss = distillation.distilled(task.loss(config, num_classes, mesh), config.distill)
    embedding_size = network.size_of(outputs)
    groups.check(config.optimizer, jax.eval_shape(functools.partial(_params, loss, embedding_size), variables,
                                                  jax.random.key(0))[0])
    starts = phases.first_steps(config.optimizer, variables["params"], steps_per_epoch)
    layers = embedders.layer_numbers(embedder, config.input.image_size) if config.optimizer.layer_decay != 1 else None
    kept_views.check(config, starts)
    height, width = size if isinstance(size, tuple) else (size, size)
    seen = kept_views.layers(config, embedder) if kept_views.kept(config) else jax.ShapeDtypeStruct(
        (height, width, 3), jnp.uint8)
    one = {"image": seen, **task.targets(config), **distillation.targets(config, num_classes)}
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((config.batch_size, *leaf.shape), leaf.dtype), one)
    return Model(
        embedder=embedder, loss=loss,
        optimizer=optimizer.make_optimizer(config.optimizer, schedule, starts, layers, num_classes), schedule=schedule,
        input=config.input, image_size=(height, width), batch=batch, parts=config.accumulation_steps,
        phases=phases.make(config.optimizer, starts),
        ema_decay=config.optimizer.ema_decay, seed=config.seed, variables=variables, embedding_size=embedding_size,
        num_classes=num_classes, steps_per_epoch=steps_per_epoch, total_steps=total_steps)


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
    by_class = {"sample_rate": options.sample_rate, "update": options.sample_update,
                "logits_dtype": options.logits_dtype}
    shared = {"num_classes": num_classes, "mesh": mesh, "chunk_size": options.chunk_size}
    if options.name == "combine":
        weights = {name: weight for name, weight in options.combine.items() if weight}
        kinds = {name: pairs if name in losses.PAIR_LOSSES else by_class for name in weights}
        if pairs not in kinds.values() or by_class not in kinds.values():  # what none can do, all refuse
            kinds = dict.fromkeys(weights, pairs | by_class)
        return losses.combine(weights, **shared, hyper_parameters={name: dict(options[name]) for name in weights},
                              options=kinds)
    losses.hyper_parameters(options.name)  # the clear error for an unknown name
    return losses.build(options.name, **shared, **pairs, **by_class, **dict(options[options.name]))


def _check_batch(config, mesh: jax.sharding.Mesh) -> None:
    parts = mesh.size * config.accumulation_steps
    if config.batch_size < 1 or config.batch_size % parts:
        raise UserError(f"batch_size {config.batch_size} does not divide into {mesh.size} devices x "
                        f"{config.accumulation_steps} accumulation steps: use a multiple of {parts}")


def init_state(model: Model, mesh: jax.sharding.Mesh) -> TrainState:
    """The state before the first step, a function of the model's seed, each array created where it lives."""
    def init():
        return _state(model, network.init_embedder(model.embedder, model.image_size, model.seed))

    return jax.jit(init, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, mesh)))()


def abstract_state(model: Model, mesh: jax.sharding.Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the train state, without computing it."""
    state = jax.eval_shape(functools.partial(_state, model), model.variables)
    return jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                        state, state_shardings(mesh, state))


def embedder_variables(state: TrainState) -> dict:
    """What `embedder.apply` takes."""
    return {"params": state.params["embedder"], "batch_stats": state.batch_stats}


def averaged(state: TrainState) -> TrainState:
    """The state with the running average in the place of the weights and statistics, where it has one."""
    return state.replace(**state.ema)


def with_average(state: TrainState) -> TrainState:
    """The state with a running average that starts as its weights and statistics: copies, as a step is given all of
    its state to write over, and no array twice.
    """
    return state.replace(ema=jax.tree.map(jnp.copy, {"params": state.params, "batch_stats": state.batch_stats}))


def _state(model: Model, variables: dict) -> TrainState:
    params, loss_state = _params(model.loss, model.embedding_size, variables, network.split(model.seed)[1])
    state = TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], loss_state,
                       model.optimizer.init(params))
    return with_average(state) if model.ema_decay else state


def _params(loss: losses.Loss, embedding_size: int, variables: dict, rng) -> tuple[dict, dict]:
    """({"embedder", "loss"}, the loss's state) before the first step."""
    loss_params, loss_state = loss.init(rng, embedding_size)
    return {"embedder": variables["params"], "loss": loss_params}, loss_state
