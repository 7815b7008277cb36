"""Scores of detections: COCO's twelve numbers, for all classes or each, and curves of precision and recall."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .detection import AREAS, LIMITS, OVERLAPS, RECALLS, ClassMatches, Matches

NAMES = ("ap", "ap50", "ap75", *(f"ap_{area}" for area in list(AREAS)[1:]), *(f"ar@{limit}" for limit in LIMITS),
         *(f"ar_{area}" for area in list(AREAS)[1:]))


class Curve(NamedTuple):
    """Precision and recall of all detections down to each score, f[D] each; precision is not made monotonic."""

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def summary(matches: Matches, weights=None) -> dict[str, float]:
    """Gives COCO's twelve numbers; each class counts alike, and those without an object are left out.

    Args:
        matches: by `match`.
        weights: i[I], how often each image counts; None for once.

    Returns:
        "ap", the mean over overlaps .5, .55 .. .95; "ap50" and "ap75" at one overlap; "ap_small", "ap_medium" and
        "ap_large" of objects up to 32^2, up to 96^2 and beyond; "ar@1", "ar@10" and "ar@100", the mean recall with at
        most as many detections of an image and class; "ar_small", "ar_medium", "ar_large". NaN where no object is.

    Example:
        >>> from geodesic.metrics import detection, detection_scores
        >>> found = detection.Detections([[0, 0, 9, 9], [50, 50, 60, 60]], [0.6, 0.9], [7, 7])
        >>> scores = detection_scores.summary(detection.match([found], [detection.Truth([[0, 0, 10, 10]], [7])]))
        >>> round(scores["ap50"], 3), round(scores["ap"], 3), round(scores["ar@100"], 3), scores["ap_large"]
        (0.5, 0.35, 0.7, nan)
    """
    return Counts(matches).summary(np.ones(matches.images, np.int64) if weights is None else weights)


def by_class(matches: Matches) -> dict[int, dict[str, float]]:
    """Gives the numbers of `summary` of each class.

    Args:
        matches: by `match`.

    Returns:
        A summary by class, ascending.

    Example:
        >>> from geodesic.metrics import detection, detection_scores
        >>> found = detection.Detections([[0, 0, 10, 10]], [0.6], [7])
        >>> truth = detection.Truth([[0, 0, 10, 10], [5, 5, 20, 20]], [7, 3])
        >>> found = detection_scores.by_class(detection.match([found], [truth]))
        >>> {label: scores["ap"] for label, scores in found.items()}
        {3: 0.0, 7: 1.0}
    """
    return {label: summary(matches.only(label)) for label in matches.classes}


def curve(matches: Matches, label: int, overlap: float = 0.5) -> Curve:
    """Gives the precision and recall of one class at one overlap, of objects of all areas.

    Args:
        matches: by `match`.
        label: the class.
        overlap: one of .5, .55 .. .95.

    Returns:
        The curve, a point for each detection that counts; recall is NaN where the class has no object.

    Raises:
        UserError: the overlap or the class is none of those matched.

    Example:
        >>> from geodesic.metrics import detection, detection_scores
        >>> found = detection.Detections([[0, 0, 9, 9], [50, 50, 60, 60]], [0.6, 0.9], [7, 7])
        >>> line = detection_scores.curve(detection.match([found], [detection.Truth([[0, 0, 10, 10]], [7])]), 7)
        >>> line.scores.tolist(), line.precision.tolist(), line.recall.tolist()
        ([0.9, 0.6], [0.0, 0.5], [0.0, 1.0])
    """
    place = np.flatnonzero(np.isclose(OVERLAPS, overlap))
    if not len(place):
        raise UserError(f"overlap={overlap}: expected one of .5, .55 .. .95")
    of_class = matches.only(label).classes[label]
    counted, objects = ~of_class.ignored[0, place[0]], of_class.positives[0].sum()
    right = np.cumsum(of_class.hits[0, place[0]][counted])
    return Curve(of_class.scores[counted], right / np.arange(1, len(right) + 1),
                 right / objects if objects else np.full(len(right), np.nan))


class Counts:
    """What of the matches is the same however often each image counts, held ready to be counted many times.

    Args:
        matches: by `match`.

    Example:
        >>> from geodesic.metrics import detection, detection_scores
        >>> box = [[0, 0, 10, 10]]
        >>> found = [detection.Detections(box, [0.6], [7]), detection.Detections([], [], [])]
        >>> counts = detection_scores.Counts(detection.match(found, [detection.Truth(box, [7])] * 2))
        >>> counts.summary([1, 1])["ar@1"], counts.summary([3, 1])["ar@1"]
        (0.5, 0.75)
    """

    def __init__(self, matches: Matches):
        self._positives = np.array([of_class.positives for of_class in matches.classes.values()])
        self._rows, self._found = [], []
        for of_class in matches.classes.values():
            self._rows.append([[_row(of_class, area, at) for at in range(len(OVERLAPS))] for area in range(len(AREAS))])
            self._found.append([[[np.bincount(of_class.images[hits & (of_class.places < limit)],
                                              minlength=matches.images) for limit in LIMITS]
                                 for hits in area] for area in of_class.hits])
        self._found = np.array(self._found)

    def summary(self, weights) -> dict[str, float]:
        """Gives the numbers of the function `summary` where images count as often as `weights`, i[I], say."""
        weights = np.asarray(weights)
        if not len(self._positives):
            return dict.fromkeys(NAMES, np.nan)
        positives = self._positives @ weights
        recall = np.full(self._found.shape[:-1], np.nan)
        np.divide(self._found @ weights, positives[:, :, None, None], out=recall,
                  where=positives[:, :, None, None] > 0)
        ap = np.array([[[_average_precision(*row, weights, total) for row in area]
                        for area, total in zip(areas, totals, strict=True)]
                       for areas, totals in zip(self._rows, positives, strict=True)])
        values = [ap[:, 0], ap[:, 0, 0], ap[:, 0, 5], *np.moveaxis(ap, 1, 0)[1:], *np.moveaxis(recall[:, 0], 2, 0),
                  *np.moveaxis(recall[..., -1], 1, 0)[1:]]
        return {name: _mean(value) for name, value in zip(NAMES, values, strict=True)}


def _mean(values) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _row(of_class: ClassMatches, area: int, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives the images of the detections that count, by falling score, and which of these are right."""
    counted = ~of_class.ignored[area, at]
    return of_class.images[counted], np.flatnonzero(of_class.hits[area, at][counted])


def _average_precision(images, hits, weights, positives) -> float:
    """Averages over RECALLS the best precision at each or a higher one; NaN without an object.

    Precision is looked at only where a detection is right: between, it falls and recall stays.
    """
    if not positives:
        return np.nan
    seen = np.cumsum(weights[images])[hits]
    right = np.cumsum(weights[images[hits]])
    precision = np.maximum.accumulate((right / np.maximum(seen, 1))[::-1])[::-1]
    return np.append(precision, 0)[np.searchsorted(right / positives, RECALLS, side="left")].mean()


def average_precision(scores, hits, positives: int) -> float:
    """Gives the average precision of detections of one class, of which it is known whether they are right.

    Args:
        scores: f[D]; of equal scores the earlier comes first.
        hits: bool[D], whether each is right.
        positives: the number of objects.

    Returns:
        The mean over recalls 0, .01 .. 1 of the best precision at that or a higher recall; NaN without an object.

    Example:
        >>> from geodesic.metrics import detection_scores
        >>> detection_scores.average_precision([0.9, 0.6], [False, True], 1)
        0.5
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    return float(_average_precision(np.zeros(len(order), np.int64), np.flatnonzero(np.asarray(hits, bool)[order]),
                                    np.ones(1, np.int64), positives))
