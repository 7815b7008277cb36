"""Every trunk's training step as the accelerators' own compilers make it, for chips that need not be here.

    python -m benchmarks.compiled --target=v5e|h200 [--rows=resnet101,iresnet100] [--out=benchmarks/results/compiled]

Compiles `ROWS`, the step of a trunk with ArcFace over 100,000 classes in bfloat16, for four chips, a process each, and
runs nothing. What it tells: traffic to and from main memory beside the published peak, and the least, if convolutions
and products alone moved anything, each operand and result once.

v5e: takes the wheel libtpu, of the version that jax names, and one to four minutes a row. Tells the arithmetic; how
many convolutions normalise or activate what they read and sum what they write, so that BatchNorm needs no pass of its
own; and the cycles that the compiler expects, on which its choices rest. Nobody has checked these against a chip: they
compare programs.
h200: takes the wheels jax-cuda12-plugin and jax-cuda12-pjrt, of jax's version, and nvidia-cuda-nvcc-cu12, and half a
minute a row. Without the card nothing is tried out, so the kernels of cuDNN are not those of a run; what is fused and
what is moved is decided before.
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
from importlib import metadata
from typing import NamedTuple

import jax
from absl import flags

from benchmarks import scaling
from geodesic.configs.templates import resnet_angular_margin
from geodesic.errors import UserError
from geodesic.experiments import plan
from geodesic.experiments.compiled import hlo, memory_traffic, peaks
from geodesic.experiments.process import cli, workdir
from geodesic.experiments.process import mesh as meshes

ROOT = pathlib.Path(__file__).parents[1]
CHIPS, CLASSES = 4, 100_000
TARGETS = {"v5e": ("TPU v5e", peaks.CHIPS["v5e"], "libtpu"), "h200": ("NVIDIA H200", peaks.CHIPS["H200"],
                                                                      "jax-cuda12-pjrt")}
# jax-ml.github.io/scaling-book/tpus: four matrix units of 128 x 128, a product and a sum a cycle.
CLOCK = peaks.CHIPS["v5e"].flops / (4 * 128 * 128 * 2)
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# What a compiler asks of a card, as XLA writes it down for this one (xla/backends/gpu/target_config/specs/h200.txtpb).
_H200 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H200 141GB HBM3e"
dnn_version_info { major: 9 minor: 10 patch: 0 }
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 cuda_compute_capability { major: 9 }
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 device_memory_size: 151397597184
}
"""


class Row(NamedTuple):
    name: str
    trunk: str
    size: int = 224
    batch: int = 128            # images of each chip
    fields: tuple = ()          # of config.embedder: names and values
    libtpu: str = ""            # LIBTPU_INIT_ARGS


ROWS = (
    Row("resnet101", "resnet101"),
    Row("resnet101: stem of 2x2 pixels", "resnet101", fields=(("stem", "space_to_depth"),)),
    Row("resnet101: stage 1 computed again", "resnet101", fields=(("remat", (1,)),)),
    Row("resnet101: 256 images", "resnet101", batch=256),
    Row("resnet101: 32 MiB a fusion", "resnet101", libtpu="--xla_tpu_scoped_vmem_limit_kib=32768"),
    Row("resnext101_32x4d", "resnext101_32x4d"),
    Row("inception_bn", "inception_bn"),
    Row("iresnet100", "iresnet100", size=112),
    Row("inception_bn: XLA's own pools", "inception_bn", fields=(("convolution", "native"),)),
)


def define_flags() -> None:
    flags.DEFINE_enum("target", "v5e", list(TARGETS), "Whose compiler.")
    flags.DEFINE_list("rows", [], "Trunks, or names of rows; empty is all.")
    flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "compiled"), "Where to write .json and .md.")
    flags.DEFINE_integer("one", -1, "The row to compile and print as JSON; used by the program itself.")


def configuration(row: Row):
    config = resnet_angular_margin.get_config()
    config.loss.num_classes = CLASSES
    config.input.image_size = row.size
    config.embedder.update(name=row.trunk, dtype="bfloat16", **dict(row.fields))
    config.batch_size = config.evaluation.batch_size = CHIPS * row.batch
    return config


def mesh_of(target: str) -> jax.sharding.Mesh:
    if target == "v5e":
        return scaling.mesh_of(CHIPS, "v5e")
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=_H200, topology=f"1x1x{CHIPS}")
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(f"no compiler for GPUs (pip install jax-cuda12-plugin jax-cuda12-pjrt nvidia-cuda-nvcc-cu12): "
                         f"{error}") from error
    return meshes.make(topology.devices)


def facts(program: plan.Program) -> dict:
    """Of one device's step. flops and cycles are 0 where the compiler tells none."""
    text, memory = program.compiled.as_text(), program.compiled.memory_analysis()
    return {"flops": (program.compiled.cost_analysis() or {}).get("flops", 0.0),
            "traffic": memory_traffic.main_memory(text), "least_traffic": memory_traffic.least(program.jaxpr),
            "cycles": cycles(text), "convolutions": memory_traffic.convolutions(text)._asdict(),
            "temporaries": memory.temp_size_in_bytes, "arguments": memory.argument_size_in_bytes}


def cycles(text: str) -> int:
    return sum(times * int(found[1]) for one, times, _ in hlo.executed(text) if (found := _CYCLES.search(one.line)))


def in_process(index: int, target: str) -> dict:
    """`facts` of a row: a compiler's flags are read once in a process."""
    command = [sys.executable, "-m", "benchmarks.compiled", f"--one={index}", f"--target={target}"]
    environment = os.environ | {"LIBTPU_INIT_ARGS": ROWS[index].libtpu}
    if target == "h200":
        toolkit = _toolkit()
        environment["XLA_FLAGS"] = (f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0 "
                                    f"--xla_gpu_cuda_data_dir={toolkit}")
        environment["PATH"] = f"{toolkit / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        message = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise UserError(f"{ROWS[index].name}: {message}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _toolkit() -> pathlib.Path:
    try:
        found = importlib.util.find_spec("nvidia.cuda_nvcc")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UserError("no compiler for GPUs: pip install nvidia-cuda-nvcc-cu12 jax-cuda12-plugin jax-cuda12-pjrt")
    return pathlib.Path(found.submodule_search_locations[0])


def markdown(records: dict) -> str:
    return "\n".join(_page(target, record) for target, record in records.items())


def _page(target: str, record: dict) -> str:
    chip, peak, _ = TARGETS[target]
    told = target == "v5e"
    head = ["step", "images a chip, px", "GB to and from memory: ms at the peak", "least GB",
            "temporaries and arguments, GiB"]
    head += ["TFLOP: ms at the peak", "ms that the compiler expects",
             "convolutions, that compute what they read / sum what they write"] if told else []
    lines = [f"# Training steps as the compiler for {chip} makes them", "",
             f"ArcFace over {CLASSES:,} classes, bfloat16 but for the head and the statistics, {CHIPS} chips; all "
             "figures are of one chip and one step. Compiled, not run.", "",
             f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in record["rows"].values():
        fused = row["convolutions"]
        cells = [row["name"], f"{row['batch']}, {row['size']}",
                 f"{row['traffic'] / 1e9:.1f}: {1e3 * row['traffic'] / peak.bandwidth:.1f}",
                 f"{row['least_traffic'] / 1e9:.1f}",
                 f"{row['temporaries'] / 2**30:.2f} + {row['arguments'] / 2**30:.2f}"]
        cells += [f"{row['flops'] / 1e12:.2f}: {1e3 * row['flops'] / peak.flops:.1f}",
                  f"{1e3 * row['cycles'] / CLOCK:.1f}",
                  f"{fused['count']}, {fused['computing_operands']} / {fused['summing_results']}"] if told else []
        lines.append(f"| {' | '.join(cells)} |")
    environment = record["environment"]
    peaks_told = f"Peaks: {peak.bandwidth / 1e9:,.0f} GB/s" + (
        f", {peak.flops / 1e12:.0f} TFLOP/s, {CLOCK / 1e9:.2f} GHz" if told else "")
    return "\n".join([*lines, "", f"`python -m benchmarks.compiled --target={target}`, jax "
                      f"{environment['packages']['jax']}, {record['compiler']}, {environment['date'][:10]}. "
                      f"{peaks_told} (experiments/compiled/peaks.py)."]) + "\n"


def main(config, options) -> None:
    del config
    if options.one >= 0:
        print(json.dumps(facts(plan.compile_step(configuration(ROWS[options.one]), mesh_of(options.target)))))
        return
    chosen = [index for index, row in enumerate(ROWS) if (not row.libtpu or options.target == "v5e")
              and (not options.rows or {row.name, row.trunk} & {*options.rows})]
    if not chosen:
        raise UserError(f"no row {', '.join(options.rows)}; there are {', '.join(row.name for row in ROWS)}")
    out = pathlib.Path(options.out)
    path = out.with_suffix(".json")
    records = json.loads(path.read_text()) if path.exists() else {}
    rows = records.get(options.target, {}).get("rows", {})
    for index in chosen:
        row = ROWS[index]
        rows[row.name] = row._asdict() | in_process(index, options.target)
        compiler = TARGETS[options.target][2]
        records[options.target] = {"rows": {row.name: rows[row.name] for row in ROWS if row.name in rows},
                                   "compiler": f"{compiler} {metadata.version(compiler)}",
                                   "environment": workdir.environment(jax.devices())}
        workdir.write_json(path, records)
        workdir.write_atomically(out.with_suffix(".md"), markdown(records).encode())
        print(next(line for line in markdown({options.target: records[options.target]}).splitlines()
                   if line.startswith(f"| {row.name} |")), flush=True)


if __name__ == "__main__":
    cli.run(main, define_flags, required=(), configured=False)
