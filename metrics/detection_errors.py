"""Why detections are wrong: six kinds of errors, and how much average precision mending each would gain.

Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox for Identifying Object Detection Errors, 2020, arXiv:2008.08115.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import boxes, detection, detection_scores

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(6)
_RIGHT = -1


class Errors(NamedTuple):
    """What is wrong, and what mending it would gain.

    Attributes:
        ap: the average precision at the one overlap, the mean over classes that have objects.
        gains: by kind, how far this rises, never below 0, if that kind alone were mended.
        counts: by kind, detections that are wrong so; objects of "missed".
    """

    ap: float
    gains: dict[str, float]
    counts: dict[str, int]


class _Found(NamedTuple):
    """Detections that count: score, class, whether right, kind of error, and what mending that makes of each.

    mended_label and mended_hit: the class, and whether it becomes right; other wrong ones vanish when mended.
    """

    score: np.ndarray
    label: np.ndarray
    hit: np.ndarray
    kind: np.ndarray
    mended_label: np.ndarray
    mended_hit: np.ndarray


def errors(detections: Sequence[detection.Detections], truths: Sequence[detection.Truth], *, overlap: float = 0.5,
           background: float = 0.1) -> Errors:
    """Tells kinds of errors apart, and mends one kind after the other.

    A wrong detection is of the first kind that fits, by its overlaps with objects, taken or not:
    localisation: `background` to `overlap` with one of its class;
    classification: at least `overlap` with one of another class;
    duplicate: at least `overlap` with one of its class, which a detection of a higher score has taken;
    background: at most `background` with any;
    both: what remains, `background` to `overlap` with one of another class.
    An object that no detection takes is missed, unless a localisation or classification error overlaps it most.

    Mending one of these two errors makes the detection right; where two would take the same object, the one of the
    highest score does, whichever of the two kinds it is of, and the others vanish, as do errors whose object is taken
    already. Mending other kinds, the detections vanish; mending what is missed, those objects do, and a class that is
    left with wrong detections alone scores 0. Crowds are no objects, and what lies in one of its class is no error.

    Args:
        detections: of each image.
        truths: of each image, in the same order.
        overlap: at which a detection is right.
        background: up to which a detection is off any object.

    Returns:
        The errors. Their gains do not add up to 1 - ap: one object may stand behind errors of several kinds.

    Raises:
        UserError: as of `detection.match`, or the two overlaps are not 0 < background < overlap <= 1.

    References:
        Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox for Identifying Object Detection Errors, 2020,
        arXiv:2008.08115. Where the paper leaves something open, its program tidecv 1.0.1 is followed, except that
        classes without an object are left out, 100 detections of an image and class count and not of an image, what
        lies in a crowd is no error, and recalls such as .35 are COCO's to the last bit.

    Example:
        >>> from geodesic.metrics import detection, detection_errors
        >>> found = detection.Detections([[0, 0, 10, 10], [0, 0, 10, 9]], [0.6, 0.9], [7, 3])
        >>> truth = detection.Truth([[0, 0, 10, 10], [50, 50, 60, 60]], [7, 3])
        >>> result = detection_errors.errors([found], [truth])
        >>> result.ap, result.counts["classification"], result.counts["missed"]
        (0.5, 1, 1)
    """
    if not 0 < background < overlap <= 1:
        raise UserError(f"background={background:g}, overlap={overlap:g}: expected 0 < background < overlap <= 1")
    detections, truths = detection.checked(detections, truths)
    found, missed = _of_images(detections, truths, overlap, background)
    objects = [truth.classes[~truth.crowd] for truth in truths]
    labels, positives = np.unique(np.concatenate([np.zeros(0, int), *objects]), return_counts=True)
    ap, left = _mean_ap(found, labels, positives), positives - (missed[:, None] == labels).sum(axis=0)
    mended = [_mean_ap(_mended(found, kind), labels, positives) for kind in range(_MISSED)]
    mended.append(_mean_ap(found, labels, left))
    counts = [*(int((found.kind == kind).sum()) for kind in range(_MISSED)), len(missed)]
    return Errors(ap, {name: max(value - ap, 0) for name, value in zip(KINDS, mended, strict=True)},
                  dict(zip(KINDS, counts, strict=True)))


def _of_images(detections: list[detection.Detections], truths: list[detection.Truth], threshold: float,
               background: float) -> tuple[_Found, np.ndarray]:
    """Gives the detections of all images that count, and the classes of all objects that are missed."""
    parts = [_of_image(found, truth, threshold, background)
             for found, truth in zip(detections, truths, strict=True)]
    # An image of nothing, for where there is none.
    parts.append((_Found(*(np.zeros(0, kind) for kind in (float, int, bool, int, int, bool))), np.zeros(0, int)))
    found, missed = zip(*parts, strict=True)
    return _Found(*map(np.concatenate, zip(*found, strict=True))), np.concatenate(missed)


def _of_image(found: detection.Detections, truth: detection.Truth, threshold: float, background: float):
    """Gives what counts of an image's detections, by falling score, and the classes of its missed objects."""
    chosen, taken, in_crowd = _taken(found, truth, threshold)
    objects = np.flatnonzero(~truth.crowd)
    overlap = boxes.overlaps(found.boxes[chosen], truth.boxes[objects])
    label, hit, used = found.classes[chosen], taken >= 0, np.isin(objects, taken)
    kind, target = np.full(len(chosen), _RIGHT), np.full(len(chosen), -1)
    # A last column of no overlap, for images without an object.
    own = np.pad(np.where(label[:, None] == truth.classes[objects], overlap, 0), ((0, 0), (0, 1)))
    other = np.pad(np.where(label[:, None] != truth.classes[objects], overlap, 0), ((0, 0), (0, 1)))
    own_most, other_most = own.max(axis=1), other.max(axis=1)
    of_kind = [(_LOCALISATION, (own_most >= background) & (own_most <= threshold)),
               (_CLASSIFICATION, other_most >= threshold), (_DUPLICATE, own_most >= threshold),
               (_BACKGROUND, np.maximum(own_most, other_most) <= background)]
    wrong = ~hit
    kind[wrong] = np.select([fits[wrong] for _, fits in of_kind], [number for number, _ in of_kind], _BOTH)
    target[kind == _LOCALISATION] = own.argmax(axis=1)[kind == _LOCALISATION]
    target[kind == _CLASSIFICATION] = other.argmax(axis=1)[kind == _CLASSIFICATION]
    target[in_crowd] = -1
    mended_hit, reached = np.zeros(len(chosen), bool), used.copy()
    for place in np.flatnonzero(target >= 0):
        mended_hit[place] = not reached[target[place]]
        reached[target[place]] = True
    mended_label = np.where(mended_hit, np.append(truth.classes[objects], 0)[target], label)
    columns = (found.scores[chosen], label, hit, kind, mended_label, mended_hit)
    return _Found(*(column[~in_crowd] for column in columns)), truth.classes[objects][~reached]


def _taken(found: detection.Detections, truth: detection.Truth, threshold: float):
    """Gives the detections that count, by falling score, the object that each takes or -1, and which lie in crowds."""
    chosen, taken = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for label in np.unique(found.classes):
        own, objects = detection.strongest(found, label), np.flatnonzero(truth.classes == label)
        crowd = truth.crowd[objects]
        overlap = boxes.overlaps(found.boxes[own], truth.boxes[objects], crowd)
        place = detection.assign(overlap, crowd, crowd[None], np.array([threshold]))[0, 0]
        chosen.append(own)
        taken.append(np.append(objects, -1)[place])
    chosen, taken = np.concatenate(chosen), np.concatenate(taken)
    order = np.lexsort((chosen, -found.scores[chosen]))
    chosen, taken = chosen[order], taken[order]
    in_crowd = np.append(truth.crowd, False)[taken]
    return chosen, np.where(in_crowd, -1, taken), in_crowd


def _mended(found: _Found, kind: int) -> _Found:
    """Makes those of a kind right, where mending does, and lets the others of it vanish."""
    chosen = found.kind == kind
    mended = found._replace(hit=found.hit | chosen & found.mended_hit,
                            label=np.where(chosen, found.mended_label, found.label))
    return _Found(*(column[~chosen | found.mended_hit] for column in mended))


def _mean_ap(found: _Found, labels, positives) -> float:
    """Means over the classes the average precision: 0 with wrong detections alone, and none without any either."""
    values = []
    for label, count in zip(labels, positives, strict=True):
        own = found.label == label
        if count or own.any():
            values.append(detection_scores.average_precision(found.score[own], found.hit[own], count) if count else 0.0)
    return float(np.mean(values)) if values else float("nan")
