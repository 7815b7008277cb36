"""Verification: are two images of one identity? Scores of genuine and impostor pairs -> TAR@FAR, EER, FNMR@FMR, ROC."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import pair_counts, pairs
from .pairs import distance as distance

# More pairs of rows than this are counted block by block, not held.
HELD_PAIRS = 2**24


class Roc(NamedTuple):
    """Points of the curve for thresholds falling from above every score: a pair is accepted iff score >= threshold."""

    far: np.ndarray         # false accept rate: accepted impostor pairs / impostor pairs
    tar: np.ndarray         # true accept rate: accepted genuine pairs / genuine pairs
    threshold: np.ndarray


def all_pairs(embeddings, labels) -> tuple[np.ndarray, np.ndarray]:
    """Scores each of the N(N-1)/2 pairs of rows.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].

    Returns:
        Cosines f32[M] in the order of `numpy.triu_indices(N, k=1)`, and whether the labels are equal, bool[M]. They are
        the floats that `pair_counts.blocks` counts, so that copies tie here where they tie there.

    Raises:
        UserError: a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import verification
        >>> cosines, same = verification.all_pairs(np.array([[1, 0], [0, 1], [1, 0]]), np.array([5, 6, 5]))
        >>> cosines.tolist(), same.tolist()
        ([0.0, 1.0, 0.0], [False, True, False])
    """
    labels = np.asarray(labels)
    cosines = np.empty((len(labels), len(labels)), np.float32)
    for scores, _, rows, columns in pair_counts.blocks(embeddings, labels):
        cosines[rows, columns] = scores
    first, second = np.triu_indices(len(labels), k=1)
    return cosines[first, second], labels[first] == labels[second]


def roc(scores, same) -> Roc:
    """Gives the exact curve: one point for each distinct score, and (0, 0) first. Equal scores are accepted together.

    Args:
        scores: f[M]; the higher, the likelier the same identity.
        same: bool[M], whether the pair is genuine.

    Returns:
        The curve, f64[P] each.

    Raises:
        UserError: there is no genuine or no impostor pair, or a score is NaN.

    References:
        Fawcett: An introduction to ROC analysis, 2006.

    Example:
        >>> from geodesic.metrics import verification
        >>> curve = verification.roc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
        >>> curve.far.tolist(), curve.tar.tolist(), curve.threshold.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0], [inf, 0.9, 0.5, 0.1])
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
    """Reads the largest true accept rate at a false accept rate of at most `far` from a curve.

    There is no interpolation: the rate is one that a threshold really has.

    Args:
        curve: of `roc` or `curve_of_pairs`.
        far: the wanted false accept rate, 0..1.

    Returns:
        The TAR, and whether `far` is reachable. It is not, and the TAR is 0, where even the strictest threshold that
        accepts anything exceeds `far`.

    Example:
        >>> from geodesic.metrics import verification
        >>> curve = verification.roc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
        >>> verification.tar_at_far(curve, 0.5), verification.tar_at_far(curve, 0.1)
        ((1.0, True), (0.5, True))
    """
    last = int(np.searchsorted(curve.far, far, side="right")) - 1
    return float(curve.tar[last]), last > 0


def equal_error_rate(curve: Roc) -> float:
    """Finds where FAR crosses FRR = 1 - TAR, on the straight line between the two points of the curve around it.

    Args:
        curve: of `roc` or `curve_of_pairs`.

    Returns:
        The rate, 0..1.

    Example:
        >>> from geodesic.metrics import verification
        >>> verification.equal_error_rate(verification.roc([4, 3, 2, 1], [True, False, True, False]))
        0.5
    """
    return pairs.crossing(curve.far, curve.tar)


def fnmr_at_fmr(distances, same, fmr: float) -> float:
    """Gives the false non-match rate at a false match rate, by distance.

    The threshold is the `fmr` quantile of the impostors' distances (linear between two of them), and the FNMR is the
    share of genuine pairs at or above it. This is not 1 - TAR@FAR: the threshold lies between two impostors, not on a
    pair, and a genuine pair at it is refused.

    Args:
        distances: f[M]; the lower, the likelier the same identity.
        same: bool[M], whether the pair is genuine.
        fmr: the false match rate, 0..1.

    Returns:
        The rate, 0..1.

    Raises:
        UserError: there is no genuine or no impostor pair, or a distance is NaN.

    References:
        ISO/IEC 19795-1: Biometric performance testing and reporting, for the two rates.

    Example:
        >>> from geodesic.metrics import verification
        >>> verification.fnmr_at_fmr([0.1, 0.6, 0.4, 0.8], [True, True, False, False], 0.25)
        0.5
    """
    distances, same = np.asarray(distances, np.float64), np.asarray(same, bool)
    _check_pairs(distances, same)
    return float((distances[same] >= np.quantile(distances[~same], fmr)).mean())


def curve_scores(curve: Roc, far) -> dict[str, float]:
    """Reads the TAR at each false accept rate, and the EER, from a curve.

    Args:
        curve: of `roc` or `curve_of_pairs`.
        far: false accept rates.

    Returns:
        "tar@far=RATE" for each rate, and "eer". A rate that no threshold reaches has TAR 0 and is listed in
        "unreachable_far".

    Example:
        >>> from geodesic.metrics import verification
        >>> curve = verification.roc([4, 3, 2, 1], [True, False, True, False])
        >>> verification.curve_scores(curve, (0.5, 0.1))
        {'tar@far=0.5': 1.0, 'tar@far=0.1': 0.5, 'eer': 0.5, 'unreachable_far': []}
    """
    at = {rate: tar_at_far(curve, rate) for rate in far}
    return {f"tar@far={rate:g}": tar for rate, (tar, _) in at.items()} | {
        "eer": equal_error_rate(curve), "unreachable_far": [rate for rate, (_, reached) in at.items() if not reached]}


def verification_scores(embeddings, labels, *, far=(1e-2, 1e-3), fmr=(), held_pairs: int = HELD_PAIRS,
                        ) -> dict[str, float]:
    """Scores embeddings by verification, over all pairs of rows.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].
        far: false accept rates to give the TAR at.
        fmr: false match rates to give the FNMR at.
        held_pairs: more pairs than this are counted in several passes (metrics/pair_counts.py) and never held. The
            numbers are the same.

    Returns:
        "tar@far=RATE", "eer", "fnmr@fmr=RATE". A rate that no threshold reaches has TAR 0 and is listed in
        "unreachable_far".

    Raises:
        UserError: there is no genuine or no impostor pair, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import verification
        >>> verification.verification_scores(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), far=(0.01,))
        {'tar@far=0.01': 1.0, 'eer': 0.0, 'unreachable_far': []}
    """
    if len(labels) * (len(labels) - 1) // 2 > held_pairs:
        return pairs.scores(embeddings, labels, far=far, fmr=fmr)
    cosines, same = all_pairs(embeddings, labels)
    result = curve_scores(roc(cosines, same), far)
    return result | {f"fnmr@fmr={rate:g}": fnmr_at_fmr(distance(cosines), same, rate) for rate in fmr}


def curve_of_pairs(embeddings, labels, *, held_pairs: int = HELD_PAIRS) -> Roc:
    """Gives the curve of all pairs of rows.

    Args:
        embeddings: f[N,D], L2-normalised.
        labels: int[N].
        held_pairs: more pairs than this are counted, and the curve has a point for each of the 65,536 thresholds of
            metrics/pairs.py that tells pairs apart; each point is exact.

    Returns:
        The curve, f64[P] each.

    Raises:
        UserError: there is no genuine or no impostor pair, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import verification
        >>> curve = verification.curve_of_pairs(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]))
        >>> curve.far.tolist(), curve.tar.tolist()
        ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    """
    if len(labels) * (len(labels) - 1) // 2 > held_pairs:
        return Roc(*pairs.curve(embeddings, labels))
    return roc(*all_pairs(embeddings, labels))
