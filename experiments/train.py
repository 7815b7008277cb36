"""Trains an embedder; started again with the same command, goes on where it stopped.

    geodesic train --config=quickstart --workdir=runs/faces [--config.loss.arcface.margin=0.4]

On many hosts the same command runs on each of them: docs/pods.md.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import jax
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments import tasks
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.compiled import profile
from geodesic.experiments.process import cli, goodput, hosts, lock, progress, stop_signal, storage, trackers, watchdog
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import evaluators, watching
from geodesic.experiments.training import (
    data,
    distillation,
    guards,
    init_from,
    kept_views,
    reports,
    resume,
    saving,
    summary,
)
from geodesic.experiments.training import model as models
from geodesic.experiments.training import step as steps


def define_flags() -> None:
    flags.DEFINE_integer("extend_to_epochs", 0, "Give a run more epochs: so many in all, in place of num_epochs and "
                         "total_steps. The schedule is then that of a run of this length; 0 = as configured.")


def main(config, values) -> int:
    with stop_signal.StopSignal() as stop:
        return train(config, values.workdir, stop, values.extend_to_epochs)


class Run(NamedTuple):
    """The parts of a training run, each of which does one thing."""

    workdir: str
    config: object
    mesh: jax.sharding.Mesh
    model: models.Model
    batches: data.CountedBatches
    views: kept_views.Kept | kept_views.New
    train_step: Callable
    teacher: distillation.Teacher
    saves: saving.Saves
    evaluation: watching.Evaluation
    guard: guards.Guard
    profiler: profile.Profiler
    watch: watchdog.Watchdog
    agreed_stop: Callable[[], int]      # the signal at which all processes stop, or 0


def train(config, workdir: str, stop=None, extend_to_epochs: int = 0, task: tasks.Task | None = None) -> int:
    """Trains, or goes on; the exit status, 0 or 128 + the signal that stopped it.

    Everything that can be wrong with the request is found before the first byte is written.
    stop: an object whose `received` is a signal, or None as long as the run is to go on. task: in place of the one
    that `config.task` names.
    """
    storage.check(workdir)
    storage.check(config.init_from)
    storage.check(config.distill.teacher)
    mesh = meshes.make()
    trackers.check(config.run.trackers)
    if extend_to_epochs:
        config = resume.extended(config, extend_to_epochs)
    task = task or tasks.get(config.task)
    source, test = task.train_source(config), task.test_source(config)
    model = models.build(config, task, data.num_classes(config, source), len(source), mesh)
    subject = evaluators.Subject(config, model, mesh, source, test)
    watched = evaluators.make(subject, task.evaluators)
    batches, views = task.batches(source, config), kept_views.make(config, model, mesh, source, workdir)
    hosts.first_does(lambda: resume.check_config(workdir, config, resume.LENGTH if extend_to_epochs else ()))
    # A run that was started is never kept from its end.
    if hosts.from_first(hosts.is_first() and not resume.has_made_a_step(workdir)):
        check_first(config, task, source, model, watched)
    teacher = distillation.load(config, model, source.class_names, mesh)
    known = resume.Data(source, test, config, teacher.digest)
    described = "\n".join(filter(None, (teacher.description, summary.describe_data(config, source, test))))
    with contextlib.ExitStack() as stack:
        hosts.first_does(lambda: stack.enter_context(lock.held(workdir)))
        spent = stack.enter_context(goodput.Goodput(workdir, hosts.is_first()))
        watch = stack.enter_context(watchdog.Watchdog(config.run.stall_timeout_seconds, workdir, spent.phase))
        checkpoints = stack.enter_context(checkpoint.Checkpoints(
            workdir, keep=config.run.checkpoints_to_keep, best=config.run.keep_best, num_classes=model.num_classes))
        saves = saving.Saves(checkpoints, known, batches, watch, config.run.checkpoint_every_steps, spent)
        run = make_run(config, workdir, subject, watched, batches, views, teacher, watch,
                       stop or stop_signal.StopSignal(), saves)
        state = start(run)
        resume.claim(workdir, config, known)
        if finished := resume.finished(workdir, int(state.step), model.total_steps, config.evaluation):
            spent.finished = True
            views.remove()
            print(f"{workdir} is finished: {finished}. Nothing to do.")
            return 0
        print(f"{'resuming at step ' + str(int(state.step)) if state.step else 'training'} in {workdir}")
        print(summary.describe(config, model, state, mesh), described, sep="\n", flush=True)
        if extend_to_epochs and state.step:
            print(resume.describe_extension(workdir, int(state.step), model), flush=True)
        while True:
            try:
                status = loop(run, state)
                spent.finished = not status
                return status
            except guards.NotFiniteError as error:
                failed, state = error.step, None  # what the exception holds on to would fill the device
            run.guard.skip(failed)
            state = start(run)
            print(f"the loss or its gradient is not finite in step {failed}: back to step {int(state.step)}; the batch "
                  f"of step {failed} will be skipped, the {len(run.guard.skipped)}. of {config.run.max_rollbacks}",
                  flush=True)


def check_first(config, task: tasks.Task, source, model: models.Model, watched: list[evaluators.Evaluator]) -> None:
    """Raises UserError for what a run cannot be started with."""
    task.check(config, source)
    if config.init_from:
        init_from.check(model.variables, config.init_from, config)
    for evaluator in watched:
        evaluator.check()


def make_run(config, workdir: str, subject: evaluators.Subject, watched: list[evaluators.Evaluator], batches, views,
             teacher: distillation.Teacher, watch, stop, saves: saving.Saves) -> Run:
    """Puts the parts together; nothing is computed, and nothing written."""
    model, mesh, agreement = subject.model, subject.mesh, hosts.Agreement(subject.mesh)
    agreed_stop = lambda: agreement.largest(int(stop.received or 0))
    train_step = steps.make_train_step(model, mesh)
    compiled = lambda: train_step.lower(models.abstract_state(model, mesh), steps.abstract_batch(model, mesh)).compile()
    in_bucket = storage.is_remote(workdir) and config.run.profile_steps
    profiler = profile.Profiler(
        tempfile.mkdtemp(prefix="geodesic-") if in_bucket else workdir, config, compiled,
        *([lambda folder: storage.send(folder, f"{workdir}/profile")] if in_bucket else []))
    return Run(workdir, config, mesh, model, batches, views, train_step, teacher, saves,
               watching.Evaluation(watched, subject, watch, agreed_stop),
               guards.Guard(workdir, config.run.max_rollbacks), profiler, watch, agreed_stop)


def start(run: Run) -> models.TrainState:
    """The state of the newest checkpoint that is whole, or a new one; the batches go on at its step."""
    with run.watch.phase("start"):
        state = run.saves.restore(lambda: models.abstract_state(run.model, run.mesh), run.workdir)
        if state is not None:
            return state
        state = models.init_state(run.model, run.mesh)
        return init_from.initialise(state, run.config.init_from, run.config) if run.config.init_from else state


def loop(run: Run, state: models.TrainState) -> int:
    """From the state to the end, or to a signal; the exit status. Raises NotFiniteError.

    evaluate -> save -> next batch -> step -> report the step before. DO NOT CHANGE this order: exact resume depends on
    it. At the last step the save comes first (`evaluate_and_save`), so that an evaluation that fails loses nothing.
    """
    first, total, options = int(state.step), run.model.total_steps, run.config.run
    with contextlib.ExitStack() as stack:
        metrics = stack.enter_context(contextlib.closing(progress.metrics(
            run.workdir, first, hosts.is_first(), options.trackers)))
        stack.callback(run.batches.close)
        stack.callback(run.views.close)
        stack.callback(run.profiler.cancel)
        run.evaluation.go_on_from(hosts.from_first(progress.evaluations(run.workdir) if hosts.is_first() else None))
        report = reports.Reports(metrics, run.guard, run.watch, first, total, run.config.batch_size,
                                 options.log_every_steps)
        for step in itertools.count(first):
            stop, last = run.agreed_stop(), step == total
            if stop or last or run.evaluation.due(step) or run.saves.due(step):
                report.catch_up()
                with report.paused():
                    run.profiler.end(over=bool(stop or last))
                    stop, score = evaluate_and_save(run, step, state, stop, metrics)
                if stop or last or run.evaluation.enough:
                    return end(run, step, state, stop if run.evaluation.due(step) or not last else 0, score)
            with jax.transfer_guard("disallow"):
                batch = report.next_batch(run.batches)
                if step + 1 in run.guard.skipped:
                    state = steps.skip(state)
                    continue
                with run.watch.phase(report.phase):
                    batch = run.views.of(batch, state)
                    placed = run.teacher.teach(steps.put_train_batch(run.model, run.mesh, batch))
                    state, scalars = run.train_step(state, placed)
            report.after(step + 1, scalars)
            if run.profiler.after(step + 1, scalars):
                report.restart(step + 1)


def evaluate_and_save(run: Run, step: int, state: models.TrainState, stop: int, metrics) -> tuple[int, float | None]:
    """(the signal at which the run stops, or 0; the score that `run.keep_best` names, where it is known)."""
    last, score = step == run.model.total_steps, None
    if last:
        run.saves.save(step, state)
    if not stop:
        stop, score = run.evaluation.run(step, state, metrics)
    if stop or run.saves.due(step) or run.saves.improves(score) or run.evaluation.enough:
        run.saves.save(step, state, score)
    if last:
        run.saves.set_score(step, score)
    return stop, score


def end(run: Run, step: int, state: models.TrainState, stop: int, score: float | None) -> int:
    """The exit status of a run that has come to `step`, after the disk has. Raises UserError where the last evaluation
    has no scores, and OSError where the last save has failed.
    """
    run.saves.finish(step, state, score)
    if stop:
        kept = ", saved" if step else ""  # before the first step there is nothing to save
        print(f"stopped at step {step}{kept}; the same command goes on from there", flush=True)
        return 128 + stop
    run.views.remove()
    if run.evaluation.enough:
        print(f"stopped early at step {step}: {run.evaluation.enough}", flush=True)
    elif run.evaluation.problem:
        raise UserError(f"{run.evaluation.problem}. The training is done, and its last checkpoint saved")
    return 0


if __name__ == "__main__":
    cli.run(main, define_flags, buckets=("workdir", "config.init_from", "config.distill.teacher"))
