"""A convolution or a pool, in the form that is fastest on the backend at hand. All forms compute the same.

native  XLA's convolution, grouped or not: what accelerators get
taps    one product of channels for each of the kernel's taps, batched over the groups
merged  neighbouring groups become one dense group, zero off its diagonal blocks

On the CPU, XLA's grouped convolution, its 3x3 convolution of small maps, the gradient of a 1x1 kernel and the
gradient of a max-pool take slow paths (`python -m benchmarks.convolutions` measures them). "auto" avoids them there.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

FORMS = ("auto", "native", "taps", "merged")

# Chosen on two CPU cores (benchmarks/results/convolutions.md): narrower groups are little faster and slow to compile.
_MERGED_WIDTH = 32    # channels of a merged group
_SMALL_MAP = 49       # pixels, height times width, of an output that is better gathered into one product
_LARGE_MAP = 16       # pixels, height, of an output from which on the kernel's gradient is, by the kernel's rows
_FEW_CHANNELS = 16    # of an input whose kernel's gradient is then one product for all rows


def convolve(x: jax.Array, kernel: jax.Array, strides: int, groups: int, form: str = "auto") -> jax.Array:
    """[B,H,W,C] * [K,K,C/groups,F] -> [B,ceil(H/strides),ceil(W/strides),F], zero-padded by (K-1)//2 on each side.

    Raises ValueError for an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"unknown form of convolution {form!r}; known: {', '.join(FORMS)}")
    if form == "native" or (form == "auto" and jax.default_backend() != "cpu"):
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
    small = _is_small(x, strides)
    of_input = _product if small or strides > 1 else _native
    of_kernel = _native if gradient.shape[1] < _LARGE_MAP else _rows if x.shape[-1] >= _FEW_CHANNELS else _product
    of_kernel = _product if small else of_kernel
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
    patches = jnp.concatenate(_shifted(x, kernel.shape[0], strides), axis=-1)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return (patches.reshape(-1, len(matrix)) @ matrix).reshape(*patches.shape[:3], -1)


def _taps(x: jax.Array, kernel: jax.Array, strides: int, groups: int) -> jax.Array:
    size, _, inputs, outputs = kernel.shape
    taps = kernel.reshape(size * size, inputs, groups, outputs // groups)
    total = 0.0
    for tap, part in zip(taps, _shifted(x, size, strides), strict=True):
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


def max_pool(x: jax.Array, strides: int, padding: tuple[tuple[int, int], ...], form: str = "auto") -> jax.Array:
    """3x3: [B,H,W,C] -> [B,h,w,C]. padding: pixels of -inf before and after, of each axis."""
    if form == "native" or jax.default_backend() != "cpu":
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, strides, strides, 1),
                                 ((0, 0), *padding, (0, 0)))
    return _pool(x, strides, padding, x.shape[1:3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _pool(x: jax.Array, strides: int, padding: tuple, sides: tuple[int, int]) -> jax.Array:
    """sides: height and width of x."""
    return _pool_forward(x, strides, padding, sides)[0]


def _pool_forward(x, strides, padding, sides):
    """The greatest, and which tap it is: the first of equals, as in PyTorch."""
    del sides
    greatest, *others = _shifted(x, 3, strides, padding, fill=-jnp.inf)
    where = jnp.zeros(greatest.shape, jnp.int8)
    for tap, other in enumerate(others, start=1):
        kept = greatest >= other
        greatest, where = jnp.where(kept, greatest, other), jnp.where(kept, where, jnp.int8(tap))
    return greatest, where


def _pool_backward(strides, padding, sides, where, gradient):
    """Every pixel takes the gradients of the windows that found it: it lies in 2 // strides + 1 of them along an axis.
    Pixels that are in the same taps of their windows, every strides-th, are found together.
    """
    reach = 2 // strides
    rows, columns = (side + reach for side in where.shape[1:3])
    around = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    where, gradient = jnp.pad(where, around, constant_values=-1), jnp.pad(gradient, around)
    found = [[0.0] * strides for _ in range(strides)]
    for tap in range(9):
        (top, row), (left, column) = (divmod(offset, strides) for offset in divmod(tap, 3))
        part = (slice(None), slice(reach - top, reach - top + rows), slice(reach - left, reach - left + columns))
        found[row][column] += jnp.where(where[part] == tap, gradient[part], 0)
    every = jnp.stack([jnp.stack(line, axis=3) for line in found], axis=2)
    every = every.reshape(len(gradient), rows * strides, columns * strides, -1)
    (top, _), (left, _) = padding
    # Pixels past the last window have no gradient.
    missing = [max(start + side - count, 0) for start, side, count in zip((top, left), sides, every.shape[1:3],
                                                                        strict=True)]
    every = jnp.pad(every, ((0, 0), *((0, count) for count in missing), (0, 0)))
    return (every[:, top:top + sides[0], left:left + sides[1]],)


_pool.defvjp(_pool_forward, _pool_backward)


def average_pool(x: jax.Array, form: str = "auto") -> jax.Array:
    """3x3, stride 1: [B,H,W,C] -> [B,H,W,C]. The padding of zeros counts: the border is divided by nine too."""
    if form == "native" or jax.default_backend() != "cpu":
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), ((0, 0), (1, 1), (1, 1), (0, 0))) / 9
    return sum(_shifted(x, 3, 1)) / 9


def _shifted(x: jax.Array, size: int, strides: int, padding=None, fill: float = 0.0) -> list[jax.Array]:
    """For each tap of a size x size window, row by row, what the windows see there."""
    padding = ((((size - 1) // 2,) * 2,) * 2) if padding is None else padding
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    rows, columns = ((side - size) // strides * strides + 1 for side in x.shape[1:3])
    return [x[:, top:top + rows:strides, left:left + columns:strides] for top in range(size) for left in range(size)]
