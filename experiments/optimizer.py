"""Optimizers and learning-rate schedules, from the configuration."""

import jax
import optax


def make_schedule(config, steps_per_epoch: float, total_steps: int) -> optax.Schedule:
    """Update -> learning rate. Epochs of the configuration become updates here and nowhere else.

    Raises ValueError for an unknown name.
    """
    options, peak = config.schedule, config.optimizer.learning_rate
    warmup = min(round(options.warmup_epochs * steps_per_epoch), total_steps)
    after = max(total_steps - warmup, 1)
    match options.name:
        case "constant":
            main = optax.constant_schedule(peak)
        case "step":
            drops = {round(epoch * steps_per_epoch) - warmup: options.step_factor for epoch in options.step_epochs}
            if min(drops) <= 0:
                raise ValueError(f"schedule.step_epochs {options.step_epochs} has a drop within the warm-up "
                                 f"of {options.warmup_epochs} epochs")
            main = optax.piecewise_constant_schedule(peak, drops)
        case "polynomial":
            main = optax.polynomial_schedule(peak, peak * options.end_factor, options.power, after)
        case "cosine":
            main = optax.cosine_decay_schedule(peak, after, options.end_factor)
        case name:
            raise ValueError(f"unknown schedule {name!r}; known: constant, step, polynomial, cosine")
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def make_optimizer(config, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The update rule for params {"embedder", "loss"}. Raises ValueError for an unknown name."""
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
        case name:
            raise ValueError(f"unknown optimizer {name!r}; known: sgd, adamw")
    steps = [rule, optax.scale_by_learning_rate(schedule)]
    if options.trunk_clip_norm:
        clip = optax.clip_by_global_norm(options.trunk_clip_norm)
        steps.insert(0, optax.masked(clip, {"embedder": True, "loss": False}))
    if options.loss_learning_rate_factor != 1:
        steps.append(optax.masked(optax.scale(options.loss_learning_rate_factor), {"embedder": False, "loss": True}))
    return optax.chain(*steps)


def _matrices(params):
    """Kernels and prototypes, not the vectors of BatchNorm and biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
