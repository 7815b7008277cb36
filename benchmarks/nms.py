"""From a network's outputs to boxes, and suppression alone against OpenCV's, in turns, in one process.

    python -m benchmarks.nms [--rounds=25] [--batch=8] [--height=320] [--width=416] [--classes=3]
        [--out=benchmarks/results/nms]

Random outputs of FCOS's and of RetinaNet's head at P3 to P7, a batch at a time: decoding, the 1,000 best candidates of
each level, suppression class by class, 100 boxes of each picture kept; with `detection.smallest_score` .05 and 0.
Beside it suppression alone, of N random boxes of each picture, against cv2.dnn.NMSBoxesBatched, picture by picture:
ours keeps 100, OpenCV all, so that both are also run with all of them kept. Both must keep the same boxes.
"""

import os
import pathlib
import statistics

import cv2
import jax
import numpy as np

from benchmarks import turns
from geodesic.experiments.process import runtime, workdir
from geodesic.heads.detection import nms, postprocess
from geodesic.losses import anchors, detection_targets

ROOT = pathlib.Path(__file__).parents[1]
STRIDES, CANDIDATES, THRESHOLD = (8, 16, 32, 64, 128), (100, 1000, 5000), 0.6


def outputs_of(head: str, sizes: tuple[int, ...], batch: int, classes: int) -> dict[str, list[np.ndarray]]:
    """Random ones, of which about one in five scores more than .05."""
    random = np.random.default_rng(0)
    level = lambda size, last, mean, scale: random.normal(mean, scale, (batch, size, *last)).astype(np.float32)
    logits = [level(size, (classes,), -5, 2.5) for size in sizes]
    if head == "retinanet":
        return {"logits": logits, "offsets": [level(size, (4,), 0, 0.3) for size in sizes]}
    return {"logits": logits, "distances": [np.abs(level(size, (4,), 2, 1)) for size in sizes],
            "centerness": [level(size, (), 0, 1) for size in sizes]}


def detecting(asked) -> dict:
    """Name -> what runs once and waits for its end."""
    size, runs = (asked.height, asked.width), {}
    places = {"fcos": detection_targets.points(size, STRIDES), "retinanet": anchors.make(size, STRIDES)}
    for head, known in places.items():
        given = jax.device_put(outputs_of(head, known.sizes, asked.batch, asked.classes))
        for smallest in (0.05, 0.0):
            detect = jax.jit(lambda outputs, known=known, smallest=smallest: postprocess.detect(
                outputs, known.places, known.strides, image_size=size, smallest=smallest))
            runs[f"{head}, scores above {smallest:g}"] = lambda detect=detect, given=given: jax.block_until_ready(
                detect(given))
    return runs


def suppressing(asked, candidates: int) -> tuple[dict, int]:
    """(name -> what runs once, how many boxes are kept of the first picture). Ends where the two keep other boxes."""
    random = np.random.default_rng(1)
    corners = random.uniform(0, 300, (asked.batch, candidates, 2))
    boxes = np.concatenate([corners, corners + random.uniform(20, 80, corners.shape)], 2).astype(np.float32)
    scores = random.uniform(0.05, 1, (asked.batch, candidates)).astype(np.float32)
    classes = random.integers(0, asked.classes, scores.shape).astype(np.int32)
    sides = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], 2)

    def peer():
        return [cv2.dnn.NMSBoxesBatched(*one, 0.0, THRESHOLD) for one in zip(sides, scores, classes, strict=True)]

    found = peer()
    keep = lambda kept: jax.jit(jax.vmap(lambda *one: nms.nms(*one, threshold=THRESHOLD, kept=kept)))
    given = jax.device_put((boxes, scores, classes))
    most = max(map(len, found))
    all_of_them = keep(most)
    for ours, theirs in zip(np.asarray(all_of_them(*given)[0]), found, strict=True):
        if {*ours[ours >= 0].tolist()} ^ {*np.asarray(theirs).tolist()}:
            raise SystemExit("error: OpenCV and this code keep other boxes")
    hundred = keep(100)
    return {"ours, 100 kept": lambda: jax.block_until_ready(hundred(*given)),
            "ours, all kept": lambda: jax.block_until_ready(all_of_them(*given)), "OpenCV, all kept": peer}, most


def markdown(record: dict) -> str:
    asked, shown = record["asked"], lambda seconds: turns.show([1000 * one for one in seconds])
    lines = ["# From outputs to boxes", "",
             f"`python -m benchmarks.nms`, {asked['batch']} pictures of {asked['width']} x {asked['height']} pixels, "
             f"{asked['classes']} classes: milliseconds for the batch, median (least to most).", "",
             "| decoding, candidates and suppression | ms |", "|---|---|",
             *(f"| {name} | {shown(seconds)} |" for name, seconds in record["detect"].items()), "",
             "| candidates of a picture | kept, at most | ours, 100 kept | ours, all kept | OpenCV, all kept | ratio "
             "of the last two |", "|---|---|---|---|---|---|"]
    for row in record["nms"]:
        seconds = row["seconds"]
        ratio = statistics.median(seconds["ours, all kept"]) / statistics.median(seconds["OpenCV, all kept"])
        lines.append(f"| {row['candidates']:,} | {row['kept']:,} | {' | '.join(map(shown, seconds.values()))} | "
                     f"{ratio:.2f} |")
    made, (before, after) = record["environment"], record["load"]
    return "\n".join([*lines, "", f"{made['machine']}, jax {made['packages']['jax']}, OpenCV {record['opencv']}; load "
                      f"average {before:.1f} before and {after:.1f} after. {made['date'][:10]}.", ""])


def main() -> None:
    asked = turns.options(__doc__, rounds=25, batch=8, height=320, width=416, classes=3,
                          out=str(ROOT / "benchmarks" / "results" / "nms"))
    runtime.start()
    before, rows = os.getloadavg()[0], []
    found, _ = turns.measure(detecting(asked), asked.rounds)
    for candidates in CANDIDATES:
        runs, most = suppressing(asked, candidates)
        rows.append({"candidates": candidates, "kept": most, "seconds": turns.measure(runs, asked.rounds)[0]})
    record = {"asked": vars(asked), "detect": found, "nms": rows, "opencv": cv2.__version__,
              "environment": workdir.environment(jax.devices()), "load": [before, os.getloadavg()[0]]}
    workdir.write_json(asked.out + ".json", record)
    workdir.write_atomically(asked.out + ".md", markdown(record).encode())
    print(markdown(record))


if __name__ == "__main__":
    main()
