"""Stands in for geodesic train and geodesic evaluate: takes a moment, then scores by its configuration alone.

loss.arcface.margin 0.9 raises, 0.8 takes 400 MiB and waits, 0.7 waits until it is stopped, 0.6 until its workdir holds
a file called go; others score the margin. In a bucket it holds the lease of its workdir, as training does.
"""

import contextlib
import json
import os
import pathlib
import sys
import time

given = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
run, config = given["workdir"], given["config"].partition(":")[2]
if run.startswith(("gs://", "s3://")):
    from geodesic.experiments.process import lock, storage

    read, write, exists = storage.read, storage.write, storage.exists
    hold = lock.held(run)
else:
    read, hold = lambda path: pathlib.Path(path).read_bytes(), contextlib.nullcontext()
    write, exists = lambda path, content: pathlib.Path(path).write_bytes(content), os.path.exists
    os.makedirs(run, exist_ok=True)
config = json.loads(read(config))
margin = config["loss"]["arcface"]["margin"]
with hold:
    told = [json.dumps({"step": step, "loss": 1 / step, "map@r": margin / 3 * step}) + "\n" for step in (1, 2)]
    write(f"{run}/metrics.jsonl", "".join(told).encode())
    print("working", flush=True)
    for name in ("CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        if name in os.environ:
            print(f"{name} is {os.environ[name]}", flush=True)
    if margin == 0.9:
        raise ArithmeticError("the fake one fails")
    if margin in (0.7, 0.8):
        memory = b"x" * (400 * 2 ** 20 if margin == 0.8 else 1)
        time.sleep(60)
    while margin == 0.6 and not exists(f"{run}/go"):
        time.sleep(0.02)
    time.sleep(0.05)
    environment = {"devices": "1 x cpu", "machine": "none", "packages": {"jax": "0"}, "date": "2026-01-01T",
                   "commit": "0"}
    scores = {"map@r": margin + config["seed"] / 100, "recall@1": 1 - margin}
    evaluation = {"trained": "t", "scores": {"t": scores}, "environment": environment}
    write(f"{run}/evaluation.json", json.dumps(evaluation).encode())
