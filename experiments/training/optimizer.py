"""Optimizers and learning-rate schedules, from the configuration."""

import jax
import optax

from geodesic.errors import UserError


def make_schedule(config, steps_per_epoch: float, total_steps: int) -> optax.Schedule:
    """Update -> learning rate. Epochs of the configuration become updates here and nowhere else.

    Raises UserError for an unknown name.
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
    """For the whole batch: as given, or in proportion to it."""
    return config.optimizer.learning_rate_per_item * config.batch_size or config.optimizer.learning_rate


def _steps(peak: float, epochs, options, steps_per_epoch: float, warmup: int) -> optax.Schedule:
    drops = {round(epoch * steps_per_epoch) - warmup: options.step_factor for epoch in epochs}
    if drops and min(drops) <= 0:
        raise UserError(f"the learning rate drops at epoch {min(epochs):g}, within the warm-up of "
                         f"{options.warmup_epochs:g} epochs: drop later or warm up less")
    return optax.piecewise_constant_schedule(peak, drops)


def make_optimizer(config, schedule: optax.Schedule, steps_per_epoch: float = 1.0) -> optax.GradientTransformation:
    """The update rule for params {"embedder", "loss"}. Raises UserError for an unknown name.

    steps_per_epoch: to know when `head_only_epochs` are over.
    """
    options = config.optimizer
    decayed = (lambda params: True) if options.decay_norm_and_bias else _matrices
    match options.name:
        case "sgd":
            # PyTorch's SGD: decay is part of the gradient that the momentum remembers.
            rule = optax.chain(optax.add_decayed_weights(options.weight_decay, mask=decayed),
                               optax.trace(options.momentum, options.nesterov))
        case "adamw":
            rule = optax.chain(optax.scale_by_adam(options.b1, options.b2, options.eps),
                               optax.add_decayed_weights(options.weight_decay, mask=decayed))
        case "rmsprop":
            # PyTorch's RMSprop: decay is part of the gradient, eps is outside of the root, and momentum comes last.
            rule = optax.chain(optax.add_decayed_weights(options.weight_decay, mask=decayed),
                               optax.scale_by_rms(options.rms_decay, options.eps, eps_in_sqrt=False),
                               optax.trace(options.momentum, options.nesterov))
        case name:
            raise UserError(f"unknown optimizer {name!r}; known: sgd, adamw, rmsprop")
    head_only = round(options.head_only_epochs * steps_per_epoch)
    steps = [_later(rule, head_only) if head_only else rule, optax.scale_by_learning_rate(schedule)]
    if options.value_clip:
        steps.insert(0, optax.clip(options.value_clip))
    if options.trunk_clip_norm:
        clip = optax.clip_by_global_norm(options.trunk_clip_norm)
        steps.insert(0, optax.masked(clip, {"embedder": True, "loss": False}))
    if options.trunk_learning_rate_factor != 1:
        steps.append(optax.masked(optax.scale(options.trunk_learning_rate_factor), _trunk))
    if options.loss_learning_rate_factor != 1:
        steps.append(optax.masked(optax.scale(options.loss_learning_rate_factor), {"embedder": False, "loss": True}))
    return optax.chain(*steps)


def _later(rule: optax.GradientTransformation, first_step: int) -> optax.GradientTransformation:
    """The trunk does not move before `first_step`, and its moments and their count start there, as PyTorch's do."""
    waiting = optax.conditionally_mask(rule, lambda step: step >= first_step)
    rest = lambda params: jax.tree.map(lambda trunk: not trunk, _trunk(params))
    return optax.chain(optax.masked(waiting, _trunk), optax.masked(rule, rest))


def _matrices(params):
    """Kernels and prototypes, not the vectors of BatchNorm and biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _trunk(params):
    """The embedder without its neck."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[0].key == "embedder" and path[1].key != "neck", params)
