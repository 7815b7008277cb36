"""BatchNorm, with the ReLU that follows it.

Parameters, statistics and values are those of nn.BatchNorm. The gradients are written out: autodiff would take the sums
over a map that scale, bias and statistics ask for in several sweeps over memory, and read the ReLU's result to know
where it was positive. Here, one sweep takes them all, and where the result was positive is computed again.

Ioffe, Szegedy: Batch Normalization, 2015, arXiv:1502.03167.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from . import gradients


class BatchNorm(nn.Module):
    """scale * (x - mean) / sqrt(variance + epsilon) + bias of each channel, [...,C] -> [...,C].

    Statistics, running averages, scale and bias are float32, and the running variance is the biased one. The variance
    is the mean of squares less the squared mean, as in Flax.

    Attributes:
      use_running_average: whether the running averages, which then do not change, take the place of the batch's
        statistics.
      momentum: the share of the running averages that stays.
      epsilon: what is added to the variance.
      dtype: of the result.
      axis_name: the mesh's axis over whose devices statistics are shared; None for a device's own.
      group_size: how many consecutive devices share them; 0 for all.
      use_scale: whether there is a scale, or it is 1.
      activate: whether the result goes through a ReLU.
      scale_init: how the scale starts.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders.normalization import BatchNorm
      >>> norm = BatchNorm(use_running_average=False, momentum=0.9, epsilon=0.0, dtype="float32", activate=True)
      >>> x = jnp.array([[1.0], [3.0]])
      >>> y, updated = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
      >>> y[:, 0].tolist(), round(updated["batch_stats"]["mean"].item(), 4)   # .9 * 0 + .1 * 2
      ([0.0, 1.0], 0.2)
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
    def __call__(self, x: jnp.ndarray, running: bool = False) -> jnp.ndarray:
        """The normalised x. running: takes the running averages whatever `use_running_average` says."""
        features = x.shape[-1]
        averages = {name: self.variable("batch_stats", name, lambda start=start: jnp.full(features, start, jnp.float32))
                    for name, start in (("mean", 0.0), ("var", 1.0))}
        if self.use_running_average or running:
            mean, var = averages["mean"].value, averages["var"].value
        else:
            mean, mean_of_squares = _means(x)
            if self.axis_name is not None and not self.is_initializing():
                mean, mean_of_squares = _over_devices(jnp.stack([mean, mean_of_squares]), self.axis_name,
                                                      self.group_size)
            var = jnp.maximum(mean_of_squares - mean * mean, 0.0)
            if not self.is_initializing():
                for name, value in (("mean", mean), ("var", var)):
                    averages[name].value = self.momentum * averages[name].value + (1 - self.momentum) * value
        factor = lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            factor = factor * self.param("scale", self.scale_init, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        normalise = _normalise if gradients.written_out() else _normalised
        return normalise(self.activate, self.dtype, x, *(_varying(value, x) for value in (mean, factor, bias)))


def _over_devices(means, axis_name: str, group_size: int):
    """The mean of each device's means over its group."""
    if not group_size:
        return lax.pmean(means, axis_name)
    # `axis_index_groups` is not implemented inside `jax.shard_map`. Every group's statistics are summed in a row of
    # their own, so that one small psum serves all groups.
    groups = lax.axis_size(axis_name) // group_size
    group = lax.axis_index(axis_name) // group_size
    rows = jnp.where((jnp.arange(groups) == group)[:, None, None], means / group_size, 0.0)
    return lax.psum(rows, axis_name)[group]


def _means(x):
    """The means of every channel and of its square, f32[C] each."""
    values, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    return values.mean(axes), (values * values).mean(axes)


def _varying(value, x):
    """The value, typed as one that may differ between devices where x may, because its gradient does."""
    return value + jnp.zeros_like(x, shape=value.shape, dtype=value.dtype)


def _normalised(activate: bool, dtype: str, x, mean, factor, bias):
    """(x - mean) * factor + bias, and the ReLU of it where it is to be activated."""
    y = ((x - mean) * factor + bias).astype(dtype)
    return jnp.where(y <= 0, 0, y) if activate else y


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _normalise(activate: bool, dtype: str, x, mean, factor, bias):
    """`_normalised`, with its gradients written out."""
    return _normalised(activate, dtype, x, mean, factor, bias)


def _forward(activate, dtype, *operands):
    return _normalise(activate, dtype, *operands), operands


def _backward(activate, dtype, operands, gradient):
    """The gradients by x, mean, factor and bias."""
    x, mean, factor, bias = operands
    axes, centred, gradient = tuple(range(x.ndim - 1)), x - mean, gradient.astype(jnp.float32)
    if activate:
        # This is where y > 0. Written as y was, XLA would take it from the forward pass, and keep a byte of each value.
        gradient = jnp.where(centred * factor > -bias, gradient, 0.0)
    summed, projected = gradient.sum(axes), (gradient * centred).sum(axes)
    return (gradient * factor).astype(x.dtype), -factor * summed, projected, summed


_normalise.defvjp(_forward, _backward)
