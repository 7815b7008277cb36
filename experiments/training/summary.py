"""What a training run says before its first step: enough to stop it at once if something is wrong."""

import math

import jax
import numpy as np

from geodesic.experiments.training import optimizer
from geodesic.experiments.training.model import Model, TrainState


def start_loss(config, num_classes: int, embedding_size: int) -> float | None:
    """The loss to expect at step 0 with random prototypes: ln C + s^2 / (2 D), plus what the margin adds.

    Cosines of random directions have variance 1/D, hence the middle term; cos(theta + m) costs s sin m near
    90 degrees. None where there is no such estimate. A first loss far from it is a wiring error.
    """
    name = config.loss.name
    options = config.loss[name]
    added = {"arcface": lambda: options.scale * math.sin(options.margin),
             "cosface": lambda: options.scale * options.margin,
             "normface": lambda: 0.0}.get(name)
    if added is None:
        return None
    num_classes *= config.loss.sample_rate  # those in one step's softmax
    return math.log(num_classes) + options.scale ** 2 / (2 * embedding_size) + added()


def forward_flops(model: Model, config) -> float:
    """Of one image through the embedder, 2 per multiply-add, as XLA counts the program as written."""
    size = config.input.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
    variables = jax.eval_shape(model.embedder.init, jax.random.key(0), image)
    return jax.jit(model.embedder.apply).lower(variables, image).cost_analysis()["flops"]


def rates(model: Model) -> dict[int, float]:
    """Learning rates at the first step, at a quarter and half of all, and at the last."""
    steps = sorted({0, model.total_steps // 4, model.total_steps // 2, model.total_steps - 1})
    values = jax.jit(jax.vmap(model.schedule))(np.asarray(steps))  # one program to compile, not one per operation
    return dict(zip(steps, np.broadcast_to(values, len(steps)).tolist(), strict=True))


def describe(config, model: Model, state: TrainState, mesh: jax.sharding.Mesh, num_examples: int) -> str:
    """The summary, one fact a line."""
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    device = mesh.devices.flat[0]
    expected = start_loss(config, model.num_classes, model.embedding_size)
    lines = {
        "devices": f"{mesh.size} x {device.device_kind} ({device.platform}), {jax.process_count()} host(s)",
        "embedder": f"{config.embedder.name}, {count(state.params['embedder']):,} parameters, {config.embedder.dtype}, "
                    f"{config.input.image_size} px -> {model.embedding_size} (layer {model.embedder.layer}, "
                    f"{model.embedder.pooling} pooling, neck {model.embedder.neck})",
        "loss": f"{config.loss.name} {dict(config.loss[config.loss.name])}, {model.num_classes:,} classes, "
                f"{count(state.params['loss']):,} parameters",
        "compute": f"{forward_flops(model, config) / 1e9:.3f} GFLOP per image forward, about three times that to train",
        "batch": f"{config.batch_size} = {mesh.size} device(s) x {config.accumulation_steps} accumulation step(s) x "
                 f"{config.batch_size // mesh.size // config.accumulation_steps}",
        "data": f"{num_examples:,} training images, {model.steps_per_epoch:.2f} steps per epoch",
        "steps": f"{model.total_steps:,} ({model.total_steps / model.steps_per_epoch:.1f} epochs)",
        "schedule": f"{config.optimizer.name}, {config.schedule.name} from {optimizer.peak_learning_rate(config):g}: "
                    + ", ".join(f"{rate:.2e} at {step}" for step, rate in rates(model).items()),
    }
    if expected is not None:
        lines["start loss"] = f"about {expected:.2f} expected at step 0 (ln C + s^2/2D + margin)"
    return "\n".join(f"  {name:<11}{text}" for name, text in lines.items())
