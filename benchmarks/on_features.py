"""How fast a classifier on a frozen trunk learns: on kept features, and through the trunk.

    python -m benchmarks.on_features --workdir=weights/resnet50 --data=grocery/train

--data is a folder of folders of photographs, --workdir a run or imported weights. In turns, in one process, so that
whatever else the machine does falls on all: the training of the classifier on features that are kept; its training
through the frozen trunk, on views that are not augmented and on random crops; and the bare forward pass of the trunk,
which bounds both of these.
"""

import datetime
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np

import geodesic
from benchmarks import turns
from geodesic import datasets
from geodesic.configs import recognition
from geodesic.experiments import tasks
from geodesic.experiments.process import runtime
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import embedding, features
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import init_from, model, on_features, step

_OUT = pathlib.Path(__file__).parent / "results"
KEPT, PLAIN, AUGMENTED, BARE = "kept features", "through the trunk", "through it, augmented", "forward pass alone"
# Steps on kept features for each one through the trunk: all take about as long.
_KEPT_STEPS = 300


def main() -> None:
    asked = turns.options(__doc__, workdir="", data="", classes=4, image_size=128, batch=32, steps=2, rounds=3,
                          out=str(_OUT / "on_features"))
    runtime.start()
    load = os.getloadavg()[0]
    config = configured(asked)
    run = geodesic.load(asked.workdir, overrides={"input.image_size": asked.image_size,
                                                  "evaluation.batch_size": asked.batch})
    source = datasets.build(**config.train_data)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # computed here, in every run
        kept = np.array(features.of(run, source, folder=folder)["embedding"].values)
    seconds, found = time.perf_counter() - started, {}
    contenders = {KEPT: on_kept(config, kept, source, asked.steps * _KEPT_STEPS), BARE: forward(run, source, asked),
                  PLAIN: through_trunk(config, run, source, asked), AUGMENTED: through_trunk(
                      augmented(config), run, source, asked)}
    for turn in range(asked.rounds + 1):  # the first compiles
        for name, rate in contenders.items():
            found.setdefault(name, []).append(rate())
            print(f"round {turn}, {name}: {found[name][-1]:,.1f} images/s", flush=True)
    record = {**workdirs.environment(jax.devices()), "date": datetime.date.today().isoformat(),
              "embedder": run.config.embedder.name, "images": len(source), "features_seconds": round(seconds, 1),
              "size": kept.shape[1], "options": {name: vars(asked)[name] for name in ("classes", "image_size", "batch",
                                                                                     "steps", "rounds")},
              "images_per_second": {name: [round(rate, 2) for rate in rates[1:]] for name, rates in found.items()},
              "load": [load, os.getloadavg()[0]]}
    turns.write(asked.out, record, table(record))
    print(table(record))


def configured(asked):
    """Of recognition:photos, without augmentation and with a trunk that stays frozen."""
    config = recognition.get_config(asked.data)
    config.train_data.update(classes=(0, asked.classes), test_share=0.0)
    stored = geodesic.load(asked.workdir).config
    config.input.update(stored.input)
    config.input.image_size, config.batch_size = asked.image_size, asked.batch
    config.embedder.update(stored.embedder)
    config.embedder.batch_norm = "frozen"
    config.optimizer.update(trunk_learning_rate_factor=0.0, head_only_epochs=0.0)
    config.augment.update(random_resized_crop=False, horizontal_flip=0.0)
    return config


def augmented(config):
    """The crops and flips of recognition:photos."""
    config = config.copy_and_resolve_references()
    config.augment.update(recognition.get_config().augment)
    return config


def on_kept(config, kept, source: datasets.Source, steps: int) -> Callable[[], float]:
    config = config.copy_and_resolve_references()
    config.total_steps = steps
    return lambda: on_features.train(config, kept, source.labels).images_per_second


def forward(run: Run, source: datasets.Source, asked) -> Callable[[], float]:
    """Of one batch that lies ready."""
    advance = embedding.make_embed_step(run.embedder, run.mesh, run.config.input)
    batch = next(iter(datasets.eval_batches(source, input=run.config.input, batch_size=asked.batch, process_index=0,
                                            process_count=1)))["image"]

    def rate() -> float:
        jax.block_until_ready(advance(run.variables, batch))
        started = time.perf_counter()
        for _ in range(asked.steps):
            jax.block_until_ready(advance(run.variables, batch))
        return asked.steps * asked.batch / (time.perf_counter() - started)

    return rate


def through_trunk(config, run: Run, source: datasets.Source, asked) -> Callable[[], float]:
    """As `geodesic train` does, photographs from the disk to the update."""
    task = tasks.get(config.task)
    built = model.build(config, task, source.num_classes, len(source), run.mesh)
    state = init_from.initialise(model.init_state(built, run.mesh), asked.workdir, config)
    batches, advance = task.batches(source, config), step.make_train_step(built, run.mesh)

    def rate() -> float:
        nonlocal state
        state, _ = advance(state, step.put_train_batch(built, run.mesh, next(batches)))
        jax.block_until_ready(state.step)
        started = time.perf_counter()
        for _ in range(asked.steps):
            state, _ = advance(state, step.put_train_batch(built, run.mesh, next(batches)))
        jax.block_until_ready(state.params["loss"])
        return asked.steps * asked.batch / (time.perf_counter() - started)

    return rate


def table(record: dict) -> str:
    """The page in Markdown. Ratios are of the rates of one round: what slows the machine down slows both."""
    options, rates = record["options"], record["images_per_second"]
    lines = ["# A classifier on a frozen trunk", "", "`python -m benchmarks.on_features --workdir=... --data=...`; "
             "Grocery Store's photographs, Keras' ResNet-50.", "",
             "| | images/s | to the forward pass alone |", "|---|---|---|"]
    for name in (KEPT, PLAIN, AUGMENTED, BARE):
        ratios = [rate / bare for rate, bare in zip(rates[name], rates[BARE], strict=True)]
        lines.append(f"| {name} | {statistics.median(rates[name]):,.1f} | {statistics.median(ratios):,.2f} "
                     f"({min(ratios):,.2f} to {max(ratios):,.2f}) |")
    before, after = record["load"]
    lines += ["", f"{record['embedder']} at {options['image_size']} px, {record['size']:,} features, softmax over "
              f"{options['classes']} classes, batches of {options['batch']}, AdamW; the median of {options['rounds']} "
              f"rounds in turns (least to most). The features of the {record['images']} photographs took "
              f"{record['features_seconds']:g} s, once.", "",
              f"{record['machine']}, jax {record['packages']['jax']}; load average {before:.1f} before and {after:.1f} "
              f"after: above the number of cores, other work shared the machine, and ratios say more. "
              f"{record['date']}, commit {record['commit']}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
