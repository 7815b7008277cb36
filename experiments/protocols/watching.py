"""The evaluators of a run at work, between its steps."""

from collections.abc import Callable

from geodesic.experiments.protocols.evaluators import Evaluator, Subject, UnscoredError, View
from geodesic.experiments.trained import average, embedding
from geodesic.experiments.training import early_stop
from geodesic.experiments.training.model import TrainState, averaged


class _StoppedError(Exception):
    """A signal has cut an evaluation short."""


class Evaluation:
    """Evaluates a run when one of its evaluators is due.

    Attributes:
      done: the last step that was evaluated; a resumed step may have been, before it was saved.
      problem: why that step has no scores of an evaluator, or "".
      enough: why the run has learnt enough and ends, or "".
    """

    def __init__(self, evaluators: list[Evaluator], subject: Subject, watch, agreed_stop: Callable[[], int]):
        """watch: the watchdog. agreed_stop: the signal at which all processes stop, or 0."""
        self._evaluators, self._subject, self._watch, self._agreed_stop = evaluators, subject, watch, agreed_stop
        options = subject.config.evaluation
        self._step = embedding.make_embed_step(
            subject.model.embedder, subject.mesh, subject.config.input, layer=options.layer,
            average_horizontal_flips=options.average_horizontal_flips)
        self._average = average.is_used(subject.config)
        self.go_on_from([])
        self.problem = ""

    def go_on_from(self, records: list[dict]) -> None:
        """The records of the evaluations so far are these, oldest first."""
        self.done, self._records = max((record["step"] for record in records), default=None), list(records)

    @property
    def enough(self) -> str:
        return early_stop.reason(self._subject.config.evaluation, self._records)

    def due(self, step: int) -> list[Evaluator]:
        """The evaluators whose turn it is: all of them after the last step."""
        if step == self.done:
            return []
        return [evaluator for evaluator in self._evaluators
                if step == self._subject.model.total_steps or (evaluator.every and step % evaluator.every == 0)]

    def run(self, step: int, state: TrainState, metrics) -> tuple[int, float | None]:
        """(0, the score of `run.keep_best` or None), or (the signal that cut it short, None): it will be done again.

        What cannot be scored is told in a line, and the run goes on. metrics: where the scores are written.
        """
        self.problem, scores = "", {}
        view = View(averaged(state) if self._average else state, self._embed, self._watch.patient, self._after_batch)
        for evaluator in self.due(step):
            try:
                with self._watch.phase("evaluation"):
                    found = evaluator.score(view)
            except _StoppedError as stopped:
                return stopped.args[0], None
            except UnscoredError as error:
                self.problem = f"step {step} cannot be evaluated on the {evaluator.name} data: {error}"
                if step < self._subject.model.total_steps:  # else the run ends with it
                    print(self.problem, flush=True)
                continue
            shown = evaluator.headline or {name: name for name in found}
            told = "  ".join(f"{label} {found[name]:.3f}" for label, name in shown.items())
            print(f"step {step}: {evaluator.name}  {told}", flush=True)
            scores |= {name: value for name, value in found.items() if isinstance(value, float)}
        if scores:
            metrics.write(step, **scores)
            self._records.append({"step": step, **scores})
        self.done = step
        return 0, scores.get(self._subject.config.run.keep_best)

    def _embed(self, variables) -> embedding.Embedded:
        config = self._subject.config
        return embedding.embed_source(self._step, variables, self._subject.test, self._subject.mesh, input=config.input,
                                      loader=config.run, batch_size=config.evaluation.batch_size,
                                      progress=self._after_batch)

    def _after_batch(self, _images: int) -> None:
        self._watch.beat()
        if stop := self._agreed_stop():
            raise _StoppedError(stop)
