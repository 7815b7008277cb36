import numpy as np
import pytest

from geodesic.experiments.protocols import episodes
from geodesic.metrics import few_shot

ONE_HOT = np.eye(30, dtype=np.float32)


def test_perfect_and_random_embeddings():
    labels = np.repeat(np.arange(30), 10)
    perfect = episodes.classify(ONE_HOT[labels], labels, 5, 1, 50, 0)
    assert perfect.right.shape == (50 * 5 * 5,) and perfect.right.all()
    random = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    chance = episodes.classify(random, labels, 20, 5, 100, 0)
    assert 0.03 < chance.right.mean() < 0.07      # 1 in 20
    assert set(chance.classes.tolist()) == set(range(30))
    with pytest.raises(ValueError, match="31 classes of 6 examples"):
        episodes.classify(ONE_HOT[labels], labels, 31, 1, 1, 0)


def test_decisions_are_those_of_the_metric():
    labels = np.repeat(np.arange(30), 10)
    values = np.random.default_rng(1).normal(size=(300, 8))
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    drawn = few_shot.sample_episodes(labels, ways=5, shots=5, queries=5, episodes=40, seed=3)
    expected = few_shot.accuracy(values, drawn)
    first, second = (episodes.classify(values, labels, 5, 5, 40, 3) for _ in range(2))
    assert first.right.mean() == pytest.approx(expected.accuracy)
    np.testing.assert_array_equal(first.right, second.right)


def test_one_shot_stays_within_an_alphabet_and_between_drawers():
    """Embeddings that tell alphabets but not characters apart are at chance: 1 in 20."""
    classes, people = 50, 4
    labels = np.repeat(np.arange(classes), people)
    alphabet = np.array(["a"] * 25 + ["b"] * 25)
    drawer = np.tile(np.arange(people), classes)
    rng = np.random.default_rng(0)
    noise = 1e-3 * np.random.default_rng(2).normal(size=(classes * people, 8))
    by_alphabet = np.eye(8)[(labels >= 25).astype(int)] + noise
    drawings = episodes.within_alphabets(labels, drawer, alphabet, 40, rng)
    for asked, known in drawings:
        assert len(set(alphabet[labels[asked]])) == 1 and (labels[asked] == labels[known]).all()
        assert len(set(drawer[asked])) == len(set(drawer[known])) == 1 and drawer[asked][0] != drawer[known][0]
    assert episodes.nearest(by_alphabet, labels, drawings).right.mean() < 0.15
    perfect = episodes.nearest(np.eye(classes)[labels], labels, drawings)
    assert perfect.right.all() and perfect.right.shape == (800,)
    with pytest.raises(ValueError, match="no alphabet has 20 characters"):
        episodes.within_alphabets(labels, drawer, np.array([str(i) for i in range(classes)]), 1, rng)


def test_who_drew_must_be_known():
    records = [{"path": "a", "drawer": 3}, {"path": "b", "drawer": 1}]
    assert episodes.drawers(records, np.array([1, 0])).tolist() == [1, 3]
    with pytest.raises(ValueError, match="who drew, and c does not say"):
        episodes.drawers([{"path": "c"}], np.array([0]))


def test_pairs_are_half_same_and_all_of_one_alphabet():
    labels = np.repeat(np.arange(6), 3)
    alphabet = np.array(["a", "a", "a", "b", "b", "b"])
    first, second = episodes.draw_pairs(labels, alphabet, 100, np.random.default_rng(0))
    assert (labels[first] == labels[second]).sum() == 50 and (first != second).all()
    assert (alphabet[labels[first]] == alphabet[labels[second]]).all()


@pytest.mark.parametrize(("scores", "same", "right"), [
    ([0.1, 0.2, 0.3, 0.4], [False, False, True, True], 4),
    ([0.1, 0.2, 0.3, 0.4], [True, True, True, True], 4),
    ([0.1, 0.2, 0.3, 0.4], [False] * 4, 4),
    ([0.4, 0.1, 0.3, 0.2], [False, True, True, False], 2)])
def test_the_best_threshold(scores, same, right):
    threshold = episodes.best_threshold(np.array(scores), np.array(same))
    decided = ((np.array(scores) >= threshold) == np.array(same)).sum()
    every = [((np.array(scores) >= t) == np.array(same)).sum() for t in [0, *scores, 1]]
    assert decided == max(every) >= right
