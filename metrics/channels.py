"""What single numbers of an embedding stand for: which class each tells apart, and whether that is more than chance.

A number of an embedding is a channel, or neuron: an axis of the space. Whatever axes say about classes, axes of the
same space turned at random say too, more or less: `rotated` gives those, and a figure without theirs misleads.

Bau, Zhou, Khosla, Oliva, Torralba: Network Dissection: Quantifying Interpretability of Deep Visual Representations,
2017, arXiv:1704.05796.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats


def auc(values, positive) -> np.ndarray:
    """How well each channel alone tells each concept: the area under its ROC curve.

    Args:
        values: f[N,C], a channel a column.
        positive: bool[N,K], whether an image is of a concept; an image may be of several.

    Returns:
        f64[C,K]: the probability that an image of the concept has a larger value than one that is not of it, equal
        ones counting half; NaN where all images are of the concept, or none.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import channels
        >>> channels.auc([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]], np.array([[False], [True], [True]])).tolist()
        [[1.0], [0.5]]
    """
    positive = np.asarray(positive, np.float64)
    return _auc(scipy.stats.rankdata(np.asarray(values), axis=0), positive)


class Selected(NamedTuple):
    """What each channel stands for, chosen on some images and scored on others.

    concept: i64[C], of the columns of the concepts. chosen: f64[C], its AUC where it was chosen, which flatters.
    scored: f64[C], its AUC on the other images. low, high: f64[C], the central 95 % of `scored`.
    """

    concept: np.ndarray
    chosen: np.ndarray
    scored: np.ndarray
    low: np.ndarray
    high: np.ndarray


def select(values, positive, scored_values, scored_positive) -> Selected:
    """The concept that each channel tells best, chosen on the first images and scored on the second.

    Args:
        values, positive: f[N,C] and bool[N,K], to choose by.
        scored_values, scored_positive: f[M,C] and bool[M,K], other images, to score by. Every concept that can be
            chosen must have images that are of it and images that are not in both.

    Returns:
        Selected. The intervals are DeLong's, of the normal distribution, cut at 0 and 1. They are each channel's own:
        among many channels some lie outside theirs.

    References:
        DeLong, DeLong, Clarke-Pearson: Comparing the Areas under Two or More Correlated Receiver Operating
        Characteristic Curves, 1988.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import channels
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(60) % 3
        >>> values = (labels[:, None] == [2, 0]) + rng.normal(0, 0.1, (60, 2))
        >>> positive = labels[:, None] == np.arange(3)
        >>> found = channels.select(values[:30], positive[:30], values[30:], positive[30:])
        >>> found.concept.tolist(), found.scored.tolist()
        ([2, 0], [1.0, 1.0])
    """
    areas = auc(values, positive)
    usable = ~np.isnan(areas).any(axis=0) & ~np.isnan(auc(np.zeros((len(scored_values), 1)), scored_positive))[0]
    if not usable.any():
        raise ValueError("no concept has images that are of it and images that are not, in both halves")
    concept = np.where(usable, areas, -np.inf).argmax(axis=1)
    chosen = areas[np.arange(len(areas)), concept]
    scored, error = _delong(np.asarray(scored_values, np.float64), np.asarray(scored_positive, bool), concept)
    width = scipy.stats.norm.ppf(0.975) * error
    return Selected(concept, chosen, scored, np.clip(scored - width, 0, 1), np.clip(scored + width, 0, 1))


def rotated(values, seed: int, *others) -> tuple[np.ndarray, ...]:
    """The same points seen along axes that are turned at random: the control of everything that is said of axes.

    Args:
        values: f[N,C].
        seed: of the rotation, which is drawn uniformly (Haar) from the orthogonal group.
        *others: f[.,C], turned by the same rotation.

    Returns:
        All of them in f32, turned about the mean of `values`. Distances, and cosines of centred vectors, stay.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import channels
        >>> (turned,) = channels.rotated(np.eye(3), 0)
        >>> round(float(np.linalg.norm(turned[0] - turned[1])) ** 2, 5)
        2.0
    """
    values = np.asarray(values, np.float32)
    # Q of a normal matrix is uniform once R's diagonal is positive (Mezzadri, 2007, arXiv:math-ph/0609050).
    rotation, triangle = np.linalg.qr(np.random.default_rng(seed).normal(size=(values.shape[1],) * 2))
    rotation = (rotation * np.sign(np.diag(triangle))).astype(np.float32)
    mean = values.mean(axis=0)
    return tuple((np.asarray(one, np.float32) - mean) @ rotation for one in (values, *others))


class Kinds(NamedTuple):
    """dead: bool[C], the same value for all images. saturated: bool[C], the largest value for more than half of them.
    silent: f64[C], the share of images for which the channel is 0 or less."""

    dead: np.ndarray
    saturated: np.ndarray
    silent: np.ndarray


def kinds(values) -> Kinds:
    """Which channels say nothing.

    Args:
        values: f[N,C].

    Example:
        >>> from geodesic.metrics import channels
        >>> found = channels.kinds([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
        >>> found.dead.tolist(), found.saturated.tolist()
        ([True, False, False], [False, True, False])
    """
    values = np.asarray(values)
    largest = values.max(axis=0)
    dead = largest == values.min(axis=0)
    return Kinds(dead, ~dead & ((values == largest).mean(axis=0) > 0.5), (values <= 0).mean(axis=0))


def nearest_and_opposite(values, k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The channels that go with each channel, and those that go against it, by Pearson's correlation over images.

    Args:
        values: f[N,C]; a channel that does not vary correlates 0 with all.
        k: how many of each.

    Returns:
        (i64[C,k] the nearest, f32[C,k] their correlations, largest first, i64[C,k] the most opposite, f32[C,k] theirs,
        smallest first), never the channel itself; k is at most C - 1.

    Example:
        >>> from geodesic.metrics import channels
        >>> near, how, opposite, against = channels.nearest_and_opposite([[1.0, 2, 9], [2, 4, 8], [3, 6, 7]], k=1)
        >>> near[0, 0].item(), how[0, 0].item(), opposite[0, 0].item(), against[0, 0].item()
        (1, 1.0, 2, -1.0)
    """
    values = np.asarray(values, np.float64)
    centred = values - values.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    unit = np.where(length > 1e-12, centred / np.maximum(length, 1e-12), 0).astype(np.float32)
    correlations = np.round(unit.T @ unit, 6)  # so that rounding does not order equal ones
    k = min(k, len(correlations) - 1)
    np.fill_diagonal(correlations, -np.inf)
    near = np.argsort(-correlations, axis=1, kind="stable")[:, :k]
    how = np.take_along_axis(correlations, near, axis=1)
    np.fill_diagonal(correlations, np.inf)
    opposite = np.argsort(correlations, axis=1, kind="stable")[:, :k]
    return near, how, opposite, np.take_along_axis(correlations, opposite, axis=1)


def _auc(ranks: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """From ranks f[N,C], 1 for the least, and positive f[N,K]: Mann and Whitney's statistic."""
    number = positive.sum(axis=0)
    pairs = number * (len(positive) - number)
    return (ranks.T @ positive - number * (number + 1) / 2) / np.where(pairs > 0, pairs, np.nan)


def _delong(values: np.ndarray, positive: np.ndarray, concept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(AUC, its standard error) of each channel for its concept, f64[C] each."""
    area, error = np.empty(len(concept)), np.empty(len(concept))
    for one in np.unique(concept):
        which, columns = positive[:, one], np.flatnonzero(concept == one)
        own, rest = values[which][:, columns], values[~which][:, columns]
        ranks = scipy.stats.rankdata(np.concatenate([own, rest]), axis=0)
        # Of each image, the share of the other kind that it is ahead of, or behind.
        ahead = (ranks[:len(own)] - scipy.stats.rankdata(own, axis=0)) / len(rest)
        behind = 1 - (ranks[len(own):] - scipy.stats.rankdata(rest, axis=0)) / len(own)
        area[columns] = ahead.mean(axis=0)
        error[columns] = np.sqrt(sum(part.var(axis=0, ddof=1) / len(part) if len(part) > 1 else 0.25
                                     for part in (ahead, behind)))
    return area, error
