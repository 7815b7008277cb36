"""One training step of a trunk against torch, in turns: seconds, and their ratio.

    python -m benchmarks.train_step [--embedder=resnext101_32x4d] [--batch=8] [--size=224] [--form=auto] [--rounds=3]

Value, gradient and new running statistics of the mean of the squared pooled output; no optimizer. Needs
requirements-peers.txt beside the run-time requirements. Prints one line of JSON.
"""

import datetime
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import embedders


def main() -> None:
    given = dict(argument.removeprefix("--").split("=") for argument in sys.argv[1:])
    options = {"embedder": "resnext101_32x4d", "batch": "8", "size": "224", "form": "auto", "rounds": "3"} | given
    images = np.random.default_rng(0).standard_normal(
        (int(options["batch"]), int(options["size"]), int(options["size"]), 3), np.float32)
    runs = {"ours": ours(options["embedder"], options["form"], images), "torch": peer(options["embedder"], images)}
    times = {name: [] for name in runs}
    for _ in range(int(options["rounds"])):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(round(time.perf_counter() - started, 3))
    least = {name: min(values) for name, values in times.items()}
    print(json.dumps(options | {"seconds": times, "ratio": round(least["ours"] / least["torch"], 2),
                                "device": jax.devices()[0].device_kind, "jax": jax.__version__, "seed": 0,
                                "date": str(datetime.date.today())}))


def ours(name: str, form: str, images: np.ndarray):
    embedder = embedders.build(name, convolution=form)
    variables = jax.jit(embedder.init)(jax.random.key(0), images)

    def loss(params, stats, images):
        out, updated = embedder.apply({"params": params, "batch_stats": stats}, images, True, mutable=["batch_stats"])
        return jnp.mean(out ** 2), updated

    step = jax.jit(jax.grad(loss, has_aux=True))
    run = lambda: jax.block_until_ready(step(variables["params"], variables["batch_stats"], images))
    run()
    return run


def peer(name: str, images: np.ndarray):
    import timm
    import torch

    model = timm.create_model(name, num_classes=0).to(memory_format=torch.channels_last).train()
    images = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last in memory

    def run():
        model.zero_grad()
        model(images).square().mean().backward()

    run()
    return run


if __name__ == "__main__":
    main()
