"""Finds known things in pictures: the boxes of a detector, each looked up among the vectors of an embedding file.

    geodesic embed --workdir=runs/products --images=catalogue --out=catalogue.parquet
    geodesic calibrate --workdir=runs/products --far=1e-3 --source=image_folder --data=others
    geodesic find --workdir=runs/shelves --embedder=runs/products --embeddings=catalogue.parquet --images=photos \\
        [--sheet=found.html] [--out=found.json]

Each box is cut out and embedded; what is nearest by cosine names it, and below the threshold that `geodesic calibrate`
has set for the embedder it is "unknown". Exit status: 0, or 1 where not one picture could be read.
"""

import json
import os
from typing import NamedTuple

import numpy as np
import rich.table
from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.reporting import asked, detections
from geodesic.experiments.trained import embedding_file, inputs, loading
from geodesic.metrics import retrieval

UNKNOWN = "unknown"
_EXTENSIONS = (".json", ".csv")


class Box(NamedTuple):
    """One box of a picture, and what it was found to be.

    Attributes:
      path: of the picture.
      box: x1, y1, x2, y2 in pixels.
      kind, score: the detector's class and its score.
      name: of the nearest vector, its class or else its file; UNKNOWN below the threshold.
      cosine, nearest: of that vector, and its picture's path, whether known or not.
    """

    path: str
    box: tuple[float, ...]
    kind: str
    score: float
    name: str
    cosine: float
    nearest: str


def define_flags() -> None:
    flags.DEFINE_string("embedder", "", "Folder of the run, or of imported weights, that has made --embeddings.")
    flags.DEFINE_string("embeddings", "", "File of geodesic embed to look boxes up in.")
    flags.DEFINE_string("images", "", "A picture, or a folder of pictures, searched with its sub-folders.")
    flags.DEFINE_float("threshold", 0.3, "Boxes whose score is lower are left out.")
    flags.DEFINE_float("margin", 0.0, "Share of a box's sides that is cut out around it, on each side.")
    flags.DEFINE_float("far", 0.0, "The threshold of this false accept rate; 0 = of the smallest that `geodesic "
                       "calibrate` has set for --embedder.")
    flags.DEFINE_float("cosine", -2.0, "This cosine in place of a calibrated threshold.")
    flags.DEFINE_string("out", "", "A .json or .csv file to write them to, in place of printing them.")
    flags.DEFINE_string("sheet", "", "Where to put the pictures with their boxes: a .png or a .html file.")


def main(config, values) -> int:
    """Exit status 0, or 1 when not one picture could be read."""
    _check(values)
    source, gallery = inputs.as_source(values.images), embedding_file.read(values.embeddings)
    detector, embedder = loading.load(values.workdir, config), loading.load(values.embedder)
    embedding_file.check_same(gallery.identity, embedder.identity, values.embeddings)
    limit = values.cosine if values.cosine >= -1 else embedder.threshold_of(values.far)["threshold"]
    with progress.bar("detecting", len(source)) as advance:
        found = detector.detect_source(source, advance, threshold=values.threshold)
    for problem in found.problems:
        print(f"skipped: {problem}")
    kept = np.flatnonzero(found.readable)
    if not len(kept):
        raise UserError(f"none of the {len(source)} pictures of {values.images} can be read; nothing written")
    boxes = {index: look_up(source, index, found.images[index], detector.class_names, embedder, gallery, limit,
                            values.margin) for index in kept}
    rows = [box for of_picture in boxes.values() for box in of_picture]
    if values.out:
        text = _json(rows) if values.out.endswith(".json") else _csv(rows)
        hosts.first_does(lambda: workdirs.write_atomically(values.out, text.encode(errors="replace")))
    else:
        _print(rows)
    known = sum(row.name != UNKNOWN for row in rows)
    print(f"{len(rows):,} boxes in {len(kept):,} picture(s), {known:,} known (cosine at least {limit:.4f}), "
          f"{len(rows) - known:,} unknown" + (f": {values.out}" if values.out else ""))
    if values.sheet:
        shown = [_shown(source, index, boxes[index]) for index in kept[:detections.MOST]]
        hosts.first_does(lambda: detections.write_sheet(values.sheet, shown, len(kept), f"known: cosine at least "
                                                        f"{limit:.4f}"))
        print(f"sheet in {values.sheet}")
    return 0


def _check(values) -> None:
    """Raises UserError for what cannot be done, before anything is read."""
    asked.check_sheet(values)
    if values.out and not values.out.endswith(_EXTENSIONS):
        raise UserError(f"--out is a .json or a .csv file; got {values.out!r}")
    if not 0 <= values.margin <= 1:
        raise UserError(f"--margin is a share between 0 and 1; got {values.margin:g}")
    if values.cosine > 1 or -2 < values.cosine < -1:
        raise UserError(f"--cosine is between -1 and 1; got {values.cosine:g}")


def look_up(source, index: int, found, kinds: list[str], embedder, gallery: embedding_file.Embeddings, limit: float,
            margin: float) -> list[Box]:
    """The boxes of one picture with what is nearest to each."""
    if not len(found.boxes):
        return []
    pixels, path = datasets.decode(source[int(index)]), source.paths[index]
    places, cosines = retrieval.neighbors(embedder.embed([cut(pixels, box, margin) for box in found.boxes]),
                                          gallery.embeddings, 1)
    rows = []
    for box, score, label, place, cosine in zip(*found, places[:, 0], cosines[:, 0], strict=True):
        nearest = gallery.paths[place]
        name = gallery.labels[place] if gallery.labels else os.path.basename(nearest)
        rows.append(Box(path, tuple(round(float(side), 2) for side in box), kinds[label], float(score),
                        name if cosine >= limit else UNKNOWN, float(cosine), nearest))
    return rows


def cut(pixels: np.ndarray, box: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """The part of a picture u8[H,W,3] that a box f[4] covers, with a share of its sides around it; one pixel at least.

    Example:
      >>> import numpy as np
      >>> from geodesic.experiments import find
      >>> find.cut(np.zeros((40, 60, 3), np.uint8), np.array([10.0, 10, 30, 20]), margin=0.5).shape
      (20, 40, 3)
    """
    height, width = pixels.shape[:2]
    around = margin * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
    left, top, right, bottom = np.round(box + around).astype(int)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return pixels[top:max(bottom, top + 1), left:max(right, left + 1)]


def _json(rows: list[Box]) -> str:
    return json.dumps([row._asdict() for row in rows], indent=1) + "\n"


def _csv(rows: list[Box]) -> str:
    return asked.csv_text(("path", "x1", "y1", "x2", "y2", "kind", "score", "name", "cosine", "nearest"), (
        (row.path, *row.box, row.kind, f"{row.score:.5f}", row.name, f"{row.cosine:.5f}", row.nearest) for row in rows))


def _print(rows: list[Box]) -> None:
    table = rich.table.Table()
    for name, justify in (("image", "left"), ("box", "right"), ("kind", "left"), ("score", "right"), ("name", "left"),
                          ("cosine", "right")):
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(os.path.basename(row.path), " ".join(f"{side:.0f}" for side in row.box), row.kind,
                      f"{row.score:.2f}", row.name, f"{row.cosine:.3f}")
    console.plain().print(table)


def _shown(source, index: int, rows: list[Box]) -> detections.Shown:
    """Known boxes have one colour, unknown ones the other."""
    return detections.Shown(source.paths[index], datasets.decode(source[int(index)]),
                            np.array([row.box for row in rows]).reshape(-1, 4),
                            np.array([int(row.name == UNKNOWN) for row in rows], int),
                            [f"{row.name} {row.cosine:.2f}" for row in rows])


if __name__ == "__main__":
    cli.run(main, define_flags, required=("workdir", "embedder", "embeddings", "images"),
            buckets=("workdir", "embedder", "embeddings", "out"))
