"""What a run is watched on while it trains: a list of evaluators, each with its own period.

The training loop knows no score by name: what an evaluator gives, and what is shown of it, stands here.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import hosts
from geodesic.experiments.protocols import evaluation
from geodesic.experiments.trained import embedding, network


class UnscoredError(UserError):
    """Embeddings that cannot be scored; raised on every process."""


class _StoppedError(Exception):
    """A signal has cut an evaluation short."""


class Evaluator(NamedTuple):
    """One way to look at a run.

    Attributes:
      name: what is looked at, for people to read.
      every: steps from one evaluation to the next; 0 is after the last step alone.
      known: names of the scores, of which `run.keep_best` may be one.
      score: (embed, variables, watch, after_batch) -> scores by name, on every process. `watch` is the run's watchdog;
        `after_batch` is told of images, and may raise to end the evaluation. Raises UnscoredError.
      headline: scores -> the few of them that are printed.
    """

    name: str
    every: int
    known: tuple[str, ...]
    score: Callable
    headline: Callable[[dict], str]


def evaluators(config, test: datasets.Source, mesh: jax.sharding.Mesh, steps_per_epoch: float) -> list[Evaluator]:
    """The evaluators of a configuration: the test data, every `evaluation.every_epochs`."""
    def score(embed, variables, watch, after_batch) -> dict:
        embedded = embedding.embed_source(embed, variables, test, config, mesh, progress=after_batch)
        for problem in embedded.problems:
            print(f"left out of the evaluation: {problem}", flush=True)
        kept, scores = embedded.readable, {}
        with watch.patient("scoring" if hosts.is_first() else "wait for the scores of process 0"):
            try:
                hosts.first_does(lambda: scores.update(
                    evaluation.score(embedded.embeddings[kept], test.labels[kept], config)))
            except UserError as error:
                raise UnscoredError(str(error)) from error
            return hosts.from_first(scores)

    every = round(config.evaluation.every_epochs * steps_per_epoch)
    return [Evaluator("test", every, evaluation.names(config), score, _headline(config.evaluation))]


def _headline(options) -> Callable[[dict], str]:
    shown = {"map@r": "map@r", **{f"recall@{k}": f"recall@{k}" for k in sorted(options.recall_at)[:1]}, "EER": "eer"}
    return lambda scores: "  ".join(f"{label} {scores[name]:.3f}" for label, name in shown.items())


class Evaluation:
    """The evaluators of a run at work.

    Attributes:
      done: the last step that was looked at; a resumed step may have been, before it was saved.
      problem: why that step has no scores of an evaluator, or "".
    """

    def __init__(self, watched: list[Evaluator], embed: Callable, total_steps: int, best: str, watch,
                 agreed_stop: Callable[[], int]):
        """best: `run.keep_best`. watch: the watchdog. agreed_stop: the signal at which all processes stop, or 0."""
        self._watched, self._embed, self._total_steps, self._best = watched, embed, total_steps, best
        self._watch, self._agreed_stop = watch, agreed_stop
        self.done, self.problem = None, ""

    def due(self, step: int) -> list[Evaluator]:
        """The evaluators whose turn it is: all of them after the last step."""
        if step == self.done:
            return []
        return [evaluator for evaluator in self._watched
                if step == self._total_steps or (evaluator.every and step % evaluator.every == 0)]

    def run(self, step: int, variables, metrics) -> tuple[int, float | None]:
        """(0, the best-making score or None), or (the signal that cut it short, None): it will be done again.

        What cannot be scored is told in a line, and the run goes on. metrics: where the scores are written.
        """
        self.problem, scores = "", {}
        for evaluator in self.due(step):
            try:
                with self._watch.phase("evaluation"):
                    found = evaluator.score(self._embed, variables, self._watch, self._after_batch)
            except _StoppedError as stopped:
                return stopped.args[0], None
            except UnscoredError as error:
                self.problem = f"step {step} cannot be evaluated on the {evaluator.name} data: {error}"
                if step < self._total_steps:  # else the run ends with it
                    print(self.problem, flush=True)
                continue
            print(f"step {step}: {evaluator.name}  {evaluator.headline(found)}", flush=True)
            scores |= {name: value for name, value in found.items() if isinstance(value, float)}
        if scores:
            metrics.write(step, **scores)
        self.done = step
        return 0, scores.get(self._best)

    def _after_batch(self, _images: int) -> None:
        self._watch.beat()
        if stop := self._agreed_stop():
            raise _StoppedError(stop)


def check_names(config, watched: list[Evaluator]) -> None:
    """Raises UserError, with the known ones, for a score in `run.keep_best` that no evaluator gives."""
    best, known = config.run.keep_best, [name for evaluator in watched for name in evaluator.known]
    if best and best not in known:
        raise UserError(f"run.keep_best {best!r} is not a score of the evaluation; known: {', '.join(known)}")


def check(config, test: datasets.Source, embedder, steps_per_epoch: float) -> None:
    """Raises UserError for an evaluation that the configuration and the labels show to be impossible."""
    options, where = config.evaluation, f"the test data ({config.test_data.name} {config.test_data.path}".rstrip() + ")"
    if options.every_epochs < 0 or (options.every_epochs and round(options.every_epochs * steps_per_epoch) == 0):
        raise UserError(f"evaluation.every_epochs {options.every_epochs:g} is half a step or less, as an epoch has "
                        f"{steps_per_epoch:g}: give {1 / steps_per_epoch:.4g} for every step, or 0 for only after the "
                        f"last one")
    layers = network.layers(embedder, config.input.image_size) if options.layer else {}
    if options.layer and options.layer not in layers:
        raise UserError(f"evaluation.layer {options.layer!r} is not a layer of {config.embedder.name}; known: "
                        f"{', '.join(layers)}")
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
