"""Verification over all pairs of many embeddings, exact and in bounded memory.

60,502 images have 1.8 billion pairs. Their cosines come in blocks and are counted by the upper 16 bits of the float,
in an order-preserving form: 65,536 bins for genuine and as many for impostor pairs. A second pass counts the lower 16
bits of the few bins in which a threshold lies, so each threshold is one exact float. Memory is O(block^2 + bins).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError

_BLOCK = 2048
_BINS = 2**16


@functools.lru_cache(maxsize=1)
def _cosines():
    return jax.jit(lambda a, b: jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST))


def blocks(embeddings, labels, block: int | None = None):
    """Yields the cosines f32[M] of the pairs of rows i < j, sameness bool[M], and rows i and j, block after block.

    embeddings f[N,D] L2-normalised, labels int[N]. Raises UserError for values that are not finite.
    """
    embeddings, labels = np.asarray(embeddings, np.float32), np.asarray(labels)
    if not np.isfinite(embeddings).all():
        raise UserError("embeddings hold NaN or infinite values: no threshold can be set")
    block = min(block or _BLOCK, len(labels))
    product = _cosines()
    parts = [jnp.asarray(np.pad(embeddings[start:start + block], ((0, -len(embeddings[start:start + block]) % block),
                                                                   (0, 0)))) for start in range(0, len(labels), block)]
    for i, first in enumerate(parts):
        for j, second in enumerate(parts[i:], start=i):
            rows, columns = np.arange(i * block, min((i + 1) * block, len(labels))), np.arange(
                j * block, min((j + 1) * block, len(labels)))
            scores = np.asarray(product(first, second))[:len(rows), :len(columns)]
            same = labels[rows][:, None] == labels[columns]
            if i == j:
                upper = np.triu_indices(len(rows), k=1)
                yield scores[upper], same[upper], rows[upper[0]], rows[upper[1]]
            else:
                shape = scores.shape
                yield (scores.ravel(), same.ravel(), np.broadcast_to(rows[:, None], shape).ravel(),
                       np.broadcast_to(columns, shape).ravel())


def _keys(scores: np.ndarray) -> np.ndarray:
    """f32 -> u32 in the same order; -0 as 0."""
    bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.uint32)
    return bits ^ np.where(bits >> 31 == 1, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def _floats(keys) -> np.ndarray:
    keys = np.asarray(keys, np.uint32)
    return (keys ^ np.where(keys >> 31 == 1, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))).view(np.float32)


def _count(embeddings, labels, bins=None) -> np.ndarray:
    """Impostor and genuine pairs for each upper half of the key i64[2,65536], or for each lower half within each of
    `bins`: i64[len(bins),2,65536].
    """
    found = np.zeros((1 if bins is None else len(bins), 2 * _BINS), np.int64)
    for scores, same, _, _ in blocks(embeddings, labels):
        keys = _keys(scores)
        upper = keys >> 16
        if bins is None:
            found[0] += np.bincount(upper + _BINS * same.astype(np.uint32), minlength=2 * _BINS)
            continue
        for row, wanted in zip(found, bins, strict=True):
            kept = np.flatnonzero(upper == wanted)
            row += np.bincount((keys[kept] & 0xFFFF) + _BINS * same[kept].astype(np.uint32), minlength=2 * _BINS)
    found = found.reshape(-1, 2, _BINS)
    return found[0] if bins is None else found


class _Falling(NamedTuple):
    """Pairs accepted while the threshold falls through the bins, the highest first."""

    impostors: np.ndarray       # i[65536], accepted with this bin
    genuine: np.ndarray


def _falling(counts: np.ndarray) -> _Falling:
    return _Falling(*np.cumsum(counts[:, ::-1], axis=1))


def curve(embeddings, labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FAR, TAR and thresholds of points of the exact curve, one for each bin that holds a pair, and (0, 0) first."""
    counts = _count(embeddings, labels)
    _check(counts)
    falling = _falling(counts)
    kept = np.flatnonzero(counts[:, ::-1].any(axis=0))
    lower_edge = _floats((_BINS - 1 - kept).astype(np.uint32) << 16).astype(np.float64)
    return (np.append(0, falling.impostors[kept] / falling.impostors[-1]),
            np.append(0, falling.genuine[kept] / falling.genuine[-1]), np.append(np.inf, lower_edge))


def _check(counts: np.ndarray) -> None:
    impostors, genuine = counts.sum(axis=1)
    if not (impostors and genuine):
        raise UserError(f"verification needs genuine and impostor pairs; got {genuine} and {impostors}")


def scores(embeddings, labels, *, far=(), fmr=()) -> dict[str, float]:
    """What verification.verification_scores says, without holding the pairs. Two passes over them; three with `fmr`."""
    counts = _count(embeddings, labels)
    _check(counts)
    falling = _falling(counts)
    impostors, genuine = int(falling.impostors[-1]), int(falling.genuine[-1])
    allowed = {rate: _allowed(rate, impostors) for rate in far}
    ends = {rate: (int(np.floor(rate * (impostors - 1))), int(np.ceil(rate * (impostors - 1)))) for rate in fmr}
    wanted = {count for count in allowed.values() if count < impostors}.union(*ends.values())
    gap = falling.impostors / impostors - (1 - falling.genuine / genuine)
    crossing = int(np.argmax(gap >= 0))
    places = {rank: int(np.searchsorted(falling.impostors, rank, side="right")) for rank in wanted}
    bins = sorted({*places.values(), crossing})
    fine = {place: _falling(within) for place, within in zip(
        bins, _count(embeddings, labels, [_BINS - 1 - place for place in bins]), strict=True)}
    result, unreachable = {}, []
    for rate, count in allowed.items():
        accepted = (impostors, genuine)
        if count < impostors:
            accepted = _above(falling, fine[places[count]], places[count], count)
        result[f"tar@far={rate:g}"] = float(accepted[1] / genuine)
        unreachable += [] if any(accepted) else [rate]
    result |= {"eer": _crossing(falling, fine[crossing], crossing), "unreachable_far": unreachable}
    if fmr:
        scores_at = {rank: _score(falling, fine[place], place, rank) for rank, place in places.items()}
        result |= _fnmr(embeddings, labels, ends, scores_at, impostors, genuine)
    return result


def _allowed(rate: float, impostors: int) -> int:
    """The most impostors whose share, as a float, is at most `rate`."""
    count = min(int(rate * impostors) + 1, impostors)
    while count > 0 and count / impostors > rate:
        count -= 1
    return count


def _above(falling: _Falling, within: _Falling, place: int, rank: int) -> tuple[int, int]:
    """Impostor and genuine pairs that score above the impostor of this rank."""
    before = [outer[place - 1] if place else 0 for outer in falling]
    low = int(np.searchsorted(within.impostors + before[0], rank, side="right"))
    return tuple(int(outer + (inner[low - 1] if low else 0)) for outer, inner in zip(before, within, strict=True))


def _score(falling: _Falling, within: _Falling, place: int, rank: int) -> float:
    """The impostor score before which exactly `rank` are greater or as great, 0 the highest."""
    before = falling.impostors[place - 1] if place else 0
    low = int(np.searchsorted(within.impostors + before, rank, side="right"))
    return float(_floats((np.uint32(_BINS - 1 - place) << np.uint32(16)) | np.uint32(_BINS - 1 - low)))


def _crossing(falling: _Falling, within: _Falling, place: int) -> float:
    """verification.equal_error_rate on the floats of the bin in which FAR crosses FRR."""
    totals = [falling.impostors[-1], falling.genuine[-1]]
    steps = [np.append(0, inner) + (outer[place - 1] if place else 0)
             for inner, outer in zip(within, falling, strict=True)]
    far, tar = (step / total for step, total in zip(steps, totals, strict=True))
    gap = far - (1 - tar)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    share = 0.0 if gap[after] == gap[before] else -gap[before] / (gap[after] - gap[before])
    return float(far[before] + share * (far[after] - far[before]))


def _fnmr(embeddings, labels, ends, scores_at, impostors: int, genuine: int) -> dict[str, float]:
    """The share of genuine pairs at or beyond the quantile of the impostors' distances, in a pass of its own."""
    to_distance = lambda cosine: np.sqrt(np.maximum(2 - 2 * np.asarray(cosine, np.float64), 0))
    thresholds = []
    for rate, (low, high) in ends.items():
        below, above = to_distance(scores_at[low]), to_distance(scores_at[high])
        # As numpy.quantile draws its line, from the nearer end.
        share = rate * (impostors - 1) - low
        thresholds.append(below + (above - below) * share if share < 0.5 else above - (above - below) * (1 - share))
    refused = np.zeros(len(thresholds), np.int64)
    for cosines, same, _, _ in blocks(embeddings, labels):
        refused += (to_distance(cosines[same])[:, None] >= thresholds).sum(axis=0)
    return {f"fnmr@fmr={rate:g}": float(count / genuine) for rate, count in zip(ends, refused, strict=True)}


def highest(embeddings, labels, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All genuine pairs' cosines f32[G] and labels i[G], and of the impostor pairs the `share` of the highest cosines,
    f32[M] falling, with both labels, i[M,2].

    Raises UserError for more than 2^27 of either.
    """
    counts = _count(embeddings, labels)
    _check(counts)
    impostors, genuine = (int(count) for count in counts.sum(axis=1))
    wanted = min(impostors, int(np.ceil(share * impostors)) + 1)
    if max(wanted, genuine) > 2**27:
        raise UserError(f"{genuine} genuine and {wanted} impostor pairs do not fit: ask for a smaller rate")
    falling = _falling(counts)
    lowest = _BINS - 1 - int(np.searchsorted(falling.impostors, wanted, side="left"))
    labels = np.asarray(labels)
    parts = []
    for cosines, same, rows, columns in blocks(embeddings, labels):
        kept = np.flatnonzero(~same & (_keys(cosines) >> 16 >= lowest))
        own = np.flatnonzero(same)
        parts.append((cosines[own], labels[rows[own]], cosines[kept],
                      np.stack([labels[rows[kept]], labels[columns[kept]]], axis=1)))
    genuine_cosines, owner, tail, ends = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(-tail, kind="stable")[:wanted]
    return genuine_cosines, owner, tail[order], ends[order]
