"""Verification over all pairs of many embeddings, exact and in bounded memory.

60,502 images have 1.8 billion pairs, which are counted and never held (pair_counts.py): the first pass finds the bins
in which thresholds lie, the second the floats.
"""

import numpy as np

from ..errors import UserError
from . import pair_counts
from .pair_counts import BINS, BLOCK, Falling


def distance(scores) -> np.ndarray:
    """Turns cosines into Euclidean distances of the unit vectors.

    Args:
        scores: f[...], cosines.

    Returns:
        f64[...], 0..2.

    Example:
        >>> from geodesic.metrics import pairs
        >>> pairs.distance([1.0, -1.0]).tolist()
        [0.0, 2.0]
    """
    return np.sqrt(np.maximum(2 - 2 * np.asarray(scores, np.float64), 0))


def crossing(far, tar) -> float:
    """Finds the equal error rate of a curve: where FAR crosses FRR = 1 - TAR, on the line between the two points.

    Args:
        far: f[P], rising.
        tar: f[P], rising.

    Returns:
        The rate, 0..1.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pairs
        >>> pairs.crossing(np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0, 1.0]))
        0.25
    """
    gap = far - (1 - tar)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    share = 0.0 if gap[after] == gap[before] else -gap[before] / (gap[after] - gap[before])
    return float(far[before] + share * (far[after] - far[before]))


def curve(embeddings, labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives points of the exact curve of all pairs of rows: one for each bin that holds a pair, and (0, 0) first.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].

    Returns:
        FAR, TAR and thresholds, f64[P] each: the fields of `verification.Roc`.

    Raises:
        UserError: there is no genuine or no impostor pair, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pairs
        >>> far, tar, thresholds = pairs.curve(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]))
        >>> far.tolist(), tar.tolist(), thresholds.tolist()
        ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [inf, 1.0, 0.0])
    """
    counts = pair_counts.count(embeddings, labels)
    _check(counts)
    falling = pair_counts.falling(counts)
    kept = np.flatnonzero(counts[:, ::-1].any(axis=0))
    lower_edge = pair_counts.floats_of((BINS - 1 - kept).astype(np.uint32) << 16).astype(np.float64)
    return (np.append(0, falling.impostors[kept] / falling.impostors[-1]),
            np.append(0, falling.genuine[kept] / falling.genuine[-1]), np.append(np.inf, lower_edge))


def _check(counts: np.ndarray) -> None:
    impostors, genuine = counts.sum(axis=1)
    if not (impostors and genuine):
        raise UserError(f"verification needs genuine and impostor pairs; got {genuine} and {impostors}")


def scores(embeddings, labels, *, far=(), fmr=(), block: int = BLOCK) -> dict[str, float]:
    """Says what `verification.verification_scores` says, in two passes over the pairs; with `fmr` there is a third.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].
        far: false accept rates to give the TAR at.
        fmr: false match rates to give the FNMR at.
        block: rows on each side of a block of cosines.

    Returns:
        "tar@far=RATE", "eer", "fnmr@fmr=RATE" and "unreachable_far".

    Raises:
        UserError: there is no genuine or no impostor pair, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pairs
        >>> pairs.scores(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), far=(0.01,))
        {'tar@far=0.01': 1.0, 'eer': 0.0, 'unreachable_far': []}
    """
    counts = pair_counts.count(embeddings, labels, block=block)
    _check(counts)
    falling = pair_counts.falling(counts)
    impostors, genuine = int(falling.impostors[-1]), int(falling.genuine[-1])
    allowed = {rate: _allowed(rate, impostors) for rate in far}
    ends = {rate: (int(np.floor(rate * (impostors - 1))), int(np.ceil(rate * (impostors - 1)))) for rate in fmr}
    wanted = {count for count in allowed.values() if count < impostors}.union(*ends.values())
    gap = falling.impostors / impostors - (1 - falling.genuine / genuine)
    crossing = int(np.argmax(gap >= 0))
    places = {rank: int(np.searchsorted(falling.impostors, rank, side="right")) for rank in wanted}
    bins = sorted({*places.values(), crossing})
    fine = {place: pair_counts.falling(within) for place, within in zip(
        bins, pair_counts.count(embeddings, labels, [BINS - 1 - place for place in bins], block), strict=True)}
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
        result |= _fnmr(pair_counts.blocks(embeddings, labels, block), ends, scores_at, impostors, genuine)
    return result


def _allowed(rate: float, impostors: int) -> int:
    """Counts the most impostors whose share, as a float, is at most `rate`."""
    count = min(int(rate * impostors) + 1, impostors)
    while count > 0 and count / impostors > rate:
        count -= 1
    return count


def _above(falling: Falling, within: Falling, place: int, rank: int) -> tuple[int, int]:
    """Counts the impostor and genuine pairs that score above the impostor of this rank."""
    before = [outer[place - 1] if place else 0 for outer in falling]
    low = int(np.searchsorted(within.impostors + before[0], rank, side="right"))
    return tuple(int(outer + (inner[low - 1] if low else 0)) for outer, inner in zip(before, within, strict=True))


def _score(falling: Falling, within: Falling, place: int, rank: int) -> float:
    """Gives the impostor score before which exactly `rank` are greater or as great, 0 the highest."""
    before = falling.impostors[place - 1] if place else 0
    low = int(np.searchsorted(within.impostors + before, rank, side="right"))
    return _score_of(place, low)


def _crossing(falling: Falling, within: Falling, place: int) -> float:
    """Gives the equal error rate, on the floats of the bin in which FAR crosses FRR."""
    totals = [falling.impostors[-1], falling.genuine[-1]]
    steps = [np.append(0, inner) + (outer[place - 1] if place else 0)
             for inner, outer in zip(within, falling, strict=True)]
    return crossing(*(step / total for step, total in zip(steps, totals, strict=True)))


def _fnmr(pairs, ends, scores_at, impostors: int, genuine: int) -> dict[str, float]:
    """Gives the share of genuine pairs at or beyond the quantile of the impostors' distances, in a pass of its own."""
    thresholds = []
    for rate, (low, high) in ends.items():
        below, above = distance(scores_at[low]), distance(scores_at[high])
        # As numpy.quantile draws its line, from the nearer end.
        share = rate * (impostors - 1) - low
        thresholds.append(below + (above - below) * share if share < 0.5 else above - (above - below) * (1 - share))
    refused = np.zeros(len(thresholds), np.int64)
    for cosines, same, _, _ in pairs:
        refused += (distance(cosines[same])[:, None] >= thresholds).sum(axis=0)
    return {f"fnmr@fmr={rate:g}": float(count / genuine) for rate, count in zip(ends, refused, strict=True)}


def highest(embeddings, labels, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Holds all genuine pairs, and of the impostor pairs those of the highest cosines.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].
        share: how much of the impostor pairs is held, 0..1.

    Returns:
        The genuine pairs' cosines f32[G] and labels i[G]; the impostor pairs' cosines f32[M], falling, and both
        labels i[M,2].

    Raises:
        UserError: there is no genuine or no impostor pair, or there are more than 2^27 of either to hold.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pairs
        >>> rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> genuine, labels, impostors, ends = pairs.highest(rows, np.array([5, 5, 6, 7]), 0.2)
        >>> genuine.tolist(), labels.tolist(), impostors.round(1).astype(float).round(1).tolist(), ends.tolist()
        ([1.0], [5], [0.8, 0.6], [[6, 7], [5, 6]])
    """
    counts = pair_counts.count(embeddings, labels)
    _check(counts)
    impostors, genuine = (int(count) for count in counts.sum(axis=1))
    wanted = min(impostors, int(np.ceil(share * impostors)) + 1)
    if max(wanted, genuine) > 2**27:
        raise UserError(f"{genuine} genuine and {wanted} impostor pairs do not fit: ask for a smaller rate")
    falling = pair_counts.falling(counts)
    lowest = BINS - 1 - int(np.searchsorted(falling.impostors, wanted, side="left"))
    labels = np.asarray(labels)
    parts = []
    for cosines, same, rows, columns in pair_counts.blocks(embeddings, labels):
        kept = np.flatnonzero(~same & (pair_counts.keys_of(cosines) >> 16 >= lowest))
        own = np.flatnonzero(same)
        parts.append((cosines[own], labels[rows[own]], cosines[kept],
                      np.stack([labels[rows[kept]], labels[columns[kept]]], axis=1)))
    genuine_cosines, owner, tail, ends = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(-tail, kind="stable")[:wanted]
    return genuine_cosines, owner, tail[order], ends[order]


def threshold_at(embeddings, labels, far: float, *, block: int = BLOCK) -> tuple[float, float, float]:
    """Finds the smallest threshold whose false accept rate over all pairs of rows is at most `far`, in two passes.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].
        far: the rate, above 0 and below 1.
        block: rows on each side of a block of cosines.

    Returns:
        The threshold, which is the score of a pair, or just above all scores where nothing may be accepted; its FAR,
        and its TAR.

    Raises:
        UserError: there is no genuine or no impostor pair, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import pairs
        >>> pairs.threshold_at(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), 0.1)
        (1.0, 0.0, 1.0)
    """
    counts = pair_counts.count(embeddings, labels, block=block)
    _check(counts)
    falling = pair_counts.falling(counts)
    impostors, genuine = int(falling.impostors[-1]), int(falling.genuine[-1])
    allowed = _allowed(far, impostors)
    place = int(np.searchsorted(falling.impostors, allowed, side="right"))  # the bin of the first that is refused
    higher = np.flatnonzero(counts[:, ::-1].any(axis=0)[:place])[-1:]
    bins = [*higher, place]
    fine = pair_counts.count(embeddings, labels, [BINS - 1 - number for number in bins], block)[:, :, ::-1]
    before = falling.impostors[place - 1] if place else 0
    refused = int(np.searchsorted(before + np.cumsum(fine[-1, 0]), allowed, side="right"))
    fine[-1, :, refused:] = 0
    for number, within in zip(bins[::-1], fine[::-1], strict=True):  # the lowest score above the refused one
        if len(held := np.flatnonzero(within.any(axis=0))):
            accepted = [outer[number - 1] if number else 0 for outer in falling] + within.sum(axis=1)
            return _score_of(number, held[-1]), float(accepted[0] / impostors), float(accepted[1] / genuine)
    return float(np.nextafter(_score_of(place, refused), np.inf)), 0.0, 0.0


def _score_of(place: int, within: int) -> float:
    """Gives the score of a bin and of a place in it, both counted from the highest."""
    return float(pair_counts.floats_of((np.uint32(BINS - 1 - place) << np.uint32(16)) | np.uint32(BINS - 1 - within)))
