"""What 256 and 1,024 chips, 10 million classes and a billion images ask of hosts, buckets and patience.

    python -m benchmarks.at_scale [--chips=256,1024] [--classes=10000000] [--images=1000000000]

Nothing of that size is run. Sizes of arrays are those of the train state that the code itself describes, over so many
fake devices; what an image costs a host is measured on a million and multiplied; rates are measured here, or read from
the files of benchmarks/results; what neither gives is an assumption, and a flag. The goodput is simulated: failures at
random, at a published rate, against the time that a checkpoint, a restart and lost steps take.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import time
import tracemalloc

import numpy as np
from absl import app, flags

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
GIB = 2 ** 30
# 419 unexpected interruptions of 16,384 GPUs in 54 days (Grattafiori et al., "The Llama 3 Herd of Models", 2024,
# arXiv:2407.21783, section 3.3.4).
_ACCELERATOR_HOURS = 54 * 24 * 16_384 / 419
_SAMPLE = 1_000_000


def define_flags() -> None:
    flags.DEFINE_list("chips", ["256", "1024"], "How many there are.")
    flags.DEFINE_integer("chips_per_host", 4, "Chips of a host.")
    flags.DEFINE_integer("classes", 10_000_000, "Classes with a prototype.")
    flags.DEFINE_integer("images", 1_000_000_000, "Training images.")
    flags.DEFINE_integer("gallery", 10_000_000, "Test images, which are embedded and compared.")
    flags.DEFINE_integer("batch_per_chip", 128, "Images of a step on a chip.")
    flags.DEFINE_float("step_seconds", 0.1, "Of a step; scaling.md predicts .1 for a ResNet-101 on a v5e at 30 % of "
                       "its peak.")
    flags.DEFINE_float("bucket_gbs", 1.0, "GB/s between a host and the bucket. An assumption.")
    flags.DEFINE_float("replace_minutes", 5.0, "Until a lost host is replaced. An assumption.")
    flags.DEFINE_float("accelerator_hours", _ACCELERATOR_HOURS, "Hours of one accelerator between two interruptions.")
    flags.DEFINE_integer("seed", 0, "Of the failures.")
    flags.DEFINE_string("out", str(RESULTS / "at_scale"), "Where to write .json and .md.")


def state_bytes(chips: int, classes: int) -> dict[str, float]:
    """The train state of ResNet-101, ArcFace and SGD: bytes on a device by what they are, and of a checkpoint.

    In a process of its own, as the number of fake devices is chosen once.
    """
    program = f"""
import json, math
from geodesic.experiments.process import runtime
runtime.start({chips})
import jax
from geodesic import losses
from geodesic.configs import default
from geodesic.experiments import tasks
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model as models
config, mesh = default.get_config(), meshes.make()
config.batch_size, config.input.image_size = {chips}, 224
config.embedder.dtype, config.loss.sample_rate = "bfloat16", 0.1
model = models.build(config, tasks.get(config.task), {classes}, 10 ** 9, mesh)
state = models.abstract_state(model, mesh)
found = {{"by class": 0, "the rest": 0, "checkpoint": 0}}
for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    size = leaf.dtype.itemsize
    part = size * math.prod(leaf.sharding.shard_shape(leaf.shape))
    found["by class" if losses.is_by_class(path, leaf) else "the rest"] += part
    found["checkpoint"] += size * leaf.size
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured() -> dict[str, float]:
    """What an image costs a host, and rates of this machine's two cores."""
    from geodesic.datasets import order
    from geodesic.experiments.checkpoints import digests

    tracemalloc.start()
    labels = np.zeros(_SAMPLE, np.int64)
    label = tracemalloc.get_traced_memory()[0] / _SAMPLE
    paths = [f"images/{place // 100:07d}/{place:09d}.jpg" for place in range(_SAMPLE)]
    path = tracemalloc.get_traced_memory()[0] / _SAMPLE - label
    made = order.Uniform(10 ** 9, 0)
    before = tracemalloc.get_traced_memory()[0]
    for place in range(1000):
        made.record(place)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del labels, paths
    started = time.perf_counter()
    for place in range(20_000):
        made.record(place * 7919)
    found = time.perf_counter() - started
    tree = {"loss": {"prototypes": np.ones((2 ** 17, 512), np.float32)}}  # a quarter of a GiB
    digests.local(tree)
    started = time.perf_counter()
    digests.local(tree)
    rate = tree["loss"]["prototypes"].nbytes / (time.perf_counter() - started)
    return {"label_bytes": label, "path_bytes": path, "order_bytes": held, "order_seconds": found / 20_000,
            "digest_bytes_per_second": rate}


def goodput(values: dict, rng: np.random.Generator, days: float = 365.0) -> float:
    """The share of a year in steps that stay.

    values: "failures_per_day", "save_blocks" and "save_takes" (seconds until the steps go on, and until it counts),
    "restart" (seconds from a failure to the next step) and "interval" (seconds between saves).
    """
    left, useful, whole = days * 86400.0, 0.0, days * 86400.0
    while left > 0:
        until = min(float(rng.exponential(86400.0 / values["failures_per_day"])), left)
        cycle = values["interval"] + values["save_blocks"]
        # What is on the disk counts; a save that is still on its way does not.
        saves = max(math.floor((until - values["save_takes"]) / cycle), 0)
        useful += saves * values["interval"]
        left -= until + values["restart"]
    return useful / whole


def at(chips: int, values, here: dict) -> dict:
    """Everything for so many chips."""
    hosts = chips // values.chips_per_host
    state = state_bytes(chips, values.classes)
    rate = json.loads((RESULTS / "input_rate.json").read_text())["cases"]["photographs"]["geodesic"]["per_core"]
    share = state["checkpoint"] / hosts
    writes = share / (values.bucket_gbs * 1e9)
    restores = writes
    failures = 24 * chips / values.accelerator_hours
    digesting = share / here["digest_bytes_per_second"]
    copying = share / 10e9  # off the devices, over PCIe
    restart = 60 * values.replace_minutes + 60 + restores + digesting  # 60: a heartbeat that does not come
    interval = max(math.sqrt(2 * copying * 86400 / failures), writes + digesting)
    simulated = {"failures_per_day": failures, "save_blocks": copying, "save_takes": writes + digesting,
                 "restart": restart, "interval": interval}
    images_per_second = chips * values.batch_per_chip / values.step_seconds
    return {
        "hosts": hosts, "state": state, "checkpoint_per_host": share, "save_seconds": writes + digesting,
        "images_per_second_per_host": images_per_second / hosts,
        "cores_per_host": images_per_second / hosts / float(np.median(rate)),
        "epoch_hours": values.images / images_per_second / 3600,
        **simulated, "goodput": goodput(simulated, np.random.default_rng(values.seed)),
        "goodput_hourly": goodput({**simulated, "interval": 3600.0}, np.random.default_rng(values.seed)),
    }


def page(found: dict, here: dict, values) -> str:
    """The tables, in Markdown."""
    gib = lambda count: f"{count / GIB:,.2f}"
    rows = {
        "hosts": lambda one: f"{one['hosts']:,}",
        "a device holds by class (prototypes, momentum), GiB": lambda one: gib(one["state"]["by class"]),
        "a device holds of the rest (trunk, momentum, masks), GiB": lambda one: gib(one["state"]["the rest"]),
        "a checkpoint, GiB; of one host": lambda one: f"{gib(one['state']['checkpoint'])}; "
                                                      f"{gib(one['checkpoint_per_host'])}",
        "a save: steps wait; until it counts, s": lambda one: f"{one['save_blocks']:.2f}; {one['save_takes']:.1f}",
        "images per second, of one host": lambda one: f"{one['images_per_second_per_host']:,.0f}",
        "cores for them, where photographs are of 128 px; of 427 x 640 twelve times as many":
            lambda one: f"{one['cores_per_host']:.1f}",
        "an epoch, hours": lambda one: f"{one['epoch_hours']:.1f}",
        "interruptions a day": lambda one: f"{one['failures_per_day']:.2f}",
        "from one to the next step, min": lambda one: f"{one['restart'] / 60:.1f}",
        "best time between saves, min": lambda one: f"{one['interval'] / 60:.1f}",
        "goodput, saving so often; every hour": lambda one: f"{one['goodput']:.2%}; {one['goodput_hourly']:.2%}",
    }
    images, gallery, size = values.images, values.gallery, 512
    lines = [
        f"# At scale, on paper: {values.classes:,} classes, {images:,} images", "",
        f"ResNet-101, {size} numbers, ArcFace with Partial FC (a tenth), SGD; {values.batch_per_chip} images a chip "
        f"and step of {values.step_seconds:g} s, {values.chips_per_host} chips a host. **Nothing of this was "
        f"run.**", "",
        "| | " + " | ".join(f"{chips} chips" for chips in found) + " |", "|---|" + "---|" * len(found),
        *(f"| {name} | " + " | ".join(told(one) for one in found.values()) + " |" for name, told in rows.items()),
        "", "Every host holds, whatever the number of chips:", "", "| | GiB | |", "|---|---|---|",
        f"| order of the images | {gib(here['order_bytes'])} | computed, {1e6 * here['order_seconds']:.0f} µs an "
        f"image; held, it would be {gib(8.0 * images)} |",
        f"| labels | {gib(here['label_bytes'] * images)} | {here['label_bytes']:.1f} bytes an image; each loader "
        f"worker has its own |",
        f"| paths | {gib(here['path_bytes'] * images)} | {here['path_bytes']:.0f} bytes for a path of 29 letters: "
        f"**does not fit**; needed for messages and digests alone |",
        f"| embeddings of {gallery:,} test images | {gib(4.0 * size * gallery)} | on every host, as float32: "
        f"**does not scale** with the hosts |", "",
        f"Exact retrieval among {gallery:,} images is {2.0 * size * gallery ** 2 / 1e15:,.0f} PFLOP, split over all "
        f"chips; verification of all {gallery ** 2 / 2:.1e} pairs is counted by process 0 alone, and the others wait: "
        f"**does not scale**. A part of the gallery, or a protocol with its own pairs, does.", "",
        "`sampling.name=pk` lays a whole pass out in the memory of every process: some 40 bytes an image, **no way for "
        "a billion**. `uniform`, the default, is computed.", "",
        f"Assumed: {values.bucket_gbs:g} GB/s between a host and the bucket, 10 GB/s off the devices, a host replaced "
        f"in {values.replace_minutes:g} min and its loss noticed after 60 s, one interruption in "
        f"{values.accelerator_hours:,.0f} accelerator hours (published: Llama 3, 16,384 GPUs). Measured here: digests "
        f"at {here['digest_bytes_per_second'] / 1e9:.2f} GB/s, bytes and microseconds of an image. Read: images a "
        f"second and core from input_rate.json. The best time between saves is Young's (1974), and at least as "
        f"long as a save takes. The goodput is simulated over a year, seed {values.seed}; it counts no input, "
        f"evaluation or stragglers.", "",
        f"`python -m benchmarks.at_scale`, {os.cpu_count()} cores, {_processor()}, {time.strftime('%Y-%m-%d')}.", ""]
    return "\n".join(lines)


def _processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown processor"


def main(argv) -> None:
    del argv
    values = flags.FLAGS
    here = measured()
    found = {int(chips): at(int(chips), values, here) for chips in values.chips}
    text = page(found, here, values)
    pathlib.Path(f"{values.out}.md").write_text(text)
    pathlib.Path(f"{values.out}.json").write_text(json.dumps(
        {"flags": {name: values[name].value for name in ("classes", "images", "gallery", "chips_per_host",
                                                         "batch_per_chip", "step_seconds", "bucket_gbs",
                                                         "replace_minutes", "accelerator_hours", "seed")},
         "measured": here, "chips": found}, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    define_flags()
    app.run(main)
