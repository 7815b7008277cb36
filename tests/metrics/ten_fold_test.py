import numpy as np
import pytest
from sklearn.model_selection import KFold

from geodesic.metrics import ten_fold


def pairs(count=203, seed=0, spread=0.6):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(count, 8))
    same = rng.random(count) < 0.5
    second = np.where(same[:, None], first + spread * rng.normal(size=first.shape), rng.normal(size=first.shape))
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    return first, second, same


def naive(first, second, same):
    """One fold and one threshold at a time."""
    distance = np.square(first - second).sum(axis=1)
    accuracies = []
    for train, test in KFold(10, shuffle=False).split(distance):
        scores = [np.mean((distance[train] < t) == same[train]) for t in np.arange(0, 4, 0.01)]
        threshold = np.arange(0, 4, 0.01)[int(np.argmax(scores))]
        accuracies.append(np.mean((distance[test] < threshold) == same[test]))
    return accuracies


@pytest.mark.parametrize("count", [10, 200, 203])
def test_equals_the_definition(count):
    result = ten_fold.ten_fold(*pairs(count))
    expected = naive(*pairs(count))
    np.testing.assert_allclose(result.accuracies, expected)
    assert result.accuracy == pytest.approx(np.mean(expected)) and result.std == pytest.approx(np.std(expected))


def test_the_threshold_is_not_chosen_on_the_fold_it_judges():
    """Fold 0 is unlike the rest: its own best threshold would get it right, the others' does not."""
    distance = np.r_[np.full(10, 0.5), np.tile([0.1, 1.0], 45)]
    same = np.r_[np.zeros(10, bool), np.tile([True, False], 45)]
    # Impostors of fold 0 at .5 are accepted only by a threshold above .5: the rest accepts anything in .1 .. 1.
    angle = 2 * np.arcsin(np.sqrt(distance) / 2)
    first = np.tile([1.0, 0.0], (100, 1))
    second = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    result = ten_fold.ten_fold(first, second, same)
    assert result.accuracies[1:].tolist() == [1] * 9
    assert result.thresholds[0] == pytest.approx(0.11, abs=0.011)  # the first best of the other nine


def test_same_is_strictly_below_the_threshold():
    first = np.tile([1.0, 0.0], (10, 1))
    result = ten_fold.ten_fold(first, first, np.ones(10, bool))
    assert result.accuracy == 1 and result.thresholds.tolist() == [0.01] * 10


@pytest.mark.parametrize(("change", "message"), [
    (lambda a, b, s: (a[:5], b[:5], s[:5]), "5 pairs"),
    (lambda a, b, s: (a, b[:-1], s), "fit together"),
    (lambda a, b, s: (a * np.nan, b, s), "NaN"),
])
def test_bad_pairs_raise(change, message):
    with pytest.raises(ValueError, match=message):
        ten_fold.ten_fold(*change(*pairs(40)))
