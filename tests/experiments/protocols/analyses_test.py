"""The analyses on clusters whose scores are known, and on data that cannot show them."""

import numpy as np
import pytest

from geodesic.experiments.protocols import analyses
from geodesic.metrics import classification, health, identification, retrieval

CLASSES, EACH = 12, 6
LABELS = np.repeat(np.arange(CLASSES), EACH) + 100


def clusters(noise=0.01, seed=0):
    """Twelve orthogonal directions, nearly; longer than 1."""
    rows = np.eye(16)[LABELS - 100] + noise * np.random.default_rng(seed).normal(size=(len(LABELS), 16))
    return (3 * rows).astype(np.float32)


def scores(name, rows=None, labels=LABELS, seed=0):
    rows = clusters() if rows is None else rows
    result = analyses.run([name], embeddings=rows, labels=labels, seed=seed)[name]
    assert result["what"].endswith(".") and all(type(value) is float for value in result["scores"].values())
    return result["scores"]


@pytest.mark.parametrize(("name", "best"), [
    ("clustering", {"nmi": 1, "ami": 1, "bcubed_precision": 1, "bcubed_recall": 1, "bcubed_f": 1}),
    ("identification", {"rank-1": 1, "rank-5": 1, "rank-10": 1, "probes": 36, "tpir@fpir=0.1": 1,
                        "tpir@fpir=0.01": 1}),
    ("knn", {"knn_accuracy@k=1": 1, "knn_accuracy@k=5": 1, "knn_accuracy@k=20": 1}),
    ("cmc", {f"cmc@{rank}": 1 for rank in range(1, 21)}),
])
def test_separate_classes_score_one(name, best):
    assert scores(name) == pytest.approx(best)


@pytest.mark.parametrize(("name", "score"), [("identification", "rank-1"), ("knn", "knn_accuracy@k=1"),
                                             ("linear_probe", "probe_accuracy"), ("cmc", "cmc@1")])
def test_embeddings_that_know_nothing_are_at_chance(name, score):
    """About 1 in 12: of 36 or 72 decisions, fewer than a third."""
    assert scores(name, clusters(noise=1000))[score] < 1 / 3


def test_the_probe_is_right_and_says_how_sure_it_is():
    found = scores("linear_probe")
    assert found["probe_accuracy"] == found["probe_top5_accuracy"] == 1 and 0 < found["calibration_error"] < 0.5
    few = LABELS < 103
    assert "probe_top5_accuracy" not in scores("linear_probe", clusters()[few], LABELS[few])


def test_health_is_that_of_the_metric_and_of_any_length():
    found = scores("health")
    expected = health.health(clusters(), LABELS)
    assert expected.pop("status") == "ok" and found == pytest.approx(expected)
    assert found["rows"] == 72 and found["alignment"] < 0.01
    assert "alignment" not in scores("health", labels=np.arange(72))  # no class has two images


@pytest.mark.parametrize(("rows", "said"), [(np.ones((72, 16)), "collapsed"), (clusters() * np.nan, "not all finite")])
def test_health_says_what_the_others_refuse(rows, said):
    assert said in analyses.run(["health"], rows, LABELS)["health"]["what"]
    for name in analyses.ANALYSES:
        if name != "health":
            with pytest.raises(ValueError, match=r"collapsed|NaN"):
                analyses.run([name], rows, LABELS)


def test_half_of_each_class_is_drawn_by_the_seed():
    labels = np.array([0, 1, 1, 1, 2, 2, 5])
    first, second = analyses.halves(labels, np.random.default_rng(0))
    assert labels[first].tolist() == [1, 1, 2] and labels[second].tolist() == [1, 2]
    assert not {*first.tolist()} & {*second.tolist()}
    drawn = {tuple(analyses.halves(LABELS, np.random.default_rng(seed))[0].tolist()) for seed in (0, 0, 1)}
    assert len(drawn) == 2


def test_figures_are_of_the_half_that_was_not_seen():
    """The same split and the metrics themselves, with classes that overlap."""
    rows, labels = clusters(noise=0.3), LABELS
    known, asked = analyses.halves(labels, np.random.default_rng(7))
    unit = retrieval.normalized(rows)
    answers = classification.knn(unit[known], labels[known], unit[asked], 5, vote="softmax")
    accuracy = (answers == labels[asked]).mean()
    assert 0.2 < accuracy < 1 and scores("knn", rows, seed=7)["knn_accuracy@k=5"] == pytest.approx(accuracy)
    closed = identification.closed_set(unit[asked], labels[asked], unit[known], labels[known])
    assert 0.2 < closed["rank-1"] < 1 and scores("identification", rows, seed=7)["rank-1"] == closed["rank-1"]


def test_in_the_open_set_a_stranger_as_near_as_a_mate_takes_its_place():
    """Classes in pairs, of one direction: wherever one of a pair is enrolled and the other not, strangers score 1."""
    rows = clusters()[(np.arange(72) // (2 * EACH)) * 2 * EACH]
    rows = rows + 1e-4 * np.random.default_rng(0).normal(size=rows.shape)
    found = scores("identification", rows, seed=0)
    assert found["tpir@fpir=0.01"] < 0.2 < found["rank-5"] == 1


@pytest.mark.parametrize("labels", [np.arange(72), np.zeros(72, int), np.append(np.arange(71), 0)])
def test_what_the_data_cannot_show_is_refused(labels):
    for name in analyses.ANALYSES:
        if name != "health":
            with pytest.raises(ValueError, match=f"{name} needs two classes of two images or more"):
                analyses.run([name], clusters(), labels)


def test_an_unknown_analysis_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="no analysis 'helth'; known: health, clustering, identification, knn"):
        analyses.run(["health", "helth"], clusters(), LABELS)


def test_outliers_are_listed_by_place():
    prototypes = np.eye(4)[[[0, 1], [2, 3]]]
    rows = np.eye(4)[[0, 0, 1, 2, 2, 0]]
    assert analyses.outliers(rows, np.array([0, 0, 0, 1, 1, 1]), prototypes).tolist() == [2, 5]
    for none in (None, prototypes[:, 0]):
        with pytest.raises(ValueError, match="this loss has none: train with loss subcenter_arcface"):
            analyses.outliers(rows, np.zeros(6, int), none)
