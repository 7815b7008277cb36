"""Every trunk's training step as the TPU's own compiler makes it, for chips that need not be here.

    python -m benchmarks.compiled [--rows=resnet101,iresnet100] [--out=benchmarks/results/compiled]

Compiles `ROWS`, the step of a trunk with ArcFace over 100,000 classes in bfloat16, for a slice of four TPU v5e, a process
each, and runs nothing. It takes the wheel libtpu (`pip install libtpu`, of the version that jax names) and one to four
minutes a row. What it tells: arithmetic, and traffic to and from main memory, each beside the published peak; the least
traffic, if convolutions and products alone moved anything, each operand and result once; how many convolutions normalise
or activate what they read and sum what they write, so that BatchNorm needs no pass of its own; the cycles that the
compiler expects, on which its own choices rest. Nobody has checked these against a chip: they compare programs.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
from importlib import metadata
from typing import NamedTuple

import jax
from absl import app, flags

from benchmarks import scaling
from configs.templates import resnet_angular_margin
from experiments import hlo, memory_traffic, peaks, plan, workdir

ROOT = pathlib.Path(__file__).parents[1]
CHIPS, CLASSES = 4, 100_000
PEAK = peaks.CHIPS["v5e"]
# jax-ml.github.io/scaling-book/tpus: four matrix units of 128 x 128, a product and a sum a cycle.
CLOCK = PEAK.flops / (4 * 128 * 128 * 2)
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


class Row(NamedTuple):
    name: str
    trunk: str
    size: int = 224
    batch: int = 128            # images of each chip
    fields: tuple = ()          # of config.embedder: names and values
    libtpu: str = ""            # LIBTPU_INIT_ARGS


ROWS = (
    Row("resnet101", "resnet101"),
    Row("resnet101, stem of 2x2 pixels", "resnet101", fields=(("stem", "space_to_depth"),)),
    Row("resnet101, stage 1 computed again", "resnet101", fields=(("remat", (1,)),)),
    Row("resnet101, 256 images", "resnet101", batch=256),
    Row("resnet101, 32 MiB a fusion", "resnet101", libtpu="--xla_tpu_scoped_vmem_limit_kib=32768"),
    Row("resnet101, 64 MiB a fusion", "resnet101", libtpu="--xla_tpu_scoped_vmem_limit_kib=65536"),
    Row("resnext101_32x4d", "resnext101_32x4d"),
    Row("inception_bn", "inception_bn"),
    Row("iresnet100", "iresnet100", size=112),
)


def define_flags() -> None:
    flags.DEFINE_list("rows", [], "Trunks, or names of rows; empty is all.")
    flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "compiled"), "Where to write .json and .md.")
    flags.DEFINE_integer("one", -1, "The row to compile and print as JSON; used by the program itself.")


def configuration(row: Row):
    config = resnet_angular_margin.get_config()
    config.loss.num_classes = CLASSES
    config.input.image_size = row.size
    # "auto" would look at this machine's processor; accelerators get XLA's own convolution.
    config.embedder.update(name=row.trunk, dtype="bfloat16", convolution="native", **dict(row.fields))
    config.batch_size = config.evaluation.batch_size = CHIPS * row.batch
    return config


def facts(program: plan.Program) -> dict:
    """Of one device's step."""
    text, memory = program.compiled.as_text(), program.compiled.memory_analysis()
    return {"flops": program.compiled.cost_analysis()["flops"], "traffic": memory_traffic.main_memory(text),
            "least_traffic": memory_traffic.least(program.jaxpr), "cycles": cycles(text),
            "convolutions": memory_traffic.convolutions(text)._asdict(), "temporaries": memory.temp_size_in_bytes,
            "arguments": memory.argument_size_in_bytes}


def cycles(text: str) -> int:
    """What a TPU's compiler expects a program to take; 0 if it was another's."""
    return sum(times * int(found[1]) for one, times, _ in hlo.executed(text) if (found := _CYCLES.search(one.line)))


def in_process(index: int) -> dict:
    """`facts` of a row: a compiler's flags are read once in a process."""
    command = [sys.executable, "-m", "benchmarks.compiled", f"--one={index}"]
    environment = os.environ | ({"LIBTPU_INIT_ARGS": ROWS[index].libtpu} if ROWS[index].libtpu else {})
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise ValueError(f"{ROWS[index].name}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def markdown(record: dict) -> str:
    lines = ["# Training steps as the compiler for TPU v5e makes them", "",
             f"ArcFace over {CLASSES:,} classes, bfloat16 but for the head and the statistics, {CHIPS} chips; all "
             "figures are of one chip and one step. Compiled, not run.", "",
             "| step | images a chip, px | TFLOP: ms at the peak | GB to and from memory: ms at the peak | least GB | "
             "ms that the compiler expects | convolutions, that compute what they read / sum what they write | "
             "temporaries and arguments, GiB | at most images/s a chip |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in record["rows"].values():
        arithmetic, memory = row["flops"] / PEAK.flops, row["traffic"] / PEAK.bandwidth
        fused = row["convolutions"]
        cells = [row["name"], f"{row['batch']}, {row['size']}", f"{row['flops'] / 1e12:.2f}: {1e3 * arithmetic:.1f}",
                 f"{row['traffic'] / 1e9:.1f}: {1e3 * memory:.1f}", f"{row['least_traffic'] / 1e9:.1f}",
                 f"{1e3 * row['cycles'] / CLOCK:.1f}",
                 f"{fused['count']}, {fused['computing_operands']} / {fused['summing_results']}",
                 f"{row['temporaries'] / 2**30:.2f} + {row['arguments'] / 2**30:.2f}",
                 f"{row['batch'] / max(arithmetic, memory):,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    environment = record["environment"]
    return "\n".join([*lines, "", f"`python -m benchmarks.compiled`, jax {environment['packages']['jax']}, libtpu "
                      f"{record['libtpu']}, {environment['date'][:10]}. Peaks: {PEAK.flops / 1e12:.0f} TFLOP/s, "
                      f"{PEAK.bandwidth / 1e9:.0f} GB/s, {CLOCK / 1e9:.2f} GHz (experiments/peaks.py). The last column "
                      "is what either limit leaves if everything overlaps."]) + "\n"


def main(_) -> None:
    options = flags.FLAGS
    if options.one >= 0:
        mesh = scaling.mesh_of(CHIPS, "v5e")
        print(json.dumps(facts(plan.compile_step(configuration(ROWS[options.one]), mesh))))
        return
    chosen = [index for index, row in enumerate(ROWS) if not options.rows or {row.name, row.trunk} & {*options.rows}]
    if not chosen:
        raise app.UsageError(f"no row {', '.join(options.rows)}; there are {', '.join(row.name for row in ROWS)}")
    out = pathlib.Path(options.out)
    path = out.with_suffix(".json")
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    for index in chosen:
        row = ROWS[index]
        rows[row.name] = row._asdict() | in_process(index)
        record = {"rows": {row.name: rows[row.name] for row in ROWS if row.name in rows},
                  "libtpu": metadata.version("libtpu"), "environment": workdir.environment(jax.devices())}
        workdir.write_json(path, record)
        workdir.write_atomically(out.with_suffix(".md"), markdown(record).encode())
        print(markdown(record).splitlines()[4 + len(record["rows"])], flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(main)
