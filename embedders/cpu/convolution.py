"""A convolution, in the form that is fastest on the backend at hand. All forms compute the same.

    native  XLA's convolution, grouped or not: what accelerators get
    taps    one product of channels for each of the kernel's taps, batched over the groups
    merged  neighbouring groups become one dense group, zero off its diagonal blocks
    auto    native on accelerators; on CPUs the form that is quick for the shapes at hand

On CPUs, XLA takes slow paths for grouped convolutions, for 3x3 convolutions of small maps and for the gradients of
kernels (`python -m benchmarks.convolutions` measures them). "auto" avoids them: the value and each of the two gradients
may have another form.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from ...errors import UserError
from .. import gradients
from . import backend

FORMS = ("auto", "native", "taps", "merged")

# These were chosen on two CPU cores (benchmarks/results/convolutions.md).
_MERGED_WIDTH = 32    # channels of a merged group: narrower ones are little faster and slow to compile
_SMALL_MAP = 49       # an output of at most so many pixels is better gathered into one product
_LARGE_MAP = 16       # for an output of at least this height, gradients are better gathered by the kernel's rows
_FEW_CHANNELS = 16    # with fewer input channels, the kernel's gradient is then better one product for all rows


def convolve(x: jax.Array, kernel: jax.Array, strides: int, groups: int, form: str = "auto") -> jax.Array:
    """A convolution that is padded by (K - 1) // 2 zeros on each side.

    Args:
      x: [B,H,W,C].
      kernel: [K,K,C/groups,F].
      strides: pixels from one window to the next, along both axes.
      groups: parts of the channels that see only themselves; they divide C and F.
      form: one of FORMS.

    Returns:
      [B,ceil(H/strides),ceil(W/strides),F].

    Raises:
      UserError: the form is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.embedders.cpu import convolution
      >>> y = convolution.convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), strides=1, groups=1)
      >>> print(y[0, :, :, 0])
      [[4. 6. 4.]
       [6. 9. 6.]
       [4. 6. 4.]]
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
    """XLA's own convolution.

    Args:
      x: [B,H,W,C].
      kernel: [K,K,C/groups,F].
      padding: zeros before and after, along both axes.
      strides, groups: as of `convolve`.

    Returns:
      [B,h,w,F].

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.embedders.cpu import convolution
      >>> convolution.plain(jnp.ones((1, 5, 5, 1)), jnp.ones((4, 4, 1, 2)), padding=(2, 1)).shape
      (1, 5, 5, 2)
    """
    return lax.conv_general_dilated(x, kernel, (strides, strides), (padding, padding),
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups)


def _native(x: jax.Array, kernel: jax.Array, strides: int, groups: int = 1) -> jax.Array:
    padding = (kernel.shape[0] - 1) // 2
    return plain(x, kernel, (padding, padding), strides, groups)


def _dense(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """A convolution of one group, in the form that is quick on CPUs."""
    if kernel.shape[0] == 1:
        return _product(x, kernel, strides)
    return (_window if gradients.written_out() else _window_value)(x, kernel, strides)


def _window_value(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """A convolution of one group and a kernel above 1x1, in the form that is quick on CPUs for these shapes."""
    small = _is_small(x, strides) and (strides > 1 or x.shape[1] < 4)
    return (_product if small else _native)(x, kernel, strides)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _window(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """`_window_value`, each of whose gradients is in the form that is quick on CPUs for these shapes too."""
    return _window_value(x, kernel, strides)


def _is_small(x: jax.Array, strides: int) -> bool:
    """Whether the output has so few pixels that windows are better gathered into one product."""
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
    """A convolution as one matrix product for each of the kernel's rows."""
    size, _, inputs, outputs = kernel.shape
    padding = (size - 1) // 2
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((side - size) // strides * strides + 1 for side in x.shape[1:3])
    x = jnp.concatenate([x[:, :, left:left + width:strides] for left in range(size)], axis=-1)
    return sum(_product(x[:, top:top + height:strides], row.reshape(1, 1, size * inputs, outputs), 1)
               for top, row in enumerate(kernel))


def _product(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """A convolution as one matrix product of the kernel and what each window sees."""
    patches = jnp.concatenate(shifted(x, kernel.shape[0], strides), axis=-1)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return (patches.reshape(-1, len(matrix)) @ matrix).reshape(*patches.shape[:3], -1)


def _taps(x: jax.Array, kernel: jax.Array, strides: int, groups: int) -> jax.Array:
    """A grouped convolution as a product for each of the kernel's taps, batched over the groups."""
    size, _, inputs, outputs = kernel.shape
    taps = kernel.reshape(size * size, inputs, groups, outputs // groups)
    total = 0.0
    for tap, part in zip(taps, shifted(x, size, strides), strict=True):
        batch, height, width, _ = part.shape
        part = part.reshape(batch * height * width, groups, inputs)
        total += jnp.einsum("ngi,igo->ngo", part, tap)
    return total.reshape(batch, height, width, outputs)


def _merged(x: jax.Array, kernel: jax.Array, strides: int, groups: int, width: int = _MERGED_WIDTH) -> jax.Array:
    """A grouped convolution as dense ones, each of neighbouring groups of at most `width` channels together."""
    size, _, inputs, outputs = kernel.shape
    merged = min(groups, max(width // inputs, 1))
    while groups % merged:
        merged -= 1
    # For each block of groups a kernel [K,K,merged*I,merged*O/groups] is made, which is zero off its diagonal blocks.
    blocks = kernel.reshape(size, size, inputs, groups // merged, merged, outputs // groups)
    dense = jnp.einsum("hwibmo,mn->bhwnimo", blocks, jnp.eye(merged, dtype=kernel.dtype))
    dense = dense.reshape(groups // merged, size, size, merged * inputs, merged * outputs // groups)
    parts = jnp.split(x, groups // merged, axis=-1)
    return jnp.concatenate([_dense(part, block, strides) for part, block in zip(parts, dense, strict=True)], axis=-1)


def shifted(x: jax.Array, size: int, strides: int, padding=None, fill: float = 0.0) -> list[jax.Array]:
    """What windows see at each of their taps.

    Args:
      x: [B,H,W,C].
      size: height and width of a window.
      strides: pixels from one window to the next, along both axes.
      padding: ((top, bottom), (left, right)) pixels around x; None pads by (size - 1) // 2 on each side.
      fill: the value of the padding.

    Returns:
      size * size arrays [B,h,w,C], row by row of the window.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.embedders.cpu import convolution
      >>> taps = convolution.shifted(jnp.arange(4.0).reshape(1, 2, 2, 1), size=2, strides=1, padding=((0, 0), (0, 0)))
      >>> [tap.item() for tap in taps]
      [0.0, 1.0, 2.0, 3.0]
    """
    padding = ((((size - 1) // 2,) * 2,) * 2) if padding is None else padding
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    rows, columns = ((side - size) // strides * strides + 1 for side in x.shape[1:3])
    return [x[:, top:top + rows:strides, left:left + columns:strides] for top in range(size) for left in range(size)]
