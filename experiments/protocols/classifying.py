"""Classification by a run's own classifier: how often it is right, how sure it is, and how sure it should be.

The temperature is fitted on the very images that are scored, but never on the half of them, drawn by the seed, that it
is then judged by: the scores after it are of the two halves, each with the temperature of the other.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.protocols import intervals
from geodesic.experiments.protocols import task as tasks
from geodesic.experiments.trained.classifier import Classifier
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import data
from geodesic.metrics import bootstrap, classification, confidence, multilabel

BINS = 15
# Numbers of scores that a temperature is fitted on: of more images, as many as fill this, drawn by the seed.
_FITTED = 2**27
_MOST_GUESSES = 5


class Judged(NamedTuple):
    """A classifier's answers to some images.

    Attributes:
      labels, answers: i[N], the class of each and the class that it was given.
      rank: i[N], classes that fit better than its own: 0 is a right answer. Of equals the lower class comes first.
      confidence: f64[N], the probability of the answer.
      nll, brier: f64[N], -log of the probability of the image's class, and the squared distance from certainty; None of
        sigmoids, which are no distribution over classes.
    """

    labels: np.ndarray
    answers: np.ndarray
    rank: np.ndarray
    confidence: np.ndarray
    nll: np.ndarray | None
    brier: np.ndarray | None


class Calibrated(NamedTuple):
    """temperature: of all images. judged: each half with the temperature of the other."""

    temperature: float
    judged: Judged


def judge(classifier: Classifier, embeddings: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> Judged:
    """Asks a classifier for the classes of embeddings f32[N,D] that are not normalised; labels i[N] are its columns.

    Raises UserError where a score is not finite.
    """
    one = judging(classifier.loss)
    parts, size = [], classifier.rows_at_a_time
    for start in range(0, len(embeddings), size):
        block = slice(start, start + size)
        parts.append([np.asarray(values) for values in one(classifier.params, embeddings[block], labels[block],
                                                           temperature)])
    return judged(labels, [np.concatenate(values) for values in zip(*parts, strict=True)], classifier.loss.multi_hot)


def judging(loss, **options):
    """jit'ed (params, embeddings [B,D], labels [B], temperature) -> what `judged` takes, without the labels.

    options: of `jax.jit`. The classes may be split over devices: only reductions cross them.
    """

    def of(params, rows, labels, temperature):
        logits = loss.scale * loss.scores(params, rows) / temperature
        classes = jnp.arange(logits.shape[1])
        own = jnp.sum(jnp.where(classes == labels[:, None], logits, 0), axis=1, keepdims=True)
        ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
        largest = jnp.max(logits, axis=1, keepdims=True)
        total = jnp.sum(jnp.exp(logits - largest), axis=1)
        answer = jnp.min(jnp.where(logits == largest, classes, len(classes)), axis=1)
        if loss.multi_hot:
            return jnp.sum(ahead, axis=1), answer, jax.nn.sigmoid(largest[:, 0]), own[:, 0], own[:, 0]
        squares = jnp.sum(jnp.exp(2 * (logits - largest)), axis=1) / total**2
        nll = jnp.log(total) - (own - largest)[:, 0]
        probability = jnp.exp(-nll)
        return jnp.sum(ahead, axis=1), answer, 1 / total, nll, squares - 2 * probability + 1

    return jax.jit(of, **options)


def judged(labels: np.ndarray, values: list[np.ndarray], multi_hot: bool) -> Judged:
    """What `judging` has given of images of these classes. Raises UserError where it is not finite."""
    rank, answers, sure, nll, brier = values
    if not all(np.isfinite(part).all() for part in (sure, nll, brier)):
        raise UserError("the classifier's scores are not all finite: nothing is answered")
    sure, nll, brier = (np.asarray(part, np.float64) for part in (sure, nll, brier))
    return Judged(labels, answers, rank, sure, *((None, None) if multi_hot else (nll, brier)))


def calibrate(classifier: Classifier, embeddings: np.ndarray, labels: np.ndarray, seed: int) -> Calibrated:
    """Fits the temperature. Raises UserError where there is none: of sigmoids, and where all answers are right."""
    if classifier.loss.multi_hot:
        raise UserError("a temperature is of a softmax, and this classifier has a sigmoid for each class")
    if len(labels) < 2:
        raise UserError("a temperature takes two images at least: one half judges that of the other")
    halves = np.random.default_rng(seed).permutation(len(labels)) % 2
    fitted = np.empty(len(labels))
    for half in (0, 1):
        fitted[halves != half] = _fit(classifier, embeddings, labels, np.flatnonzero(halves == half), seed)
    parts = [judge(classifier, embeddings[halves == half], labels[halves == half], fitted[halves == half][0])
             for half in (0, 1)]
    order = np.argsort(np.concatenate([np.flatnonzero(halves == half) for half in (0, 1)]))
    together = Judged(*(np.concatenate(values)[order] for values in zip(*parts, strict=True)))
    return Calibrated(_fit(classifier, embeddings, labels, np.arange(len(labels)), seed), together)


def _fit(classifier: Classifier, embeddings, labels, places: np.ndarray, seed: int) -> float:
    most = max(_FITTED // classifier.num_classes, 1)
    if len(places) > most:
        places = np.random.default_rng(seed).choice(places, most, replace=False)
    return confidence.temperature(classifier.logits(embeddings[places]), labels[places])


def scores(found: Judged, num_classes: int) -> dict[str, float]:
    """The scores of some answers by name: those of `names`."""
    return {name: entry["value"] for name, entry in metrics(found, num_classes, 0, resamples=0).items()}


def names(num_classes: int, multi_hot: bool) -> tuple[str, ...]:
    """Names the scores, before there is anything to score."""
    return ("top1", *(("top5",) if num_classes > _MOST_GUESSES else ()), "mean_per_class_accuracy",
            *(() if multi_hot else ("calibration_error", "adaptive_calibration_error", "nll", "brier")))


def metrics(found: Judged, num_classes: int, seed: int, *, resamples: int = intervals.RESAMPLES) -> dict[str, dict]:
    """The scores as records hold them, with intervals over draws of classes; without, where `resamples` is 0."""
    hits = found.rank == 0
    by_class = classification.accuracy_by_class(hits, found.labels, num_classes)
    present = np.flatnonzero(np.isfinite(by_class))
    means = {"top1": hits, "top5": found.rank < _MOST_GUESSES, "nll": found.nll, "brier": found.brier}
    wanted = names(num_classes, found.nll is None)
    entries = {"mean_per_class_accuracy": _mean(by_class[present], present, seed, resamples)}
    for name, values in means.items():
        if name in wanted:
            entries[name] = _mean(values.astype(np.float64), found.labels, seed, resamples)
    for name, adaptive in (("calibration_error", False), ("adaptive_calibration_error", True)):
        if name in wanted:
            entries[name] = _calibration_error(found, adaptive, seed, resamples)
    return {name: entries[name] for name in wanted}


def _mean(values: np.ndarray, classes: np.ndarray, seed: int, resamples: int) -> dict:
    return intervals.of_means({"": values}, classes, seed)[""] if resamples else intervals.metric(values.mean())


def _calibration_error(found: Judged, adaptive: bool, seed: int, resamples: int) -> dict:
    """The bins stay, and classes are drawn: the error of few images is above 0 however well they are calibrated."""
    right = found.rank == 0
    bins = confidence.reliability(found.confidence, right, bins=BINS, adaptive=adaptive)
    present, place = np.unique(found.labels, return_inverse=True)
    if not resamples or len(present) < 2:
        return intervals.metric(bins.error)
    gaps = np.zeros((len(present), BINS))
    np.add.at(gaps, (place, bins.place), right - found.confidence)
    counts = np.bincount(place)
    drawn = [np.abs(weights @ gaps).sum() / (weights @ counts)
             for weights in bootstrap.weights(len(present), resamples, seed)]
    return intervals.metric(bins.error, *bootstrap.percentiles(drawn, intervals.LEVEL))


def of_tags(values: np.ndarray, tags: np.ndarray, seed: int) -> dict[str, dict]:
    """The average precision of images that may be of several classes, as records hold it.

    values: f[N,T], the scores of the classes; tags: bool[N,T], whether each image is of each class.
    """
    each = multilabel.average_precisions(values, tags)
    found = multilabel.average_precision(values, tags)
    with_positive = np.flatnonzero(np.isfinite(each))
    return {"macro_ap": _mean(each[with_positive], with_positive, seed, intervals.RESAMPLES),
            "micro_ap": intervals.metric(found["micro_ap"])}


class Own(NamedTuple):
    """A run's classifier on the run's own test images.

    Attributes:
      record: "what" its probabilities are, its "metrics" as records hold them; "temperature" and the metrics that it is
        "calibrated" to, or "problem", why there is none.
      arrays: of each image the class, the answer, and the confidence before and after; and the names of the classes. Of
        images of several classes: each class's average precision, its images, and its name.
      temperature: None where there is none.
    """

    record: dict
    arrays: dict[str, np.ndarray]
    temperature: float | None


def of_run(run: Run, source: datasets.Source, embeddings: np.ndarray, kept: np.ndarray) -> Own:
    """Judges a run's classifier. embeddings f32[N,D], not normalised, of the images kept i[N] of the source.

    Raises UserError where there is no classifier, and where a class of the source was not trained.
    """
    found, seed, problem, calibrated = run.classifier, run.config.seed, "", None
    if found.loss.multi_hot and getattr(source, "tags", None) is not None:
        return _of_several(run, source, embeddings, kept)
    labels = places(run, source)[source.labels[kept]]
    before = judge(found, embeddings, labels)
    try:
        calibrated = calibrate(found, embeddings, labels, seed)
    except UserError as error:
        problem = str(error)
    record = {"what": found.describe(), "metrics": metrics(before, found.num_classes, seed)}
    record |= {"problem": problem} if calibrated is None else {
        "temperature": calibrated.temperature, "calibrated": metrics(calibrated.judged, found.num_classes, seed)}
    named = {place: name for name, place in _class_places(run).items()}  # of several names the last is its own
    arrays = {"labels": labels, "answers": before.answers, "confidence": before.confidence,
              "calibrated": np.zeros(0) if calibrated is None else calibrated.judged.confidence,
              "class_names": np.asarray([named[place] for place in range(found.num_classes)])}
    return Own(record, arrays, calibrated and calibrated.temperature)


def _of_several(run: Run, source, embeddings: np.ndarray, kept: np.ndarray) -> Own:
    places(run, source)  # the error for a class that was not trained
    columns = np.array([_class_places(run)[name] for name in source.tag_names])
    values, tags = run.classifier.scores(embeddings)[:, columns], source.tags[kept]
    record = {"what": run.classifier.describe(), "metrics": of_tags(values, tags, run.config.seed),
              "problem": "each class has a probability of its own"}
    return Own(record, {"precision": multilabel.average_precisions(values, tags), "images": tags.sum(axis=0),
                        "class_names": np.asarray(source.tag_names)}, None)


def _class_places(run: Run) -> dict[str, int]:
    try:
        return run.class_places
    except UserError:  # a run of an older version
        return {name: label for label, name in enumerate(data.train_source(run.config).class_names)}


def places(run: Run, source: datasets.Source) -> np.ndarray:
    """i[C]: the trained class of each class of a source, by its name. Raises UserError for a class not trained on."""
    place = _class_places(run)
    unknown = [name for name in source.class_names if name not in place]
    if unknown:
        raise UserError(f"{len(unknown)} of the {source.num_classes} test classes were not trained, {unknown[0]!r} "
                        f"for one: classification is of trained classes")
    return np.array([place[name] for name in source.class_names])


def measure(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures how often a run's own classifier is right, and how sure it is.

    Raises UserError where there is no classifier, and where a test class was not trained.
    """
    if len(task.runs) > 1:
        raise UserError("classifiers are not put side by side: leave out --concatenate")
    run, source = task.runs[0], tasks.source(task, task.protocol.test, root)
    of_class = places(run, source)
    embeddings, kept, problems = tasks.embed(task, source, unit=False)
    labels = of_class[source.labels[kept]]
    counts = {"images": len(labels), "classes": len(np.unique(labels))}
    found = judge(run.classifier, embeddings, labels)
    return tasks.Measured(metrics(found, run.classifier.num_classes, task.seed), counts,
                          tasks.complete(task, len(labels), counts["classes"]), "classes", problems)
