"""Partial FC with a million classes, for real: a few training steps on 8 fake CPU devices, and the memory they took.

    python -m benchmarks.million_classes [--steps=3] [--out=benchmarks/results/million_classes]

The training step is that of training/step.py, with one dense layer as the embedder, so that what is measured is the
loss: 2^20 classes, 512 dimensions, 1,024 examples a step, a tenth of the classes in each step's softmax, and SGD with
momentum that leaves the others alone. Random images and labels. Prototypes, momentum and gradient are 2 GiB each. Linux
only, as it reads the process's memory from /proc.
"""

import json
import math
import pathlib
import time

from absl import app, flags
from flax import linen as nn

from geodesic.configs import default
from geodesic.experiments.process import runtime, workdir

ROOT = pathlib.Path(__file__).parents[1]
CLASSES, SIZE, BATCH, DEVICES = 2**20, 512, 1024, 8

_OUT = flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "million_classes"), "Where to write the .json.")
_STEPS = flags.DEFINE_integer("steps", 3, "Training steps.")
_SEED = flags.DEFINE_integer("seed", 0, "Of prototypes, images, labels and samples.")
_CLASSES = flags.DEFINE_integer("classes", CLASSES, "Fewer for a trial.")


class Projection(nn.Module):
    """An embedder that is next to nothing."""

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(SIZE)(images.reshape(images.shape[0], -1))


def configuration(seed: int):
    config = default.get_config()
    config.seed = seed
    config.input.image_size = 8
    config.batch_size, config.schedule.name = BATCH, "constant"
    config.loss.update(name="arcface", sample_rate=0.1, sample_update="sampled")
    return config


def peak_gib() -> float:
    """The process's largest resident memory since the last call."""
    status = pathlib.Path("/proc/self/status").read_text()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # starts the next peak
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def measure(config, classes: int, count: int) -> dict:
    """Losses, seconds and the peak memory of the process during each step."""
    import jax
    import numpy as np

    from geodesic.experiments import tasks
    from geodesic.experiments.process import mesh as meshes
    from geodesic.experiments.training import model
    from geodesic.experiments.training import step as steps

    mesh = meshes.make()
    task = tasks.get("embedding")._replace(network=lambda config: Projection())
    built = model.build(config, task, classes, BATCH, mesh)
    rng = np.random.default_rng(config.seed)
    started = time.monotonic()
    state = jax.block_until_ready(model.init_state(built, mesh))
    record = {"init_seconds": time.monotonic() - started, "init_peak_gib": peak_gib(), "steps": []}
    train_step = steps.make_train_step(built, mesh)
    for _ in range(count):
        data = {"image": rng.integers(0, 256, (BATCH, 8, 8, 3), np.uint8),
                "label": rng.integers(0, classes, BATCH).astype(np.int32)}
        started = time.monotonic()
        state, scalars = train_step(state, steps.put_train_batch(built, mesh, data))
        values = jax.device_get(scalars)  # waits
        sampled = int(state.loss_state["sampled"]["prototypes"].sum())
        record["steps"].append({"loss": float(values["loss"]), "seconds": time.monotonic() - started,
                                "sampled_classes": sampled, "peak_gib": peak_gib()})
        print(record["steps"][-1], flush=True)
    return record


def main(argv) -> None:
    del argv
    runtime.start(DEVICES)
    import jax

    config = configuration(_SEED.value)
    scale, margin = config.loss.arcface.scale, config.loss.arcface.margin
    sampled = DEVICES * int(config.loss.sample_rate * _CLASSES.value / DEVICES)
    record = {
        "classes": _CLASSES.value, "embedding_size": SIZE, "batch": BATCH, "devices": DEVICES,
        "sample_rate": config.loss.sample_rate, "update": config.loss.sample_update, "seed": config.seed,
        "environment": workdir.environment(jax.devices()),
        # ln C + s^2 / 2D + s sin m, with C the classes in the softmax.
        "expected_first_loss": math.log(sampled) + scale**2 / (2 * SIZE) + scale * math.sin(margin),
    } | measure(config, _CLASSES.value, _STEPS.value)
    path = pathlib.Path(_OUT.value).with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    peak = max(step["peak_gib"] for step in record["steps"])
    print(f"peak {peak:.2f} GiB in a step, {record['init_peak_gib']:.2f} at the start; written to {path}")


if __name__ == "__main__":
    app.run(main)
