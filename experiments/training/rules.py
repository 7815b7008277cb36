"""The rules by which gradients become updates, by name, before the learning rate.

Rules that look at a whole array, or keep less than an array for each moment, are of the embedder's arrays: those with a
row for each class are AdamW's there, so that their moments are split by class as they are.
"""

import math

import jax
import jax.numpy as jnp
import optax

from geodesic import losses
from geodesic.errors import UserError
from geodesic.experiments.training.unsampled import hide_unsampled

# Rules that apply the learning rate themselves, since what they remember has it in it.
WITH_RATE = ("lars",)


def check_sampling(config) -> None:
    """Raises UserError for a rule that spoils prototypes without a gradient, where Partial FC leaves them some."""
    if config.optimizer.name == "lion" and config.loss.sample_rate != 1 and config.loss.sample_update == "all":
        raise UserError("optimizer lion moves every number by the whole learning rate, so prototypes that a step has "
                        "not sampled would run on where their last gradients pointed: use "
                        "--config.loss.sample_update=sampled, loss.sample_rate 1, or another optimizer")


def make(options, decay: optax.GradientTransformation, schedule: optax.Schedule,
         num_classes: int | None = None) -> optax.GradientTransformation:
    """The named rule with its weight decay.

    Args:
      options: the section `optimizer` of a configuration.
      decay: adds the decay to a gradient or an update.
      schedule: the learning rate, for the rules of WITH_RATE.
      num_classes: rows past it, of arrays with a row for each class, are padding; None for no padding.

    Raises:
      UserError: the name is unknown.
    """
    match options.name:
        case "sgd":
            # As in PyTorch, decay is part of the gradient that the momentum remembers.
            return optax.chain(decay, optax.trace(options.momentum, options.nesterov))
        case "adamw":
            return optax.chain(_adam(options), decay)
        case "rmsprop":
            # As in PyTorch, decay is part of the gradient, eps is added outside of the root, and momentum comes last.
            return optax.chain(decay, optax.scale_by_rms(options.rms_decay, options.eps, eps_in_sqrt=False),
                               optax.trace(options.momentum, options.nesterov))
        case "lion":
            return optax.chain(optax.scale_by_lion(options.lion.b1, options.lion.b2), decay)
        case "lamb":
            return _of_learning_rows(num_classes, optax.chain(
                optax.scale_by_adam(**options.lamb), decay, optax.scale_by_trust_ratio()))
        case "lars":
            trust = optax.scale_by_trust_ratio(trust_coefficient=options.lars.trust_coefficient)
            matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
            return _of_learning_rows(num_classes, optax.chain(
                decay, optax.masked(trust, matrices), optax.scale_by_learning_rate(schedule),
                optax.trace(options.lars.momentum, options.lars.nesterov)))
        case "muon":
            return optax.chain(_with_adam(_muon(options.muon), options, _is_kernel), decay)
        case "adafactor":
            return optax.chain(_with_adam(_adafactor(options.adafactor), options,
                                          lambda path, p: not losses.is_by_class(path, p)), decay)
        case name:
            raise UserError(f"unknown optimizer {name!r}; known: sgd, adamw, rmsprop, lion, lamb, lars, muon, "
                            f"adafactor")


def _of_learning_rows(num_classes: int | None,
                      rule: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The rule for which padding is 0, and what Partial FC's `sampled` update leaves alone.

    How much padding there is depends on the number of devices, and no norm may. What is sampled is in the `loss_state`
    that an update may be given.
    """
    def is_class(leaf):
        return (jnp.arange(len(leaf)) < num_classes).reshape(-1, *[1] * (leaf.ndim - 1))

    def clear(tree):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.where(is_class(leaf), leaf, 0) if losses.is_by_class(path, leaf) else leaf, tree)

    def update(updates, state, params, *, loss_state=None, **_):
        if num_classes is not None:
            updates, params = clear(updates), clear(params)
        state, params = hide_unsampled(loss_state or {}, (state, params))
        return rule.update(updates, state, params)

    return optax.GradientTransformationExtraArgs(rule.init, update)


def _adam(options) -> optax.GradientTransformation:
    return optax.scale_by_adam(options.b1, options.b2, options.eps)


def _with_adam(rule: optax.GradientTransformation, options, wanted) -> optax.GradientTransformation:
    """The rule for parameters of which wanted(path, parameter) is true, and Adam for the others."""
    label = lambda path, p: "rule" if wanted(path, p) else "adam"
    return optax.partition({"rule": rule, "adam": _adam(options)},
                           lambda params: jax.tree_util.tree_map_with_path(label, params))


def _is_kernel(path, p) -> bool:
    """Whether it multiplies the features of a layer: a convolution's kernel, or a dense layer's."""
    return path[0].key == "embedder" and path[-1].key == "kernel" and p.ndim > 1


def _muon(options) -> optax.GradientTransformation:
    """Momentum, made orthogonal as a matrix from all inputs of a kernel to its outputs.

    Jordan and others: Muon, an optimizer for hidden layers in neural networks, 2024; the size of updates: Liu and
    others: Muon is Scalable for LLM Training, 2025, arXiv:2502.16982.
    """
    axes = lambda params: jax.tree.map(
        lambda p: optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1), params)
    return optax.chain(
        optax.contrib.scale_by_muon(beta=options.momentum, ns_steps=options.steps, nesterov=options.nesterov,
                                    weight_dimension_numbers=axes),
        optax.stateless(lambda updates, _: jax.tree.map(
            lambda update: update * _size(update.shape, options.consistent_rms), updates)))


def _size(shape: tuple[int, ...], consistent_rms: float) -> float:
    """By how much an orthogonal update of a kernel is multiplied."""
    fan_in, fan_out = math.prod(shape[:-1]), shape[-1]
    return consistent_rms * max(fan_in, fan_out) ** 0.5 if consistent_rms else max(1, fan_out / fan_in) ** 0.5


def _adafactor(options) -> optax.GradientTransformation:
    """Shazeer, Stern: Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018, arXiv:1804.04235."""
    return optax.chain(
        optax.scale_by_factored_rms(decay_rate=options.decay_rate, min_dim_size_to_factor=options.factored_size),
        optax.clip_by_block_rms(options.clip),
        optax.scale_by_param_block_rms() if options.relative else optax.identity())
