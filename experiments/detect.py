"""Finds objects in pictures by a trained detector: boxes with classes and scores.

    geodesic detect --workdir=runs/bccd --images=photos [--threshold=0.4] [--sheet=photos.png]
    geodesic detect --workdir=runs/bccd --images=photos --out=found.json      # COCO's results form; .csv likewise
    geodesic detect --workdir=runs/bccd --source=coco --path=test.json --threshold=0 --out=results.json

Boxes are in pixels of the pictures. Exit status: 0, or 1 where not one picture could be read.
"""

import json
import os

import rich.table
from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress
from geodesic.experiments.reporting import asked, detections
from geodesic.experiments.trained import detecting, loading


def define_flags() -> None:
    asked.define_pictures()
    flags.DEFINE_float("threshold", 0.3, "Boxes whose score is lower are left out.")
    asked.define_form("File to write them to, in place of printing them.",
                      "Where to put the pictures with their boxes")


def main(config, values) -> int:
    """Exit status 0, or 1 when not one picture could be read."""
    asked.check_pictures(values)
    asked.check_sheet(values)
    if not 0 <= values.threshold <= 1:
        raise UserError(f"--threshold is a score between 0 and 1; got {values.threshold:g}")
    written = asked.form_of(values)
    say, source = asked.say_beside(written, values.out), asked.pictures(values)
    run = loading.load(values.workdir, config)
    with progress.bar("detecting", len(source)) as advance:
        found = run.detect_source(source, advance, threshold=values.threshold)
    for problem in found.problems:
        say(f"skipped: {problem}")
    kept = [index for index in range(len(source)) if found.readable[index]]
    if not kept:
        raise UserError(f"none of the {len(source)} pictures of {asked.which(values)} can be read; nothing "
                        f"written")
    text = {"json": _coco, "csv": _csv, "table": _table}[written](source, found, kept, run.class_names,
                                                                  _category_ids(source, run))
    count = sum(len(found.images[index].boxes) for index in kept)
    asked.give(text, values.out, say, f"{count:,} boxes in {len(kept):,} picture(s) in {values.out}"
               + (f"; {len(found.problems)} skipped" if found.problems else ""))
    if values.sheet:
        shown = [_shown(source, found.images[index], index, run.class_names) for index in kept[:detections.MOST]]
        hosts.first_does(lambda: detections.write_sheet(values.sheet, shown, len(kept), f"boxes of scores from "
                                                   f"{values.threshold:g} on"))
        say(f"sheet in {values.sheet}")
    return 0


def _category_ids(source, run) -> dict[str, int]:
    """By the names of classes: those of a source that has them, else of the weights (COCO's), else counted from 1 in
    the order of the trained classes.
    """
    names = run.class_names
    ids = {name: place + 1 for place, name in enumerate(names)}
    ids |= {names[place]: int(known) for known, place in run.class_places.items()
            if known not in names and known.isdigit()}
    if hasattr(source, "category_ids"):
        ids |= dict(zip(source.class_names, map(int, source.category_ids), strict=True))
    return ids


def _coco(source, found: detecting.Found, kept: list[int], names: list[str], ids: dict[str, int]) -> str:
    """COCO's results: x, y, width and height of each box. Ids of pictures are those of a source that has them, else
    counted from 1; names stand beside them.
    """
    image_ids = getattr(source, "image_ids", range(1, len(source) + 1))
    rows = []
    for index in kept:
        for box, score, label in zip(*found.images[index], strict=True):
            left, top, right, bottom = (float(side) for side in box)
            rows.append({"image_id": int(image_ids[index]), "category_id": ids[names[label]],
                         "bbox": [round(side, 2) for side in (left, top, right - left, bottom - top)],
                         "score": round(float(score), 5), "file_name": source.paths[index],
                         "category_name": names[label]})
    return "[" + ",\n ".join(map(json.dumps, rows)) + "]\n"


def _csv(source, found: detecting.Found, kept: list[int], names: list[str], _) -> str:
    return asked.csv_text(("path", "class", "score", "x1", "y1", "x2", "y2"), (
        (source.paths[index], names[label], f"{score:.5f}", *(f"{side:.2f}" for side in box))
        for index in kept for box, score, label in zip(*found.images[index], strict=True)))


def _table(source, found: detecting.Found, kept: list[int], names: list[str], _) -> str:
    """Paths are shown below the folder that all of them share."""
    root = os.path.commonpath([os.path.dirname(os.path.abspath(source.paths[index])) for index in kept])
    table = rich.table.Table()
    for name, justify in (("image", "left"), ("class", "left"), ("score", "right"), ("box", "right")):
        table.add_column(name, justify=justify, overflow="fold")
    for index in kept:
        rows = [*zip(*found.images[index], strict=True)]
        told = [(names[label], f"{score:.2f}", " ".join(f"{side:.0f}" for side in box)) for box, score, label in rows]
        for place, row in enumerate(told or [("nothing", "", "")]):
            table.add_row("" if place else os.path.relpath(source.paths[index], root), *row,
                          end_section=place >= len(told) - 1)
    return f"paths are below {root}; boxes are x1 y1 x2 y2 in pixels\n{console.text(table)}"


def _shown(source, detected: detecting.Detected, index: int, names: list[str]) -> detections.Shown:
    told = [f"{names[label]} {score:.2f}" for label, score in zip(detected.classes, detected.scores, strict=True)]
    return detections.Shown(source.paths[index], datasets.decode(source[index]), detected.boxes, detected.classes, told)


if __name__ == "__main__":
    cli.run(main, define_flags, buckets=("workdir", "out"))
