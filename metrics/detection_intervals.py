"""Intervals of detection's scores, by resampling images.

The objects of an image fail together, and a detector is asked image by image, so an image is what is drawn. What is
right is decided within an image and a class, and so is which detections are among the highest 1, 10 or 100: an image
drawn twice is the same image counted twice. So nothing is matched again, and the numbers of a replicate are just those
of an evaluation of the drawn images, copies side by side, limits included. They differ only where detections of one
image have equal scores: those of its copies are then counted before the next of these, not copy by copy.
"""

import numpy as np

from . import bootstrap
from .detection import Matches
from .detection_scores import Counts


def intervals(matches: Matches, *, samples: int = bootstrap.RESAMPLES, seed: int = 0,
              level: float = bootstrap.LEVEL) -> dict[str, bootstrap.Interval]:
    """Gives the interval of each number of `detection_scores.summary`, resampling images.

    Args:
        matches: by `detection.match`; `matches.only(label)` gives the intervals of one class.
        samples: the number of replicates.
        seed: of the draws; the same images are drawn for any detector, if there are as many.
        level: the share of the replicates that the interval holds.

    Returns:
        The intervals by name. A class of which a replicate has drawn no object is left out of that replicate's mean.

    References:
        Efron: Bootstrap Methods: Another Look at the Jackknife, 1979.

    Example:
        >>> from geodesic.metrics import detection, detection_intervals
        >>> box = [[0, 0, 10, 10]]
        >>> found = [detection.Detections(box, [0.6], [7]), detection.Detections([], [], [])]
        >>> matches = detection.match(found, [detection.Truth(box, [7])] * 2)
        >>> detection_intervals.intervals(matches, samples=20)["ar@1"]
        Interval(estimate=0.5, low=0.0, high=1.0)
    """
    counts = Counts(matches)
    estimate = counts.summary(np.ones(matches.images, np.int64))
    replicates = [counts.summary(drawn) for drawn in bootstrap.weights(matches.images, samples, seed)]
    return {name: bootstrap.Interval(value, *bootstrap.percentiles([drawn[name] for drawn in replicates], level))
            for name, value in estimate.items()}
