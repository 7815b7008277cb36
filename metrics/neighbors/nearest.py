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
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...errors import UserError
from . import on_devices, on_host, screen
from .on_devices import AXIS

# Queries at a time, and similarities of a block on one device: .5 and 1 GiB.
_CPU_BLOCK, _CPU_ELEMENTS = 512, 2**27
_BLOCK, _ELEMENTS = 2048, 2**28
# XLA:CPU multiplies the columns past the last whole tile by another kernel, which adds in another order.
_TILE = 64
# A CPU screens for so many neighbours at most, and where gallery and queries are worth a second copy of the rows.
_SCREEN_NEIGHBOURS, _SCREEN_ROWS, _SCREEN_QUERIES = 100, 2**13, 2**10


class Gallery:
    """Holds rows to find, split over devices, and answers questions about them.

    Every process gives all rows and every question, and gets every answer.

    Args:
        rows: f[N,D].
        mesh: splits the rows over its axis "data"; the default is one device of this process.
        block: queries at a time; the default follows the memory that their similarities take.
        count_at_most: ranks of one query that are counted; more are sorted. Counting one reads all similarities once.
        screens: whether one CPU device looks for few neighbours in bfloat16 first; the default is to do so where the
            CPU multiplies it more quickly, and rows and queries are many.

    Raises:
        UserError: a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics.neighbors import nearest
        >>> gallery = nearest.Gallery(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]))
        >>> gallery.top(np.array([[1.0, 0.0]]), 2)[0].tolist()
        [[0, 2]]
        >>> gallery.ranks(np.array([[1.0, 0.0]]), np.array([[1, 2]])).tolist()
        [[1, 2]]
    """

    def __init__(self, rows, mesh: jax.sharding.Mesh | None = None, block: int | None = None, *,
                 count_at_most: int = 512, screens: bool | None = None):
        rows = _finite(rows)
        self.size = len(rows)
        self._count_at_most, self._screens = count_at_most, screens
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
        """Finds the k rows of the largest inner product.

        Args:
            queries: f[Q,D].
            k: 1..N.
            exclude: i[Q] or i[Q,E], rows that the query must not find; -1 for none.

        Returns:
            Indices i32[Q,K] and scores f32[Q,K], best first, of equals the lower index first. Where fewer than k rows
            are left, the last indices are -1 and their scores -inf.

        Raises:
            UserError: k is out of its range, or a query is not finite.
        """
        if not 1 <= k <= self.size:
            raise UserError(f"k={k} neighbours asked of {self.size} candidates")
        queries, exclude = _finite(queries), columns(exclude, len(queries))
        if self._on_host:
            blocks = list(self._top_on_host(queries, k, exclude))
        else:
            blocks = list(self._ask(on_devices.top_program(self.mesh, k, self.size), self._rows, queries, exclude))
        indices = np.concatenate([np.zeros((0, k), np.int32), *(block[0] for block in blocks)])
        return indices, np.concatenate([np.zeros((0, k), np.float32), *(block[1] for block in blocks)])

    def ranks(self, queries, rows, exclude=None) -> np.ndarray:
        """Counts how many gallery rows come before given ones. Rows of equal similarity are ranked by index.

        Args:
            queries: f[Q,D].
            rows: i[Q,R], gallery rows; -1 pads, and its rank is N.
            exclude: as in `top`; such a row is before none.

        Returns:
            i32[Q,R], the ranks of a query's rows, ascending.

        Raises:
            UserError: a query is not finite.
        """
        queries, exclude = _finite(queries), columns(exclude, len(queries))
        rows = np.asarray(rows, np.int32)
        blocks = list(self._ranks_on_host(queries, rows, exclude) if self._on_host else
                      self._ranks_on_devices(queries, rows, exclude))
        return np.concatenate([np.zeros((0, rows.shape[1]), np.int32), *blocks])

    def _top_on_host(self, queries, k: int, exclude):
        similarities = functools.partial(self._ask, on_devices.similarity_program(self.mesh, self.size))
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
        if self._screens is not None:
            return self._screens
        return (k <= _SCREEN_NEIGHBOURS and self.size >= _SCREEN_ROWS and len(queries) >= _SCREEN_QUERIES
                and screen.quick())

    @functools.cached_property
    def _screen(self) -> screen.Screen:
        return screen.Screen(self._rows)

    def _ranks_on_host(self, queries, rows, exclude):
        similarities = self._ask(on_devices.similarity_program(self.mesh, self.size), self._rows, queries, exclude)
        for start, (similarity,) in zip(range(0, len(queries), self.block), similarities, strict=True):
            yield on_host.ranks(similarity, rows[start:start + self.block], self.size)

    def _ranks_on_devices(self, queries, rows, exclude):
        program = functools.partial(on_devices.ranks_program, self.mesh, self.size)
        way = "count" if rows.shape[1] <= self._count_at_most else "sort"
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
        """Yields the program's answers of `rows` and a block of `arrays`; one is read while the next is under way."""
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
    """Rounds a width up to one of 2, 4, 6, 8, 12, 16, 24, 32, 48, ..., so that few programs are compiled.

    Args:
        count: the width.

    Returns:
        The next of them.

    Example:
        >>> from geodesic.metrics.neighbors import nearest
        >>> [nearest.rounded(count) for count in (1, 5, 7, 25)]
        [2, 6, 8, 32]
    """
    power = 1 << max(count - 1, 1).bit_length()
    return power * 3 // 4 if power > 4 and count <= power * 3 // 4 else power


def _finite(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    if not all(np.isfinite(rows[start:start + 2**14]).all() for start in range(0, len(rows), 2**14)):
        raise UserError("embeddings hold NaN or infinite values: nothing is ranked")
    return rows


def columns(exclude, count: int) -> np.ndarray:
    """Brings the rows that queries must not find into one shape.

    Args:
        exclude: None, i[Q] or i[Q,E]; -1 for none.
        count: Q.

    Returns:
        i32[Q,E], E at least 1.

    Example:
        >>> from geodesic.metrics.neighbors import nearest
        >>> nearest.columns(None, 2).tolist(), nearest.columns([4, 7], 2).tolist()
        ([[-1], [-1]], [[4], [7]])
    """
    if exclude is None or np.size(exclude) == 0:
        return np.full((count, 1), -1, np.int32)
    return np.asarray(exclude, np.int32).reshape(count, -1)


def _padded(rows: np.ndarray, index: slice, width: int) -> np.ndarray:
    start = index.start or 0
    part = rows[start:start + width]
    return np.pad(part, ((0, width - len(part)), (0, 0)))
