"""Optimizers and learning-rate schedules, from the configuration."""

from collections.abc import Callable, Mapping

import jax
import optax

from geodesic import embedders
from geodesic.errors import UserError
from geodesic.experiments.training import groups, rules


def make_schedule(config, steps_per_epoch: float, total_steps: int) -> optax.Schedule:
    """The learning rate as a function of the number of updates made.

    Epochs of the configuration become updates here and nowhere else.

    Args:
      config: the run's configuration, of which `schedule`, the learning rates of `optimizer` and `batch_size` are read.
      steps_per_epoch: updates that make an epoch.
      total_steps: updates of the whole run; "polynomial" and "cosine" end there.

    Returns:
      A function of the update, counted from 0. A warm-up is linear from 0, so the first update has the rate 0.

    Raises:
      UserError: the schedule's name is unknown, or the rate would drop within the warm-up.

    Example:
      >>> from geodesic.configs import default
      >>> from geodesic.experiments.training import optimizer
      >>> config = default.get_config()
      >>> config.optimizer.learning_rate = 0.4
      >>> config.schedule.update(name="step", step_epochs=(3.0,), step_factor=0.1, warmup_epochs=2.0)
      >>> rate = optimizer.make_schedule(config, steps_per_epoch=10, total_steps=50)
      >>> [round(float(rate(step)), 3) for step in (0, 10, 20, 29, 30)]
      [0.0, 0.2, 0.4, 0.4, 0.04]
    """
    options, peak = config.schedule, peak_learning_rate(config)
    warmup = min(round(options.warmup_epochs * steps_per_epoch), total_steps)
    after = max(total_steps - warmup, 1)
    match options.name:
        case "constant":
            main = optax.constant_schedule(peak)
        case "step":
            main = _steps(peak, options.step_epochs, options, steps_per_epoch, warmup)
        case "step_every":
            every = options.step_every_epochs
            count = max(int((total_steps / steps_per_epoch - options.first_step_epoch) / every) + 1, 0)
            epochs = [options.first_step_epoch + every * index for index in range(count)]
            main = _steps(peak, epochs, options, steps_per_epoch, warmup)
        case "polynomial":
            main = optax.polynomial_schedule(peak, peak * options.end_factor, options.power, after)
        case "cosine":
            main = optax.cosine_decay_schedule(peak, after, options.end_factor)
        case name:
            raise UserError(f"unknown schedule {name!r}; known: constant, step, step_every, polynomial, cosine")
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def peak_learning_rate(config) -> float:
    """The learning rate that the schedule starts from, for the whole batch.

    Args:
      config: the run's configuration.

    Returns:
      `optimizer.learning_rate`, or, where `optimizer.learning_rate_per_item` is not 0, that times the batch size.

    Example:
      >>> from geodesic.configs import default
      >>> from geodesic.experiments.training import optimizer
      >>> config = default.get_config()
      >>> config.batch_size, config.optimizer.learning_rate_per_item = 64, 0.0001
      >>> optimizer.peak_learning_rate(config)
      0.0064
    """
    return config.optimizer.learning_rate_per_item * config.batch_size or config.optimizer.learning_rate


def _steps(peak: float, epochs, options, steps_per_epoch: float, warmup: int) -> optax.Schedule:
    """A rate that is multiplied by `options.step_factor` at each of these epochs, counted from the run's start."""
    drops = {}
    for epoch in epochs:  # several may fall on one update, and each counts
        update = round(epoch * steps_per_epoch) - warmup
        drops[update] = drops.get(update, 1.0) * options.step_factor
    if drops and min(drops) <= 0:
        raise UserError(f"the learning rate drops at epoch {min(epochs):g}, within the warm-up of "
                        f"{options.warmup_epochs:g} epochs: drop later or warm up less")
    return optax.piecewise_constant_schedule(peak, drops)


def make_optimizer(options, schedule: optax.Schedule, starts: Mapping[str, int | None] | None = None,
                   layers: Mapping[str, int] | None = None,
                   num_classes: int | None = None) -> optax.GradientTransformation:
    """The update rule of the parameters {"embedder": ..., "loss": ...}.

    In this order: the embedder's gradient is clipped to a norm, the whole gradient is, every number is clipped, the
    named rule (training/rules.py) and its weight decay are applied, the learning rate and the factors of the trunk, of
    the loss, of groups and layers. The trunk is the embedder without what is `embedders.ABOVE_TRUNK`.
    `embedders.SHAPES_OF_FUNCTIONS` never decay.

    Args:
      options: the section `optimizer` of a configuration.
      schedule: of `make_schedule`.
      starts: the first update in which each part of the embedder learns, `phases.first_steps`; without it, all do from
        the first one on.
      layers: the number of each part's layer, `embedders.layer_numbers`, where `options.layer_decay` is not 1.
      num_classes: rows past it, of arrays with a row for each class, are padding; None for no padding.

    Returns:
      An optax transformation. Its state has an array like each parameter for each moment of the rule, and none for
      parts that never learn.

    Raises:
      UserError: the optimizer's name is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.configs import default
      >>> from geodesic.experiments.training import optimizer
      >>> config = default.get_config()
      >>> config.optimizer.update(name="sgd", weight_decay=0.0, loss_learning_rate_factor=10.0)
      >>> rule = optimizer.make_optimizer(config.optimizer, lambda step: 0.1)
      >>> params = {"embedder": {"conv1": jnp.ones(1)}, "loss": {"prototypes": jnp.ones((1, 1))}}
      >>> updates, _ = rule.update(params, rule.init(params), params)   # a gradient of 1 everywhere
      >>> float(updates["embedder"]["conv1"][0]), float(updates["loss"]["prototypes"][0, 0])
      (-0.1..., -1.0)
    """
    transforms = []
    if options.embedder_clip_norm:
        clip = optax.clip_by_global_norm(options.embedder_clip_norm)
        transforms.append(optax.masked(clip, {"embedder": True, "loss": False}))
    if options.clip_norm:
        transforms.append(optax.clip_by_global_norm(options.clip_norm))
    if options.value_clip:
        transforms.append(optax.clip(options.value_clip))
    transforms.append(_from_their_starts(rules.make(options, _decay(options), schedule, num_classes), starts or {}))
    if options.name not in rules.WITH_RATE:
        transforms.append(optax.scale_by_learning_rate(schedule))
    if options.trunk_learning_rate_factor != 1:
        transforms.append(optax.masked(optax.scale(options.trunk_learning_rate_factor), _trunk))
    if options.loss_learning_rate_factor != 1:
        factor = optax.scale(options.loss_learning_rate_factor)
        transforms.append(optax.masked(factor, {"embedder": False, "loss": True}))
    if options.groups or options.layer_decay != 1:
        transforms.append(_scale(
            lambda path: groups.factors(options, path)[0] * groups.of_layer(options, layers, path)))
    return optax.chain(*transforms)


def _decay(options) -> optax.GradientTransformation:
    """Weight decay, as much of it as each parameter is to have."""
    def factor(path, p) -> float:
        if path[-1].key in embedders.SHAPES_OF_FUNCTIONS or not (options.decay_norm_and_bias or p.ndim > 1):
            return 0.0
        return groups.factors(options, path)[1]

    def of(share: float) -> optax.GradientTransformation:
        return optax.add_decayed_weights(options.weight_decay * share, mask=lambda params: (
            jax.tree_util.tree_map_with_path(lambda path, p: factor(path, p) == share, params)))

    shares = sorted({1.0, *(group[2] for group in options.groups)} - {0.0})
    return of(1.0) if shares == [1.0] else optax.chain(*map(of, shares))


def _from_their_starts(rule: optax.GradientTransformation,
                       starts: Mapping[str, int | None]) -> optax.GradientTransformation:
    """The rule, with parts of the embedder that do not move before their first step, or never.

    Their moments and their count start there too, as those of a PyTorch optimizer that is made at that time.
    """
    later = sorted({start for start in starts.values() if start})
    if not later and None not in starts.values():
        return rule

    def starting(at: int):
        start = lambda path: starts.get(path[1].key, 0) if path[0].key == "embedder" else 0
        return lambda params: jax.tree_util.tree_map_with_path(lambda path, _: start(path) == at, params)

    waiting = [optax.masked(optax.conditionally_mask(rule, lambda step, at=at: step >= at), starting(at))
               for at in later]
    return optax.chain(*waiting, optax.masked(rule, starting(0)))


def _scale(factor: Callable[[tuple], float]) -> optax.GradientTransformation:
    """Each update times a number that depends on the parameter's path."""
    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(
        lambda path, update: update * factor(path), updates))


def _trunk(params):
    """Which parameters are the trunk's: the embedder without its neck or head."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[0].key == "embedder" and path[1].key not in embedders.ABOVE_TRUNK, params)
