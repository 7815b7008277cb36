"""Confidence intervals by resampling classes or identities, not images and not pairs.

Images of one class fail together, so resampling images or pairs gives intervals that are too narrow. A replicate draws
as many classes as there are, with replacement, and takes all of each drawn class. Efron: Bootstrap Methods: Another
Look at the Jackknife, 1979; Bolle, Ratha, Pankanti: Error analysis of pattern recognition systems: the subsets
bootstrap, 2004 (identities).
"""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import pairs


class Interval(NamedTuple):
    estimate: float
    low: float          # percentiles of the replicates
    high: float


def weights(groups: int, samples: int, seed: int):
    """Yields how often each group was drawn in a replicate, i[groups]."""
    rng = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(rng.integers(0, groups, groups), minlength=groups)


def _interval(estimate: float, replicates, level: float) -> Interval:
    replicates = np.asarray(replicates, np.float64)
    replicates = replicates[~np.isnan(replicates)]  # a replicate may have drawn only what cannot be scored
    if not len(replicates):
        return Interval(float(estimate), float("nan"), float("nan"))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return Interval(float(estimate), float(low), float(high))


def mean_interval(values, groups, *, samples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """Of the mean of `values` f[Q], one for each query (retrieval.PerQuery), resampling `groups` i[Q], their labels.

    Queries of NaN are left out. Raises UserError where none is left or the shapes differ.
    """
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    if values.shape != groups.shape or values.ndim != 1:
        raise UserError(f"values of {values.shape} and groups of {groups.shape}: expected one group for each value")
    kept = ~np.isnan(values)
    if not kept.any():
        raise UserError("every value is NaN: nothing to draw from")
    _, inverse = np.unique(groups[kept], return_inverse=True)
    totals, counts = np.bincount(inverse, weights=values[kept]), np.bincount(inverse)
    replicates = [(drawn @ totals) / (drawn @ counts) for drawn in weights(len(counts), samples, seed)]
    return _interval(totals.sum() / counts.sum(), replicates, level)


def retrieval_intervals(rankings, labels, *, recall_at=(1,), samples: int = 1000, seed: int = 0,
                        level: float = 0.95) -> dict[str, Interval]:
    """Of each number of retrieval.summary. rankings: retrieval.PerQuery; labels i[Q], the queries' classes."""
    values = {f"recall@{k}": rankings.recall_at(k) for k in recall_at} | {
        "precision@1": rankings.recall_at(1), "r_precision": rankings.r_precision, "map@r": rankings.map_at_r,
        "map": rankings.average_precision}
    return {name: mean_interval(value, labels, samples=samples, seed=seed, level=level)
            for name, value in values.items()}


def pair_intervals(scores, same, identities, *, far=(), samples: int = 1000, seed: int = 0,
                   level: float = 0.95) -> dict[str, Interval]:
    """Of TAR@FAR and the EER of listed pairs, resampling identities.

    scores f[M], same bool[M], identities i[M,2]: whose images the pair is of. An identity drawn w times gives its
    genuine pairs weight w; an impostor pair of identities drawn v and w times has weight v w.
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    order = np.argsort(-scores, kind="stable")
    scores, same, identities = scores[order], same[order], np.asarray(identities)[order]
    _, inverse = np.unique(identities, return_inverse=True)
    inverse = inverse.reshape(identities.shape)
    last = np.append(scores[1:] != scores[:-1], True)
    measure = lambda weight: _weighted(same, weight, last, far)
    estimate = measure(np.ones(len(scores), np.int64))
    replicates = []
    for drawn in weights(int(inverse.max()) + 1, samples, seed):
        weight = drawn[inverse[:, 0]]
        replicates.append(measure(np.where(same, weight, weight * drawn[inverse[:, 1]])))
    names = [*(f"tar@far={rate:g}" for rate in far), "eer"]
    return {name: _interval(value, column, level)
            for name, value, column in zip(names, estimate, np.transpose(replicates), strict=True)}


def _weighted(same, weight, last, far) -> list[float]:
    """TAR at each FAR, and the EER, of pairs in falling order of score; `last` marks the last of equal scores."""
    genuine, impostor = np.cumsum(np.where(same, weight, 0)), np.cumsum(np.where(same, 0, weight))
    if not genuine[-1] or not impostor[-1]:
        return [float("nan")] * (len(far) + 1)
    tar, rate = np.append(0, genuine[last] / genuine[-1]), np.append(0, impostor[last] / impostor[-1])
    result = [tar[int(np.searchsorted(rate, wanted, side="right")) - 1] for wanted in far]
    gap = rate - (1 - tar)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    share = 0.0 if gap[after] == gap[before] else -gap[before] / (gap[after] - gap[before])
    return [*result, rate[before] + share * (rate[after] - rate[before])]


def verification_intervals(embeddings, labels, *, far=(1e-2, 1e-3), samples: int = 1000, seed: int = 0,
                           level: float = 0.95) -> dict[str, Interval]:
    """Of TAR@FAR over all pairs of rows (verification.verification_scores), resampling identities.

    embeddings f[N,D] L2-normalised, labels i[N]. Of the impostor pairs only the highest are held, four times as many
    as the largest rate accepts; the weight of all of them has a closed form.
    """
    _, identity, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    genuine, owner, tail, ends = pairs.highest(embeddings, identity, 4 * max(far))
    complete = len(tail) == (len(identity) ** 2 - (sizes ** 2).sum()) // 2

    def measure(drawn):
        many = drawn * sizes
        total = (many.sum() ** 2 - (many ** 2).sum()) / 2
        accepted = np.cumsum(drawn[ends[:, 0]] * drawn[ends[:, 1]])
        held = drawn[owner]
        if not total or not held.sum():
            return [float("nan")] * len(far)
        result = []
        for rate in far:
            first_refused = int(np.searchsorted(accepted / total, rate, side="right"))
            if first_refused < len(tail):
                result.append(held[genuine > tail[first_refused]].sum() / held.sum())
            else:  # every impostor is accepted, or, hardly ever, the tail was too short
                result.append(1.0 if complete else float("nan"))
        return result

    estimate = measure(np.ones(len(sizes), np.int64))
    replicates = np.transpose([measure(drawn) for drawn in weights(len(sizes), samples, seed)])
    return {f"tar@far={rate:g}": _interval(value, column, level)
            for rate, value, column in zip(far, estimate, replicates, strict=True)}
