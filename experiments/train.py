"""Trains an embedder; started again with the same command, goes on where it stopped.

    geodesic train --config=quickstart --workdir=runs/faces [--config.loss.arcface.margin=0.4]

On many hosts the same command runs on each of them: docs/pods.md.
"""

import contextlib
import itertools
import time

import jax
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.compiled import profile
from geodesic.experiments.process import cli, hosts, lock, progress, stop_signal, watchdog
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import evaluators
from geodesic.experiments.trained import embedding
from geodesic.experiments.training import data, guards, init_from, resume, summary
from geodesic.experiments.training import model as models
from geodesic.experiments.training import step as steps


def define_flags() -> None:
    flags.DEFINE_integer("extend_to_epochs", 0, "Give a run more epochs: so many in all, in place of num_epochs and "
                         "total_steps. The schedule is then that of a run of this length; 0 = as configured.")


def main(config, values) -> int:
    with stop_signal.StopSignal() as stop:
        return train(config, values.workdir, stop, values.extend_to_epochs)


def train(config, workdir: str, stop=None, extend_to_epochs: int = 0) -> int:
    """Trains, or goes on; the exit status, 0 or 128 + the signal that stopped it.

    Everything that can be wrong with the request is found before the first byte is written.
    stop: an object whose `received` is a signal, or None as long as the run is to go on.
    """
    mesh = meshes.make()
    if extend_to_epochs:
        config = resume.extended(config, extend_to_epochs)
    source, test = data.train_source(config), data.test_source(config)
    model = models.build(config, data.num_classes(config, source), len(source), mesh)
    watched = evaluators.evaluators(config, test, mesh, model.steps_per_epoch)
    evaluators.check_names(config, watched)
    batches = data.CountedBatches(source, config)
    hosts.first_does(lambda: resume.check_config(workdir, config, resume.LENGTH if extend_to_epochs else ()))
    # A run that was started is never kept from its end.
    if hosts.from_first(hosts.is_first() and not resume.has_made_a_step(workdir)):
        data.check_kinds(config)
        data.check_two_classes(config, source)
        evaluators.check(config, test, model.embedder, model.steps_per_epoch)
    known = resume.Data(source, test, config)
    described = summary.describe_data(config, source, test)
    with contextlib.ExitStack() as stack:
        hosts.first_does(lambda: stack.enter_context(lock.held(workdir)))
        watch = stack.enter_context(watchdog.Watchdog(config.run.stall_timeout_seconds, workdir))
        checkpoints = stack.enter_context(checkpoint.Checkpoints(
            workdir, keep=config.run.checkpoints_to_keep, best=config.run.keep_best, num_classes=model.num_classes))
        run = _Run(config, workdir, model, mesh, known, batches, watched, checkpoints, watch,
                   stop or stop_signal.StopSignal())
        stack.callback(run.close)
        return run.run(described, extended=bool(extend_to_epochs))


class _Run:
    """evaluate -> save -> next batch -> step -> report the step before. Exact resume depends on this order.

    At the last step the save comes first, so that an evaluation that fails loses nothing.
    """

    def __init__(self, config, workdir, model, mesh, known, batches, watched, checkpoints, watch, stop):
        self.config, self.workdir, self.model, self.mesh = config, workdir, model, mesh
        self.data, self.batches = known, batches
        self.checkpoints, self.watch, self.stop = checkpoints, watch, stop
        self.train_step = steps.make_train_step(model, config, mesh)
        self.profiler = profile.Profiler(workdir, config, lambda: self.train_step.lower(
            models.abstract_state(model, config, mesh), steps.abstract_batch(config, mesh)).compile())
        self.evaluation = evaluators.Evaluation(
            watched, embedding.make_embed_step(model.embedder, config, mesh), model.total_steps, config.run.keep_best,
            watch, self.agreed_stop)
        self.guard = guards.Guard(workdir, config.run.max_rollbacks)
        self.agreement = hosts.Agreement(mesh)
        self.bad, self.metrics, self.saved = (), None, None

    def run(self, described: str, extended: bool) -> int:
        """The exit status. described: the data, for the start block."""
        state, step = self.start()
        resume.claim(self.workdir, self.config, self.data)
        if step > self.model.total_steps:
            raise UserError(f"{self.workdir} has made {step:,} steps, and {self.model.total_steps:,} are asked for: "
                            f"give it more epochs with --extend_to_epochs")
        if step >= self.model.total_steps and progress.last_evaluation(self.workdir) == step:
            print(f"{self.workdir} is finished: {step} steps. Nothing to do.")
            return 0
        print(f"{'resuming at step ' + str(step) if step else 'training'} in {self.workdir}")
        print(summary.describe(self.config, self.model, state, self.mesh), described, sep="\n", flush=True)
        if extended and step:
            print(resume.describe_extension(self.workdir, step, self.model), flush=True)
        while True:
            self.open_records(step)
            try:
                return self.loop(state, step)
            except guards.NotFiniteError as error:
                failed, state = error.step, None  # what the exception holds on to would fill the device
            self.guard.skip(failed)
            state, step = self.start()
            print(f"the loss or its gradient is not finite in step {failed}: back to step {step}; the batch of step "
                  f"{failed} will be skipped, the {len(self.guard.skipped)}. of {self.config.run.max_rollbacks}",
                  flush=True)

    def start(self) -> tuple:
        """(state, step): of the newest checkpoint that is whole, or new."""
        with self.watch.phase("start"):
            self.checkpoints.wait()
            if hosts.from_first(self.checkpoints.latest_step()) is None:
                state = models.init_state(self.model, self.config, self.mesh)
                if self.config.init_from:
                    state = init_from.initialise(state, self.config.init_from, self.config)
                return state, 0
            state, position = self.checkpoints.restore(models.abstract_state(self.model, self.config, self.mesh))
            self.data.check(position, self.workdir)
            self.bad = position["bad"]
            return state, int(state.step)

    def open_records(self, step: int) -> None:
        self.close()
        self.metrics = progress.Metrics(self.workdir, step) if hosts.is_first() else progress.NoMetrics()
        self.evaluation.done = hosts.from_first(progress.last_evaluation(self.workdir) if hosts.is_first() else None)
        self.saved = step or None

    def close(self) -> None:
        self.profiler.cancel()
        self.batches.close()
        if self.metrics is not None:
            self.metrics.close()

    def loop(self, state: models.TrainState, first_step: int) -> int:
        """From `first_step` to the end, or to a signal. Raises NotFiniteError."""
        total, unreported = self.model.total_steps, None
        self.batches.set_state({"step": first_step, "bad": self.bad})
        clock, compiled = progress.Clock(first_step, total, self.config.batch_size), False
        for step in itertools.count(first_step):
            stop, last = self.agreed_stop(), step == total
            if stop or last or self.evaluation.due(step) or self.save_is_due(step):
                self.report(unreported, clock, check=True)  # a checkpoint of this step must not miss its record
                unreported = None
                with clock.paused():
                    self.profiler.end(over=bool(stop or last))
                    stop, score = self.evaluate_and_save(step, state, stop)
                if stop or last:
                    return self.end(step, state, stop if self.evaluation.due(step) or not last else 0, score)
            with jax.transfer_guard("disallow"):
                started = time.monotonic()
                with self.watch.phase("loader"), jax.profiler.TraceAnnotation(profile.LOADER):
                    batch = next(self.batches)
                clock.waiting(time.monotonic() - started)
                if step + 1 in self.guard.skipped:
                    state = steps.skip(state)
                    continue
                with self.watch.phase("step" if compiled else "compilation"):
                    state, scalars = self.train_step(state, steps.put_train_batch(self.mesh, self.config, batch))
            if not compiled:
                jax.block_until_ready(scalars)
                clock.restart(step + 1)
                compiled = True
            self.report(unreported, clock)
            unreported = (step + 1, scalars)
            if self.profiler.after(step + 1, scalars):
                clock.restart(step + 1)

    def evaluate_and_save(self, step: int, state: models.TrainState, stop: int) -> tuple[int, float | None]:
        """(the signal at which the run stops, or 0; the score that `run.keep_best` names, where it is known)."""
        last, score = step == self.model.total_steps, None
        if last:
            self.save(step, state)
        if not stop:
            stop, score = self.evaluation.run(step, models.embedder_variables(state), self.metrics)
        if stop or self.save_is_due(step) or self.checkpoints.improves(score):
            self.save(step, state, score)
        if last and score is not None:
            self.checkpoints.set_score(step, score)
        return stop, score

    def end(self, step: int, state: models.TrainState, stop: int, score: float | None) -> int:
        """The exit status of a run that has come to `step`, after the disk has. Raises UserError where the last
        evaluation has no scores.
        """
        if self.failure():  # it may have been a moment's: a clock set forward, a file server that restarted
            self.saved = None
            self.save(step, state, score)
        if failure := self.failure():
            raise OSError(f"{failure}. The run stops at step {step}, and what it has learnt since the checkpoint "
                          f"before is lost: make room, and give the same command again")
        if stop:
            kept = ", saved" if step else ""  # before the first step there is nothing to save
            print(f"stopped at step {step}{kept}; the same command goes on from there", flush=True)
        elif self.evaluation.problem:
            raise UserError(f"{self.evaluation.problem}. The training is done, and its last checkpoint saved")
        return 128 + stop if stop else 0

    def failure(self) -> str:
        """Why the last save has failed, or ""."""
        with self.watch.phase("save"):
            self.checkpoints.wait()
        return hosts.from_first(self.checkpoints.failure)

    def report(self, unreported, clock: progress.Clock, check: bool = False) -> None:
        """The step before: its numbers have arrived while the device works on the next one.

        Raises NotFiniteError, at the latest before anything is evaluated or saved (check).
        """
        due = False
        if unreported is not None:
            step, scalars = unreported
            self.guard.watch(step, scalars.pop("finite"))
            due = step == 1 or step % self.config.run.log_every_steps == 0 or step == self.model.total_steps
        with self.watch.phase("step"):
            if due or check:
                self.guard.check()
            if not due:
                return
            values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        values |= clock.read(step)
        print(progress.line(step, self.model.total_steps, values), flush=True)
        self.metrics.write(step, **values)

    def agreed_stop(self) -> int:
        """The signal at which all processes stop, or 0."""
        return self.agreement.largest(int(self.stop.received or 0))

    def save_is_due(self, step: int) -> bool:
        return step % self.config.run.checkpoint_every_steps == 0

    def save(self, step: int, state: models.TrainState, score: float | None = None) -> None:
        if step not in (0, self.saved):
            with self.watch.phase("save"):
                place = self.data.position(step) | self.batches.get_state()
                self.checkpoints.save(step, state, place, score)
            self.saved = step


if __name__ == "__main__":
    cli.run(main, define_flags)
