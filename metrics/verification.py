"""Verification: are two images of one identity? Scores of genuine and impostor pairs -> TAR@FAR, EER, FNMR@FMR, ROC."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import pairs

# More pairs of rows than this are counted block by block, not held.
_HELD_PAIRS = 2**24

class Roc(NamedTuple):
    """Points of the curve for thresholds falling from above every score: a pair is accepted iff score >= threshold."""

    far: np.ndarray         # false accept rate: accepted impostor pairs / impostor pairs
    tar: np.ndarray         # true accept rate: accepted genuine pairs / genuine pairs
    threshold: np.ndarray


def all_pairs(embeddings, labels) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sameness of each of the N(N-1)/2 pairs of rows: f32[M], bool[M]. embeddings [N,D] L2-normalised."""
    embeddings, labels = np.asarray(embeddings, np.float32), np.asarray(labels)
    first, second = np.triu_indices(len(labels), k=1)
    return (embeddings @ embeddings.T)[first, second], labels[first] == labels[second]


def roc(scores, same) -> Roc:
    """The exact curve: one point for each distinct score, and (0, 0) first. Equal scores are accepted together.

    scores f[M], same bool[M]. Raises UserError without a genuine or without an impostor pair, or for NaN.
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    _check_pairs(scores, same)
    order = np.argsort(-scores, kind="stable")
    scores, same = scores[order], same[order]
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    tar = np.cumsum(same)[last_of_ties] / same.sum()
    far = np.cumsum(~same)[last_of_ties] / (~same).sum()
    return Roc(np.append(0, far), np.append(0, tar), np.append(np.inf, scores[last_of_ties]))


def _check_pairs(scores: np.ndarray, same: np.ndarray) -> None:
    if not same.any() or same.all():
        raise UserError(f"verification needs genuine and impostor pairs; got {same.sum()} and {(~same).sum()}")
    if np.isnan(scores).any():
        raise UserError("scores hold NaN: no threshold can be set")


def tar_at_far(curve: Roc, far: float) -> tuple[float, bool]:
    """The largest TAR at a false accept rate of at most `far`, and whether `far` is reachable.

    It is not, and the TAR is 0, where even the strictest threshold that accepts anything exceeds `far`.
    No interpolation: the rate is one that a threshold really has.
    """
    last = int(np.searchsorted(curve.far, far, side="right")) - 1
    return float(curve.tar[last]), last > 0


def equal_error_rate(curve: Roc) -> float:
    """Where FAR crosses FRR = 1 - TAR, on the straight line between the two points of the curve around it."""
    gap = curve.far - (1 - curve.tar)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    share = 0.0 if gap[after] == gap[before] else -gap[before] / (gap[after] - gap[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def threshold_at_far(curve: Roc, far: float) -> float:
    """The threshold of `tar_at_far`: accept a pair iff its score is at least this; infinite where unreachable."""
    return float(curve.threshold[int(np.searchsorted(curve.far, far, side="right")) - 1])


def fnmr_at_fmr(distances, same, fmr: float) -> float:
    """False non-match rate at a false match rate, by distance: the threshold is the `fmr` quantile of the impostors'
    distances (linear between two of them), and the FNMR the share of genuine pairs at or above it.

    distances f[M], same bool[M]. Unlike 1 - TAR@FAR: the threshold lies between two impostors, not on a pair, and a
    genuine pair at it is refused. Raises UserError as `roc`.
    """
    distances, same = np.asarray(distances, np.float64), np.asarray(same, bool)
    _check_pairs(distances, same)
    return float((distances[same] >= np.quantile(distances[~same], fmr)).mean())


def distance(scores) -> np.ndarray:
    """Cosines -> Euclidean distances of the unit vectors."""
    return np.sqrt(np.maximum(2 - 2 * np.asarray(scores, np.float64), 0))


def curve_scores(curve: Roc, far) -> dict[str, float]:
    """TAR at each false accept rate and the EER of a curve.

    A rate that no threshold reaches has TAR 0 and is named in "unreachable_far".
    """
    at = {rate: tar_at_far(curve, rate) for rate in far}
    return {f"tar@far={rate:g}": tar for rate, (tar, _) in at.items()} | {
        "eer": equal_error_rate(curve), "unreachable_far": [rate for rate, (_, reached) in at.items() if not reached]}


def verification_scores(embeddings, labels, *, far=(1e-2, 1e-3), fmr=()) -> dict[str, float]:
    """TAR at each false accept rate, the EER and FNMR at each false match rate, over all pairs of rows.

    embeddings [N,D] L2-normalised, labels [N]. The same numbers for any N: beyond 2^24 pairs they are counted in
    several passes (metrics/pairs.py) and never held. A rate that no threshold reaches has TAR 0 and is named in
    "unreachable_far".
    """
    if len(labels) * (len(labels) - 1) // 2 > _HELD_PAIRS:
        return pairs.scores(embeddings, labels, far=far, fmr=fmr)
    cosines, same = all_pairs(embeddings, labels)
    result = curve_scores(roc(cosines, same), far)
    return result | {f"fnmr@fmr={rate:g}": fnmr_at_fmr(distance(cosines), same, rate) for rate in fmr}


def curve_of_pairs(embeddings, labels) -> Roc:
    """`roc` of all pairs of rows; beyond 2^24 pairs, at the 65,536 thresholds of metrics/pairs.py, each point exact."""
    if len(labels) * (len(labels) - 1) // 2 > _HELD_PAIRS:
        return Roc(*pairs.curve(embeddings, labels))
    return roc(*all_pairs(embeddings, labels))
