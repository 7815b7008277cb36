"""Confidence intervals as records hold them, by the bootstrap over classes or identities.

Images of one class are not independent, so whole classes are drawn, with replacement: the interval says what another
draw of classes would have given. Resampling queries or pairs would make it several times too narrow.
"""

import numpy as np

from geodesic.metrics import bootstrap

LEVEL, RESAMPLES = bootstrap.LEVEL, bootstrap.RESAMPLES


def describe(over: str) -> dict:
    """Says in a record how its intervals were made. over: what was drawn."""
    return {"level": LEVEL, "over": over, "resamples": RESAMPLES}


def metric(value: float, low: float | None = None, high: float | None = None) -> dict:
    """Gives a metric as records hold it; an interval that is not a number is none."""
    known = low is not None and high is not None and np.isfinite([low, high]).all()
    return {"value": float(value), "low": float(low) if known else None, "high": float(high) if known else None}


def of_means(values: dict[str, np.ndarray], classes: np.ndarray, seed: int) -> dict[str, dict]:
    """Gives metrics that are means over items. values: name -> f[Q], one for each query or image; classes i[Q]."""
    if len(np.unique(classes)) < 2:  # other draws of one class are the same
        return {name: metric(np.mean(scores)) for name, scores in values.items()}
    found = {name: bootstrap.mean_interval(scores, classes, samples=RESAMPLES, seed=seed, level=LEVEL)
             for name, scores in values.items()}
    return {name: metric(*interval) for name, interval in found.items()}
