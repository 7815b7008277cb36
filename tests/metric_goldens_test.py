"""Rankings and clusters as public implementations score them, golden numbers by metrics/goldens/make.py.

Where one of them differs, the test says which is right by docs/metrics.md, and both numbers are asserted.
"""

import functools

import numpy as np
import pytest

from geodesic.metrics import clustering, confidence, retrieval, verification
from tests.metrics import goldens

PEER_NAMES = {"precision@1": "precision_at_1", "r_precision": "r_precision", "map@r": "mean_average_precision_at_r",
              "map": "mean_average_precision"}
SELF = ["random", "ties", "duplicates", "lone", "last", "one_class"]
GALLERY = ["gallery/random", "gallery/ties"]


@functools.cache
def golden() -> dict:
    return goldens.load("rankings")


def arrays(case: str):
    given = golden()
    names = ("queries", "query_labels", "rows", "labels") if case.startswith("gallery/") else ("rows", "labels")
    return [given[f"{case}/{name}"] for name in names]


def scores(case: str) -> dict:
    return (retrieval.gallery_scores if case.startswith("gallery/") else retrieval.ranking_scores)(*arrays(case))


@functools.cache
def rankings(case: str) -> retrieval.PerQuery:
    return (retrieval.rank if case.startswith("gallery/") else retrieval.rank_self)(*arrays(case))


@pytest.mark.parametrize("case", SELF + GALLERY)
@pytest.mark.parametrize("search", ["faiss", "by_index"])
def test_ranking_scores_equal_pytorch_metric_learning(case, search):
    """The peer searches by IndexFlatL2, or by one that gives ties to the lower index. Both leave out lone queries."""
    ours = scores(case)
    for name, peer in PEER_NAMES.items():
        assert ours[name] == pytest.approx(golden()[f"pml/{search}/{case}/{peer}"], abs=1e-12), name


def test_multi_hot_scores_equal_pytorch_metric_learning():
    """The peer is told that rows match where they share a label; ten rows have none."""
    ours = scores("several")
    assert ours["queries_without_match"] == 10
    for name, peer in PEER_NAMES.items():
        assert ours[name] == pytest.approx(golden()[f"pml/faiss/several/{peer}"], abs=1e-12), name


def test_pytorch_metric_learning_takes_labels_for_one_that_are_equal_as_float32():
    """Two classes, 2^24 and 2^24 + 1, each row nearest to one of the other class. The peer casts labels to float32 and
    sees one class: all scores are 1. Labels are integers; ours are right.
    """
    ours = scores("large_labels")
    labels = arrays("large_labels")[1]
    assert len({*labels.tolist()}) == 2 and len({*labels.astype(np.float32).tolist()}) == 1
    assert [float(golden()[f"pml/faiss/large_labels/{peer}"]) for peer in PEER_NAMES.values()] == [1, 1, 1, 1]
    assert [ours[name] for name in PEER_NAMES] == pytest.approx([0, 0.48621795, 0.23379430, 0.48835516])
    clusters = golden()["pml/clusters/large_labels/assignment"]
    assert golden()["pml/clusters/large_labels/NMI"] == 1 and (clusters == 0).all()
    assert clustering.agreement(labels, clusters)["nmi"] == 0


def test_pytorch_metric_learning_with_k_below_r_scores_other_things():
    """With k=3 its r_precision divides by min(3, R) and its map@r and map see three rows and still divide by R. All
    are said to be wrong by the peer itself, in a warning. Ours take no k: R rows, or all, are always looked at.
    """
    peer = [float(golden()[f"pml/k=3/random/{name}"]) for name in PEER_NAMES.values()]
    assert peer == pytest.approx([0.7375, 0.65833333, 0.14608904, 0.15233904])
    ours = scores("random")
    assert [ours[name] for name in PEER_NAMES] == pytest.approx([0.7375, 0.54193711, 0.42586219, 0.60669501])
    found, _ = retrieval.neighbors(arrays("random")[0], arrays("random")[0], 3, exclude=np.arange(80))
    relevant = arrays("random")[1][found] == arrays("random")[1][:, None]
    matches = rankings("random").matches
    assert (relevant * (np.arange(3) < matches[:, None])).sum(axis=1) / np.minimum(matches, 3) @ np.full(
        80, 1 / 80) == pytest.approx(peer[1])
    assert ((relevant.cumsum(axis=1) / [1, 2, 3] * relevant).sum(axis=1) / matches).mean() == pytest.approx(peer[3])


def test_nan_is_refused_by_both_and_ranked_by_faiss():
    """pytorch-metric-learning stops too, by chance: its check that the gallery begins with the queries finds that NaN
    is not close to NaN, and so it says. FAISS says nothing: it finds no row for the row of NaN, index -1, and never
    the row of NaN for another. A message about NaN is right.
    """
    for kind in ("faiss", "by_index", "clusters"):
        assert golden()[f"pml/{kind}/nan/error"].item().startswith("ValueError: When ref_includes_query is True")
    for kind in ("ip", "l2"):
        found = golden()[f"faiss/{kind}/nan/found"]
        assert (found[4] == -1).all() and not (found == 4).any()
    for function in (lambda: scores("nan"), lambda: retrieval.neighbors(arrays("nan")[0], arrays("nan")[0], 7),
                     lambda: clustering.clustering_scores(*arrays("nan"))):
        with pytest.raises(ValueError, match="NaN"):
            function()


def test_collapsed_embeddings_are_refused_and_scored_by_the_order_of_rows_elsewhere():
    """80 equal rows in five classes of 16, in order. The peer answers with what the order of equal rows happens to be,
    and the very same embeddings could get any score. Refusing is right. Of clusters both say that there is one.
    """
    peer = [float(golden()[f"pml/faiss/collapsed/{name}"]) for name in PEER_NAMES.values()]
    assert peer == pytest.approx([0.2, 0.2, 0.2, 0.34928785])
    with pytest.raises(ValueError, match="collapsed"):
        scores("collapsed")
    assert golden()["pml/clusters/collapsed/NMI"] == golden()["pml/clusters/collapsed/AMI"] == 0
    ours = clustering.clustering_scores(*arrays("collapsed"))
    assert ours["nmi"] == ours["ami"] == 0


@pytest.mark.parametrize("case", SELF)
def test_agreement_equals_pytorch_metric_learning_on_its_own_clusters(case):
    """The clusters are of the peer's k-means, which draws other first centres; of duplicates and lone rows some stay
    empty.
    """
    found = clustering.agreement(arrays(case)[1], golden()[f"pml/clusters/{case}/assignment"])
    assert found["nmi"] == pytest.approx(golden()[f"pml/clusters/{case}/NMI"], abs=1e-9)
    assert found["ami"] == pytest.approx(golden()[f"pml/clusters/{case}/AMI"], abs=1e-9)


@pytest.mark.parametrize("case", SELF + GALLERY)
def test_every_query_scores_as_open_metric_learning_has_it(case):
    """CMC@k is recall@k; precision@R, divided by min(k, R), is r_precision; map@N, over the whole ranking, is map."""
    ours, peer = rankings(case), {name: golden()[f"oml/{case}/{name}"] for name in ("cmc", "precision_at_r", "map")}
    kept = ours.matches > 0
    for k, found in zip((1, 2, 3, 5, 8), peer["cmc"], strict=True):
        np.testing.assert_array_equal(ours.recall_at(k)[kept], found[kept])
        assert retrieval.cmc(ours, 8)[k - 1] == pytest.approx(found[kept].mean())
    np.testing.assert_allclose(ours.r_precision[kept], peer["precision_at_r"][kept], rtol=1e-6)
    np.testing.assert_allclose(ours.average_precision[kept], peer["map"][kept], rtol=1e-6)


def test_open_metric_learning_counts_lone_queries_as_failures():
    """36 of 80 rows have no match. The peer gives them CMC 0, map 0 and precision NaN, and the means take them in: even
    a perfect ranking has CMC@1 .55, and precision is NaN. Left out and counted, as here and in Musgrave et al., is
    right: no embedding could find what is not there.
    """
    ours, cmc = scores("lone"), golden()["oml/lone/cmc"][0]
    assert ours["queries_without_match"] == 36 and ours["queries"] == 44
    assert np.isnan(golden()["oml/lone/precision_at_r"]).sum() == 36
    assert cmc.mean() == pytest.approx(13 / 80) and ours["recall@1"] == pytest.approx(13 / 44)
    assert golden()["oml/lone/map"].mean() == pytest.approx(0.20054500) and ours["map"] == pytest.approx(0.36462726)


def test_map_at_r_is_divided_by_r_and_open_metric_learning_s_map_at_5_by_the_hits():
    """R = 4; hit, miss, hit and then no more until the 8th row. map@r = (1 + 2/3) / 4. The peer's map@5 divides by the
    two hits that it found, .8333, and so does not see the two that it missed. Both are what they are called; only the
    first says how much of what there was has been found.
    """
    relevant, angle = golden()["one_ranking"][0], np.arange(1, 10) / 10
    gallery = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ours = retrieval.rank(np.array([[1.0, 0]]), np.array([1]), gallery, relevant.astype(int))
    assert ours.matches[0] == 4 and ours.map_at_r[0] == pytest.approx(0.4167, abs=5e-5)
    assert golden()["oml/one_ranking/map@5"][0] == pytest.approx(0.8333, abs=5e-5)
    assert ours.r_precision[0] == golden()["oml/one_ranking/precision_at_r"][0] == 0.5
    assert ours.average_precision[0] == pytest.approx(golden()["oml/one_ranking/map"][0], rel=1e-6)


def test_fnmr_at_fmr_equals_open_metric_learning():
    far, same = golden()["distances"], golden()["distances/same"]
    for rate, peer in zip(golden()["fmr"], golden()["oml/fnmr"], strict=True):
        assert verification.fnmr_at_fmr(far, same, rate) == pytest.approx(peer, rel=1e-6)


def test_cameras_equal_torchreid():
    """Nothing of a query's own person and camera is ranked; both leave out queries without another image."""
    given = goldens.load("cameras")
    exclude = retrieval.same_source(given["query_labels"], given["query_cameras"], given["labels"], given["cameras"])
    ours = retrieval.rank(given["queries"], given["query_labels"], given["rows"], given["labels"], exclude=exclude)
    assert 0 < (ours.matches == 0).sum() < 20 and (exclude >= 0).any()
    np.testing.assert_allclose(retrieval.cmc(ours, 20), given["torchreid/cmc"], rtol=1e-6)
    assert retrieval.summary(ours)["map"] == pytest.approx(given["torchreid/map"], abs=1e-12)


@pytest.mark.parametrize("case", ["random", "ties", "duplicates", "gallery/random", "gallery/ties"])
@pytest.mark.parametrize("index", ["ip", "l2"])
def test_neighbors_equal_faiss(case, index):
    """IndexFlatL2 gives equal rows in the order of their indices, as ours. IndexFlatIP does not, and among the rows
    that share the last place others get in: no rule is stated for it, so there the scores are compared, and that each
    found row has its score. The lower index is right, being a rule, and one that does not depend on k.
    """
    given = arrays(case)
    peer = {name: golden()[f"faiss/{index}/{case}/{name}"] for name in ("scores", "found", "order")}
    queries, rows = (given[0], given[2]) if len(given) == 4 else (given[0], given[0])
    found, ours = retrieval.neighbors(queries, rows, 7)
    order, _ = retrieval.neighbors(queries, rows, len(rows))
    np.testing.assert_allclose(ours, peer["scores"] if index == "ip" else 1 - peer["scores"] / 2, atol=1e-6)
    tied = case not in ("random", "gallery/random")
    if index == "l2" or not tied:
        np.testing.assert_array_equal(found, peer["found"])
        np.testing.assert_array_equal(order, peer["order"])
    else:
        assert (found != peer["found"]).any()
        products = np.einsum("qd,qkd->qk", queries, rows[peer["found"]])
        np.testing.assert_allclose(products, ours, atol=1e-6)


def test_b_cubed_equals_the_public_package():
    found = clustering.bcubed(golden()["clusters/labels"], golden()["clusters/clusters"])
    np.testing.assert_allclose(found, golden()["bcubed"], rtol=1e-12)


@pytest.mark.parametrize("bins", [4, 15])
def test_calibration_error_equals_torchmetrics(bins):
    values, labels = golden()["probabilities/random"], golden()["probabilities/random/labels"]
    ours = confidence.calibration_error(values, labels, bins=bins)
    assert ours == pytest.approx(golden()[f"torchmetrics/random/{bins}"], abs=1e-6)


def test_a_confidence_on_the_edge_of_two_bins_is_in_the_lower_one():
    """torchmetrics closes its bins below, [.5, .75), and puts .75 beside .875; Guo et al. write ((m-1)/M, m/M], so
    that .75 is beside .625. .1667 and .375; the paper's is right.
    """
    values, labels = golden()["probabilities/edges"], golden()["probabilities/edges/labels"]
    assert golden()["torchmetrics/edges/4"] == pytest.approx(1 / 6)
    assert confidence.calibration_error(values, labels, bins=4) == pytest.approx(0.375)
