"""A digest of every array of a train state that does not depend on where its parts live.

Each process digests what its devices hold, and the digests add up: no host needs a whole array, and a state that
comes back on another number of devices or hosts has the same ones.
"""

import concurrent.futures
from typing import NamedTuple

import jax
import numpy as np

from geodesic import losses
from geodesic.experiments.process import hosts

# Rows of an array at a time: what is copied to widen it stays small.
_BLOCK = 1 << 14
_WIDTH = 1024


def of(tree, num_classes: int | None = None) -> dict[str, str]:
    """Name of each array -> 16 hex digits. Of arrays split by class, the first `num_classes` rows count: padding does
    not. Any single changed bit changes the digest of its array, other changes but for one chance in 2^64.
    """
    sums = local(tree, num_classes, whole=False)
    total = hosts.add(np.asarray(list(sums.values()), np.uint64))
    return {name: written(int(value)) for name, value in zip(sums, total, strict=True)}


def local(tree, num_classes: int | None = None, whole: bool = True) -> dict:
    """The same of arrays that this process holds all of; with whole=False, the numbers of its part."""
    sums = of_parts(parts(tree), num_classes)
    return {name: written(value) for name, value in sums.items()} if whole else sums


class Part(NamedTuple):
    """What this process holds of an array. pieces: (place of the first row, values), of replicas the first one.
    by_row: whether the array is split by class."""

    pieces: list[tuple[int, np.ndarray]]
    by_row: bool


def parts(tree, copied: bool = False) -> dict[str, Part]:
    """Name -> this process's part of each array. copied: so that the arrays may be given away afterwards."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for _, leaf in leaves if copied else ():
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    return {name_of(path): Part([(first, np.array(values) if copied else np.asarray(values))
                                 for first, values in _pieces(leaf)], losses.is_by_class(path, leaf))
            for path, leaf in leaves}


def of_parts(held: dict[str, Part], num_classes: int | None = None) -> dict[str, int]:
    """Name -> the number of this process's part; over all processes they add up, modulo 2^64, to the digest."""
    with concurrent.futures.ThreadPoolExecutor() as pool:  # NumPy lets go of the interpreter
        sums = pool.map(lambda part: _of_part(part, num_classes), held.values())
        return dict(zip(held, sums, strict=True))


def added(told: list[dict[str, int]]) -> dict[str, str]:
    """Name -> digest, of what `of_parts` gave on each process."""
    return {name: written(sum(sums[name] for sums in told)) for name in told[0]}


def written(number: int) -> str:
    return f"{number % 2 ** 64:016x}"


def name_of(path) -> str:
    """params/embedder/... Orbax's metadata names attributes as keys, so only the names count."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _pieces(leaf) -> list[tuple]:
    """(place of the first row, values) of what this process holds."""
    if not isinstance(leaf, jax.Array):
        return [(0, leaf)]
    return [((shard.index[0].start or 0) if shard.index else 0, shard.data) for shard in leaf.addressable_shards
            if not shard.replica_id]


def _of_part(part: Part, num_classes: int | None) -> int:
    total = 0
    for first, values in part.pieces:
        if part.by_row and num_classes is not None:
            values = values[:max(num_classes - first, 0)]
        total += _digest(values, first, part.by_row)
    return total % 2 ** 64


def _digest(values: np.ndarray, first: int, by_row: bool) -> int:
    """The sum over rows of a bijection of (place, row's hash); the hash is a product with odd numbers, so that no
    single bit gets lost in it. first: the place of the first row. by_row: rows are those of the array.
    """
    if not values.size:
        return 0
    content = np.ascontiguousarray(values).view(np.uint8)
    if by_row:
        content = content.reshape(len(values), -1)
        content = np.pad(content, ((0, 0), (0, -content.shape[1] % 4)))
    else:
        width = min(4 * _WIDTH, -(-content.size // 4) * 4)
        content = np.pad(content.reshape(-1), (0, -content.size % width)).reshape(-1, width)
    words = content.view(np.uint32)
    odd = np.random.default_rng(words.shape[1]).integers(0, 2 ** 63, words.shape[1], np.uint64) * 2 + 1
    total = 0
    for start in range(0, len(words), _BLOCK):
        block = words[start:start + _BLOCK].astype(np.uint64) @ odd
        places = np.arange(first + start, first + start + len(block), dtype=np.uint64)
        total += int(_mixed(block ^ _mixed(places + np.uint64(1))).sum(dtype=np.uint64))
    return total % 2 ** 64


def _mixed(x: np.ndarray) -> np.ndarray:
    """u64 -> u64, one to one: the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
