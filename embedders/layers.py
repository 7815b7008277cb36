"""The layers that all families share: convolution, normalisation and pooling as the public frameworks have them."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ..errors import UserError
from . import gradients, normalization
from .cpu import convolution, pools

# What `batch_norm` can be: whose statistics are taken.
BATCH_NORMS = ("local", "synchronised", "frozen")

# Convolutions are initialised as in torchvision, from N(0, 2 / fan_out).
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """A convolution, [B,H,W,C] -> [B,ceil(H/strides),ceil(W/strides),features].

    It is padded symmetrically, as in PyTorch; Flax's "SAME" pads an even side by one more pixel at its end.

    Attributes:
      features: the channels it gives.
      kernel: height and width of the kernel, whose parameter is f32[kernel,kernel,C/groups,features] in every form.
      strides: pixels from one window to the next.
      groups: parts of the channels that see only themselves.
      use_bias: whether a bias is added.
      bias_learns: whether the bias has a gradient. Before BatchNorm with the batch's statistics it would be rounding.
      dtype: of the product and the result.
      form: one of `cpu.convolution.FORMS`.
      kernel_init: how the kernel starts.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import layers
      >>> y, variables = layers.Conv(8, 3, strides=2).init_with_output(jax.random.key(0), jnp.ones((1, 5, 5, 4)))
      >>> y.shape, variables["params"]["kernel"].shape
      ((1, 3, 3, 8), (3, 3, 4, 8))
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
    """A 7x7 convolution with stride 2 and padding 3, [B,H,W,3] -> [B,ceil(H/2),ceil(W/2),features].

    It is computed as a 4x4 convolution with stride 1 on squares of 2x2 pixels, as 12 channels fill a matrix unit better
    than 3. The parameter is the 7x7 kernel, so that weights of either stem fit the other.

    Attributes:
      features: the channels it gives.
      dtype: of the product and the result.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import layers
      >>> images = jax.random.normal(jax.random.key(0), (1, 6, 6, 3))
      >>> y, variables = layers.SpaceToDepthConv(4, "float32").init_with_output(jax.random.key(1), images)
      >>> bool(jnp.allclose(y, layers.Conv(4, 7, strides=2).apply(variables, images), atol=1e-5))
      True
    """

    features: int
    dtype: str

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        channels = x.shape[-1]
        kernel = self.param("kernel", CONV_INIT, (7, 7, channels, self.features), jnp.float32)
        # With an eighth tap of zeros in front, windows start on an even pixel, so that they are made of whole squares.
        kernel = jnp.pad(kernel.astype(self.dtype), ((1, 0), (1, 0), (0, 0), (0, 0)))
        kernel = kernel.reshape(4, 2, 4, 2, channels, self.features).transpose(0, 2, 1, 3, 4, 5)
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        batch, height, width, _ = x.shape
        squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        return convolution.plain(squares.reshape(batch, height // 2, width // 2, 4 * channels),
                                 kernel.reshape(4, 4, 4 * channels, self.features), padding=(2, 1))


def batch_norm(kind: str, train: bool, dtype: str, *, momentum: float, epsilon: float, group_size: int = 0,
               axis_name: str = "data") -> Callable[..., nn.Module]:
    """The constructor of a network's BatchNorm layers.

    Args:
      kind: whose statistics are taken: "local", those of a device's own images; "synchronised", those of all devices;
        "frozen", the running ones, which then never change, while scale and bias still learn.
      train: whether a batch's statistics are taken at all.
      dtype: of the result. Statistics and running averages are float32, and the running variance is the biased one.
      momentum: the share of the old running average that stays; .9 here is .1 in PyTorch.
      epsilon: what is added to the variance.
      group_size: how many consecutive devices share synchronised statistics; 0 for all.
      axis_name: the mesh's axis.

    Returns:
      `normalization.BatchNorm` with these fields.

    Raises:
      UserError: the devices do not divide into such groups.

    Example:
      >>> from geodesic.embedders import layers
      >>> norm = layers.batch_norm("frozen", train=True, dtype="float32", momentum=0.9, epsilon=1e-5)
      >>> norm(name="bn1").use_running_average
      True
    """
    fields = dict(use_running_average=not train or kind == "frozen", momentum=momentum, epsilon=epsilon, dtype=dtype)
    if kind == "synchronised" and train:
        if group_size and (devices := lax.axis_size(axis_name)) % group_size:
            raise UserError(f"batch_norm_group_size {group_size} does not divide the {devices} devices: "
                            f"use a divisor, or 0 for all")
        fields |= dict(axis_name=axis_name, group_size=group_size)
    return functools.partial(normalization.BatchNorm, **fields)


def max_pool(x: jnp.ndarray, form: str = "auto") -> jnp.ndarray:
    """The stem's max-pool, of 3x3 windows with stride 2, padded by 1 with -inf.

    Args:
      x: [B,H,W,C].
      form: as of `cpu.pools.max_pool`.

    Returns:
      [B,ceil(H/2),ceil(W/2),C].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.embedders import layers
      >>> layers.max_pool(jnp.zeros((1, 7, 8, 2))).shape
      (1, 4, 4, 2)
    """
    return pools.max_pool(x, 2, ((1, 1), (1, 1)), form)


@jax.custom_jvp
def relu(x: jnp.ndarray) -> jnp.ndarray:
    """max(x, 0), with gradient 0 at 0, of an array of any shape.

    The gradient is taken from the result, which the next layer keeps anyway. jnp.maximum would be fused by XLA once for
    each of its readers, and with residual blocks every block's sum would be computed again from the first block on.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import layers
      >>> x = jnp.array([-1.0, 0.0, 2.0])
      >>> print(layers.relu(x), jax.grad(lambda x: layers.relu(x).sum())(x))
      [0. 0. 2.] [0. 0. 1.]
    """
    return jnp.where(x <= 0, 0, x)


@relu.defjvp
def _relu_jvp(primals, tangents):
    y, (tangent,) = relu(*primals), tangents
    return y, jnp.where(y > 0, tangent, gradients.leak() * tangent if gradients.leak() else 0)


class PReLU(nn.Module):
    """x where positive, else slope * x, [...,C] -> [...,C], with one learned slope for each channel, from .25 on.

    He, Zhang, Ren, Sun: Delving Deep into Rectifiers, 2015, arXiv:1502.01852.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import layers
      >>> y, _ = layers.PReLU().init_with_output(jax.random.key(0), jnp.array([[-4.0, 4.0]]))
      >>> print(y)
      [[-1.  4.]]
    """

    @nn.compact
    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],), jnp.float32)
        return jnp.where(x > 0, x, slope.astype(x.dtype) * x)


def drop_path_shares(last: float, blocks: int) -> Iterator[float]:
    """Gives the share of images that skip the branch of each block: it grows linearly from 0 at the first to `last`.

    Example:
      >>> from geodesic.embedders import layers
      >>> list(layers.drop_path_shares(0.2, 3))
      [0.0, 0.1, 0.2]
    """
    return (last * block / max(blocks - 1, 1) for block in range(blocks))


class DropPath(nn.Module):
    """A residual branch [B,...] that is dropped, as a whole, for some of the images, and else divided by 1 - rate.

    Huang, Sun, Liu, Sedra, Weinberger: Deep Networks with Stochastic Depth, 2016, arXiv:1603.09382.

    Attributes:
      rate: the share of the images.
      train: False drops none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import layers
      >>> y = layers.DropPath(0.5, train=True).apply({}, jnp.ones((100, 2)), rngs={"dropout": jax.random.key(0)})
      >>> sorted(set(y[:, 0].tolist())), bool(jnp.all(y[:, 0] == y[:, 1]))
      ([0.0, 2.0], True)
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
