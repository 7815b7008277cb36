"""What a detector finds where the test data have no box: errors of its own, or objects that nobody has labelled.

    python -m benchmarks.unlabelled --workdir=runs/bccd [--score=0.5] [--overlap=0.1] [--shown=12] [--seed=0]
        [--out=benchmarks/results/unlabelled]

After `geodesic evaluate --workdir=...`, whose evaluation.npz has all boxes. Counted are detections of at least that
score that overlap no box of any class by more (IoU), and the labelled objects beside them; AP50 is given as it is, and
with these detections left out, which is what they can cost at most. The picture has some of them, drawn at random, each
in the middle of its surroundings: solid what was found, dashed what is labelled. Whether it is an object is for the eye
to say.
"""

import pathlib

import numpy as np
import PIL.Image

from benchmarks import turns
from geodesic.errors import UserError
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import detecting
from geodesic.experiments.reporting import detections as drawing
from geodesic.experiments.reporting import pictures
from geodesic.metrics import boxes as geometry
from geodesic.metrics import detection, detection_scores

_OUT = pathlib.Path(__file__).parent / "results" / "unlabelled"
_AROUND, _SIDE, _COLUMNS = 220, 220, 6  # pixels of the photograph, pixels and columns of the picture


def main() -> None:
    asked = turns.options(__doc__, workdir="", score=0.5, overlap=0.1, shown=12, seed=0, out=str(_OUT))
    record = workdirs.read_json(workdirs.evaluation_path(asked.workdir))
    with np.load(workdirs.evaluation_arrays_path(asked.workdir)) as file:
        arrays = dict(file)
    if "found/boxes" not in arrays:
        raise UserError(f"{asked.workdir} is no detector that was evaluated")
    found, there = detecting.from_arrays(arrays)
    names = arrays["class_names"].tolist()
    alone = [unlabelled(one, truth, asked.score, asked.overlap) for one, truth in zip(found, there, strict=True)]
    shown = {
        "options": {name: getattr(asked, name) for name in ("score", "overlap", "shown", "seed")},
        "images": len(there), "checkpoint": record["checkpoint_digest"], "classes": {
            name: of_class(label, found, there, alone, asked.score) for label, name in enumerate(names)},
        "ap50": {"as it is": ap50(found, there), "without them": ap50(
            [detection.Detections(*(values[~rows] for values in one)) for one, rows in zip(found, alone, strict=True)],
            there)},
        "environment": record["environment"]}
    picture(found, there, alone, arrays["paths"].tolist(), names, asked).save(f"{asked.out}.jpg", quality=88)
    turns.write(asked.out, shown, table(shown))


def unlabelled(found: detection.Detections, there: detection.Truth, score: float, overlap: float) -> np.ndarray:
    """bool[K], of the detections of an image."""
    near = geometry.overlaps(found.boxes, there.boxes).max(axis=1, initial=0)
    return (found.scores >= score) & (near < overlap)


def of_class(label: int, found, there, alone, score: float) -> dict[str, int]:
    return {"labelled": int(sum(((one.classes == label) & ~one.crowd).sum() for one in there)),
            "found": int(sum(((one.classes == label) & (one.scores >= score)).sum() for one in found)),
            "where nothing is labelled": int(sum((rows & (one.classes == label)).sum()
                                                 for one, rows in zip(found, alone, strict=True)))}


def ap50(found, there) -> float:
    return float(detection_scores.summary(detection.match(found, there))["ap50"])


def picture(found, there, alone, paths: list[str], names: list[str], asked) -> PIL.Image.Image:
    """Some of the detections where nothing is labelled, in rows."""
    all_of = [(place, row) for place, rows in enumerate(alone) for row in np.flatnonzero(rows)]
    chosen = np.random.default_rng(asked.seed).permutation(len(all_of))[:asked.shown]
    rows = -(-max(len(chosen), 1) // _COLUMNS)
    sheet = PIL.Image.new("RGB", (_COLUMNS * _SIDE, rows * _SIDE), "white")
    for number, which in enumerate(chosen):
        place, row = all_of[which]
        pixels = pictures.read_file(paths[place])
        corner = np.clip((found[place].boxes[row, :2] + found[place].boxes[row, 2:]) / 2 - _AROUND / 2, 0,
                         np.maximum(np.array(pixels.shape[1::-1]) - _AROUND, 0)).astype(int)
        left, top = corner
        boxes = np.concatenate([found[place].boxes[row:row + 1], there[place].boxes]) - np.tile(corner, 2)
        classes = np.concatenate([found[place].classes[row:row + 1], there[place].classes])
        label = f"{names[int(classes[0])]} {found[place].scores[row]:.2f}"
        drawn = drawing.draw(drawing.Shown("", pixels[top:top + _AROUND, left:left + _AROUND], boxes, classes,
                                           [label] + [drawing.MISSED] * len(there[place].boxes)), side=_SIDE)
        sheet.paste(drawn, (number % _COLUMNS * _SIDE, number // _COLUMNS * _SIDE))
    return sheet


def table(shown: dict) -> str:
    options, scores = shown["options"], shown["ap50"]
    lines = ["# Found where nothing is labelled", "",
             f"`python -m benchmarks.unlabelled`: detections of {options['score']:g} and more that overlap no box by "
             f"{options['overlap']:g} (IoU), in {shown['images']:,} images.", "",
             "| class | labelled | found | where nothing is labelled |", "|---|---|---|---|"]
    lines += [f"| {name} | {one['labelled']:,} | {one['found']:,} | {one['where nothing is labelled']:,} |"
              for name, one in shown["classes"].items()]
    made = shown["environment"]
    return "\n".join([*lines, "", f"AP50 is {scores['as it is']:.3f}, and {scores['without them']:.3f} without them.",
                      "", f"{made['machine']}, {made['date'][:10]}, commit {made['commit']}.", ""])


if __name__ == "__main__":
    main()
