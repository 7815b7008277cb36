import numpy as np

from geodesic.metrics import clustering


def test_bcubed_by_hand():
    result = clustering.bcubed([0, 0, 1, 1], [0, 0, 0, -1])
    assert (result.precision, result.recall) == ((2 / 3 + 2 / 3 + 1 / 3 + 1) / 4, (1 + 1 + 0.5 + 0.5) / 4)


def test_kmeans_finds_separate_blobs_and_repeats_itself():
    labels = np.arange(120) % 4
    rows = 10 * np.eye(4)[labels] + np.random.default_rng(0).normal(size=(120, 4))
    first, second = (clustering.kmeans(rows, 4, seed=3) for _ in range(2))
    assert clustering.agreement(labels, first.assignment)["ami"] == 1
    assert (first.assignment == second.assignment).all()
