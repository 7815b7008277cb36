"""A run's own classifier judged: against metrics of the whole matrix of probabilities, in float64."""

import types

import jax
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from geodesic import losses
from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import classifying
from geodesic.experiments.trained import classifier
from geodesic.metrics import classification, confidence


def made(loss="softmax", classes=7, rows=400, sharpness=3.0, seed=0, **options):
    """(a classifier that is too sure of itself, embeddings, labels)."""
    rng = np.random.default_rng(seed)
    params = {"prototypes": rng.normal(size=(classes, 5)).astype(np.float32), "bias": np.zeros(classes, np.float32)}
    found = classifier.Classifier(losses.build(loss, num_classes=classes, **options), params)
    embeddings = (sharpness * rng.normal(size=(rows, 5))).astype(np.float32)
    true = softmax(found.logits(embeddings).astype(np.float64) / sharpness, axis=1)
    return found, embeddings, np.array([rng.choice(classes, p=row) for row in true])


@pytest.mark.parametrize(("loss", "options"), [("softmax", {}), ("arcface", {"scale": 9.0})])
def test_scores_are_the_metrics_of_all_probabilities(monkeypatch, loss, options):
    monkeypatch.setattr(classifier, "_BLOCK", 7 * 64)  # blocks of 64 images, the last of 16
    found, embeddings, labels = made(loss, **options)
    scores = classifying.scores(classifying.judge(found, embeddings, labels), 7)
    logits = found.logits(embeddings).astype(np.float64)
    probabilities = softmax(logits, axis=1)
    assert scores["top1"] == pytest.approx(classification.top_k_accuracy(probabilities, labels, 1))
    assert scores["top5"] == pytest.approx(classification.top_k_accuracy(probabilities, labels, 5))
    assert scores["mean_per_class_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(axis=1)))
    assert scores["nll"] == pytest.approx(confidence.negative_log_likelihood(logits, labels).mean(), rel=1e-5)
    assert scores["brier"] == pytest.approx(confidence.brier_score(probabilities, labels).mean(), rel=1e-5)
    for name, adaptive in (("calibration_error", False), ("adaptive_calibration_error", True)):
        assert scores[name] == pytest.approx(confidence.calibration_error(probabilities, labels, adaptive=adaptive),
                                             abs=1e-5)
    assert tuple(scores) == classifying.names(7, False)


def test_equal_scores_give_the_lower_class():
    found, embeddings, _ = made()
    found.params["prototypes"][:] = 1
    judged = classifying.judge(found, embeddings[:3], np.array([0, 2, 6]))
    assert judged.rank.tolist() == [0, 2, 6] and judged.answers.tolist() == [0, 0, 0]
    np.testing.assert_allclose(judged.confidence, 1 / 7, rtol=1e-6)


def test_classes_split_over_devices_are_judged_alike():
    found, embeddings, labels = made(classes=16)
    mesh = meshes.make(jax.devices()[:4])
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    split = jax.device_put(found.params, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    loss = losses.build("softmax", num_classes=16, mesh=mesh)
    values = classifying.judging(loss, out_shardings=everywhere)(split, embeddings, labels, 1.0)
    expected = classifying.judge(found, embeddings, labels)
    other = classifying.judged(labels, [np.asarray(part) for part in values], False)
    for name in ("rank", "answers", "confidence", "nll", "brier"):
        np.testing.assert_allclose(getattr(other, name), getattr(expected, name), rtol=1e-4, atol=1e-6, err_msg=name)


def test_sigmoids_have_no_likelihood_and_no_temperature():
    found, embeddings, labels = made("sigmoid")
    judged = classifying.judge(found, embeddings, labels)
    assert tuple(classifying.scores(judged, 7)) == classifying.names(7, True) == (
        "top1", "top5", "mean_per_class_accuracy")
    np.testing.assert_allclose(judged.confidence, found.predict(embeddings).max(axis=1), rtol=1e-5)
    with pytest.raises(UserError, match="a sigmoid for each class"):
        classifying.calibrate(found, embeddings, labels, 0)


def test_the_temperature_of_one_half_judges_the_other():
    found, embeddings, labels = made(rows=2000)
    calibrated = classifying.calibrate(found, embeddings, labels, 5)
    assert calibrated.temperature == pytest.approx(confidence.temperature(found.logits(embeddings), labels))
    assert calibrated.temperature == pytest.approx(3.0, rel=0.15)
    halves = np.random.default_rng(5).permutation(2000) % 2
    for half in (0, 1):
        other = confidence.temperature(found.logits(embeddings[halves != half]), labels[halves != half])
        expected = softmax(found.logits(embeddings[halves == half]) / other, axis=1)
        np.testing.assert_allclose(calibrated.judged.confidence[halves == half], expected.max(axis=1), rtol=1e-4)
    before = classifying.scores(classifying.judge(found, embeddings, labels), 7)
    after = classifying.scores(calibrated.judged, 7)
    assert (calibrated.judged.labels == labels).all() and after["top1"] == before["top1"]
    assert before["calibration_error"] > 0.1 and after["calibration_error"] < 0.05 and after["nll"] < before["nll"]


def test_intervals_are_of_draws_of_classes():
    found, embeddings, labels = made()
    judged = classifying.judge(found, embeddings, labels)
    entries = classifying.metrics(judged, 7, seed=0)
    assert {name: entry["value"] for name, entry in entries.items()} == pytest.approx(classifying.scores(judged, 7))
    for name, entry in entries.items():
        assert entry["low"] < entry["high"], name
        assert "calibration" in name or entry["low"] < entry["value"] < entry["high"], name  # errors are biased upwards
    only = judged.labels == 3
    one = classifying.metrics(classifying.Judged(*(part[only] for part in judged)), 7, seed=0)
    assert all(entry["low"] is None for entry in one.values())
    assert one["mean_per_class_accuracy"]["value"] == one["top1"]["value"]


def test_a_runs_own_test_images_by_the_names_of_their_classes():
    """The source has two of seven classes, one by the id that public weights have for it."""
    found, embeddings, labels = made()
    kept = np.flatnonzero((labels == 2) | (labels == 5))[:-1]  # the last could not be read
    names = [f"class {place}" for place in range(7)]
    ids = {f"n{place}": place for place in range(7)}
    run = types.SimpleNamespace(classifier=found, config=types.SimpleNamespace(seed=0),
                                class_places=ids | {name: place for place, name in enumerate(names)})
    source = types.SimpleNamespace(class_names=["class 5", "n2"], num_classes=2,
                                   labels=np.where(labels == 5, 0, 1))
    own = classifying.of_run(run, source, embeddings[kept], kept)
    assert own.arrays["class_names"].tolist() == names
    np.testing.assert_array_equal(own.arrays["labels"], labels[kept])
    np.testing.assert_array_equal(own.arrays["answers"], found.scores(embeddings[kept]).argmax(axis=1))
    assert own.record["temperature"] == own.temperature == pytest.approx(
        confidence.temperature(found.logits(embeddings[kept]), labels[kept]))
    assert own.record["calibrated"]["nll"]["value"] < own.record["metrics"]["nll"]["value"]
    source.class_names = ["class 5", "n7"]
    with pytest.raises(UserError, match="1 of the 2 test classes were not trained, 'n7' for one"):
        classifying.of_run(run, source, embeddings[kept], kept)


def test_average_precision_of_images_of_several_classes():
    found, embeddings, _ = made("sigmoid", rows=60)
    scores = found.scores(embeddings)
    tags = scores[:, [4, 2]] > 0
    tags[0] = ~tags[0]
    entries = classifying.of_tags(scores[:, [4, 2]], tags, seed=0)
    for name in ("macro", "micro"):
        peer = average_precision_score(tags, scores[:, [4, 2]], average=name)
        assert entries[f"{name}_ap"]["value"] == pytest.approx(peer) and peer < 1
    assert entries["macro_ap"]["low"] <= entries["macro_ap"]["value"] <= entries["macro_ap"]["high"]
    exact = classifying.of_tags(scores[:, [4, 2]], scores[:, [4, 2]] > 0, seed=0)
    assert exact["macro_ap"]["value"] == pytest.approx(1)
