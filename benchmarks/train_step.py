"""One step of a trunk against torch, in turns: seconds, and their ratio.

    python -m benchmarks.train_step [--embedder=resnext101_32x4d] [--batch=8] [--size=224] [--forms=auto]
        [--mode=train|forward] [--rounds=5] [--out=benchmarks/results/train_step]

train: value, gradient and new running statistics of the mean of the squared pooled output, without an optimizer.
forward: the pooled output with the running statistics. float32 both; torch is channels-last and eager, the model
torchvision's, timm's, Cadene's or an IResNet of tests/embedders/make_goldens.py. --forms names forms of
embedders/convolution.py, comma-separated; "native" is XLA's own convolution. Needs requirements-peers.txt beside the
run-time requirements. Adds its row to the .json, and writes the .md anew from all rows.
"""

import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import embedders
from experiments import workdir

ROOT = pathlib.Path(__file__).parents[1]

_EMBEDDER = flags.DEFINE_string("embedder", "resnext101_32x4d", "A name of embedders.EMBEDDERS.")
_BATCH = flags.DEFINE_integer("batch", 8, "Images.")
_SIZE = flags.DEFINE_integer("size", 224, "Pixels.")
_FORMS = flags.DEFINE_list("forms", ["auto"], "Forms of a convolution, of embedders/convolution.py.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "forward"], "What is timed.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Runs of each, in turns, after one that is not counted.")
_OUT = flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "train_step"), "Where to write .json and .md.")


def ours(name: str, form: str, images: np.ndarray, train: bool):
    """(a function that runs one step and waits for it, seconds of compilation)."""
    embedder = embedders.build(name, convolution=form, **_without_neck(name))
    variables = jax.jit(embedder.init)(jax.random.key(0), images)

    def loss(params, stats, images):
        out, updated = embedder.apply({"params": params, "batch_stats": stats}, images, True, mutable=["batch_stats"])
        return jnp.mean(out ** 2), updated

    step = jax.grad(loss, has_aux=True) if train else (
        lambda params, stats, images: embedder.apply({"params": params, "batch_stats": stats}, images, False))
    started = time.perf_counter()
    compiled = jax.jit(step).lower(variables["params"], variables["batch_stats"], images).compile()
    seconds = time.perf_counter() - started
    return lambda: jax.block_until_ready(compiled(variables["params"], variables["batch_stats"], images)), seconds


def peer(name: str, images: np.ndarray, train: bool):
    import torch

    from tests.embedders import goldens, make_goldens

    model = make_goldens.build(goldens.CASES[name], images.shape[1]).to(memory_format=torch.channels_last).train(train)
    images = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last in memory
    call = model.features if name == "inception_bn" else model  # its head takes maps of 7x7 only

    def run():
        if not train:
            with torch.inference_mode():
                return call(images)
        model.zero_grad()
        call(images).square().mean().backward()

    return run


def _without_neck(name: str) -> dict:
    return {} if name.startswith("iresnet") else {"embedding_size": None}


def measure(runs: dict, rounds: int) -> dict[str, list[float]]:
    """Name -> seconds of each round; the first, uncounted, warms up. What takes half a minute is counted once."""
    times = {name: [] for name in runs}
    for index in range(rounds + 1):
        for name, run in runs.items():
            if times[name] and times[name][0] > 30:
                continue
            started = time.perf_counter()
            run()
            if index:
                times[name].append(round(time.perf_counter() - started, 4))
    return times


def markdown(rows: list[dict]) -> str:
    lines = ["| trunk | batch, px | mode | form | seconds (least to most) | torch | ratio of medians | compile, s |",
             "|---|---|---|---|---|---|---|---|"]
    show = lambda values: f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
    for row in rows:
        for form, ratio in row["ratios"].items():
            lines.append(f"| {row['embedder']} | {row['batch']}, {row['size']} | {row['mode']} | {form} | "
                         f"{show(row['seconds'][form])} | {show(row['seconds']['torch'])} | {ratio:.2f} | "
                         f"{row['compile_seconds'][form]:.0f} |")
    where = sorted({f"{row['environment']['devices']}, {row['environment']['machine']}, jax "
                    f"{row['environment']['packages']['jax']}, torch {row['torch']}, "
                    f"{row['environment']['date'][:10]}" for row in rows})
    return "\n".join([*lines, "", *where, "", "`python -m benchmarks.train_step`, float32, in turns with torch (eager, "
                      "channels last) in one process; other work may have shared the machine."]) + "\n"


def main(_) -> None:
    import torch

    images = np.random.default_rng(0).standard_normal((_BATCH.value, _SIZE.value, _SIZE.value, 3), np.float32)
    train = _MODE.value == "train"
    runs, compile_seconds = {}, {}
    for form in _FORMS.value:
        runs[form], compile_seconds[form] = ours(_EMBEDDER.value, form, images, train)
    runs["torch"] = peer(_EMBEDDER.value, images, train)
    seconds = measure(runs, _ROUNDS.value)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    key = {"embedder": _EMBEDDER.value, "batch": _BATCH.value, "size": _SIZE.value, "mode": _MODE.value}
    row = key | {"seconds": seconds, "ratios": {form: median[form] / median["torch"] for form in _FORMS.value},
                 "compile_seconds": compile_seconds, "torch": torch.__version__, "seed": 0,
                 "environment": workdir.environment(jax.devices())}
    out = pathlib.Path(_OUT.value)
    path = out.with_suffix(".json")
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [other for other in rows if any(other[name] != value for name, value in key.items())] + [row]
    rows.sort(key=lambda row: (row["embedder"], row["mode"], row["size"], row["batch"]))
    workdir.write_json(path, rows)
    workdir.write_atomically(out.with_suffix(".md"), markdown(rows).encode())
    print(markdown([row]))


if __name__ == "__main__":
    app.run(main)
