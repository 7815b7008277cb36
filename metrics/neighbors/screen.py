"""Similarities in bfloat16, which newer CPUs multiply more quickly than float32, and how wrong they can be.

What a product of rounded rows leaves out cannot matter if it is known to within a slack: see `on_host.top_screened`.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np


class Screen:
    """Holds rows f32[W,D] of a device as bf16[W,D] too, which is another half of their memory."""

    def __init__(self, rows):
        self.rows, greatest, lost = _rounded(rows)
        self._greatest, self._lost = float(greatest), float(lost)

    def slack(self, queries: np.ndarray) -> np.ndarray:
        """Says how far a product of queries [Q,D] and rows in bfloat16 is from one in float32 at most: f32[Q], or inf.

        |qg - q'g'| <= |q - q'| |g| + |q'| |g - g'|, where q' and g' are rounded; a float32 sum of D products, in any
        order, is off by D units of rounding of |q| |g| at most; and what is too small for a normal number may be
        taken for 0.
        """
        limits = np.finfo(np.float32)
        near = queries.astype(jnp.bfloat16).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            kept, lost = np.linalg.norm(near, axis=1), np.linalg.norm(queries - near, axis=1)
            slack = lost * self._greatest + kept * self._lost
            slack += 2 * limits.eps * queries.shape[1] * kept * self._greatest  # two sums, and as much again
            slack += limits.tiny * queries.shape[1] * (1 + kept + self._greatest)
            slack *= 1.01  # the norms are rounded too
        return np.where(np.isnan(slack), np.inf, slack).astype(np.float32)


@jax.jit
def _rounded(rows):
    """Gives the rows in bfloat16, the greatest norm of a row, and that of what rounding took from one."""
    near = rows.astype(jnp.bfloat16)
    norm = lambda x: jnp.max(jnp.linalg.norm(x, axis=1))
    return near, norm(rows), norm(rows - near.astype(jnp.float32))


@functools.cache
def quick() -> bool:
    """Says whether this machine's CPU has instructions for products of bfloat16, as Linux tells.

    Example:
        >>> from geodesic.metrics.neighbors import screen
        >>> screen.quick() in (False, True)
        True
    """
    path = pathlib.Path("/proc/cpuinfo")
    return path.exists() and not {"avx512_bf16", "amx_bf16"}.isdisjoint(path.read_text().split())
