"""What a run will need on every device, from its compiled training step, before any device time is spent.

    geodesic plan --config=quickstart [--devices=256] [--memory_gib=80]

Without --devices, the step is compiled for this machine's devices. With it, for so many devices that need not be
here: these are fake CPU devices, so sizes of arrays and what crosses devices are exact, and temporaries are those of
the CPU's compiler: a GPU's or TPU's fuses more. Nothing is computed, and no data is read if loss.num_classes is set.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
from absl import flags
from jax.extend import core

from geodesic import losses
from geodesic.embedders.cpu import backend
from geodesic.experiments import tasks
from geodesic.experiments.compiled import collectives, memory_traffic
from geodesic.experiments.process import cli, runtime
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model as models
from geodesic.experiments.training import step as steps
from geodesic.experiments.training import summary

GIB = 2**30


class Program(NamedTuple):
    """A training step, compiled and not run.

    Attributes:
      state, batch: what the step is given, as shapes, dtypes and shardings.
      jaxpr: the step as written.
      compiled: the step as compiled.
      learning: what does not learn like all the rest, `summary.learning`.
    """

    state: models.TrainState
    batch: dict
    jaxpr: core.Jaxpr
    compiled: jax.stages.Compiled
    learning: dict[str, str]


class Plan(NamedTuple):
    """What one step needs on one device, in bytes unless stated.

    Attributes:
      devices: how many the step is compiled for.
      arrays: what the step is given, by what it is.
      temporaries: what the step needs besides: activations, gradients, logits.
      outputs: results that do not take the place of what was given.
      logits: the share of the temporaries that is one copy of the largest piece of logits at a time; 0 for none.
      moved: kind of collective -> the results of all of this kind.
      flops: floating-point operations; a loop whose turns the compiler does not know counts once.
      traffic: what moves to and from main memory, as the compiler fuses and places.
      least_traffic: what would move if convolutions and products alone moved each operand and result once.
      convolutions: how many convolutions there are, and how they are fused.
      learning: as of `Program`.
    """

    devices: int
    arrays: dict[str, int]
    temporaries: int
    outputs: int
    logits: int
    moved: dict[str, int]
    flops: float = 0.0
    traffic: int = 0
    least_traffic: int = 0
    convolutions: memory_traffic.Convolutions = memory_traffic.Convolutions(0, 0, 0)
    learning: Mapping[str, str] = MappingProxyType({})

    @property
    def total(self) -> int:
        """The memory that the step takes."""
        return sum(self.arrays.values()) + self.temporaries + self.outputs


def define_flags() -> None:
    flags.DEFINE_integer("devices", 0, "Plan for this many devices, here or not; 0 is this machine's own.")
    flags.DEFINE_float("memory_gib", 0.0, "Memory of one device in GiB, to say whether the run fits; 0 says nothing.")


def main(config, flags) -> int:
    """Prints the plan. The status is 1 where it does not fit into --memory_gib."""
    if flags.devices:
        runtime.start(flags.devices)
    plan = make_plan(config, meshes.make())
    print(describe(plan, flags.memory_gib))
    return 0 if not flags.memory_gib or plan.total <= flags.memory_gib * GIB else 1


def compile_step(config, mesh: jax.sharding.Mesh) -> Program:
    """The training step of a configuration, compiled for the devices of a mesh.

    Args:
      config: the run's configuration. Without `loss.num_classes`, the training data are opened to count their classes.
      mesh: the devices, which may be fake.

    Raises:
      UserError: the configuration cannot be run.
    """
    task, classes, examples = tasks.get(config.task), config.loss.num_classes, config.batch_size
    if not classes:
        source = task.train_source(config)
        classes, examples = source.num_classes, len(source)
    with backend.compiling_for(mesh.devices.flat[0].platform):
        model = models.build(config, task, classes, examples, mesh)
        state, batch = models.abstract_state(model, mesh), steps.abstract_batch(model, mesh)
        traced = steps.make_train_step(model, mesh).trace(state, batch)
    return Program(state, batch, traced.jaxpr.jaxpr, traced.lower().compile(), summary.learning(config, model, state))


def make_plan(config, mesh: jax.sharding.Mesh) -> Plan:
    """The plan of a configuration's training step. Arguments and errors are those of `compile_step`."""
    program = compile_step(config, mesh)
    compiled, text = program.compiled, program.compiled.as_text()
    memory = compiled.memory_analysis()
    return Plan(mesh.size, _arrays(program.state, program.batch), memory.temp_size_in_bytes,
                memory.output_size_in_bytes - memory.alias_size_in_bytes, _logits(config, program.state, mesh),
                collectives.bytes_moved(text), compiled.cost_analysis()["flops"], memory_traffic.main_memory(text),
                memory_traffic.least(program.jaxpr), memory_traffic.convolutions(text), program.learning)


def describe(plan: Plan, memory_gib: float) -> str:
    """The plan, one fact a line, and a verdict where there is a memory (GiB of one device, not 0) to fit into."""
    lines = [f"per device, of {plan.devices}:"]
    rows = plan.arrays | {"temporaries": plan.temporaries, "outputs": plan.outputs, "in all": plan.total}
    lines += [f"  {name:<22}{_size(count)}" for name, count in rows.items()]
    if plan.logits:
        lines.append(f"  one copy of the logits is {_size(plan.logits).strip()} of the temporaries")
    lines.append("collectives per step, bytes that arrive at a device:")
    lines += [f"  {kind:<22}{_size(count)}" for kind, count in sorted(plan.moved.items())] or ["  none"]
    for name, facts in plan.learning.items():
        lines += [f"{name}:", *(f"  {fact}" for fact in facts.split("; "))]
    if memory_gib:
        share = plan.total / (memory_gib * GIB)
        verdict = "FITS" if share <= 1 else "DOES NOT FIT"
        lines.append(f"{verdict}: {_size(plan.total).strip()} is {share:.0%} of {memory_gib:g} GiB")
    return "\n".join(lines)


def _arrays(state: models.TrainState, batch: dict) -> dict[str, int]:
    """What the step is given: the bytes of one device's part, by what it is."""
    local = lambda leaf: leaf.dtype.itemsize * _count(leaf.sharding.shard_shape(leaf.shape))
    bytes_of = lambda tree: sum(local(leaf) for leaf in jax.tree.leaves(tree))
    split = lambda tree, wanted: [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
                                  if losses.is_by_class(path, leaf) == wanted]
    loss = {"loss": state.params["loss"]}
    return {
        "embedder": bytes_of(state.params["embedder"]),
        "loss, by class": bytes_of(split(loss, True)),
        "loss, the rest": bytes_of(split(loss, False)),
        "optimizer, by class": bytes_of(split(state.opt_state, True)),
        "optimizer, the rest": bytes_of(split(state.opt_state, False)),
        "statistics, memories": bytes_of((state.step, state.batch_stats, state.loss_state)),
        **({"running average": bytes_of(state.ema)} if state.ema else {}),
        "batch": bytes_of(batch),
    }


def _logits(config, state: models.TrainState, mesh: jax.sharding.Mesh) -> int:
    """Bytes of the logits, float32, of an accumulation step's examples and the prototypes a device takes at a time."""
    rows = [leaf.shape[0] // mesh.size * _count(leaf.shape[1:-1]) for path, leaf in
            jax.tree_util.tree_leaves_with_path(state.params["loss"]) if getattr(path[-1], "key", None) == "prototypes"]
    if not rows:
        return 0
    classes = int(max(rows) * config.loss.sample_rate)
    classes = min(classes, config.loss.chunk_size or classes)
    return 4 * classes * (config.batch_size // config.accumulation_steps)


def _count(shape) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:10.4g} {unit}"
        count /= 1024
    return f"{count:10.4g} GiB"


if __name__ == "__main__":
    cli.run(main, define_flags, required=("config",))
