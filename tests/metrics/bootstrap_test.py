import numpy as np

from geodesic.metrics import bootstrap, retrieval, verification


def test_intervals_hold_the_estimate_and_listed_pairs_equal_all_pairs():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(15), 5)
    unit = retrieval.normalized(rng.normal(size=(75, 8)) + rng.normal(size=(15, 8))[labels])
    options = {"far": (0.1, 0.01), "samples": 40, "seed": 1}
    first, second = np.triu_indices(75, k=1)
    listed = bootstrap.pair_intervals(*verification.all_pairs(unit, labels),
                                      np.stack([labels[first], labels[second]], axis=1), **options)
    for name, (estimate, low, high) in bootstrap.verification_intervals(unit, labels, **options).items():
        assert low <= estimate <= high and low < high
        np.testing.assert_allclose(listed[name], (estimate, low, high), atol=1e-6)
    rankings = retrieval.rank_self(unit, labels)
    interval = bootstrap.retrieval_intervals(rankings, labels, samples=50)["map@r"]
    assert interval.low < interval.estimate < interval.high
