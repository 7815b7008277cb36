"""How the training step should scale to many chips: from what the compiled program moves, and published peaks.

    python -m benchmarks.scaling --config=templates/resnet_angular_margin --chips=8,64,256 \\
        --config.loss.num_classes=100000 --config.input.image_size=224 --config.embedder.dtype=bfloat16 \\
        [--batch_per_chip=128] [--target=cpu|v5e] [--out=benchmarks/results/scaling]

Compiles the step for each number of chips in a process of its own, and runs nothing. --target=cpu compiles for so many
fake CPU devices: shapes and what crosses devices are exact, but that compiler sums bfloat16 gradients in float32, twice
what an accelerator moves. --target=v5e compiles for a TPU v5e slice that need not be here; it takes the wheel libtpu
(`pip install libtpu`, of the version that jax names) and minutes for a deep trunk.

Traffic is that to and from main memory (compiled/memory_traffic.py), beside the least: if convolutions and products
alone moved anything, each operand and result once. A convolution that normalises what it reads and sums what it writes
needs no pass over memory for BatchNorm.

Then predicts, it does not measure: the batch per chip stays, so a perfect step takes as long on all as on one, and
efficiency is that time over the predicted one. Arithmetic at the published peak is the worst case for scaling, as the
less time it takes, the more the collectives weigh; --share_of_peak adds what trunks reach. Latency is left out. Traffic
to and from memory is the compiler's that was asked: a CPU's fuses far less than a TPU's or a GPU's.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments import plan
from geodesic.experiments.compiled import peaks
from geodesic.experiments.process import cli, workdir
from geodesic.experiments.process import mesh as meshes

ROOT = pathlib.Path(__file__).parents[1]
TOPOLOGIES = {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
PUBLIC = ("Public figures to hold this against: A100 80 % at 64 chips, TPU v4 99 % at 64. Neither is of this network, "
          "and nothing here was measured on such chips.")


def define_flags() -> None:
    flags.DEFINE_list("chips", ["8", "64", "256"], "Numbers of chips.")
    flags.DEFINE_integer("batch_per_chip", 128, "Images of each chip in a step.")
    flags.DEFINE_enum("target", "cpu", ["cpu", "v5e"], "Whose compiler.")
    flags.DEFINE_float("share_of_peak", 0.3, "Of the published peak, that the trunk may reach, beside all of it.")
    flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "scaling"), "Where to write .json and .md.")
    flags.DEFINE_integer("one", 0, "Compile for so many and print it as JSON; used by the program itself.")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Seconds of a step on `chips` chips of the kind `chip`."""

    chip: str
    chips: int
    compute: float
    memory: float               # its traffic at the published bandwidth, as the compiler that was asked fuses
    moving: dict[str, float]    # by kind of collective

    @property
    def efficiency(self) -> float:
        """Without overlap: the collectives wait for the arithmetic, and it for them."""
        return self.compute / (self.compute + sum(self.moving.values()))

    @property
    def overlapped(self) -> float:
        """As much of the collectives as fits hides behind the arithmetic."""
        return self.compute / max(self.compute, sum(self.moving.values()))

    @property
    def limit(self) -> str:
        """What a step waits for, if all that can overlap does."""
        times = {"arithmetic": self.compute, "memory": self.memory, "collectives": sum(self.moving.values())}
        return max(times, key=times.get)


def main(config, options) -> None:
    if options.one:
        if options.target == "cpu":
            config.embedder.convolution = "native"  # as accelerators have it
        print(json.dumps(compiled(config, mesh_of(options.one, options.target), options.batch_per_chip)))
        return
    counts = [int(count) for count in options.chips]
    if options.target == "v5e" and (unknown := set(counts) - set(TOPOLOGIES)):
        raise UserError(f"no v5e slice of {min(unknown)} chips; there are {', '.join(map(str, TOPOLOGIES))}")
    programs = [in_process(count, options.target) for count in counts]
    out = pathlib.Path(options.out)
    path = out.with_suffix(".json")
    records = json.loads(path.read_text()) if path.exists() else []
    record = {"config": config.embedder.name, "image_size": config.input.image_size, "dtype": config.embedder.dtype,
              "classes": config.loss.num_classes, "batch_per_chip": options.batch_per_chip, "target": options.target,
              "share_of_peak": options.share_of_peak, "programs": programs,
              "environment": workdir.environment(jax.devices())}
    same = lambda other: all(other[key] == record[key] for key in list(record)[:6])
    records = [other for other in records if not same(other)] + [record]
    workdir.write_json(path, records)
    workdir.write_atomically(out.with_suffix(".md"), "\n".join(map(markdown, records)).encode())
    print(markdown(record))


def in_process(count: int, target: str) -> dict:
    """`compiled` of `count` chips, as jax fixes the number of devices at its start."""
    command = [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:], f"--one={count}"]
    command += [f"--cpu_devices={count}"] if target == "cpu" else []
    # Code that nobody will run need not be fast; the HLO does not depend on it.
    environment = os.environ | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise UserError(f"for {count} chips: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def mesh_of(count: int, target: str) -> jax.sharding.Mesh:
    if target == "cpu":
        return meshes.make()
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=f"v5e:{TOPOLOGIES[count]}")
        return meshes.make(topology.devices)
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(f"no compiler for TPUs (pip install libtpu): {error}") from error


def compiled(config, mesh: jax.sharding.Mesh, batch_per_chip: int) -> dict:
    """What the step of `config` does on each device of `mesh`."""
    if not config.loss.num_classes:
        raise UserError("--config.loss.num_classes=... is required: no data is read")
    config.batch_size = config.evaluation.batch_size = batch_per_chip * config.accumulation_steps * mesh.size
    found = plan.make_plan(config, mesh)
    return {"chips": mesh.size, "flops": found.flops, "traffic": found.traffic, "least_traffic": found.least_traffic,
            "convolutions": found.convolutions._asdict(), "temporaries": found.temporaries, "moved": found.moved}


def predict(program: dict, name: str, share_of_peak: float) -> Prediction:
    chip = peaks.CHIPS[name]
    return Prediction(name, program["chips"], program["flops"] / (share_of_peak * chip.flops),
                      program["traffic"] / chip.bandwidth,
                      {kind: moving(kind, size, program["chips"], chip) for kind, size in program["moved"].items()})


def moving(kind: str, size: int, chips: int, chip: peaks.Chip) -> float:
    """Seconds of a collective whose result on each device has `size` bytes, at full bandwidth.

    A ring among the chips of an island, then rings among the islands, each with its part of what is moved.
    """
    near = min(chips, chip.island)
    far = chips / near
    ring = lambda whole, count, link: whole * (count - 1) / count / link  # seconds to gather or to scatter `whole`
    if kind == "collective-permute":
        return size / (chip.slow_link if far > 1 else chip.link)
    if kind == "all-to-all":
        return ring(size, near, chip.link) + size * (1 - near / chips) / chip.slow_link
    whole = size * chips if kind == "reduce-scatter" else size
    once = ring(whole, near, chip.link) + ring(whole / near, far, chip.slow_link)
    return 2 * once if kind == "all-reduce" else once


def markdown(record: dict) -> str:
    shares = (1.0, record["share_of_peak"])
    lines = [f"# {record['config']} {record['image_size']} px, {record['dtype']}, {record['classes']:,} classes, "
             f"{record['batch_per_chip']} images a chip: compiled by {record['target']}'s compiler, predicted", "",
             "Per device and step:", "",
             "| chips | TFLOP | GB to and from memory / least | convolutions, that compute what they read / sum what "
             "they write | temporaries, GiB | collectives' results, MB |",
             "|---|---|---|---|---|---|"]
    for program in record["programs"]:
        moved = ", ".join(f"{kind} {size / 1e6:.2f}" for kind, size in sorted(program["moved"].items()))
        fused = program["convolutions"]
        lines.append(f"| {program['chips']} | {program['flops'] / 1e12:.3f} | {program['traffic'] / 1e9:.1f} / "
                     f"{program['least_traffic'] / 1e9:.1f} | {fused['count']}, {fused['computing_operands']} / "
                     f"{fused['summing_results']} | {program['temporaries'] / 2**30:.2f} | {moved} |")
    lines += ["", independence(record["programs"]), "",
              "Predicted, arithmetic at 100 % of the published peak (the worst case for scaling) and at "
              f"{shares[1]:.0%} of it:", "",
              "| chip | chips | arithmetic, ms | collectives, ms | efficiency without overlap | with overlap | "
              "memory, ms | limit |", "|---|---|---|---|---|---|---|---|"]
    for name in peaks.CHIPS:
        for program in record["programs"]:
            both = [predict(program, name, share) for share in shares]
            cells = [" / ".join(f"{1e3 * one.compute:.1f}" for one in both),
                     f"{1e3 * sum(both[0].moving.values()):.2f}",
                     " / ".join(f"{one.efficiency:.1%}" for one in both),
                     " / ".join(f"{one.overlapped:.1%}" for one in both), f"{1e3 * both[0].memory:.1f}",
                     both[0].limit if both[0].limit == both[1].limit else " / ".join(one.limit for one in both)]
            lines.append(f"| {name} | {program['chips']} | {' | '.join(cells)} |")
    environment = record["environment"]
    return "\n".join([*lines, "", PUBLIC, "", f"`python -m benchmarks.scaling`, jax {environment['packages']['jax']}, "
                      f"{environment['machine']}, {environment['date'][:10]}; peaks and links: "
                      "experiments/compiled/peaks.py. Nothing was run: no latency, no stragglers, no input. Memory "
                      "is as that compiler fuses: a TPU's "
                      "more than a GPU's (compiled.md), a CPU's far less than either."]) + "\n"


def independence(programs: list[dict]) -> str:
    """What the number of chips changes of the bytes that arrive at each."""
    first, last = programs[0], programs[-1]
    told = []
    for kind in sorted(first["moved"]):
        ratio = last["moved"].get(kind, 0) / first["moved"][kind]
        told.append(f"{kind} x {ratio:.3f}")
    return (f"From {first['chips']} to {last['chips']} chips, bytes of results on a device: {', '.join(told)}. The sum "
            "of the gradients does not depend on the number of chips; the gather of the whole batch's embeddings and "
            "labels, and a few sums for each example, grow with it. Compilers may write a gather or a scatter as an "
            "all-reduce: then only the total tells.") if len(programs) > 1 else ""


if __name__ == "__main__":
    cli.run(main, define_flags, required=("config",))
