"""A convolution, in the form that is fastest on the backend at hand. All forms compute the same.

native  XLA's convolution, grouped or not: what accelerators get
taps    one product of channels for each of the kernel's taps, batched over the groups
merged  neighbouring groups become one dense group, zero off its diagonal blocks

On the CPU, XLA's grouped convolution, its 3x3 convolution of small maps and gradients of kernels take slow paths
(`python -m benchmarks.convolutions` measures them). "auto" avoids them there: a value and its two gradients may each be
of another form.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from ...errors import UserError
from . import backend

FORMS = ("auto", "native", "taps", "merged")

# Chosen on two CPU cores (benchmarks/results/convolutions.md): narrower groups are little faster and slow to compile.
_MERGED_WIDTH = 32    # channels of a merged group
_SMALL_MAP = 49       # pixels, height times width, of an output that is better gathered into one product
_LARGE_MAP = 16       # pixels, height, of an output from which on gradients are better gathered by the kernel's rows
_FEW_CHANNELS = 16    # of an input whose kernel's gradient is then one product for all rows


def convolve(x: jax.Array, kernel: jax.Array, strides: int, groups: int, form: str = "auto") -> jax.Array:
    """[B,H,W,C] * [K,K,C/groups,F] -> [B,ceil(H/strides),ceil(W/strides),F], zero-padded by (K-1)//2 on each side.

    Raises UserError for an unknown form.
    """
    if form not in FORMS:
        raise UserError(f"unknown form of convolution {form!r}; known: {', '.join(FORMS)}")
    if form == "native" or (form == "auto" and backend.name() != "cpu"):
        return _native(x, kernel, strides, groups)
    if form == "taps":
        return _taps(x, kernel, strides, groups)
    if groups > 1:
        return _merged(x, kernel, strides, groups)
    return _dense(x, kernel, strides)


def plain(x: jax.Array, kernel: jax.Array, padding: tuple[int, int], strides: int = 1, groups: int = 1) -> jax.Array:
    """XLA's convolution. padding: zeros before and after, of both axes."""
    return lax.conv_general_dilated(x, kernel, (strides, strides), (padding, padding),
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups)


def _native(x: jax.Array, kernel: jax.Array, strides: int, groups: int = 1) -> jax.Array:
    padding = (kernel.shape[0] - 1) // 2
    return plain(x, kernel, (padding, padding), strides, groups)


def _dense(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """One group."""
    if kernel.shape[0] == 1:
        return _product(x, kernel, strides)
    return _window(x, kernel, strides)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _window(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """Value and gradients each in the form in which XLA:CPU is quick."""
    small = _is_small(x, strides) and (strides > 1 or x.shape[1] < 4)
    return (_product if small else _native)(x, kernel, strides)


def _is_small(x: jax.Array, strides: int) -> bool:
    return math.prod(-(-side // strides) for side in x.shape[1:3]) <= _SMALL_MAP


def _window_backward(strides: int, operands, gradient):
    x, kernel = operands
    small, large = _is_small(x, strides), gradient.shape[1] >= _LARGE_MAP
    inputs, outputs = kernel.shape[2:]
    of_input = _product if small or strides > 1 else _rows if large and outputs > inputs else _native
    of_kernel = _product if small or (large and inputs < _FEW_CHANNELS) else _rows if large else _native
    return (jax.vjp(lambda x: of_input(x, kernel, strides), x)[1](gradient)[0],
            jax.vjp(lambda kernel: of_kernel(x, kernel, strides), kernel)[1](gradient)[0])


_window.defvjp(lambda x, kernel, strides: (_window(x, kernel, strides), (x, kernel)), _window_backward)


def _rows(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """One matrix product for each of the kernel's rows."""
    size, _, inputs, outputs = kernel.shape
    padding = (size - 1) // 2
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((side - size) // strides * strides + 1 for side in x.shape[1:3])
    x = jnp.concatenate([x[:, :, left:left + width:strides] for left in range(size)], axis=-1)
    return sum(_product(x[:, top:top + height:strides], row.reshape(1, 1, size * inputs, outputs), 1)
               for top, row in enumerate(kernel))


def _product(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """One matrix product of what each window sees."""
    patches = jnp.concatenate(shifted(x, kernel.shape[0], strides), axis=-1)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return (patches.reshape(-1, len(matrix)) @ matrix).reshape(*patches.shape[:3], -1)


def _taps(x: jax.Array, kernel: jax.Array, strides: int, groups: int) -> jax.Array:
    size, _, inputs, outputs = kernel.shape
    taps = kernel.reshape(size * size, inputs, groups, outputs // groups)
    total = 0.0
    for tap, part in zip(taps, shifted(x, size, strides), strict=True):
        batch, height, width, _ = part.shape
        part = part.reshape(batch * height * width, groups, inputs)
        total += jnp.einsum("ngi,igo->ngo", part, tap)
    return total.reshape(batch, height, width, outputs)


def _merged(x: jax.Array, kernel: jax.Array, strides: int, groups: int, width: int = _MERGED_WIDTH) -> jax.Array:
    size, _, inputs, outputs = kernel.shape
    merged = min(groups, max(width // inputs, 1))
    while groups % merged:
        merged -= 1
    # [K,K,I,groups,O/groups] -> for each block, a kernel [K,K,merged*I,merged*O/groups] with blocks on its diagonal.
    blocks = kernel.reshape(size, size, inputs, groups // merged, merged, outputs // groups)
    dense = jnp.einsum("hwibmo,mn->bhwnimo", blocks, jnp.eye(merged, dtype=kernel.dtype))
    dense = dense.reshape(groups // merged, size, size, merged * inputs, merged * outputs // groups)
    parts = jnp.split(x, groups // merged, axis=-1)
    return jnp.concatenate([_dense(part, block, strides) for part, block in zip(parts, dense, strict=True)], axis=-1)


def shifted(x: jax.Array, size: int, strides: int, padding=None, fill: float = 0.0) -> list[jax.Array]:
    """For each tap of a size x size window, row by row, what the windows see there."""
    padding = ((((size - 1) // 2,) * 2,) * 2) if padding is None else padding
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    rows, columns = ((side - size) // strides * strides + 1 for side in x.shape[1:3])
    return [x[:, top:top + rows:strides, left:left + columns:strides] for top in range(size) for left in range(size)]
