"""Confidence intervals by the bootstrap over classes or identities.

Images of one class are not independent, so whole classes are drawn, with replacement: the interval says what another
draw of classes would have given. Resampling queries or pairs would make it several times too narrow.
"""

import numpy as np

from geodesic.metrics import bootstrap

LEVEL, RESAMPLES = 0.95, 1000
# Verification needs the scores in bins once there are more of them than this.
_BINS = 4096


def describe(over: str) -> dict:
    """For a record."""
    return {"level": LEVEL, "over": over, "resamples": RESAMPLES}


def percentiles(values: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """The central LEVEL of the resamples' values; (None, None) where they are none."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    low, high = np.percentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def metric(value: float, low: float | None = None, high: float | None = None) -> dict:
    """As records hold it; an interval that is not a number is none."""
    known = low is not None and high is not None and np.isfinite([low, high]).all()
    return {"value": float(value), "low": float(low) if known else None, "high": float(high) if known else None}


def of_means(values: dict[str, np.ndarray], classes: np.ndarray, seed: int) -> dict[str, dict]:
    """Metrics that are means over items. values: name -> f[Q], one for each query or image; classes i[Q] of them."""
    if len(np.unique(classes)) < 2:  # other draws of one class are the same
        return {name: metric(np.mean(scores)) for name, scores in values.items()}
    found = {name: bootstrap.mean_interval(scores, classes, samples=RESAMPLES, seed=seed, level=LEVEL)
             for name, scores in values.items()}
    return {name: metric(*interval) for name, interval in found.items()}


class Rates:
    """Accept rates of pairs under resampled identities.

    scores f[M], same bool[M], first, second i[M]: the identities of a pair, numbers 0..I-1. A genuine pair of an
    identity drawn w times counts w times, an impostor pair of two drawn v and w times v w times.
    """

    def __init__(self, scores, same, first, second, seed: int, also=(), resamples: int = RESAMPLES):
        """also: thresholds that must be among those that are tried."""
        scores = np.asarray(scores, np.float64)
        edges = np.unique(scores)
        if len(edges) > _BINS:
            # Bins that hold equally many impostors near the top, where the false accepts are, and all pairs below.
            impostors = np.sort(scores[~same])[::-1]
            top = impostors[:_BINS // 2]
            edges = np.unique(np.concatenate([top, np.quantile(scores, np.linspace(0, 1, _BINS // 2))]))
        edges = np.union1d(edges, np.asarray(also, np.float64))
        self.thresholds = edges[::-1]                              # falling; a pair is accepted iff score >= threshold
        place = len(edges) - np.searchsorted(edges, scores, side="right")
        self.far, self.tar = [], []
        identities = int(max(first.max(), second.max())) + 1
        for weights in (np.ones(identities, int), *bootstrap.weights(identities, resamples, seed)):
            self._add(weights, place, same, first, second)
        self.far, self.tar = np.stack(self.far), np.stack(self.tar)  # f[1 + resamples, T]; row 0 is the sample itself

    def _add(self, drawn, place, same, first, second) -> None:
        weights = np.where(same, drawn[first], drawn[first] * drawn[second])
        for rates, kind in ((self.far, ~same), (self.tar, same)):
            counts = np.bincount(place[kind], weights[kind], minlength=len(self.thresholds))[:len(self.thresholds)]
            total = counts.sum()
            rates.append(np.cumsum(counts) / total if total else np.full(len(self.thresholds), np.nan))

    def tar_at(self, far: float) -> np.ndarray:
        """f[1 + resamples]: the largest TAR at a FAR of at most `far`; 0 where none is."""
        allowed = self.far <= far
        return np.where(allowed.any(axis=1), np.max(np.where(allowed, self.tar, 0), axis=1), 0.0)

    def threshold_at(self, far: float) -> np.ndarray:
        """f[1 + resamples]: the smallest threshold of a FAR of at most `far`; just above all scores where none is."""
        allowed = self.far <= far
        lowest = np.min(np.where(allowed, self.thresholds, np.inf), axis=1)
        return np.where(np.isfinite(lowest), lowest, np.nextafter(self.thresholds[0], np.inf))
