"""Stands in for geodesic train and geodesic evaluate: takes a moment, then scores by its configuration alone.

loss.arcface.margin 0.9 raises, 0.8 takes 400 MiB and waits, 0.7 waits until it is stopped, 0.6 until its workdir holds
a file called go; others score the margin.
"""

import json
import pathlib
import sys
import time

given = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
config = json.loads(pathlib.Path(given["config"].partition(":")[2]).read_text())
run = pathlib.Path(given["workdir"])
run.mkdir(exist_ok=True)
margin = config["loss"]["arcface"]["margin"]
with open(run / "metrics.jsonl", "a") as file:
    for step in (1, 2):
        file.write(json.dumps({"step": step, "loss": 1 / step, "map@r": margin / 3 * step}) + "\n")
print("working", flush=True)
if margin == 0.9:
    raise ArithmeticError("the fake one fails")
if margin in (0.7, 0.8):
    memory = b"x" * (400 * 2 ** 20 if margin == 0.8 else 1)
    time.sleep(60)
while margin == 0.6 and not (run / "go").exists():
    time.sleep(0.02)
time.sleep(0.05)
environment = {"devices": "1 x cpu", "machine": "none", "packages": {"jax": "0"}, "date": "2026-01-01T", "commit": "0"}
scores = {"map@r": margin + config["seed"] / 100, "recall@1": 1 - margin}
(run / "evaluation.json").write_text(json.dumps({"trained": "t", "scores": {"t": scores}, "environment": environment}))
