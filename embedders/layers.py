"""The layers that every family shares: normalisation and convolution with the public frameworks' conventions."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

BATCH_NORMS = ("local", "synchronised")

# torchvision's initialisation of convolutions: N(0, 2 / fan_out).
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def convolution(dtype) -> Callable[..., nn.Conv]:
    """Conv(features, kernel, strides): no bias, and padded symmetrically, as PyTorch does and Flax's SAME does not."""

    def conv(features: int, kernel: int, strides: int = 1, **fields) -> nn.Conv:
        return nn.Conv(features, (kernel, kernel), (strides, strides), padding=(kernel - 1) // 2, use_bias=False,
                       kernel_init=CONV_INIT, dtype=dtype, **fields)

    return conv


def batch_norm(kind: str, train: bool, dtype, axis_name: str = "data") -> Callable[..., nn.BatchNorm]:
    """BatchNorm(...) with statistics of one device's shard ("local") or of all devices ("synchronised").

    Statistics and running averages are float32 whatever `dtype`. Momentum .9 here is .1 in PyTorch.
    """
    return functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype,
                             axis_name=axis_name if kind == "synchronised" else None)


def max_pool(x: jnp.ndarray) -> jnp.ndarray:
    """3x3, stride 2, padded by 1: [B,H,W,C] -> [B,ceil(H/2),ceil(W/2),C]. Flax pads with -inf, as PyTorch does."""
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
