"""What the tests of every registered loss share: small batches, and one compilation per loss and layout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from geodesic import losses
from geodesic.experiments.process import mesh as meshes

BATCH, SIZE, CLASSES = 8, 8, 11  # 11 does not divide into 2, 4 or 8 devices


# Half the time to compile; the mathematics is the same.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def mesh_of(devices: int):
    """devices: 0 for no mesh at all."""
    return meshes.make(jax.devices()[:devices]) if devices else None


@functools.cache
def build(name: str, devices: int = 0, **options) -> losses.Loss:
    return losses.build(name, num_classes=CLASSES, mesh=mesh_of(devices), **options)


@functools.cache
def compiled(name: str, devices: int = 0, **options):
    """jit'ed (params, state, embeddings, labels, rng) -> ((loss, (state, scalars)), gradients (params, embeddings))."""
    apply = build(name, devices, **options).apply

    def value(params, state, embeddings, labels, rng):
        loss, state, scalars = apply(params, state, embeddings, labels, rng)
        return loss, (state, scalars)

    return jit(jax.value_and_grad(value, argnums=(0, 2), has_aux=True))


@functools.cache
def init(name: str, devices: int = 0, **options):
    """(params, state); shared, so not to be changed."""
    return jit(build(name, devices, **options).init, static_argnums=1)(jax.random.key(0), SIZE)


@functools.cache
def applied(name: str, devices: int = 0, **options):
    """jit'ed (params, state, embeddings, labels, rng) -> (loss, state, scalars), where no gradient is wanted."""
    return jit(build(name, devices, **options).apply)


def batch(seed: int = 0, count: int = BATCH, length: float = 1.0):
    """(embeddings f32[count, SIZE], labels i32[count]); labels repeat and leave classes out."""
    rng = np.random.default_rng(seed)
    embeddings = length * rng.normal(size=(count, SIZE)).astype(np.float32)
    return embeddings, np.resize([0, 3, 3, 10, 0, 7, 3, 10], count).astype(np.int32)


def key(seed: int = 7) -> jax.Array:
    return jax.random.key(seed)


def real_classes(params):
    """Without the padding rows, to compare device counts."""
    return jax.tree.map(lambda values: np.asarray(values)[:CLASSES], params)


def relative_difference(a, b) -> float:
    """Largest over the arrays of a tree, each relative to its largest number."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max((float(np.max(np.abs(np.asarray(x) - np.asarray(y))) / max(np.max(np.abs(y)), 1e-30)) for x, y in pairs),
               default=0.0)


def all_finite(tree) -> bool:
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))
