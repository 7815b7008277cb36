"""Verification: are two images of one identity? Scores of genuine and impostor pairs -> TAR@FAR, EER, ROC."""

from typing import NamedTuple

import numpy as np


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

    scores f[M], same bool[M]. Raises ValueError without a genuine or without an impostor pair, or for NaN.
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    if not same.any() or same.all():
        raise ValueError(f"verification needs genuine and impostor pairs; got {same.sum()} and {(~same).sum()}")
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN: no threshold can be set")
    order = np.argsort(-scores, kind="stable")
    scores, same = scores[order], same[order]
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    tar = np.cumsum(same)[last_of_ties] / same.sum()
    far = np.cumsum(~same)[last_of_ties] / (~same).sum()
    return Roc(np.append(0, far), np.append(0, tar), np.append(np.inf, scores[last_of_ties]))


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


def verification_scores(embeddings, labels, *, far=(1e-2, 1e-3)) -> dict[str, float]:
    """TAR at each false accept rate and the EER over all pairs of rows. embeddings [N,D] L2-normalised, labels [N].

    A rate that no threshold reaches has TAR 0 and is named in "unreachable_far".
    """
    curve = roc(*all_pairs(embeddings, labels))
    at = {rate: tar_at_far(curve, rate) for rate in far}
    return {f"tar@far={rate:g}": tar for rate, (tar, _) in at.items()} | {
        "eer": equal_error_rate(curve), "unreachable_far": [rate for rate, (_, reached) in at.items() if not reached]}
