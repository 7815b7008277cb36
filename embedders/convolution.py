"""A convolution or a max-pool, in the form that is fastest on the backend at hand. All forms compute the same.

native  XLA's convolution, grouped or not: what accelerators get
taps    one product of channels for each of the kernel's taps, batched over the groups
merged  neighbouring groups become one dense group, zero off its diagonal blocks

On the CPU, XLA's grouped convolution, its 3x3 convolution of small maps, the gradient of a 1x1 kernel and the
gradient of a max-pool take slow paths (`python -m benchmarks.convolutions` measures them). "auto" avoids them there.
"""

import jax
import jax.numpy as jnp
from jax import lax

FORMS = ("auto", "native", "taps", "merged")

# Chosen on two CPU cores (benchmarks/results/convolutions.md): narrower groups are little faster and slow to compile.
_MERGED_WIDTH = 32    # channels of a merged group
_SMALL_MAP = 49       # pixels, height times width, of an output that is better gathered into one product


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


def _native(x: jax.Array, kernel: jax.Array, strides: int, groups: int) -> jax.Array:
    padding = (kernel.shape[0] - 1) // 2
    return plain(x, kernel, (padding, padding), strides, groups)


def _dense(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """One group: as a product where XLA:CPU's convolution, or its gradient, is slower than that."""
    size = kernel.shape[0]
    height, width = (-(-side // strides) for side in x.shape[1:3])
    if size == 1 or (size == 3 and height * width <= _SMALL_MAP):
        return _product(x, kernel, strides)
    return _native(x, kernel, strides, 1)


def _product(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    """One matrix product of what each window sees."""
    patches = jnp.concatenate(_shifted(x, kernel.shape[0], strides), axis=-1)
    return jnp.einsum("bhwc,cf->bhwf", patches, kernel.reshape(-1, kernel.shape[-1]))


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
    first, *others = _shifted(x, 3, strides, padding, fill=-jnp.inf)
    for other in others:
        # Not jnp.maximum, which halves the gradient at a tie: the first of equals gets it all, as in PyTorch.
        first = jnp.where(first >= other, first, other)
    return first


def _shifted(x: jax.Array, size: int, strides: int, padding=None, fill: float = 0.0) -> list[jax.Array]:
    """For each tap of a size x size window, row by row, what the windows see there."""
    padding = ((((size - 1) // 2,) * 2,) * 2) if padding is None else padding
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    rows, columns = ((side - size) // strides * strides + 1 for side in x.shape[1:3])
    return [x[:, top:top + rows:strides, left:left + columns:strides] for top in range(size) for left in range(size)]
