"""One step of a trunk against torch, in turns: seconds, their ratio, and what of the machine they use.

    python -m benchmarks.train_step --all
    python -m benchmarks.train_step [--embedder=resnext101_32x4d] [--batch=8] [--size=224] [--forms=auto]
        [--mode=train|forward] [--dtype=float32|bfloat16] [--compile_torch] [--rounds=5]
        [--out=benchmarks/results/train_step]

Each contender has a process of its own. train: value, gradient and new running statistics of the mean of the squared
pooled output, without an optimizer. forward: the pooled output with the running statistics. torch is channels-last and
eager, the model torchvision's, timm's, Cadene's or an IResNet of tests/embedders/make_goldens.py; again with glibc
told to keep freed memory, as experiments/process/runtime.py tells it for our programs; --compile_torch adds
torch.compile (it needs a C++ compiler). bfloat16 is the trunk's dtype here and autocast there; parameters are float32
in both. --forms names forms of embedders/convolution.py, comma-separated; "native" is XLA's own convolution. Needs
requirements-peers.txt beside the run-time requirements. Adds its row to the .json; the .md is written anew from all.

Share of peak: the compiled program's FLOPs per second, over those of one large product measured here in the same dtype.
Traffic: bytes that the compiled program's operations read and write, beside the least: every convolution and product
reads its operands and writes its result once, and everything else is free.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import turns
from geodesic import embedders
from geodesic.experiments.compiled import memory_traffic, peaks
from geodesic.experiments.process import runtime, workdir

ROOT = pathlib.Path(__file__).parents[1]
PEERS = TORCH, KEPT, COMPILED = "torch", "torch, heap kept", "torch.compile"


# The page's rows: what a row is, batch, pixels, and more options.
ROWS = (
    ("resnet101", "train", 8, 224, "--compile_torch"), ("resnet101", "train", 64, 64),
    ("resnet101", "forward", 8, 224, "--compile_torch"), ("resnet101", "forward", 64, 64),
    ("resnet101", "forward", 1, 224), ("resnext101_32x4d", "train", 8, 224, "--forms=auto,native"),
    ("resnext101_32x4d", "forward", 8, 224), ("inception_bn", "train", 8, 224), ("inception_bn", "train", 64, 64),
    ("inception_bn", "forward", 8, 224), ("iresnet100", "train", 8, 112), ("iresnet100", "forward", 8, 112),
    ("iresnet100", "forward", 1, 112), ("resnet101", "train", 8, 224, "--dtype=bfloat16"),
    ("resnet101", "forward", 8, 224, "--dtype=bfloat16"))


def define_flags() -> None:
    flags.DEFINE_bool("all", False, "All rows of the page, one after the other; about half an hour.")
    flags.DEFINE_string("embedder", "resnext101_32x4d", "A name of embedders.EMBEDDERS.")
    flags.DEFINE_integer("batch", 8, "Images.")
    flags.DEFINE_integer("size", 224, "Pixels.")
    flags.DEFINE_list("forms", ["auto"], "Forms of a convolution, of embedders/convolution.py.")
    flags.DEFINE_enum("mode", "train", ["train", "forward"], "What is timed.")
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the trunk's arithmetic.")
    flags.DEFINE_bool("compile_torch", False, "Add torch.compile as a peer.")
    flags.DEFINE_integer("rounds", 5, "Runs of each, in turns, after those that are not counted.")
    flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "train_step"), "Where to write .json and .md.")


def images_of(batch: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)


def ours(name: str, form: str, shape: tuple[int, int], train: bool, dtype: str = "float32"):
    """(a function that runs one step and waits for it, facts of the compiled program). shape: images, their pixels."""
    images = jax.device_put(images_of(*shape))
    embedder = embedders.build(name, convolution=form, dtype=dtype, **_without_neck(name))
    variables = jax.jit(embedder.init)(jax.random.key(0), images)

    def loss(params, stats, images):
        out, updated = embedder.apply({"params": params, "batch_stats": stats}, images, True, mutable=["batch_stats"])
        return jnp.mean(out ** 2), updated

    step = jax.grad(loss, has_aux=True) if train else (
        lambda params, stats, images: embedder.apply({"params": params, "batch_stats": stats}, images, False))
    arguments = (variables["params"], variables["batch_stats"], images)
    started = time.perf_counter()
    compiled = jax.jit(step).lower(*arguments).compile()
    seconds = time.perf_counter() - started
    facts = {"compile_seconds": seconds, "flops": compiled.cost_analysis()["flops"],
             "traffic": memory_traffic.main_memory(compiled.as_text()),
             "least_traffic": memory_traffic.least(jax.make_jaxpr(step)(*arguments).jaxpr),
             "peak_flops": peaks.measure(jax.devices()[0], dtype).flops,
             "environment": workdir.environment(jax.devices())}
    return lambda: jax.block_until_ready(compiled(*arguments)), facts


def started(*arguments):
    """`ours`, in a process that was set up as the programs set theirs up; but compilation is timed."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.4")  # of a GPU, whose rest is torch's
    runtime.start()
    jax.config.update("jax_enable_compilation_cache", False)
    return ours(*arguments)


def peer(name: str, shape: tuple[int, int], train: bool, dtype: str, kind: str):
    """The same of torch. kind: of PEERS."""
    if kind == KEPT:
        runtime.keep_heap()
    import torch

    from tests.embedders import goldens, make_goldens

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_goldens.build(goldens.CASES[name], shape[1]).to(device, memory_format=torch.channels_last).train(train)
    images = torch.from_numpy(images_of(*shape)).to(device).permute(0, 3, 1, 2)  # channels last in memory
    call = model.features if name == "inception_bn" else model  # its head takes maps of 7x7 only
    call = torch.compile(call) if kind == COMPILED else call

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            if not train:
                with torch.inference_mode():
                    call(images)
                return
            model.zero_grad()
            value = call(images).square().mean()
        value.backward()

    def run():
        step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run, {}


def _without_neck(name: str) -> dict:
    return {} if name.startswith("iresnet") else {"embedding_size": None}


def markdown(rows: list[dict]) -> str:
    lines = ["| trunk | batch, px | mode | form | seconds (least to most) | torch | ratio of medians | "
             "torch, heap kept | ratio | torch.compile | ratio | share of peak | GB moved / least | compile, s |",
             "|---" * 14 + "|"]
    for row in rows:
        dtype = "" if row["dtype"] == "float32" else f" {row['dtype']}"
        for form, seconds in row["seconds"].items():
            if form not in PEERS:
                lines.append(f"| {row['embedder']} | {row['batch']}, {row['size']} | {row['mode']}{dtype} | {form} | "
                             f"{turns.show(seconds)} | {' | '.join(_against(row, form, peer) for peer in PEERS)} | "
                             f"{_use(row, form)} | {row['compile_seconds'][form]:.0f} |")
    where = sorted({f"{row['environment']['devices']}, {row['environment']['machine']}, jax "
                    f"{row['environment']['packages']['jax']}, torch {row['torch']}, "
                    f"{row['environment']['date'][:10]}" for row in rows})
    return "\n".join([*lines, "", *where, "", "`python -m benchmarks.train_step`, in turns with torch (channels last), "
                      "a process each. Heap kept: torch, eager, with glibc told to keep freed memory as our programs "
                      "tell it. torch.compile has torch's own heap. Empty: not measured."]) + "\n"


def _against(row: dict, form: str, peer: str) -> str:
    """The peer's seconds, and ours over them; a cell each."""
    if peer not in row["seconds"]:
        return " | "
    ours, theirs = row["seconds"][form], row["seconds"][peer]
    return f"{turns.show(theirs)} | {statistics.median(ours) / statistics.median(theirs):.2f}"


def _use(row: dict, form: str) -> str:
    """Share of peak, and traffic beside the least; a cell each."""
    if "facts" not in row:
        return " | "
    facts, rate = row["facts"][form], row["facts"][form]["flops"] / statistics.median(row["seconds"][form])
    return (f"{rate / row['peak_flops']:.0%} of {row['peak_flops'] / 1e9:,.0f} GFLOP/s | "
            f"{facts['traffic'] / 1e9:.2f} / {facts['least_traffic'] / 1e9:.2f}")


def main(_) -> None:
    turns.need("torch")
    import torch

    options = flags.FLAGS
    if options.all:
        for embedder, mode, batch, size, *more in ROWS:
            rounds = options.rounds * (1 if mode == "train" else 5)  # short, and so more at the mercy of a moment
            subprocess.run([sys.executable, "-m", "benchmarks.train_step", f"--embedder={embedder}", f"--mode={mode}",
                            f"--batch={batch}", f"--size={size}", f"--rounds={rounds}", f"--out={options.out}",
                            *more], cwd=ROOT, check=True)
        return
    shape, train, dtype = (options.batch, options.size), options.mode == "train", options.dtype
    runs = {form: turns.Elsewhere(started, options.embedder, form, shape, train, dtype) for form in options.forms}
    for name in PEERS if options.compile_torch else (TORCH, KEPT):
        runs[name] = turns.Elsewhere(peer, options.embedder, shape, train, dtype, name)
    seconds, processor = turns.measure(runs, options.rounds)
    key = {"embedder": options.embedder, "batch": options.batch, "size": options.size, "mode": options.mode,
           "dtype": dtype}
    facts = {form: dict(runs[form].facts) for form in options.forms}
    row = key | {"seconds": seconds, "processor_seconds": processor,
                 "compile_seconds": {form: fact.pop("compile_seconds") for form, fact in facts.items()},
                 "environment": next(fact.pop("environment") for fact in facts.values()),
                 "peak_flops": max(fact.pop("peak_flops") for fact in facts.values()),
                 "facts": facts, "torch": torch.__version__, "seed": 0, "load_average": os.getloadavg()[0]}
    out = pathlib.Path(options.out)
    rows = [other for other in read_rows(out.with_suffix(".json"))
            if any(other[name] != value for name, value in key.items())] + [row]
    rows.sort(key=lambda row: (row["embedder"], row["mode"], row["dtype"], row["size"], row["batch"]))
    workdir.write_json(out.with_suffix(".json"), rows)
    workdir.write_atomically(out.with_suffix(".md"), markdown(rows).encode())
    print(markdown([row]))


def read_rows(path: pathlib.Path) -> list[dict]:
    """Rows from before there was a dtype are of float32."""
    return [{"dtype": "float32"} | row for row in json.loads(path.read_text())] if path.exists() else []


if __name__ == "__main__":
    define_flags()
    app.run(main)
