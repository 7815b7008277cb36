"""What XLA makes of a gallery that is split over devices: similarities, the nearest rows, and ranks.

Each program takes the split rows, queries f32[B,D] and excluded rows i32[B,E], and its answers are replicated.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

AXIS = "data"


def _similarity(rows, queries, exclude, size: int):
    """Multiplies: f32[B, this device's rows], -inf where excluded and past the end; and says which row is the first."""
    width = rows.shape[0]
    first = jax.lax.axis_index(AXIS) * width
    similarity = jax.lax.dot_general(queries.astype(rows.dtype), rows, (((1,), (1,)), ((), ())),
                                     precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    local = exclude - first
    local = jnp.where((exclude >= 0) & (local >= 0) & (local < width), local, width)  # a negative index would wrap
    similarity = similarity.at[jnp.arange(len(queries))[:, None], local].set(-jnp.inf, mode="drop")
    if jax.lax.axis_size(AXIS) == 1:
        similarity = similarity.at[:, size:].set(-jnp.inf)  # in place
    elif width * jax.lax.axis_size(AXIS) != size:
        similarity = jnp.where(first + jnp.arange(width) < size, similarity, -jnp.inf)
    return similarity, first


def _program(mesh, function, outputs: int):
    """Compiles `function` of the split gallery and replicated questions; its answers are replicated."""

    def run(rows, *questions):
        specs = (P(AXIS), *[P()] * len(questions))
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=(P(),) * outputs, check_vma=False)(
            rows, *questions)

    return jax.jit(run)


@functools.lru_cache(maxsize=64)
def similarity_program(mesh, size: int):
    """Compiles the products of queries and rows.

    Args:
        mesh: of one device.
        size: N; rows past it are padding.

    Returns:
        A function of rows, queries and excluded rows that gives (f32[B, rows],), -inf where a row is excluded or
        padding.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from geodesic.metrics.neighbors import on_devices
        >>> mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
        >>> (found,) = on_devices.similarity_program(mesh, 2)(jnp.eye(3), jnp.ones((1, 3)), jnp.array([[0]]))
        >>> found.tolist()
        [[-inf, 1.0, -inf]]
    """
    return _program(mesh, lambda rows, queries, exclude: _similarity(rows, queries, exclude, size)[:1], 1)


@functools.lru_cache(maxsize=64)
def top_program(mesh, k: int, size: int):
    """Compiles the search for the k nearest rows.

    Args:
        mesh: of all devices.
        k: how many.
        size: N; rows past it are padding.

    Returns:
        A function of rows, queries and excluded rows that gives i32[B,K], -1 where none is left, and f32[B,K].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from geodesic.metrics.neighbors import on_devices
        >>> mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
        >>> found, scores = on_devices.top_program(mesh, 1, 3)(jnp.eye(3), jnp.ones((1, 3)), jnp.array([[0]]))
        >>> found.tolist(), scores.tolist()
        ([[1]], [[1.0]])
    """
    def top(rows, queries, exclude):
        similarity, first = _similarity(rows, queries, exclude, size)
        similarity = jnp.where(similarity == 0, 0.0, similarity)  # top_k puts -0 behind 0
        scores, indices = jax.lax.top_k(similarity, min(k, rows.shape[0]))
        if mesh.shape[AXIS] > 1:
            # In the devices' order, so that of equal values the lower index is still first.
            gather = lambda x: jax.lax.all_gather(x, AXIS, axis=1, tiled=True)
            indices = gather(indices + first)
            scores, places = jax.lax.top_k(gather(scores), k)
            indices = jnp.take_along_axis(indices, places, axis=1)
        return jnp.where(jnp.isneginf(scores), -1, indices), scores

    return _program(mesh, top, 2)


@functools.lru_cache(maxsize=64)
def ranks_program(mesh, size: int, way: str):
    """Compiles the ranks of given rows.

    Args:
        mesh: of all devices.
        size: N; rows past it are padding.
        way: "count" counts the rows of a higher score, "count ties" also those of the same score and a lower index,
            and "sort" sorts whole rankings.

    Returns:
        A function of rows, queries, excluded rows and wanted rows i32[B,R] (-1 pads) that gives their ranks i32[B,R],
        in any order, and whether "count" met ties, i32[1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from geodesic.metrics.neighbors import on_devices
        >>> mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
        >>> ask = on_devices.ranks_program(mesh, 3, "count")
        >>> ranks, tied = ask(jnp.eye(3), jnp.array([[3.0, 2.0, 1.0]]), jnp.array([[-1]]), jnp.array([[1, 2]]))
        >>> ranks.tolist(), tied.tolist()
        ([[1, 2]], [0])
    """
    function = {"count": _ranks_by_counting, "count ties": functools.partial(_ranks_by_counting, ties=True),
                "sort": _ranks_by_sorting}[way]

    def ranks(rows, queries, exclude, wanted):
        similarity, first = _similarity(rows, queries, exclude, size)
        found, ties = function(similarity, first, wanted)
        return jnp.where(wanted < 0, size, found), ties[None]

    return _program(mesh, ranks, 2)


def _over_devices(combine, value):
    """XLA:CPU runs a collective of one device too, and waits for it."""
    return combine(value, AXIS) if jax.lax.axis_size(AXIS) > 1 else value


def _ranks_by_counting(similarity, first, wanted, ties=False):
    """Counts rows of a higher score, with `ties` also those of the same score and a lower index; and says whether
    there are ties.
    """
    width = similarity.shape[1]
    local = wanted - first
    here = (local >= 0) & (local < width)
    own = jnp.take_along_axis(similarity, jnp.clip(local, 0, width - 1), axis=1)
    own = _over_devices(jax.lax.pmax, jnp.where(here, own, -jnp.inf))
    if not ties:
        higher, equal = _counts(similarity, own)
        tied = jnp.any((equal > here) & (wanted >= 0))
        return _over_devices(jax.lax.psum, higher), _over_devices(jax.lax.pmax, tied.astype(jnp.int32))
    columns = first + jnp.arange(width)
    before = lambda one: jnp.sum(jnp.where(columns < one[0][:, None], similarity >= one[1][:, None],
                                           similarity > one[1][:, None]), axis=1, dtype=jnp.int32)
    return _over_devices(jax.lax.psum, jax.lax.map(before, (wanted.T, own.T)).T), jnp.int32(0)


def _counts(similarity, own):
    """Counts how many of each row are greater than, and equal to, each of its own values [B,R]: i32[B,R] twice."""
    compare = lambda values: tuple(jnp.sum(hit, axis=1, dtype=jnp.int32) for hit in (
        similarity > values[:, None], similarity == values[:, None]))
    higher, equal = jax.lax.map(compare, own.T)
    return higher.T, equal.T


def _ranks_by_sorting(similarity, first, wanted):
    """Each device sorts the whole rows of its part of the queries."""
    del first
    similarity = jax.lax.all_to_all(similarity, AXIS, split_axis=0, concat_axis=1, tiled=True)
    count, columns = similarity.shape
    order = jnp.argsort(-similarity, axis=1, stable=True)
    place = jnp.zeros(order.shape, jnp.int32).at[jnp.arange(count)[:, None], order].set(
        jnp.arange(columns, dtype=jnp.int32), unique_indices=True)
    mine = jax.lax.dynamic_slice_in_dim(wanted, jax.lax.axis_index(AXIS) * count, count)
    found = jnp.take_along_axis(place, jnp.maximum(mine, 0), axis=1)
    return jax.lax.all_gather(found, AXIS, axis=0, tiled=True), jnp.int32(0)
