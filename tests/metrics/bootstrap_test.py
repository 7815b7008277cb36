import numpy as np
import pytest

from geodesic.metrics import bootstrap, pairs, retrieval, verification


def clusters(identities, each, spread=1.0):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(identities), each)
    return retrieval.normalized(spread * rng.normal(size=(len(labels), 8)) + rng.normal(size=(identities, 8))[labels]
                                ), labels


def rates(embeddings, labels, **options):
    """Accept rates of all pairs; scores, sameness and identities of these."""
    scores, same = verification.all_pairs(embeddings, labels)
    first, second = np.triu_indices(len(labels), k=1)
    return bootstrap.Rates(scores, same, labels[first], labels[second], 0, **options), scores, same, np.stack(
        [labels[first], labels[second]], axis=1)


def test_intervals_hold_the_estimate_and_listed_pairs_equal_all_pairs():
    unit, labels = clusters(15, 5)
    options = {"far": (0.1, 0.01), "samples": 40, "seed": 1}
    first, second = np.triu_indices(75, k=1)
    listed = bootstrap.pair_intervals(*verification.all_pairs(unit, labels),
                                      np.stack([labels[first], labels[second]], axis=1), **options)
    for name, (estimate, low, high) in bootstrap.verification_intervals(unit, labels, **options).items():
        assert low <= estimate <= high and low < high
        np.testing.assert_allclose(listed[name], (estimate, low, high), atol=1e-6)
    rankings = retrieval.rank_self(unit, labels)
    found = bootstrap.retrieval_intervals(rankings, labels, recall_at=(1, 5), samples=50)
    assert found["map@r"].low < found["map@r"].estimate < found["map@r"].high
    summary = retrieval.summary(rankings, recall_at=(1, 5))
    assert {name: pytest.approx(interval.estimate) for name, interval in found.items()} == {
        name: summary[name] for name in found}


@pytest.mark.parametrize("size", [4, 32, 128])
def test_copies_across_identities_have_one_cosine_in_scores_and_intervals(size):
    """Genuine and impostor pairs that are copies tie, whichever way they are counted."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(6, size)).astype(np.float32)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        rows, labels = points[rng.integers(0, 6, 100)], np.repeat(np.arange(25), 4)
        far = (0.01, 0.1, 0.2)
        scores = verification.verification_scores(rows, labels, far=far)
        found = bootstrap.verification_intervals(rows, labels, far=far, samples=2)
        counted = verification.verification_scores(rows, labels, far=far, held_pairs=0)
        assert {name: interval.estimate for name, interval in found.items()} == {name: scores[name] for name in found}
        assert counted == {name: pytest.approx(value) for name, value in scores.items()}


def test_pairs_are_weighed_as_copies_of_drawn_identities_would_be():
    """One replicate, made in full: an identity drawn w times gives w copies of its images, and copies are strangers
    of all but their own pair. TAR and EER of the repeated list are those of the weights.
    """
    unit, labels = clusters(6, 3)
    first, second = np.triu_indices(18, k=1)
    scores, same = verification.all_pairs(unit, labels)
    identities = np.stack([labels[first], labels[second]], axis=1)
    (drawn,) = bootstrap.weights(6, 1, seed=3)
    assert drawn.max() > 1 and drawn.min() == 0
    times = np.where(same, drawn[identities[:, 0]], drawn[identities[:, 0]] * drawn[identities[:, 1]])
    curve = verification.roc(np.repeat(scores, times), np.repeat(same, times))
    found = bootstrap.pair_intervals(scores, same, identities, far=(0.1,), samples=1, seed=3)
    assert found["eer"].low == found["eer"].high == pytest.approx(verification.equal_error_rate(curve))
    assert found["tar@far=0.1"].low == pytest.approx(verification.tar_at_far(curve, 0.1)[0])


def test_the_sample_itself_is_row_0_and_the_resamples_are_the_bootstraps():
    found, scores, same, identities = rates(*clusters(10, 4))
    curve = verification.roc(scores, same)
    for far in (0.005, 0.05, 0.3):
        assert found.tar_at(far)[0] == verification.tar_at_far(curve, far)[0]
    expected = bootstrap.pair_intervals(scores, same, identities, far=(0.05,), seed=0)["tar@far=0.05"]
    assert bootstrap.percentiles(found.tar_at(0.05)[1:]) == pytest.approx((expected.low, expected.high))


def test_many_scores_are_binned_and_hardly_change():
    embeddings, labels = clusters(40, 5)
    binned, scores, same, _ = rates(embeddings, labels, resamples=20, bins=1024)
    assert len(np.unique(scores)) > 4 * 1024 and len(binned.thresholds) <= 1024
    curve = verification.roc(scores, same)
    for far in (0.001, 0.01, 0.1):
        assert binned.tar_at(far)[0] == pytest.approx(verification.tar_at_far(curve, far)[0], abs=0.005)


def test_a_rate_that_nothing_reaches_has_no_tar_and_a_threshold_above_all():
    found, scores, _, _ = rates(np.eye(4, dtype=np.float32)[[0, 0, 0, 0]], np.array([0, 0, 1, 1]), resamples=5)
    assert found.tar_at(0.5)[0] == 0 and found.threshold_at(0.5)[0] > scores.max()


def test_replicates_without_an_impostor_are_left_out():
    """Two identities: half of the replicates draw one of them twice, and hold no impostor pair."""
    identities = np.array([[0, 0], [1, 1], [0, 1]])
    found = bootstrap.pair_intervals([0.9, 0.2, 0.5], [True, True, False], identities, far=(0.5,), samples=50)
    assert found["tar@far=0.5"] == (0.5, 0.5, 0.5)
    alone = bootstrap.pair_intervals([0.9, 0.5], [True, False], np.array([[0, 0], [0, 1]]), samples=1, seed=0)
    assert next(bootstrap.weights(2, 1, 0)).max() == 2 and alone["eer"][1:] == (None, None)


@pytest.mark.parametrize(("far", "tar", "rate"), [
    ([0, 0.2, 1], [0, 0.8, 1], 0.2),    # a point of the curve
    ([0, 1], [0, 1], 0.5),              # between two
    ([0, 0, 1], [0, 1, 1], 0.0),
    ([0, 1, 1], [0, 0, 1], 1.0)])
def test_the_equal_error_rate_lies_on_the_line_between_two_points(far, tar, rate):
    assert pairs.crossing(np.array(far, float), np.array(tar, float)) == pytest.approx(rate)
