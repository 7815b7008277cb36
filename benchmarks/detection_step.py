"""A detector's training step against torchvision's FCOS, in turns: seconds, their ratio, and memory.

    python -m benchmarks.detection_step --peers=PYTHON [--rounds=5] [--batch=8] [--height=320] [--width=416]
        [--classes=3] [--boxes=14] [--out=benchmarks/results/detection_step]

PYTHON is an interpreter with torch and torchvision 0.16.2 (requirements-peers.txt). All have a ResNet-50 that learns
with its BatchNorm frozen, P3 to P7 of 256 channels, towers of four convolutions with GroupNorm, GIoU, and SGD with
momentum, in float32; random pictures of that size and as many boxes in each. Ours is a step of `geodesic train`, which
normalises pictures on the device, of FCOS's head and beside it of RetinaNet's (no GroupNorm, smooth L1); torch is eager
and channels last, and again with glibc told to keep freed memory, as our programs tell it. Each has a process of its
own. Two rounds are not counted. The memory is the most that a process has held in a step, with its program and
libraries. Linux only.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np

from benchmarks import served, turns

ROOT = pathlib.Path(__file__).parents[1]
OURS, PEERS = ("fcos", "retinanet"), ("torchvision", "torchvision, heap kept")


def build(asked: dict):
    """(a step of training that gives its loss, facts)."""
    from geodesic.experiments.process import runtime

    runtime.start()
    import jax

    from geodesic.configs import default
    from geodesic.experiments import tasks
    from geodesic.experiments.process import mesh as meshes
    from geodesic.experiments.process import workdir
    from geodesic.experiments.training import model as models
    from geodesic.experiments.training import step as steps

    config = default.get_config()
    config.task, config.loss.name, config.detection.head = "detection", asked["head"], asked["head"]
    config.embedder.update(name=asked["embedder"], batch_norm="frozen")
    config.detection.update(height=asked["height"], width=asked["width"], max_boxes=asked["boxes"], coarser=2)
    config.optimizer.update(name="sgd", learning_rate=1e-4, momentum=0.9, weight_decay=0.0)
    config.batch_size = asked["batch"]
    mesh = meshes.make(jax.devices()[:1])
    model = models.build(config, tasks.get("detection"), asked["classes"], 100 * asked["batch"], mesh)
    state, batch = models.init_state(model, mesh), steps.put_train_batch(model, mesh, batch_of(asked))
    compiled = steps.make_train_step(model, mesh).lower(state, batch).compile()

    def step() -> float:
        nonlocal state
        state, scalars = compiled(state, batch)
        jax.block_until_ready(state)
        return float(scalars["loss"])

    return step, {"environment": workdir.environment(jax.devices()), "flops": compiled.cost_analysis()["flops"]}


def batch_of(asked: dict) -> dict[str, np.ndarray]:
    """What `tasks.detection` learns from, at random."""
    random, size = np.random.default_rng(0), (asked["height"], asked["width"])
    corners, sides = (random.uniform(low, high, (asked["batch"], asked["boxes"], 2)) for low, high in
                      ((0, 0.7), (0.05, 0.3)))
    boxes = np.concatenate([corners, corners + sides], 2) * (*size[::-1], *size[::-1])
    return {"image": random.integers(0, 256, (asked["batch"], *size, 3), np.uint8), "boxes": boxes.astype(np.float32),
            "classes": random.integers(0, asked["classes"], boxes.shape[:2]).astype(np.int32),
            "num_boxes": np.full(asked["batch"], asked["boxes"], np.int32)}


def measure(commands: dict[str, list[str]], rounds: int) -> tuple[dict[str, dict], dict[str, list[dict]]]:
    """(name -> its facts, name -> what it answers to each round), in turns, each in a process of its own."""
    processes = {name: subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                 for name, command in commands.items()}
    try:
        facts = {name: _answer(name, process) for name, process in processes.items()}
        answers = {name: [] for name in processes}
        for turn in range(-turns.WARM, rounds):
            for name, process in processes.items():
                process.stdin.write("step\n")
                process.stdin.flush()
                answer = _answer(name, process)
                print(f"round {turn}, {name}: {answer['seconds']:.3f} s, {answer['peak_bytes'] / 2**30:.2f} GiB",
                      flush=True)
                if turn >= 0:
                    answers[name].append(answer)
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait(60)
    return facts, answers


def _answer(name: str, process: subprocess.Popen) -> dict:
    line = next((line for line in process.stdout if line.startswith("{")), None)
    if line is None:
        sys.exit(f"error: {name} ended with status {process.wait()}")
    return json.loads(line)


def markdown(record: dict) -> str:
    asked, answers = record["asked"], record["answers"]
    middle = lambda name, key: statistics.median(answer[key] for answer in answers[name])
    lines = ["# A detector's training step", "",
             f"`python -m benchmarks.detection_step`: {asked['embedder']} with P3 to P7, {asked['batch']} pictures of "
             f"{asked['width']} x {asked['height']} pixels, {asked['boxes']} boxes in each, float32, in turns.", "",
             "| | seconds (least to most) | of processor | over torchvision | over torchvision, heap kept | GiB |",
             "|---|---|---|---|---|---|"]
    for name in answers:
        seconds = [answer["seconds"] for answer in answers[name]]
        ratios = [f"{middle(name, 'seconds') / middle(peer, 'seconds'):.2f}" if name in OURS and peer in answers else ""
                  for peer in PEERS]
        lines.append(f"| {name} | {turns.show(seconds)} | {middle(name, 'processor'):.3f} | {' | '.join(ratios)} | "
                     f"{middle(name, 'peak_bytes') / 2**30:.2f} |")
    made = record["environment"]
    before, after = record["load"]
    return "\n".join([*lines, "", f"{made['machine']}, jax {made['packages']['jax']}, torch {record['torch']}; load "
                      f"average {before:.1f} before and {after:.1f} after. {made['date'][:10]}.", ""])


def main() -> None:
    options = turns.options(__doc__, peers="", rounds=5, batch=8, height=320, width=416, classes=3, boxes=14,
                            embedder="resnet50", out=str(ROOT / "benchmarks" / "results" / "detection_step"))
    asked = {key: value for key, value in vars(options).items() if key not in ("peers", "out", "rounds")}
    commands = {head: [sys.executable, "-m", "benchmarks.detection_step", "ours", json.dumps(asked | {"head": head})]
                for head in OURS}
    if options.peers:
        commands |= {name: [options.peers, "-W", "ignore", "-m", "benchmarks.detection_step_torch",
                            json.dumps(asked | {"heap_kept": name != PEERS[0]})]
                     for name in PEERS}
    before = os.getloadavg()[0]
    facts, answers = measure(commands, options.rounds)
    record = {"asked": asked, "answers": answers, "environment": facts["fcos"]["environment"],
              "flops": {name: facts[name]["flops"] for name in OURS},
              "torch": facts[PEERS[0]]["torch"] if options.peers else "not run", "load": [before, os.getloadavg()[0]]}
    from geodesic.experiments.process import workdir

    workdir.write_json(options.out + ".json", record)
    workdir.write_atomically(options.out + ".md", markdown(record).encode())
    print(markdown(record))


def serve(asked: dict) -> None:
    """One of the contenders: this program's other side."""
    step, facts = build(asked)
    print(json.dumps(facts), flush=True)
    served.serve(step)


if __name__ == "__main__":
    serve(json.loads(sys.argv[2])) if sys.argv[1:2] == ["ours"] else main()
