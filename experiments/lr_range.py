"""Tries learning rates: a short training whose rate grows from step to step, until the loss diverges.

    geodesic lr_range --config=quickstart --workdir=runs/rates [--steps=200 --lowest=1e-6 --highest=10]

Writes lr_range.png, lr_range.csv and lr_range.json into --workdir, and prints two suggestions for
optimizer.learning_rate. Nothing is kept of what was learnt. Everything else of the configuration is as in a run:
losses, factors of groups and layers, and what is frozen in the first steps.

Smith: Cyclical Learning Rates for Training Neural Networks, 2015, arXiv:1506.01186.
"""

import csv
import io
import math
import os
from typing import NamedTuple

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments import tasks
from geodesic.experiments.process import cli, hosts, storage, workdir
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.reporting import pictures
from geodesic.experiments.training import data
from geodesic.experiments.training import model as models
from geodesic.experiments.training import step as steps

# The share of the smoothed loss that stays.
_SMOOTHING = 0.95
# The smoothed loss has diverged at so many times its lowest value, or its start: losses of cosines are bounded.
_TIMES_LOWEST, _TIMES_START = 4.0, 1.25
_CAVEAT = ("a first guess, of one seed and few steps: it does not see what a schedule, a warm-up or weight decay do "
           "over a whole training, so try it, a third and three times of it")


class Suggestion(NamedTuple):
    """Rates to start from, and where they come from.

    Attributes:
      steepest: where the smoothed loss falls fastest, by the logarithm of the rate, over a tenth of the steps.
      tenth_of_lowest: a tenth of the rate at which the smoothed loss is lowest.
    """

    steepest: float
    tenth_of_lowest: float


def define_flags() -> None:
    flags.DEFINE_integer("steps", 200, "Steps of the sweep.")
    flags.DEFINE_float("lowest", 1e-6, "The rate of the first step.")
    flags.DEFINE_float("highest", 10.0, "The rate of the last step.")


def main(config, values) -> int:
    if values.steps < 10 or not 0 < values.lowest < values.highest:
        raise UserError(f"--steps is 10 at least, and --lowest above 0 and below --highest; got {values.steps}, "
                        f"{values.lowest:g} and {values.highest:g}")
    storage.check(values.workdir)
    rates = np.geomspace(values.lowest, values.highest, values.steps)
    mesh = meshes.make()
    losses = sweep(config, rates, mesh)
    found = suggest(rates[:len(losses)], losses)
    record = {"learning_rate": rates[:len(losses)].tolist(), "loss": losses, "smoothed": smoothed(losses).tolist(),
              "suggestion": found._asdict(), "caveat": _CAVEAT, "seed": config.seed,
              "config_hash": stored.hash_of(config), "environment": workdir.environment(mesh.devices.flat)}
    hosts.first_does(lambda: write(values.workdir, record))
    ended = "the loss diverged" if len(losses) < values.steps else "the loss never diverged: raise --highest"
    print(f"{len(losses)} steps, from {rates[0]:.2e} to {rates[len(losses) - 1]:.2e}; {ended}")
    print(f"steepest descent at {found.steepest:.2e}; a tenth of the rate of the lowest loss is "
          f"{found.tenth_of_lowest:.2e}")
    print(f"--config.optimizer.learning_rate={found.steepest:.1e} is {_CAVEAT}")
    print(f"written to {os.path.join(values.workdir, 'lr_range.png')}, beside lr_range.csv and lr_range.json")
    return 0


def sweep(config, rates: np.ndarray, mesh) -> list[float]:
    """The loss of each step with its rate, until it is no number or has diverged.

    Raises UserError where a run of this configuration could not start.
    """
    config = config.copy_and_resolve_references()
    config.total_steps, config.detection.kept_views = len(rates), 0
    task = tasks.get(config.task)
    source = task.train_source(config)
    task.check(config, source)
    growth = math.log(rates[-1] / rates[0]) / (len(rates) - 1)
    model = models.build(config, task, data.num_classes(config, source), len(source), mesh,
                         schedule=lambda step: rates[0] * np.exp(growth) ** step)
    state, train_step, losses = models.init_state(model, mesh), steps.make_train_step(model, mesh), []
    batches = task.batches(source, config)
    batches.set_state({"step": 0, "bad": ()})
    try:
        for _ in rates:
            state, scalars = train_step(state, steps.put_train_batch(model, mesh, next(batches)))
            losses.append(float(scalars["loss"]))
            if not scalars["finite"] or has_diverged(losses, len(rates)):
                return [loss for loss in losses if math.isfinite(loss)]
    finally:
        batches.close()
    return losses


def has_diverged(losses, steps: int) -> bool:
    """Whether a sweep of so many steps has gone far enough. Its start is the mean of the first tenth.

    Example:
      >>> from geodesic.experiments import lr_range
      >>> [lr_range.has_diverged([2.0] * 10 + [1.0] * 40 + [high] * 40, 100) for high in (2.0, 4.0)]
      [False, True]
    """
    curve, first = smoothed(losses), max(steps // 10, 1)
    highest = min(_TIMES_LOWEST * curve.min(), _TIMES_START * float(np.mean(losses[:first])))
    return len(losses) > first and bool(curve[-1] > highest)


def smoothed(losses) -> np.ndarray:
    """The running average of the losses, each place divided by the weights that it has had so far.

    Example:
      >>> from geodesic.experiments import lr_range
      >>> lr_range.smoothed([4.0, 4.0, 2.0]).round(2).tolist()
      [4.0, 4.0, 3.3]
    """
    average, values = 0.0, []
    for place, loss in enumerate(losses, start=1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        values.append(average / (1 - _SMOOTHING ** place))
    return np.asarray(values)


def suggest(rates: np.ndarray, losses) -> Suggestion:
    """What the sweep suggests. Raises UserError where it is too short, or the loss never fell.

    Example:
      >>> import numpy as np
      >>> from geodesic.experiments import lr_range
      >>> rates = np.geomspace(1e-5, 10, 61)   # ten steps for a factor of ten
      >>> losses = 2 - 1 / (1 + (1e-3 / rates) ** 2) + (rates / 3) ** 2
      >>> found = lr_range.suggest(rates, losses)
      >>> 1e-3 < found.steepest < 1e-2 < 10 * found.tenth_of_lowest < 2
      True
    """
    curve = smoothed(losses)
    lowest = int(np.argmin(curve)) if len(curve) else 0
    if lowest < 2:
        raise UserError(f"the loss never fell in {len(curve)} steps: lower --lowest, or look at the configuration")
    width = min(max(len(curve) // 10, 1), lowest)  # of one step, noise is steeper than any descent
    start = int(np.argmin(curve[width:lowest + 1] - curve[:lowest + 1 - width]))
    return Suggestion(float(rates[start + width // 2]), float(rates[lowest] / 10))


def write(folder: str, record: dict) -> None:
    """Writes the three files, each whole or not at all."""
    table = io.StringIO()
    columns = ("learning_rate", "loss", "smoothed")
    csv.writer(table, lineterminator="\n").writerows([columns, *zip(*(record[name] for name in columns), strict=True)])
    path = lambda ending: os.path.join(folder, f"lr_range.{ending}")
    workdir.write_atomically(path("csv"), table.getvalue().encode())
    workdir.write_atomically(path("png"), pictures.png(draw(record)))
    workdir.write_json(path("json"), record)


@pictures.styled
def draw(record: dict) -> Figure:
    """The loss against the rate, with both suggestions."""
    figure = Figure(figsize=(6.4, 3.8))
    panel, rates = figure.subplots(), record["learning_rate"]
    panel.plot(rates, record["loss"], color="tab:grey", linewidth=0.7, label="loss")
    panel.plot(rates, record["smoothed"], color="tab:blue", label="smoothed")
    for name, rate in record["suggestion"].items():
        panel.axvline(rate, linestyle=":", color="tab:red" if name == "steepest" else "tab:green",
                      label=f"{name.replace('_', ' ')} {rate:.1e}")
    top = 1.5 * max(record["smoothed"][0], record["loss"][0])
    panel.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(None, min(top, max(record["loss"]) * 1.05)))
    panel.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    cli.run(main, define_flags, required=("config", "workdir"), configured=False, buckets=("workdir",))
