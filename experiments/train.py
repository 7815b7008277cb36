"""Trains an embedder; started again with the same command, goes on where it stopped.

    python -m experiments.train --config=configs/quickstart.py --workdir=runs/faces [--config.loss.arcface.margin=0.4]
"""

import math
import time

import jax

from experiments import (
    checkpoint,
    cli,
    data,
    embedding,
    evaluation,
    model,
    progress,
    stop_signal,
    summary,
    weights,
    workdir,
)
from experiments import mesh as meshes
from experiments import step as steps


def main(config, flags) -> int:
    with stop_signal.StopSignal() as stop:
        return train(config, flags.workdir, stop)


def train(config, folder: str, stop: stop_signal.StopSignal) -> int:
    """Everything that can be wrong with the request is found before the first byte is written."""
    mesh = meshes.make()
    source, test = data.train_source(config), data.test_source(config)
    built = model.build(config, config.loss.num_classes or source.num_classes, len(source), mesh)
    batches = data.TrainBatches(source, config)
    workdir.open_for(folder, config)
    with checkpoint.Checkpoints(folder, keep=config.run.checkpoints_to_keep) as checkpoints:
        state, first_step = _start(built, config, mesh, batches, checkpoints)
        if first_step >= built.total_steps:
            print(f"{folder} is finished: {first_step} steps. Nothing to do.")
            return 0
        print(f"{'resuming at step ' + str(first_step) if first_step else 'training'} in {folder}")
        print(summary.describe(config, built, state, mesh, len(source)), flush=True)
        metrics = progress.Metrics(folder, first_step)
        try:
            return _Loop(config, built, mesh, test, checkpoints, metrics, stop).run(state, batches, first_step)
        finally:
            metrics.close()


def _start(built: model.Model, config, mesh, batches, checkpoints: checkpoint.Checkpoints):
    """(state, step): of the latest checkpoint, with the batches moved to where it was saved, or new."""
    if checkpoints.latest_step() is None:
        state = model.init_state(built, config, mesh)
        return weights.initialise(state, config.init_from, config) if config.init_from else state, 0
    state, position = checkpoints.restore(model.abstract_state(built, config, mesh))
    batches.set_state(position)
    return state, int(state.step)


class _Loop:
    """evaluate -> save -> next batch -> step -> report the step before. Exact resume depends on this order."""

    def __init__(self, config, built, mesh, test, checkpoints, metrics, stop):
        self.config, self.model, self.mesh, self.test = config, built, mesh, test
        self.checkpoints, self.metrics, self.stop = checkpoints, metrics, stop
        self.train_step = steps.make_train_step(built, config, mesh)
        self.embed = steps.make_embed_step(built.embedder, config, mesh)
        self.saved = None

    def run(self, state: model.TrainState, batches, first_step: int) -> int:
        total = self.model.total_steps
        clock = progress.Clock(first_step, total, self.config.batch_size)
        self.saved, unreported = first_step or None, None
        for step in range(first_step, total):
            stop = self.stop.received
            if stop or self.evaluation_is_due(step, first_step) or self.save_is_due(step):
                self.report(unreported, clock)  # a checkpoint of this step must not miss its record
                unreported = None
                jax.block_until_ready(state)
                with clock.paused():
                    if self.evaluation_is_due(step, first_step):
                        self.evaluate(step, state)
                    if stop or self.save_is_due(step):
                        self.save(step, state, batches)
            if stop:
                kept = ", saved" if step else ""  # before the first step there is nothing to save
                print(f"stopped at step {step}{kept}; the same command goes on from there", flush=True)
                return 128 + stop
            with jax.transfer_guard("disallow"):
                started = time.monotonic()
                batch = next(batches)
                clock.waiting(time.monotonic() - started)
                state, scalars = self.train_step(state, steps.put_train_batch(self.mesh, self.config, batch))
            if step == first_step:  # it waited for the compiler
                jax.block_until_ready(scalars)
                clock.restart(step + 1)
            self.report(unreported, clock)
            unreported = (step + 1, scalars)
        self.report(unreported, clock)
        self.evaluate(total, state)
        self.save(total, state, batches)
        return 0

    def report(self, unreported, clock: progress.Clock) -> None:
        """The step before: its numbers have arrived while the device works on the next one."""
        if unreported is None:
            return
        step, scalars = unreported
        if step != 1 and step % self.config.run.log_every_steps and step != self.model.total_steps:
            return
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is {values['loss']} at step {step}: lower optimizer.learning_rate or "
                                     f"lengthen schedule.warmup_epochs")
        values |= clock.read(step)
        print(progress.line(step, self.model.total_steps, values), flush=True)
        self.metrics.write(step, **values)

    def evaluation_is_due(self, step: int, first_step: int) -> bool:
        every = round(self.config.evaluation.every_epochs * self.model.steps_per_epoch)
        # A resumed step has been evaluated before it was saved.
        return every > 0 and step % every == 0 and (step == 0 or step != first_step)

    def save_is_due(self, step: int) -> bool:
        return step % self.config.run.checkpoint_every_steps == 0

    def evaluate(self, step: int, state: model.TrainState) -> None:
        variables = model.embedder_variables(state)
        embedded = embedding.embed_source(self.embed, variables, self.test, self.config, self.mesh)
        for problem in embedded.problems:
            print(f"left out of the evaluation: {problem}", flush=True)
        labels = self.test.labels[embedded.readable]
        scores = evaluation.score(embedded.embeddings[embedded.readable], labels, self.config)
        self.metrics.write(step, **{name: value for name, value in scores.items() if isinstance(value, float)})
        print(f"step {step}: test  map@r {scores['map@r']:.3f}  recall@1 {scores['recall@1']:.3f}  "
              f"EER {scores['eer']:.3f}", flush=True)

    def save(self, step: int, state: model.TrainState, batches) -> None:
        if step not in (0, self.saved):
            self.checkpoints.save(step, state, batches.get_state())
            self.saved = step


if __name__ == "__main__":
    cli.run(main)
