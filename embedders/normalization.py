"""BatchNorm (Ioffe, Szegedy: Batch Normalization, 2015, arXiv:1502.03167), with the ReLU that follows it.

nn.BatchNorm's parameters, statistics and values. The gradients are written out: by autodiff, the sums over a map that
scale, bias and statistics ask for are taken in several sweeps over memory, and the ReLU's result is read to know where
it was positive; here they are taken in one, and where it was positive is computed again.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


class BatchNorm(nn.Module):
    """[...,C] -> [...,C] in `dtype`: each channel less its mean, over its deviation, times scale, plus bias.

    Statistics, running averages, scale and bias are float32, and the running variance is the biased one.

    use_running_average: the running averages, which then do not change, in place of the batch's statistics.
    momentum: share of the running averages that stays. epsilon: added to the variance.
    axis_name: the devices' axis whose statistics are shared; None for those of the device itself.
    group_size: consecutive devices that share; 0 = all. activate: the result goes through a ReLU.
    """

    use_running_average: bool
    momentum: float
    epsilon: float
    dtype: str
    axis_name: str | None = None
    group_size: int = 0
    use_scale: bool = True
    activate: bool = False
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        features = x.shape[-1]
        running = {name: self.variable("batch_stats", name, lambda start=start: jnp.full(features, start, jnp.float32))
                   for name, start in (("mean", 0.0), ("var", 1.0))}
        if self.use_running_average:
            mean, var = running["mean"].value, running["var"].value
        else:
            mean, mean_of_squares = _means(x)
            if self.axis_name is not None and not self.is_initializing():
                mean, mean_of_squares = _over_devices(jnp.stack([mean, mean_of_squares]), self.axis_name,
                                                      self.group_size)
            var = jnp.maximum(mean_of_squares - mean * mean, 0.0)
            if not self.is_initializing():
                for name, value in (("mean", mean), ("var", var)):
                    running[name].value = self.momentum * running[name].value + (1 - self.momentum) * value
        factor = lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            factor = factor * self.param("scale", self.scale_init, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        return _normalise(self.activate, self.dtype, x, *(_varying(value, x) for value in (mean, factor, bias)))


def _over_devices(means, axis_name: str, group_size: int):
    if not group_size:
        return lax.pmean(means, axis_name)
    # `axis_index_groups` is not implemented inside `jax.shard_map`. Every group's statistics are summed in a row of
    # their own, so that one small psum serves all groups.
    groups = lax.axis_size(axis_name) // group_size
    group = lax.axis_index(axis_name) // group_size
    rows = jnp.where((jnp.arange(groups) == group)[:, None, None], means / group_size, 0.0)
    return lax.psum(rows, axis_name)[group]


def _means(x):
    """Of every channel, and of its square: f32[C] each."""
    values, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    return values.mean(axes), (values * values).mean(axes)


def _varying(value, x):
    """`value`, typed as one that may differ between devices where x may: its gradient does."""
    return value + jnp.zeros_like(x, shape=value.shape, dtype=value.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _normalise(activate: bool, dtype: str, x, mean, factor, bias):
    y = ((x - mean) * factor + bias).astype(dtype)
    return jnp.where(y <= 0, 0, y) if activate else y


def _forward(activate, dtype, *operands):
    return _normalise(activate, dtype, *operands), operands


def _backward(activate, dtype, operands, gradient):
    x, mean, factor, bias = operands
    axes, centred, gradient = tuple(range(x.ndim - 1)), x - mean, gradient.astype(jnp.float32)
    if activate:
        # Where y > 0. Asked in y's own words, XLA would know it from the forward pass, and keep a byte of every value.
        gradient = jnp.where(centred * factor > -bias, gradient, 0.0)
    summed, projected = gradient.sum(axes), (gradient * centred).sum(axes)
    return (gradient * factor).astype(x.dtype), -factor * summed, projected, summed


_normalise.defvjp(_forward, _backward)
