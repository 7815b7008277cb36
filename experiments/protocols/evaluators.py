"""What a run is watched by while it trains: a list of evaluators, each with its own period.

The training loop knows no score by name: what an evaluator gives, and what is shown of it, stands here. An evaluator of
one's own is a function that makes one, and a line in EVALUATORS.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import hosts
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import analyses, classifying, detecting, evaluation
from geodesic.experiments.trained import detecting as detections
from geodesic.experiments.trained import embedding, network
from geodesic.experiments.training import early_stop
from geodesic.experiments.training.model import Model, TrainState, embedder_variables
from geodesic.metrics import detection_scores, multilabel


class UnscoredError(UserError):
    """Embeddings that cannot be scored; raised on every process."""


class Subject(NamedTuple):
    """What is watched: a run's configuration, what it trains, and the data."""

    config: object
    model: Model
    mesh: jax.sharding.Mesh
    train: datasets.Source
    test: datasets.Source


class View:
    """A run at one step, as evaluators see it. The test images are embedded when they are first asked for, once.

    state: the train state. embedded: of the test images, with what `embed` has left out as unreadable.
    patient: a context in which nobody expects a beat of the process's heart, for work of process 0. progress: to be
    told of the images of each batch, by evaluators that go through them themselves.
    """

    def __init__(self, state: TrainState, embed: Callable, patient: Callable,
                 progress: Callable[[int], None] = lambda images: None):
        self.state, self.progress, self._embed, self._patient = state, progress, embed, patient

    @functools.cached_property
    def embedded(self) -> embedding.Embedded:
        found = self._embed(embedder_variables(self.state))
        for problem in found.problems:
            print(f"left out of the evaluation: {problem}", flush=True)
        return found

    def scored_by_first(self, score: Callable[[], dict]) -> dict:
        """What `score()` gives on process 0, on every process. Raises UnscoredError where it raises UserError."""
        scores = {}
        with self._patient("scoring" if hosts.is_first() else "wait for the scores of process 0"):
            try:
                hosts.first_does(lambda: scores.update(score()))
            except UserError as error:
                raise UnscoredError(str(error)) from error
            return hosts.from_first(scores)


class Evaluator(NamedTuple):
    """One way to look at a run.

    Attributes:
      name: what is looked at, for people to read.
      known: names of the scores, of which `run.keep_best` may be one.
      score: (View) -> scores by name, on every process. Raises UnscoredError.
      headline: names under which the few scores that are printed stand in that line -> the scores' own.
      check: raises UserError where the configuration and the labels show that there will be no scores. It is called
        before the first step of a run.
      every: steps from one evaluation to the next; 0 is after the last step alone.
    """

    name: str
    known: tuple[str, ...]
    score: Callable[[View], dict]
    headline: dict[str, str]
    check: Callable[[], None] = lambda: None
    every: int = 0


def test(subject: Subject) -> Evaluator:
    """Retrieval and verification on the test data, by cosine."""
    def score(view: View) -> dict:
        kept = view.embedded.readable
        rows, labels = view.embedded.embeddings[kept], subject.test.labels[kept]
        return view.scored_by_first(lambda: evaluation.score(rows, labels, subject.config))

    first = sorted(subject.config.evaluation.recall_at)[:1]
    return Evaluator("test", evaluation.names(subject.config), score,
                     {"map@r": "map@r", **{f"recall@{k}": f"recall@{k}" for k in first}, "EER": "eer"},
                     functools.partial(_check_test, subject.config, subject.test))


def accuracy(subject: Subject) -> Evaluator:
    """How often the run's own classifier gives a test image its trained class, and how sure it is of its answers."""
    loss, num_classes = subject.model.loss, subject.model.num_classes
    if loss.scores is None:
        raise UserError(f"loss {subject.config.loss.name!r} learns no classes, so nothing classifies: use softmax, "
                        f"arcface or another loss with class weights, or --config.task=embedding")
    labels = trained_labels(subject.train, subject.test)
    everywhere = jax.sharding.NamedSharding(subject.mesh, jax.sharding.PartitionSpec())
    judge = classifying.judging(loss, out_shardings=everywhere)

    def score(view: View) -> dict:
        size, found = subject.config.evaluation.batch_size, []
        kept = view.embedded.readable
        rows, own = view.embedded.embeddings[kept], labels[kept].astype(np.int32)
        for start in range(0, len(rows), size):  # each a product with all classes, on all devices
            count = len(rows[start:start + size])
            block = [np.concatenate([values[start:start + size], np.zeros_like(values[:1], shape=(
                size - count, *values.shape[1:]))]) for values in (rows, own)]
            placed = [meshes.replicate(subject.mesh, values) for values in block]
            found.append([np.asarray(values)[:count] for values in judge(view.state.params["loss"], *placed, 1.0)])
        try:
            judged = classifying.judged(own, [np.concatenate(parts) for parts in zip(*found, strict=True)],
                                        loss.multi_hot)
        except UserError as error:
            raise UnscoredError(str(error)) from error
        return classifying.scores(judged, num_classes)

    known = classifying.names(num_classes, loss.multi_hot)
    return Evaluator("accuracy", known, score, {label: name for label, name in (
        ("top-1", "top1"), ("top-5", "top5"), ("per class", "mean_per_class_accuracy"),
        ("calibration error", "calibration_error")) if name in known})


def average_precision(subject: Subject) -> Evaluator:
    """How well the run's own classifier ranks the test images for each class, where an image may be of several."""
    loss, test = subject.model.loss, subject.test
    if not loss.multi_hot or getattr(test, "tags", None) is None:
        raise UserError(f"the evaluator average_precision is of a loss and of test data with several classes for each "
                        f"image, --config.task=multilabel; got loss {subject.config.loss.name!r} and "
                        f"{subject.config.test_data.name}")
    trained_labels(subject.train, test)
    place = {name: label for label, name in enumerate(subject.train.class_names)}
    columns = np.array([place[name] for name in test.tag_names])
    everywhere = jax.sharding.NamedSharding(subject.mesh, jax.sharding.PartitionSpec())
    scores_of = jax.jit(lambda params, rows: loss.scores(params, rows)[:, columns], out_shardings=everywhere)

    def score(view: View) -> dict:
        kept, size, found = view.embedded.readable, subject.config.evaluation.batch_size, []
        rows = view.embedded.embeddings[kept]
        for start in range(0, len(rows), size):
            block = np.zeros((size, rows.shape[1]), rows.dtype)
            count = len(rows[start:start + size])
            block[:count] = rows[start:start + size]
            placed = meshes.replicate(subject.mesh, block)
            found.append(np.asarray(scores_of(view.state.params["loss"], placed))[:count])
        scores = np.concatenate(found)
        precision = lambda: multilabel.average_precision(scores, test.tags[kept])
        return view.scored_by_first(lambda: {name: value for name, value in precision().items() if name in known})

    known = ("macro_ap", "micro_ap")
    return Evaluator("average_precision", known, score, {"mAP": "macro_ap", "micro": "micro_ap"})


def trained_labels(train: datasets.Source, test: datasets.Source) -> np.ndarray:
    """i[N], the trained class of each test image, by its name. Raises UserError for a class that is not trained on."""
    place = {name: label for label, name in enumerate(train.class_names)}
    unknown = [name for name in test.class_names if name not in place]
    if unknown:
        raise UserError(f"{len(unknown)} of the {test.num_classes} test classes are not trained on, {unknown[0]!r} for "
                        f"one: classification is of trained classes. For classes never trained on use "
                        f"--config.task=embedding")
    return np.array([place[name] for name in test.class_names])[test.labels]


def detection(subject: Subject) -> Evaluator:
    """Boxes, by COCO's rules. The images are gone through anew, as they come letterboxed."""
    config, mesh, test = subject.config, subject.mesh, subject.test
    if config.task != "detection":
        raise UserError(f"the evaluator detection is of --config.task=detection; got {config.task}")
    places = detecting.class_places(subject.train.class_names, test.class_names)
    step = detections.make_detect_step(subject.model.embedder, mesh, config)

    def score(view: View) -> dict:
        try:
            found = detections.detect_source(step, embedder_variables(view.state), test, mesh, config=config,
                                             progress=view.progress)
        except UserError as error:
            raise UnscoredError(str(error)) from error
        for problem in found.problems:
            print(f"left out of the evaluation: {problem}", flush=True)
        return view.scored_by_first(lambda: detecting.scores(found, test, places))

    return Evaluator("detection", detection_scores.NAMES, score, {"AP": "ap", "AP50": "ap50", "AP75": "ap75"},
                     functools.partial(detecting.check_boxes, test, config.test_data))


def _analysis(name: str, subject: Subject) -> Evaluator:
    """An analysis of `geodesic evaluate --also`, of the test images; its scores are known when they are there."""
    def score(view: View) -> dict:
        kept = view.embedded.readable
        rows, labels = view.embedded.embeddings[kept], subject.test.labels[kept]
        analyse = functools.partial(analyses.run, [name], rows, labels, seed=subject.config.seed)
        return view.scored_by_first(lambda: analyse()[name]["scores"])

    return Evaluator(name, (), score, {})


# Name -> function of a Subject that makes the evaluator; config.evaluation.evaluators has these names.
EVALUATORS: dict[str, Callable[[Subject], Evaluator]] = {
    "test": test,
    "accuracy": accuracy,
    **{name: functools.partial(_analysis, name) for name in analyses.ANALYSES},
    "average_precision": average_precision,
    "detection": detection,
}


def make(subject: Subject, usual: tuple[str, ...]) -> list[Evaluator]:
    """The evaluators of a configuration, each with its period; without any, the task's `usual` ones.

    Raises UserError for a name or a layer that there is not, a period of half a step or less, and a score in
    `run.keep_best` that none of them gives.
    """
    config, options = subject.config, subject.config.evaluation
    layers = network.layers(subject.model.embedder, config.input.image_size) if options.layer else {}
    if options.layer and options.layer not in layers:
        raise UserError(f"evaluation.layer {options.layer!r} is not a layer of {config.embedder.name}; known: "
                        f"{', '.join(layers)}")
    named = options.evaluators or tuple((name, options.every_epochs) for name in usual)
    made = []
    for item in named:
        if not (isinstance(item, tuple) and len(item) == 2):
            raise UserError(f"evaluation.evaluators has {item!r}; expected a name and the epochs from one evaluation "
                            f"to the next, such as ((\"test\", 0.5), (\"knn\", 5.0))")
        name, epochs = item
        if name not in EVALUATORS:
            raise UserError(f"unknown evaluator {name!r}; known: {', '.join(EVALUATORS)}")
        every = _steps(epochs, subject.model.steps_per_epoch, name if options.evaluators else "")
        made.append(EVALUATORS[name](subject)._replace(every=every))
    best, known = config.run.keep_best, [name for evaluator in made for name in evaluator.known]
    if best and best not in known:
        raise UserError(f"run.keep_best {best!r} is not a score of the evaluation; known: {', '.join(known) or 'none'}")
    early_stop.check(options, {name: evaluator.every for evaluator in made for name in evaluator.known})
    return made


def _steps(epochs: float, steps_per_epoch: float, name: str) -> int:
    field = f"evaluation.evaluators, of {name!r}:" if name else "evaluation.every_epochs"
    if not isinstance(epochs, int | float):
        raise UserError(f"{field} {epochs!r} is no number of epochs")
    if epochs < 0 or (epochs and round(epochs * steps_per_epoch) == 0):
        raise UserError(f"{field} {epochs:g} is half a step or less, as an epoch has {steps_per_epoch:g}: give "
                        f"{1 / steps_per_epoch:.4g} for every step, or 0 for only after the last one")
    return round(epochs * steps_per_epoch)


def _check_test(config, test: datasets.Source) -> None:
    """Raises UserError for retrieval and verification that the labels show to be impossible."""
    options, where = config.evaluation, f"the test data ({config.test_data.name} {config.test_data.path}".rstrip() + ")"
    classes, images = len(np.unique(test.labels)), len(test)
    if classes < 2:
        raise UserError(f"{where} are {images} images of one class: verification needs images of two classes at least")
    if classes == images:
        raise UserError(f"{where} are {images} images of as many classes: no class has two images, and there is "
                        f"nothing to retrieve")
    wrong = [k for k in options.recall_at if not 1 <= k < images]
    if wrong:
        raise UserError(f"evaluation.recall_at {wrong[0]}: the {images} test images leave {images - 1} for each to be "
                        f"found among: give --config.evaluation.recall_at with numbers from 1 to {images - 1}")
