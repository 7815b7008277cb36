"""Confidence intervals by resampling classes or identities, not images and not pairs.

Images of one class fail together, so resampling images or pairs gives intervals that are too narrow. A replicate draws
as many classes as there are, with replacement, and takes all of each drawn class. Efron: Bootstrap Methods: Another
Look at the Jackknife, 1979; Bolle, Ratha, Pankanti: Error analysis of pattern recognition systems: the subsets
bootstrap, 2004 (identities).
"""

import itertools
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import pairs

LEVEL, RESAMPLES = 0.95, 1000


class Interval(NamedTuple):
    """An estimate and the central `level` of its replicates; low and high are None where no replicate has a value."""

    estimate: float
    low: float | None
    high: float | None


def weights(groups: int, samples: int, seed: int):
    """Yields how often each group was drawn in a replicate.

    Args:
        groups: how many there are; as many are drawn, with replacement.
        samples: the number of replicates.
        seed: of the draws.

    Yields:
        i[groups], `samples` times.

    Example:
        >>> from geodesic.metrics import bootstrap
        >>> [int(drawn.sum()) for drawn in bootstrap.weights(4, samples=3, seed=0)]
        [4, 4, 4]
    """
    rng = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(rng.integers(0, groups, groups), minlength=groups)


def percentiles(values, level: float = LEVEL) -> tuple[float, float] | tuple[None, None]:
    """Gives the two ends of the central `level` of some replicates.

    Args:
        values: f[samples]; those that are not finite are left out: a replicate may have drawn what cannot be scored.
        level: the share that lies between the ends.

    Returns:
        The two ends; (None, None) where no value is finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import bootstrap
        >>> bootstrap.percentiles(np.append(np.arange(101), np.nan), level=0.5), bootstrap.percentiles([np.nan])
        ((25.0, 75.0), (None, None))
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(values, groups, *, samples: int = RESAMPLES, seed: int = 0, level: float = LEVEL) -> Interval:
    """Gives the interval of a mean over queries, resampling the classes of the queries.

    Args:
        values: f[Q], one for each query, as in `retrieval.PerQuery`; those of NaN are left out.
        groups: i[Q], the classes.
        samples: the number of replicates.
        seed: of the draws.
        level: the share of the replicates that the interval holds.

    Returns:
        The mean and its interval.

    Raises:
        UserError: no value is left, or the shapes differ.

    Example:
        >>> from geodesic.metrics import bootstrap
        >>> estimate, low, high = bootstrap.mean_interval([1, 1, 0, 0, 1, 0], [3, 3, 4, 4, 5, 5])
        >>> estimate, low, high
        (0.5, 0.0, 1.0)
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
    return Interval(float(totals.sum() / counts.sum()), *percentiles(replicates, level))


def retrieval_intervals(rankings, labels, *, recall_at=(1,), samples: int = RESAMPLES, seed: int = 0,
                        level: float = LEVEL) -> dict[str, Interval]:
    """Gives the interval of each number of `retrieval.summary`, resampling classes.

    Args:
        rankings: the `retrieval.PerQuery`.
        labels: i[Q], the queries' classes.
        recall_at: the k of recall@k.
        samples, seed, level: as in `mean_interval`.

    Returns:
        The intervals by the metrics' names.

    Raises:
        UserError: no query has a match.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import bootstrap, retrieval
        >>> labels = np.array([0, 0, 1, 1])
        >>> rankings = retrieval.rank_self(np.eye(2)[labels], labels)
        >>> bootstrap.retrieval_intervals(rankings, labels)["map@r"]
        Interval(estimate=1.0, low=1.0, high=1.0)
    """
    return {name: mean_interval(value, labels, samples=samples, seed=seed, level=level)
            for name, value in rankings.terms(recall_at).items()}


def _accept_rates(place, count: int, same, identities, samples: int, seed: int):
    """Yields FAR and TAR at falling thresholds, f64[count] each: of the pairs themselves, and then of each replicate.

    place i[M]: the first threshold that accepts the pair. identities i[M,2]. A genuine pair of an identity drawn w
    times counts w times, an impostor pair of two drawn v and w times v w times. All is NaN where no pair counts.
    """
    _, inverse = np.unique(identities, return_inverse=True)
    inverse = inverse.reshape(identities.shape)
    impostors, genuine, owner = place[~same], place[same], inverse[same, 0]
    first, second = inverse[~same].T

    def shares(places, drawn):
        counts = np.bincount(places, drawn, minlength=count)
        total = counts.sum()
        return np.cumsum(counts) / total if total else np.full(count, np.nan)

    groups = int(inverse.max()) + 1
    for drawn in itertools.chain([np.ones(groups, np.int64)], weights(groups, samples, seed)):
        yield shares(impostors, drawn[first] * drawn[second]), shares(genuine, drawn[owner])


def pair_intervals(scores, same, identities, *, far=(), samples: int = RESAMPLES, seed: int = 0,
                   level: float = LEVEL) -> dict[str, Interval]:
    """Gives the intervals of TAR@FAR and of the EER of listed pairs, resampling identities.

    Args:
        scores: f[M].
        same: bool[M], whether the pair is genuine.
        identities: i[M,2], whose images the pair is of. An identity drawn w times gives its genuine pairs weight w;
            an impostor pair of identities drawn v and w times has weight v w.
        far: the false accept rates.
        samples, seed, level: as in `mean_interval`.

    Returns:
        "tar@far=RATE" for each rate, and "eer".

    References:
        Bolle, Ratha, Pankanti: Error analysis of pattern recognition systems: the subsets bootstrap, 2004.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import bootstrap
        >>> identities = np.array([[0, 0], [1, 1], [0, 1], [0, 1]])
        >>> found = bootstrap.pair_intervals([0.9, 0.5, 0.6, 0.1], [True, True, False, False], identities, far=(0.5,))
        >>> found["tar@far=0.5"], found["eer"].estimate
        (Interval(estimate=1.0, low=1.0, high=1.0), 0.5)
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    thresholds, place = np.unique(-scores, return_inverse=True)

    def measure(rates):
        accepted, found = (np.append(0, rate) for rate in rates)
        if np.isnan(accepted[-1]) or np.isnan(found[-1]):
            return [np.nan] * (len(far) + 1)
        reached = [found[int(np.searchsorted(accepted, wanted, side="right")) - 1] for wanted in far]
        return [*reached, pairs.crossing(accepted, found)]

    estimate, *replicates = map(measure, _accept_rates(place, len(thresholds), same, np.asarray(identities), samples,
                                                       seed))
    names = [*(f"tar@far={rate:g}" for rate in far), "eer"]
    return {name: Interval(float(value), *percentiles(column, level))
            for name, value, column in zip(names, estimate, np.transpose(replicates), strict=True)}


class Rates:
    """Accept rates of listed pairs at many thresholds, of the sample and of replicates of its identities.

    Args:
        scores: f[M].
        same: bool[M], whether the pair is genuine.
        first: i[M], the identity of one of its images.
        second: i[M], and of the other.
        seed: of the draws.
        also: thresholds that must be among those that are tried.
        resamples: the number of replicates.
        bins: of more distinct scores than this, about as many thresholds are tried. Half of them lie on the highest
            impostors, where the false accepts are, and half on quantiles of all scores.

    Attributes:
        thresholds: f[T], falling; a pair is accepted iff its score is at least the threshold.
        far, tar: f[1 + resamples, T]; row 0 is the sample itself.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import bootstrap
        >>> rates = bootstrap.Rates([0.9, 0.5, 0.6, 0.1], np.array([True, True, False, False]), np.array([0, 1, 0, 0]),
        ...                         np.array([0, 1, 1, 1]), seed=0, resamples=3)
        >>> rates.thresholds.tolist(), rates.far[0].tolist(), rates.tar[0].tolist()
        ([0.9, 0.6, 0.5, 0.1], [0.0, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0])
    """

    def __init__(self, scores, same, first, second, seed: int, also=(), resamples: int = RESAMPLES, bins: int = 4096):
        scores = np.asarray(scores, np.float64)
        edges = np.unique(scores)
        if len(edges) > bins:
            top = np.sort(scores[~same])[::-1][:bins // 2]
            edges = np.unique(np.concatenate([top, np.quantile(scores, np.linspace(0, 1, bins // 2))]))
        edges = np.union1d(edges, np.asarray(also, np.float64))
        self.thresholds = edges[::-1]
        place = len(edges) - np.searchsorted(edges, scores, side="right")
        rates = _accept_rates(place, len(edges), same, np.stack([first, second], axis=1), resamples, seed)
        self.far, self.tar = (np.stack(rows) for rows in zip(*rates, strict=True))

    def tar_at(self, far: float) -> np.ndarray:
        """Gives the largest TAR at a FAR of at most `far`, f[1 + resamples]; it is 0 where there is none."""
        allowed = self.far <= far
        return np.where(allowed.any(axis=1), np.max(np.where(allowed, self.tar, 0), axis=1), 0.0)

    def threshold_at(self, far: float) -> np.ndarray:
        """Gives the smallest threshold of a FAR of at most `far`, f[1 + resamples]; just above all scores if none."""
        allowed = self.far <= far
        lowest = np.min(np.where(allowed, self.thresholds, np.inf), axis=1)
        return np.where(np.isfinite(lowest), lowest, np.nextafter(self.thresholds[0], np.inf))


def verification_intervals(embeddings, labels, *, far=(1e-2, 1e-3), samples: int = RESAMPLES, seed: int = 0,
                           level: float = LEVEL) -> dict[str, Interval]:
    """Gives the intervals of TAR@FAR over all pairs of rows, resampling identities.

    Of the impostor pairs only the highest are held, four times as many as the largest rate accepts; the weight of all
    of them has a closed form.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: i[N].
        far: the false accept rates.
        samples, seed, level: as in `mean_interval`.

    Returns:
        "tar@far=RATE" for each rate, as in `verification.verification_scores`.

    Raises:
        UserError: as `pairs.highest` raises it.

    References:
        Bolle, Ratha, Pankanti: Error analysis of pattern recognition systems: the subsets bootstrap, 2004.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import bootstrap
        >>> labels = np.repeat(np.arange(4), 2)
        >>> bootstrap.verification_intervals(np.eye(4)[labels], labels, far=(0.1,), samples=20)
        {'tar@far=0.1': Interval(estimate=1.0, low=1.0, high=1.0)}
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
    return {f"tar@far={rate:g}": Interval(float(value), *percentiles(column, level))
            for rate, value, column in zip(far, estimate, replicates, strict=True)}
