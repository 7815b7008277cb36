"""The layers that every family shares: convolution, normalisation and pooling as the public frameworks have them."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ..errors import UserError
from . import normalization
from .cpu import convolution, pools

BATCH_NORMS = ("local", "synchronised", "frozen")

# torchvision's initialisation of convolutions: N(0, 2 / fan_out).
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """[B,H,W,C] -> [B,ceil(H/strides),ceil(W/strides),features], padded symmetrically: Flax's SAME is not PyTorch's.

    The kernel is f32[kernel,kernel,C/groups,features] whatever form computes the product (`convolution.FORMS`).
    bias_learns: whether its gradient is taken. Before BatchNorm with the batch's statistics that is only rounding.
    """

    features: int
    kernel: int
    strides: int = 1
    groups: int = 1
    use_bias: bool = False
    bias_learns: bool = True
    dtype: str = "float32"
    form: str = "auto"
    kernel_init: Callable = CONV_INIT

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = convolution.convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.groups, self.form)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
            y = y + (bias if self.bias_learns else lax.stop_gradient(bias))
        return y


class SpaceToDepthConv(nn.Module):
    """A 7x7 convolution of stride 2 and padding 3, [B,H,W,3] -> [B,ceil(H/2),ceil(W/2),features], computed as a
    4x4 convolution of stride 1 on squares of 2x2 pixels: 12 channels fill a matrix unit better than 3.
    The kernel is the 7x7 one, so weights of either stem fit the other.
    """

    features: int
    dtype: str

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        channels = x.shape[-1]
        kernel = self.param("kernel", CONV_INIT, (7, 7, channels, self.features), jnp.float32)
        # An eighth tap of zeros in front: taps 0..7 then start on an even pixel, two before the window's square.
        kernel = jnp.pad(kernel.astype(self.dtype), ((1, 0), (1, 0), (0, 0), (0, 0)))
        kernel = kernel.reshape(4, 2, 4, 2, channels, self.features).transpose(0, 2, 1, 3, 4, 5)
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        batch, height, width, _ = x.shape
        squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        return convolution.plain(squares.reshape(batch, height // 2, width // 2, 4 * channels),
                                 kernel.reshape(4, 4, 4 * channels, self.features), padding=(2, 1))


def batch_norm(kind: str, train: bool, dtype: str, *, momentum: float, epsilon: float, group_size: int = 0,
               axis_name: str = "data") -> Callable[..., nn.Module]:
    """BatchNorm(...) with the statistics of one device's shard ("local"), of all devices ("synchronised"), or with
    the running statistics, which then never change ("frozen"; scale and bias still learn).

    Statistics and running averages are float32 whatever `dtype`, and the running variance is the biased one.
    momentum: share of the old running average that stays; .9 here is .1 in PyTorch.
    group_size: devices that share statistics when synchronised, consecutive ones; 0 = all.
    Raises UserError where the devices do not divide into such groups.
    """
    fields = dict(use_running_average=not train or kind == "frozen", momentum=momentum, epsilon=epsilon, dtype=dtype)
    if kind == "synchronised" and train:
        if group_size and (devices := lax.axis_size(axis_name)) % group_size:
            raise UserError(f"batch_norm_group_size {group_size} does not divide the {devices} devices: "
                             f"use a divisor, or 0 for all")
        fields |= dict(axis_name=axis_name, group_size=group_size)
    return functools.partial(normalization.BatchNorm, **fields)


def max_pool(x: jnp.ndarray, form: str = "auto") -> jnp.ndarray:
    """3x3, stride 2, padded by 1 with -inf: [B,H,W,C] -> [B,ceil(H/2),ceil(W/2),C]."""
    return pools.max_pool(x, 2, ((1, 1), (1, 1)), form)


@jax.custom_vjp
def relu(x: jnp.ndarray) -> jnp.ndarray:
    """max(x, 0). Its gradient needs the result, which the next layer keeps anyway, and is 0 at 0.

    Not jnp.maximum: XLA fuses that once for each of its readers, and with residual blocks every block's sum would be
    computed again from the first block on.
    """
    return jnp.where(x <= 0, 0, x)


def _relu_forward(x):
    y = relu(x)
    return y, y


relu.defvjp(_relu_forward, lambda y, gradient: (jnp.where(y > 0, gradient, 0),))


class PReLU(nn.Module):
    """x where positive, else slope * x, with one learned slope per channel. He et al., 2015, arXiv:1502.01852."""

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],), jnp.float32)
        return jnp.where(x > 0, x, slope.astype(x.dtype) * x)


class DropPath(nn.Module):
    """A residual branch [B,...], dropped as a whole for a share `rate` of the images, else divided by 1 - rate.

    Huang et al.: Deep Networks with Stochastic Depth, 2016, arXiv:1603.09382.
    """

    rate: float
    train: bool

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        if not self.train or not self.rate:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)
