"""What a training run says before its first step: enough to stop it at once if something is wrong."""

import jax
import numpy as np

from geodesic import datasets, embedders
from geodesic.embedders.embedder import Embedder
from geodesic.experiments.process import accelerators
from geodesic.experiments.training import data, groups, optimizer, phases
from geodesic.experiments.training.model import Model, TrainState


def forward_flops(model: Model) -> float | None:
    """How much one image costs the embedder.

    Args:
      model: what the run trains.

    Returns:
      Floating-point operations of a forward pass of one image, two for each multiply-add, as XLA counts them in the
      program as written, before it is compiled; None in a process without a CPU backend (JAX_PLATFORMS=cuda).
    """
    image = jax.ShapeDtypeStruct((1, *model.image_size, 3), "float32")
    variables = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), model.variables)
    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
    with jax.default_device(cpu):  # the backends of GPUs and TPUs analyse compiled programs only
        return jax.jit(model.embedder.apply).lower(variables, image).cost_analysis()["flops"]


def _compute(model: Model) -> dict[str, str]:
    flops = forward_flops(model)
    trained = "" if any(model.phases.frozen) else ", about three times that to train"
    return {"compute": f"{flops / 1e9:.3f} GFLOP per image forward{trained}"} if flops else {}


def rates(model: Model) -> dict[int, float]:
    """The learning rates at the first step, after a quarter and half of all steps, and at the last.

    Args:
      model: what the run trains; its `schedule` and `total_steps` are read.

    Returns:
      Step, counted from 0 -> learning rate.
    """
    steps = sorted({0, model.total_steps // 4, model.total_steps // 2, model.total_steps - 1})
    values = jax.jit(jax.vmap(model.schedule))(np.asarray(steps))  # one program to compile, not one per operation
    return dict(zip(steps, np.broadcast_to(values, len(steps)).tolist(), strict=True))


def describe(config, model: Model, state: TrainState, mesh: jax.sharding.Mesh) -> str:
    """The summary of a run that is about to start.

    Args:
      config: the run's configuration.
      model: what it trains.
      state: the train state, of which sizes alone are read.
      mesh: its devices.

    Returns:
      One fact a line: devices, networks and their sizes, the batch, the schedule, and, for a loss that has
      an estimate of it (`Loss.start_loss`), the loss to expect at step 0. A first loss far from it is a wiring error.
    """
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    device = mesh.devices.flat[0]
    lines = {
        "devices": f"{mesh.size} x {device.device_kind} ({device.platform}), {jax.process_count()} host(s)",
        "embedder": f"{config.embedder.name}, {count(state.params['embedder']):,} parameters, {config.embedder.dtype}, "
                    f"{_pixels(model)} px" + _output(config, model),
        "loss": f"{config.loss.name} {dict(config.loss[config.loss.name])}, {model.num_classes:,} classes, "
                f"{count(state.params['loss']):,} parameters",
        **_compute(model),
        "batch": f"{config.batch_size} = {mesh.size} device(s) x {config.accumulation_steps} accumulation step(s) x "
                 f"{config.batch_size // mesh.size // config.accumulation_steps}",
        "steps": f"{model.total_steps:,} ({model.total_steps / model.steps_per_epoch:.1f} epochs of "
                 f"{model.steps_per_epoch:.2f} steps)",
        "schedule": f"{config.optimizer.name}, {config.schedule.name} from {optimizer.peak_learning_rate(config):g}: "
                    + ", ".join(f"{rate:.2e} at {step}" for step, rate in rates(model).items()),
    }
    lines |= learning(config, model, state)
    images = config.batch_size // mesh.size // config.accumulation_steps
    if advice := accelerators.advice(device.platform, config.embedder.dtype, images):
        lines["advice"] = advice
    if model.loss.start_loss is not None:
        lines["start loss"] = (f"about {model.loss.start_loss(model.embedding_size):.2f} expected at step 0 "
                               f"(ln C + s^2/2D + margin)")
    return _lines(lines)


def learning(config, model: Model, state: TrainState) -> dict[str, str]:
    """What does not learn like all the rest, by name: groups, what is frozen when, the average, and an early stop.

    Args:
      config: the run's configuration.
      model: what it trains.
      state: the train state, of which paths alone are read.

    Returns:
      {} for a run in which everything learns alike, to its end.
    """
    options, early = config.optimizer, config.evaluation.early_stop
    layers = embedders.layer_numbers(model.embedder, model.input.image_size) if options.layer_decay != 1 else None
    found = {
        "groups": "; ".join(groups.describe(options, state.params, layers)),
        "phases": "; ".join(phases.describe(model.phases)),
        "average": f"of all weights and statistics, decay {model.ema_decay:g}; it is evaluated and loaded"
                   if model.ema_decay else "",
        "early stop": f"once {early[0]} has not been better in {early[1]} evaluations" if early else "",
    }
    return {name: text for name, text in found.items() if text}


def describe_data(config, train: datasets.Source, test: datasets.Source) -> str:
    """Names both sources, with the images and the classes of each, and the classes that there are where it has a part.

    Args:
      config: the run's configuration.
      train: what it learns from.
      test: what it is watched on.

    Returns:
      A line for each.
    """
    return _lines({"train data": _described(config.train_data, train), "test data": _described(config.test_data, test)})


def _pixels(model: Model) -> str:
    """Of a square the side, of another image height x width."""
    height, width = model.image_size
    return f"{height}" if height == width else f"{height} x {width}"


def _output(config, model: Model) -> str:
    """How the embedding comes about; of a network of another kind, what its head is given."""
    embedder = model.embedder
    if not isinstance(embedder, Embedder):
        return ""
    if not model.embedding_size:
        return f" (of {', '.join(embedder.head_layers)}, strides {', '.join(map(str, embedder.head.strides))})"
    if embedder.head:
        layers = embedder.head_layers or (embedder.layer,)
        return f" -> {model.embedding_size} (of {', '.join(layers)}, head {config.head.name})"
    neck = f"neck {embedder.neck}" if embedder.embedding_size else "no neck"
    return f" -> {model.embedding_size} (layer {embedder.layer}, {embedder.pooling} pooling, {neck})"


def _described(options, source: datasets.Source) -> str:
    whole = getattr(source, "of_classes", source.num_classes)
    part = f" of {whole:,}" if whole > source.num_classes else ""
    return f"{data.describe(options)}: {len(source):,} images of {source.num_classes:,}{part} classes"


def _lines(facts: dict[str, str]) -> str:
    return "\n".join(f"  {name:<11}{text}" for name, text in facts.items())
