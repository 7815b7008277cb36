"""Areas by scikit-learn, intervals by simulation, and controls that know the answer."""

import numpy as np
import pytest
import sklearn.metrics

from geodesic.metrics import channels


def test_areas_are_scikit_learns_with_ties():
    rng = np.random.default_rng(0)
    values, labels = rng.integers(0, 6, (80, 7)).astype(float), rng.integers(0, 4, 80)
    positive = labels[:, None] == np.arange(4)
    wanted = [[sklearn.metrics.roc_auc_score(positive[:, k], values[:, c]) for k in range(4)] for c in range(7)]
    np.testing.assert_allclose(channels.auc(values, positive), wanted, rtol=1e-12)


def test_a_concept_of_all_or_no_images_has_no_area():
    found = channels.auc(np.arange(4.0)[:, None], np.array([[True, False, True]] * 3 + [[True, False, False]]))
    assert np.isnan(found[0, :2]).all() and found[0, 2] == 0


def test_scores_are_of_the_other_images_and_chance_is_a_half():
    rng = np.random.default_rng(1)
    labels = np.arange(400) % 20
    positive = labels[:, None] == np.arange(20)
    noise = rng.normal(size=(400, 300))
    found = channels.select(noise[:200], positive[:200], noise[200:], positive[200:])
    assert found.chosen.mean() > 0.65, "the best of twenty flatters"
    assert abs(found.scored.mean() - 0.5) < 0.02
    area = [sklearn.metrics.roc_auc_score(positive[200:, k], noise[200:, c]) for c, k in enumerate(found.concept)]
    np.testing.assert_allclose(found.scored, area, rtol=1e-12)


def test_the_intervals_cover():
    """Of many draws whose true area is known, about 95 % lie within their intervals."""
    rng = np.random.default_rng(2)
    positive = np.repeat([True, False], [40, 160])[:, None]
    values = rng.normal(size=(200, 2000)) + positive  # Phi(1 / sqrt(2)) = .7602
    found = channels.select(values, positive, values, positive)
    covered = ((found.low <= 0.7602) & (0.7602 <= found.high)).mean()
    assert 0.92 < covered < 0.97


def test_no_usable_concept_is_said():
    ones = np.ones((4, 1), bool)
    with pytest.raises(ValueError, match="no concept has images"):
        channels.select(np.eye(4), ones, np.eye(4), ones)


def test_a_rotation_keeps_distances_and_mixes_axes():
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 10
    values = np.eye(10)[labels] + rng.normal(0, 0.3, (300, 10))
    (turned, again) = channels.rotated(values, 0, values[:5])
    np.testing.assert_allclose(turned[:5], again)
    np.testing.assert_allclose(np.linalg.norm(turned[0] - turned[1]), np.linalg.norm(values[0] - values[1]), rtol=1e-4)
    positive = labels[:, None] == np.arange(10)
    pure = lambda values: channels.select(values[:150], positive[:150], values[150:], positive[150:]).scored.mean()
    assert pure(values) > 0.95 and pure(turned) < 0.9, "axes that are classes are purer than turned ones"


def test_dead_saturated_and_silent():
    values = np.array([[0, 0, 1, 5.0]] * 6 + [[0, 1, 0, 4.0]] * 4)
    found = channels.kinds(values)
    assert found.dead.tolist() == [True, False, False, False]
    assert found.saturated.tolist() == [False, False, True, True]
    np.testing.assert_allclose(found.silent, [1, 0.6, 0.4, 0])


def test_neighbours_are_by_correlation():
    rng = np.random.default_rng(4)
    one = rng.normal(size=100)
    values = np.stack([one, 3 * one + 1, -one + rng.normal(0, 0.1, 100), rng.normal(size=100), np.ones(100)], axis=1)
    near, how, opposite, against = channels.nearest_and_opposite(values, k=9)
    wanted = np.corrcoef(values[:, :4].T)
    assert near.shape == (5, 4) and near[0, 0] == 1 and opposite[0, 0] == 2
    np.testing.assert_allclose(how[0, 0], 1, atol=1e-6)
    np.testing.assert_allclose(against[0, 0], wanted[0, 2], atol=1e-5)
    assert not how[4].any()
