"""A gallery on its devices, and what is asked of it: the nearest rows, and the ranks of given rows. Exact.

The gallery's rows are split over the mesh axis "data", so over all devices of all hosts; queries come in blocks, and
the similarities of one block, [block, N / devices] float32, are all that is held. A full ranking is sorted only where
counting is the longer way: the rank of a row is the number of rows before it, those of a higher score and those of an
equal score and a lower index. On one CPU device, XLA computes the similarities and NumPy picks from them: on_host.py.

Equal means equal as float32, as computed. Each device's part is padded to whole tiles of the matrix product, so that a
score, and with it every tie, is the same bit for bit wherever its row lies and whatever the number of devices (on a
CPU; other back ends may choose another kernel for another width). The same score computed in two ways may differ by
rounding, about 1e-7 for unit vectors, and rows as near as that may change places: so it is between back ends, and
between `top` of few neighbours on one CPU, where bfloat16 screens and each row that may be among them is scored again
by itself, and everything else. Rows that are equal have equal scores in each of the ways.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...errors import UserError
from . import on_host, screen

AXIS = "data"
# Queries at a time, and similarities of a block on one device: .5 and 1 GiB.
_CPU_BLOCK, _CPU_ELEMENTS = 512, 2**27
_BLOCK, _ELEMENTS = 2048, 2**28
# XLA:CPU multiplies the columns past the last whole tile by another kernel, which adds in another order.
_TILE = 64
# A CPU screens for so many neighbours at most, and where gallery and queries are worth a second copy of the rows.
_SCREEN_NEIGHBOURS, _SCREEN_ROWS, _SCREEN_QUERIES = 100, 2**13, 2**10
# Counting one rank reads all similarities once; beyond this many ranks for one query they are sorted instead.
_COUNT_AT_MOST = 512


class Gallery:
    """Rows to find: f32[N,D], split over the devices of `mesh` (default: one device of this process).

    Every process gives all rows and every question, and gets every answer. Raises UserError for values that are not
    finite: nothing is ranked.
    """

    def __init__(self, rows, mesh: jax.sharding.Mesh | None = None, block: int | None = None):
        rows = _finite(rows)
        self.size = len(rows)
        self.mesh = jax.make_mesh((1,), (AXIS,), devices=jax.local_devices()[:1]) if mesh is None else mesh
        devices = self.mesh.shape[AXIS]
        self._on_cpu = self.mesh.devices.flat[0].platform == "cpu"
        self._on_host = self._on_cpu and devices == 1
        width = -(-self.size // (devices * _TILE)) * _TILE
        sharding = NamedSharding(self.mesh, P(AXIS))
        self._rows = jax.make_array_from_callback((width * devices, rows.shape[1]), sharding,
                                                  lambda index: _padded(rows, index[0], width))
        if block is None:
            usual, elements = (_CPU_BLOCK, _CPU_ELEMENTS) if self._on_cpu else (_BLOCK, _ELEMENTS)
            block = max(min(usual, elements // width), 1)
        self.block = -(-block // devices) * devices

    def top(self, queries, k: int, exclude=None) -> tuple[np.ndarray, np.ndarray]:
        """The k rows of the largest inner product: indices i32[Q,K], scores f32[Q,K], best first, ties by index.

        queries f[Q,D]. exclude: i[Q] or i[Q,E], rows that the query must not find; -1 for none. Where fewer than k
        rows are left, the last indices are -1 and their scores -inf. Raises UserError for k outside 1..N.
        """
        if not 1 <= k <= self.size:
            raise UserError(f"k={k} neighbours asked of {self.size} candidates")
        queries, exclude = _finite(queries), columns(exclude, len(queries))
        if self._on_host:
            blocks = list(self._top_on_host(queries, k, exclude))
        else:
            blocks = list(self._ask(_top_program(self.mesh, k, self.size), self._rows, queries, exclude))
        indices = np.concatenate([np.zeros((0, k), np.int32), *(block[0] for block in blocks)])
        return indices, np.concatenate([np.zeros((0, k), np.float32), *(block[1] for block in blocks)])

    def ranks(self, queries, rows, exclude=None) -> np.ndarray:
        """For each query, how many gallery rows come before each of `rows`, ascending: i32[Q,R].

        queries f[Q,D]. rows: i[Q,R], gallery rows; -1 pads, and its rank is N. exclude as in `top`: such a row is
        before none. Rows of equal similarity are ranked by index.
        """
        queries, exclude = _finite(queries), columns(exclude, len(queries))
        rows = np.asarray(rows, np.int32)
        blocks = list(self._ranks_on_host(queries, rows, exclude) if self._on_host else
                      self._ranks_on_devices(queries, rows, exclude))
        return np.concatenate([np.zeros((0, rows.shape[1]), np.int32), *blocks])

    def _top_on_host(self, queries, k: int, exclude):
        similarities = functools.partial(self._ask, _similarity_program(self.mesh, self.size))
        slack = self._screen.slack(queries) if self._worth_screening(queries, k) else np.float32(np.inf)
        if not np.isfinite(slack).all():
            for (similarity,) in similarities(self._rows, queries, exclude):
                yield on_host.top(similarity, k)
            return
        rows = np.asarray(self._rows)
        for start, (coarse,) in zip(range(0, len(queries), self.block),
                                    similarities(self._screen.rows, queries, exclude), strict=True):
            part = slice(start, start + self.block)
            yield on_host.top_screened(coarse, slack[part], queries[part], rows, k)

    def _worth_screening(self, queries, k: int) -> bool:
        return (k <= _SCREEN_NEIGHBOURS and self.size >= _SCREEN_ROWS and len(queries) >= _SCREEN_QUERIES
                and screen.quick())

    @functools.cached_property
    def _screen(self) -> screen.Screen:
        return screen.Screen(self._rows)

    def _ranks_on_host(self, queries, rows, exclude):
        similarities = self._ask(_similarity_program(self.mesh, self.size), self._rows, queries, exclude)
        for start, (similarity,) in zip(range(0, len(queries), self.block), similarities, strict=True):
            yield on_host.ranks(similarity, rows[start:start + self.block], self.size)

    def _ranks_on_devices(self, queries, rows, exclude):
        program = functools.partial(_ranks_program, self.mesh, self.size)
        way = "count" if rows.shape[1] <= _COUNT_AT_MOST else "sort"
        # Widths are rounded up, so that few programs are compiled.
        padded = np.pad(rows, ((0, 0), (0, rounded(rows.shape[1]) - rows.shape[1])), constant_values=-1)
        for start, (ranks, tied) in zip(range(0, len(queries), self.block),
                                        self._ask(program(way), self._rows, queries, exclude, padded), strict=True):
            if tied.any():  # seldom, and slower: counts again, in the order of the indices
                part = slice(start, start + self.block)
                ((ranks, _),) = self._ask(program("count ties"), self._rows, queries[part], exclude[part],
                                           padded[part])
            yield np.sort(ranks, axis=1)[:, :rows.shape[1]]

    def _ask(self, program, rows, *arrays):
        """The program's answers of `rows` and a block of `arrays`; the next block is under way while one is read."""
        devices, pending = self.mesh.shape[AXIS], None
        unit = -(-self.block // (4 * devices)) * devices  # the last block is padded to one of four sizes
        for start in range(0, len(arrays[0]), self.block):
            parts = [array[start:start + self.block] for array in arrays]
            count = len(parts[0])
            size = min(-(-count // unit) * unit, self.block)
            parts = [np.pad(part, ((0, size - count), (0, 0))) for part in parts]
            answer = program(rows, *parts)
            if self._on_cpu and self.mesh.size > 1:  # two programs under way there may wait for each other's devices
                jax.block_until_ready(answer)
            if pending is not None:
                yield [np.asarray(part)[:self.block] for part in pending]
            pending, last = answer, count
        if pending is not None:
            yield [np.asarray(part)[:last] for part in pending]


def rounded(count: int) -> int:
    """The next of 2, 4, 6, 8, 12, 16, 24, 32, 48, ..."""
    power = 1 << max(count - 1, 1).bit_length()
    return power * 3 // 4 if power > 4 and count <= power * 3 // 4 else power


def _finite(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    if not all(np.isfinite(rows[start:start + 2**14]).all() for start in range(0, len(rows), 2**14)):
        raise UserError("embeddings hold NaN or infinite values: nothing is ranked")
    return rows


def columns(exclude, count: int) -> np.ndarray:
    """i32[Q,E], E at least 1."""
    if exclude is None or np.size(exclude) == 0:
        return np.full((count, 1), -1, np.int32)
    return np.asarray(exclude, np.int32).reshape(count, -1)


def _padded(rows: np.ndarray, index: slice, width: int) -> np.ndarray:
    start = index.start or 0
    part = rows[start:start + width]
    return np.pad(part, ((0, width - len(part)), (0, 0)))


def _similarity(rows, queries, exclude, size: int):
    """f32[B, this device's rows], -inf where excluded and past the end, and the global index of the first row."""
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
    """`function` of the split gallery and replicated questions, its answers replicated."""

    def run(rows, *questions):
        specs = (P(AXIS), *[P()] * len(questions))
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=(P(),) * outputs, check_vma=False)(
            rows, *questions)

    return jax.jit(run)


@functools.lru_cache(maxsize=64)
def _similarity_program(mesh, size: int):
    return _program(mesh, lambda rows, queries, exclude: _similarity(rows, queries, exclude, size)[:1], 1)


@functools.lru_cache(maxsize=64)
def _top_program(mesh, k: int, size: int):
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
def _ranks_program(mesh, size: int, way: str):
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
    """Rows of a higher score, with `ties` also those of the same score and a lower index; and whether there are any."""
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
    """How many of each row are greater than, and how many equal to, each of its own values [B,R]: i32[B,R] twice."""
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
