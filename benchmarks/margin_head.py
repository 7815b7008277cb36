"""The margin softmax over very many classes, alone: time beside torch, memory and collectives as compiled.

    python -m benchmarks.margin_head [--classes=10000,100000] [--compiled=1000000,10000000] [--batch=1024] [--size=512]
        [--rounds=5] [--out=benchmarks/results/margin_head]

Value and gradients (embeddings and prototypes) of ArcFace's loss, float32, in these forms:

    plain       as one writes it down: normalise, multiply, add the margin, log-softmax
    sharded     losses.build("arcface", mesh=...): the training step's
    streamed    the same with chunk_size=1024: chunks are computed again in the backward pass
    partial_fc  the same with sample_rate=.1, or what the batch's own classes need at least

torch, in turns with them on one device, each in a process of its own: plain as in arcface_torch, eager; Partial FC as
its second version, whose gradient is that of the sampled prototypes only, where ours is of all, mostly zeros; and both
again with glibc told to keep freed memory, as experiments/process/runtime.py tells it for our programs. --classes are
timed; --compiled only looked at, through memory_analysis() and the HLO text, as all are: on one device, and on 8 fake
ones with prototypes split by class. Random embeddings and labels. Needs torch (requirements-peers.txt).
"""

import functools
import json
import operator
import os
import pathlib
import statistics
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import margin_head_torch, turns
from geodesic import losses
from geodesic.experiments.compiled import collectives
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import runtime, workdir

ROOT = pathlib.Path(__file__).parents[1]
FORMS = ("plain", "sharded", "streamed", "partial_fc")
KEPT = ", heap kept"
DEVICES, CHUNK, RATE, SCALE, MARGIN = 8, 1024, 0.1, 64.0, 0.5


def define_flags() -> None:
    flags.DEFINE_list("classes", ["10000", "100000"], "Numbers of classes to time.")
    flags.DEFINE_list("compiled", ["1000000", "10000000"], "Numbers of classes to compile for only.")
    flags.DEFINE_integer("batch", 1024, "Embeddings of a step.")
    flags.DEFINE_integer("size", 512, "Dimensions of an embedding.")
    flags.DEFINE_integer("rounds", 5, "Runs of each, in turns, after those that are not counted.")
    flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "margin_head"), "Where to write .json and .md.")
    flags.DEFINE_bool("split", False, f"Print what is compiled for {DEVICES} devices; used by the program itself.")


def rate(classes: int, batch: int, devices: int) -> float:
    """RATE, or what is needed for a device to take all classes of a batch; 1 is no sample."""
    rows = -(-classes // devices)
    return max(RATE, (min(batch, rows) + 1) / rows) if batch < rows else 1.0


def value(form: str, classes: int, batch: int, mesh):
    """(prototypes [C,D], embeddings [B,D], labels [B], rng) -> the loss."""
    if form == "plain":
        return lambda prototypes, embeddings, labels, rng: plain(prototypes, embeddings, labels)
    options = {"chunk_size": CHUNK} if form == "streamed" else {}
    if form == "partial_fc":
        options["sample_rate"] = rate(classes, batch, mesh.size)
    loss = losses.build("arcface", num_classes=classes, mesh=mesh, scale=SCALE, margin=MARGIN, **options)
    return lambda prototypes, embeddings, labels, rng: loss.apply(
        {"prototypes": prototypes}, {}, embeddings, labels, rng)[0]


def plain(prototypes, embeddings, labels):
    unit = lambda x: x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))
    cosine = unit(embeddings) @ unit(prototypes).T
    own = jnp.take_along_axis(cosine, labels[:, None], axis=1)
    sine = jnp.sqrt(jnp.maximum(1 - own ** 2, 1e-12))
    moved = jnp.where(own > np.cos(np.pi - MARGIN), own * np.cos(MARGIN) - sine * np.sin(MARGIN),
                      own - MARGIN * np.sin(MARGIN))
    mine = jnp.arange(cosine.shape[1])[None, :] == labels[:, None]
    log_probabilities = jax.nn.log_softmax(SCALE * jnp.where(mine, moved, cosine))
    return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[:, None], axis=1))


def compile_form(form: str, classes: int, batch: int, size: int, mesh):
    """The compiled (prototypes, embeddings, labels, rng) -> (loss, gradients), everything in its place on `mesh`."""
    rows = -(-classes // mesh.size) * mesh.size
    split = NamedSharding(mesh, P(meshes.AXIS))
    array = functools.partial(jax.ShapeDtypeStruct, sharding=split)
    function = jax.value_and_grad(value(form, classes, batch, mesh), argnums=(0, 1))
    program = jax.jit(function, out_shardings=(NamedSharding(mesh, P()), (split, split)))
    return program.lower(array((rows, size), jnp.float32), array((batch, size), jnp.float32),
                         array((batch,), jnp.int32), jax.eval_shape(lambda: jax.random.key(0))).compile()


def looked_at(classes: int, batch: int, size: int, mesh) -> dict:
    """Form -> what the compiled program takes on a device. A sample that is all classes is left out."""
    found = {}
    for form in FORMS:
        if form == "partial_fc" and rate(classes, batch, mesh.size) == 1:
            continue
        program = compile_form(form, classes, batch, size, mesh)
        found[form] = {"temporaries": program.memory_analysis().temp_size_in_bytes,
                       "moved": collectives.bytes_moved(program.as_text())}
        if form == "partial_fc":
            found[form]["rate"] = rate(classes, batch, mesh.size)
    return found


def inputs(classes: int, batch: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prototypes, embeddings, labels: the same for all."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((classes, size), np.float32), rng.standard_normal((batch, size), np.float32),
            rng.integers(0, classes, batch).astype(np.int32))


def ours(form: str, classes: int, batch: int, size: int):
    """(one step on one device, {"loss": its loss}), in a process of its own."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.15")  # of a GPU, which all forms share
    runtime.start()
    mesh = meshes.make(jax.devices()[:1])
    split = NamedSharding(mesh, P(meshes.AXIS))
    arguments = (*(jax.device_put(x, split) for x in inputs(classes, batch, size)), jax.random.key(0))
    program = compile_form(form, classes, batch, size, mesh)
    run = lambda: float(jax.block_until_ready(program(*arguments))[0])
    return run, {"loss": run()}


def theirs(name: str, keep: bool, classes: int, batch: int, size: int):
    """The same in torch. keep: with the heap that our programs have."""
    if keep:
        runtime.keep_heap()
    run = margin_head_torch.steps(*inputs(classes, batch, size), SCALE, MARGIN, rate(classes, batch, 1))[name]
    return run, {"loss": run()}


def timed(classes: int, batch: int, size: int, rounds: int) -> dict:
    """Seconds of each round, ours and torch's in turns on one device, by name; and the losses."""
    sampled = rate(classes, batch, 1) < 1
    shape = (classes, batch, size)
    runs = {form: turns.Elsewhere(ours, form, *shape) for form in FORMS if sampled or form != "partial_fc"}
    runs |= {name + KEPT * keep: turns.Elsewhere(theirs, name, keep, *shape)
             for name in margin_head_torch.NAMES[:1 + sampled] for keep in (False, True)}
    seconds, processor = turns.measure(runs, rounds)
    for run in runs.values():
        run.close()
    return {"seconds": seconds, "processor_seconds": processor,
            "losses": {name: run.facts["loss"] for name, run in runs.items()}}


def markdown(record: dict) -> str:
    batch, size, environment = record["batch"], record["size"], record["environment"]
    lines = ["# The margin softmax over many classes", "",
             f"ArcFace, value and gradients, float32, {batch} embeddings of {size} dimensions. Seconds: median (least "
             "to most); torch: the same form in torch; ratio: ours over torch's, the median of the rounds' own. "
             "Temporaries in GiB and collectives' results in MiB, of a device, as compiled; on "
             f"{DEVICES}, prototypes split by class. Heap kept: torch with freed memory kept, as our programs "
             "keep it. One copy of the logits of a million classes on one device is "
             f"{4 * batch * 10**6 / 2**30:.2f} GiB.", "",
             f"| classes | form | seconds | torch | ratio | torch, heap kept | ratio | temporaries | of a device of "
             f"{DEVICES} | its collectives |", "|---|---|---|---|---|---|---|---|---|---|"]
    for row in record["rows"]:
        for form in FORMS:
            if form in row["one"]:
                lines.append(f"| {row['classes']:,} | {form}{_rate(row['one'][form])} | {_times(row, form)} | "
                             f"{_memory(row['one'], form)} | {_memory(row['split'], form)}"
                             f"{_rate(row['split'].get(form, {}))} | {_moved(row['split'], form)} |")
    first, last = record["load_average"]
    return "\n".join([
        *lines, "", f"{environment['machine']}, {environment['devices']}, jax {environment['packages']['jax']}, torch "
        f"{record['torch']}, seed 0, {environment['date'][:10]}. In turns, {record['rounds']} rounds, one device, a "
        f"process each. Load average {first:.1f} at the start and {last:.1f} at the end: above {os.cpu_count()}, other "
        "work shared the machine. Where least and most are far apart, or one round was counted, a ratio says little.",
        "", "`python -m benchmarks.margin_head`"]) + "\n"


def _rate(found: dict) -> str:
    return f" (sample {found['rate']:.3g})" if "rate" in found else ""


def _times(row: dict, form: str) -> str:
    seconds = row.get("seconds", {})
    cells = [turns.show(seconds[form]) if seconds else ""]
    for suffix in ("", KEPT):
        theirs = seconds.get(("torch, partial_fc" if form == "partial_fc" else "torch, plain") + suffix)
        cells += ([turns.show(theirs), f"{statistics.median(map(operator.truediv, seconds[form], theirs)):.2f}"]
                  if theirs else ["", ""])
    return " | ".join(cells)


def _memory(found: dict, form: str) -> str:
    return f"{found[form]['temporaries'] / 2**30:.3f}" if form in found else "none: the batch has as many"


def _moved(found: dict, form: str) -> str:
    moved = found.get(form, {"moved": {}})["moved"]
    return ", ".join(f"{kind} {size / 2**20:.2f}" for kind, size in sorted(moved.items()))


def split_over_devices(counts: list[int]) -> dict:
    """Classes -> `looked_at` of fake devices, in a process of their own: here they would slow the timing down."""
    command = [sys.executable, "-m", "benchmarks.margin_head", *sys.argv[1:], "--split",
               f"--compiled={','.join(map(str, counts))}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(_) -> None:
    options = flags.FLAGS
    look = functools.partial(looked_at, batch=options.batch, size=options.size)
    if options.split:
        runtime.start(DEVICES)
        print(json.dumps({count: look(int(count), mesh=meshes.make()) for count in options.compiled}))
        return
    import torch

    runtime.start()
    load, mesh = os.getloadavg()[0], meshes.make(jax.devices()[:1])
    counts = [int(count) for count in [*options.classes, *options.compiled] if count]
    split = split_over_devices(counts)
    rows = []
    for count in counts:
        row = {"classes": count, "one": look(count, mesh=mesh), "split": split[str(count)]}
        if str(count) in options.classes:
            row |= timed(count, options.batch, options.size, options.rounds)
        rows.append(row)
        print(count, {name: statistics.median(times) for name, times in row.get("seconds", {}).items()}, flush=True)
    record = {"batch": options.batch, "size": options.size, "rounds": options.rounds, "seed": 0,
              "torch": torch.__version__, "load_average": [load, os.getloadavg()[0]],
              "environment": workdir.environment(jax.devices()), "rows": rows}
    out = pathlib.Path(options.out)
    workdir.write_json(out.with_suffix(".json"), record)
    workdir.write_atomically(out.with_suffix(".md"), markdown(record).encode())
    print(markdown(record))


if __name__ == "__main__":
    define_flags()
    app.run(main)
