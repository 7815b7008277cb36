import contextlib
import types

import jax
import numpy as np
import pytest
from scipy.special import softmax

from geodesic import datasets, losses
from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import evaluation, evaluators
from geodesic.experiments.trained.embedding import Embedded
from geodesic.experiments.training import data
from geodesic.metrics import confidence
from tests.experiments import tiny


def subject(config, test=None, loss=None, train=None):
    """Two and a half steps an epoch, as five images of four classes in batches of eight."""
    embedder = None
    model = types.SimpleNamespace(steps_per_epoch=2.5, loss=loss, num_classes=4, embedder=embedder)
    return evaluators.Subject(config, model, meshes.make(jax.devices()[:2]), train, test)


def view(embeddings, phases, loss_params=None):
    """A run whose test images have these embeddings; names of phases are put into the list."""
    state = types.SimpleNamespace(params={"embedder": {}, "loss": loss_params}, batch_stats={})
    embedded = Embedded(embeddings, np.isfinite(embeddings).all(axis=1), [])
    return evaluators.View(state, lambda _: phases.append("embed") or embedded,
                           lambda name: phases.append(name) or contextlib.nullcontext())


def test_the_names_of_the_scores_are_known_before_there_are_any():
    config = tiny.config()
    found = evaluation.score(np.random.default_rng(0).normal(size=(8, 4)), np.repeat(np.arange(4), 2), config)
    assert {*evaluation.names(config)} == {name for name, value in found.items() if isinstance(value, float)}


@pytest.mark.parametrize(("epochs", "steps"), [(0.0, 0), (0.4, 1), (2.0, 5)])
def test_the_period_is_in_steps(epochs, steps):
    config = tiny.config(evaluation__every_epochs=epochs)
    (evaluator,) = evaluators.make(subject(config), ("test",))
    assert evaluator.every == steps and evaluator.name == "test"


def test_a_list_of_evaluators_each_with_its_period():
    config = tiny.config(evaluation__evaluators=(("test", 0.4), ("knn", 2.0), ("health", 0)))
    made = evaluators.make(subject(config), ("accuracy",))
    assert [(evaluator.name, evaluator.every) for evaluator in made] == [("test", 1), ("knn", 5), ("health", 0)]


@pytest.mark.parametrize(("changes", "told"), [
    ({"evaluation__evaluators": (("tset", 1.0),)}, "unknown evaluator 'tset'; known: test, accuracy, health"),
    ({"evaluation__evaluators": ("test",)}, r"evaluation\.evaluators has 'test'; expected a name and the epochs"),
    ({"evaluation__evaluators": (("knn", 0.1),)}, r"of 'knn': 0\.1 is half a step or less"),
    ({"evaluation__evaluators": (("knn", "often"),)}, r"of 'knn': 'often' is no number of epochs"),
    ({"evaluation__evaluators": (("knn", 1.0),), "run__keep_best": "map@r"}, "'map@r' is not a score .* known: none"),
    ({"run__keep_best": "top1"}, "'top1' is not a score of the evaluation; known: .*eer"),
])
def test_a_list_that_cannot_be_followed_is_refused(changes, told):
    with pytest.raises(UserError, match=told):
        evaluators.make(subject(tiny.config(**changes)), ("test",))


def test_the_test_images_are_embedded_once_for_all_evaluators(tmp_path):
    config = tiny.config(tiny.faces(tmp_path), evaluation__recall_at=())
    config.evaluation.evaluators = (("test", 1.0), ("health", 1.0))
    test, phases = data.test_source(config), []
    rows = np.random.default_rng(0).normal(size=(len(test), 6)).astype(np.float32)
    rows[3] = np.nan  # an image that could not be read
    seen = view(rows, phases)
    found = [evaluator.score(seen) for evaluator in evaluators.make(subject(config, test), ())]
    kept = np.arange(len(test)) != 3
    assert found[0] == evaluation.score(rows[kept], test.labels[kept], config)
    assert "uniformity" in found[1] and phases == ["embed", "scoring", "scoring"]


class Named:
    """A source of class names and labels."""

    def __init__(self, names, labels):
        self.class_names, self.labels, self.num_classes = names, np.array(labels), len(names)


def test_accuracy_is_of_the_trained_classes_by_name():
    train = Named(["a", "b", "c", "d", "e", "f"], [0])
    test = Named(["d", "a"], [0, 0, 1, 1])
    loss = losses.build("arcface", num_classes=6)
    rows = np.eye(6, dtype=np.float32)[[3, 2, 0, 5]] + 0.1 * np.eye(6, dtype=np.float32)[[0, 3, 1, 1]]
    rows[3] = [-1, -0.1, -0.2, -0.3, -0.4, -0.5]  # of class "a", which fits it least of all six
    config = tiny.config(evaluation__evaluators=(("accuracy", 1.0),), evaluation__batch_size=3)
    about = subject(config, test, loss, train)
    about.model.num_classes = 6
    (evaluator,) = evaluators.make(about, ())
    found = evaluator.score(view(rows, [], {"prototypes": np.eye(6, dtype=np.float32)}))
    assert found["top1"] == 0.5 and found["top5"] == 0.75
    assert found["mean_per_class_accuracy"] == pytest.approx((1 + 0) / 2)  # both of "d" are right, none of "a"
    cosines = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    probabilities = softmax(64 * cosines.astype(np.float64), axis=1)
    assert found["nll"] == pytest.approx(-np.log(probabilities[range(4), [3, 3, 0, 0]]).mean(), rel=1e-4)
    assert found["calibration_error"] == pytest.approx(
        confidence.calibration_error(probabilities, np.array([3, 3, 0, 0])), abs=1e-6)
    assert {*found} == {*evaluator.known} and evaluator.headline == {
        "top-1": "top1", "top-5": "top5", "per class": "mean_per_class_accuracy",
        "calibration error": "calibration_error"}


def test_scores_of_a_classifier_that_are_not_finite_are_no_right_answers():
    """Every comparison with NaN is false: the class of each image would be ahead of all others."""
    train = Named(["a", "b", "c"], [0])
    config = tiny.config(evaluation__evaluators=(("accuracy", 1.0),))
    for loss in ("arcface", "softmax", "sigmoid"):
        (evaluator,) = evaluators.make(subject(config, Named(["a", "b"], [0, 1]), losses.build(loss, num_classes=4),
                                               train), ())
        params = {"prototypes": np.full((4, 3), np.nan, np.float32), "bias": np.zeros(4, np.float32)}
        with pytest.raises(evaluators.UnscoredError, match="not all finite"):
            evaluator.score(view(np.ones((2, 3), np.float32), [], params))


def test_accuracy_needs_trained_classes_and_a_loss_that_learns_them():
    train = Named(["a", "b"], [0])
    config = tiny.config(evaluation__evaluators=(("accuracy", 1.0),))
    with pytest.raises(UserError, match=r"1 of the 2 test classes are not trained on, 'z' for one: .*task=embedding"):
        evaluators.make(subject(config, Named(["a", "z"], [0, 1]), losses.build("arcface", num_classes=2), train), ())
    with pytest.raises(UserError, match="learns no classes, so nothing classifies"):
        evaluators.make(subject(config, train, losses.build("triplet", num_classes=2), train), ())


def test_every_evaluator_can_be_named():
    source = datasets.build("orl_faces", classes=(0, 4))
    config = tiny.config()
    others = ("average_precision", "detection")  # of images with tags, and with boxes
    for name in (name for name in evaluators.EVALUATORS if name not in others):
        config.evaluation.evaluators = ((name, 1.0),)
        (made,) = evaluators.make(subject(config, source, losses.build("arcface", num_classes=4), source), ())
        assert made.name == name
    config.evaluation.evaluators = (("detection", 1.0),)
    with pytest.raises(UserError, match=r"the evaluator detection is of --config\.task=detection; got embedding"):
        evaluators.make(subject(config, source, losses.build("arcface", num_classes=4), source), ())
