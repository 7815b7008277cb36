import numpy as np
import pytest

from geodesic.metrics import bootstrap, clustering, clustering_intervals


def drawn(seed=0, count=90, classes=12):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return labels, np.where(rng.random(count) < 0.7, labels, rng.integers(-1, 2 * classes, count))


def test_estimates_are_those_of_scikit_learn_and_of_all_pairs():
    labels, clusters = drawn()
    found = {name: one.estimate for name, one in clustering_intervals.intervals(labels, clusters, samples=2).items()}
    for name, value in clustering.agreement(labels, clusters).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    named, upper = clustering.alone(clusters), np.triu_indices(len(labels), 1)
    same, one = labels[upper[0]] == labels[upper[1]], named[upper[0]] == named[upper[1]]
    assert found["false_pairs"] == pytest.approx(one[~same].mean()) and found["alone"] == (clusters == -1).mean() > 0
    assert found["true_pairs"] == pytest.approx(one[same].mean())


def test_a_replicate_of_classes_is_the_same_as_their_rows_again_and_again():
    labels, clusters = drawn(1)
    samples = 20
    found = clustering_intervals.intervals(labels, clusters, samples=samples, seed=3)
    named, replicates = clustering.alone(clusters), {name: [] for name in ("bcubed_f", "ami", "alone", "false_pairs")}
    for times in bootstrap.weights(12, samples, 3):
        many = times[labels]
        rows = np.repeat(np.arange(len(labels)), many)
        replicates["ami"].append(clustering.agreement(labels[rows], named[rows])["ami"])
        replicates["alone"].append((clusters[rows] == -1).mean())
        terms = [np.average([(labels[named == named[row]] == labels[row]).mean() for row in range(len(labels))],
                            weights=many), np.average([(named[labels == labels[row]] == named[row]).mean()
                                                       for row in range(len(labels))], weights=many)]
        replicates["bcubed_f"].append(2 / (1 / terms[0] + 1 / terms[1]))
        pairs = [(times[a] * times[b], x == y) for place, (a, x) in enumerate(zip(labels, named, strict=True))
                 for b, y in zip(labels[:place], named[:place], strict=True) if a != b]
        replicates["false_pairs"].append(sum(w for w, both in pairs if both) / sum(w for w, _ in pairs))
    moved = np.array(replicates["ami"])
    replicates["ami"] = moved + found["ami"].estimate - np.median(moved)
    for name, values in replicates.items():
        assert found[name][1:] == pytest.approx(bootstrap.percentiles(values), abs=1e-9), name
        assert found[name].low < found[name].estimate < found[name].high, name


def test_at_the_ends():
    perfect = clustering_intervals.intervals([0, 0, 1, 1, 2, 2], [4, 4, 1, 1, 0, 0], samples=50)
    assert all(perfect[name] == (1.0, 1.0, 1.0) for name in ("bcubed_f", "ami", "nmi", "true_pairs"))
    assert perfect["alone"] == perfect["false_pairs"] == (0.0, 0.0, 0.0)
    one = clustering_intervals.intervals([0, 0], [0, 0], samples=5)
    assert one["ami"] == (1, 1, 1) and np.isnan(one["false_pairs"].estimate)
