import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from geodesic.experiments.process import mesh as meshes
from geodesic.metrics import retrieval
from geodesic.metrics.neighbors import nearest


def naive_scores(embeddings, labels, recall_at):
    """The definitions, one query at a time, in float64."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = 1 - pairwise_distances(unit.astype(np.float64), metric="cosine")
    rows = []
    for query in range(len(labels)):
        order = [i for i in np.argsort(-similarity[query], kind="stable") if i != query]
        relevant = labels[order] == labels[query]
        r = int(relevant.sum())
        if r == 0:
            continue
        precision_at = [relevant[:i + 1].mean() for i in range(r)]
        rows.append([relevant[:r].mean(), sum(p for p, hit in zip(precision_at, relevant, strict=False) if hit) / r]
                    + [relevant[:k].any() for k in recall_at])
    return dict(zip(["r_precision", "map@r", *(f"recall@{k}" for k in recall_at)], np.mean(rows, axis=0), strict=True))


def test_scores_equal_the_definitions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 150)  # classes of many sizes, some perhaps of one
    labels[0] = 99
    embeddings = rng.normal(size=(150, 8)).astype(np.float32) + 0.7 * rng.normal(size=(100, 8))[labels % 100]
    ours = retrieval.ranking_scores(embeddings, labels, recall_at=(1, 3, 10))
    for name, value in naive_scores(embeddings, labels, (1, 3, 10)).items():
        assert ours[name] == pytest.approx(value, abs=1e-9), name
    assert ours["queries_without_match"] == 1
    assert ours["precision@1"] == ours["recall@1"]


def test_map_at_r_by_hand():
    """The ranking (hit, miss, hit) with R = 3 has map@r (1/1 + 2/3) / 3, not divided by the hits found."""
    query, others = np.array([[1.0, 0.0]]), np.array([[0.99, 0.1], [0.9, 0.3], [0.8, 0.5], [-1.0, 0.2]])
    precision = retrieval.rank_self(np.concatenate([query, others]), np.array([0, 0, 1, 0, 0])).map_at_r
    assert precision[0] == pytest.approx((1 + 2 / 3) / 3)
    assert np.isnan(precision[2])


def test_neighbors_exclude_self_by_index_and_keep_duplicates():
    gallery = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    indices, scores = retrieval.neighbors(gallery, gallery, 2, exclude=[0, 1, 2])
    assert indices.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert scores[0].tolist() == [1, 0]


def test_neighbors_ties_go_to_the_lower_index():
    indices, _ = retrieval.neighbors(np.ones((1, 2)), np.ones((5, 2)), 5)
    assert indices[0].tolist() == [0, 1, 2, 3, 4]


def test_neighbors_in_blocks_equal_one_block():
    rng = np.random.default_rng(1)
    queries, gallery = rng.normal(size=(37, 5)), rng.normal(size=(50, 5))
    whole = retrieval.neighbors(queries, gallery, 7)
    blocked = nearest.Gallery(gallery, block=10).top(queries, 7)
    assert (whole[0] == blocked[0]).all()
    np.testing.assert_allclose(whole[1], blocked[1], rtol=1e-6)


def test_labels_past_2_to_24_do_not_collide():
    labels = np.array([2**24, 2**24 + 1, 2**24, 2**24 + 1])
    embeddings = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    assert retrieval.ranking_scores(embeddings, labels)["recall@1"] == 0


@pytest.mark.parametrize(("embeddings", "labels", "message"), [
    (np.ones((4, 2)), [0, 0, 1, 1], "collapsed"),
    (np.array([[1, np.nan], [1, 0], [0, 1]]), [0, 0, 1], "NaN"),
    (np.eye(3), [0, 1, 2], "no class has two images"),
    (np.eye(3), [0.0, 0.0, 1.0], "integers"),
    (np.eye(3), [0, 0], "3 embeddings and 2 labels"),
])
def test_what_cannot_be_ranked_raises(embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        retrieval.ranking_scores(embeddings, np.array(labels))


def test_k_out_of_range_raises():
    with pytest.raises(ValueError, match="k=3 neighbours asked of 2"):
        retrieval.neighbors(np.eye(3), np.eye(3), 3, exclude=[0, 1, 2])


@pytest.mark.parametrize("rounded", [False, True])
def test_ranks_of_ties_and_duplicates_by_host_by_counting_and_by_sorting(rounded):
    """One CPU device ranks on the host; several count, or sort where a query has many relevant rows."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 5, 60)
    rows = rng.normal(size=(60, 3))
    rows = np.sign(rows) if rounded else rows
    unit = retrieval.normalized(rows)
    ranked = lambda gallery, given=labels: retrieval.rank(unit, given, gallery, given, exclude=np.arange(60))
    on_host = ranked(unit)
    for most in (512, 0):
        gallery = nearest.Gallery(unit, meshes.make(), count_at_most=most)
        for ours, other in zip(on_host, ranked(gallery), strict=True):
            np.testing.assert_array_equal(ours, other)
    multi_hot = ranked(unit, np.eye(5, dtype=int)[labels])
    np.testing.assert_array_equal(on_host.average_precision, multi_hot.average_precision)
