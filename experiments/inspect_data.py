"""Looks at data before a run does: counts, labels, sizes, damage, duplicates, and leaks from training to test.

    geodesic inspect_data --config=quickstart --out=inspection
    geodesic inspect_data --source=image_folder --path=photos --out=inspection

Prints a report, and writes inspection.json and samples.png into --out; of a configuration also views.png, the first
images that a run would train on, as its augmentations make them. Exit status 1 where an image of the test data is
also in the training data, pixel by pixel.
"""

import collections
import os

import cv2
import numpy as np
from absl import flags

from geodesic import datasets
from geodesic.datasets import crops
from geodesic.datasets.sources import array_record
from geodesic.errors import UserError
from geodesic.experiments.process import cli, hosts, workdir
from geodesic.experiments.protocols import duplicates
from geodesic.experiments.reporting import boxes, views
from geodesic.experiments.training import data

# How much of a long list the report and the file have.
_PRINTED, _LISTED = 5, duplicates.LISTED
_SHEET_CLASSES, _SHEET_IMAGES, _SHEET_PIXELS = 12, 8, 96


def define_flags() -> None:
    flags.DEFINE_string("source", "", "Name of a source to look at, instead of those of --config.")
    flags.DEFINE_string("path", "", "Folder or file of that source.")
    flags.DEFINE_string("out", "inspection", "Folder for inspection.json, samples.png and views.png.")
    flags.DEFINE_integer("distance", 3, "Near duplicates differ in at most so many of 64 bits; -1: look for none.")
    flags.DEFINE_integer("threads", os.cpu_count() or 1, "Threads that read and decode.")


def main(config, values) -> int:
    if not values.source and config is None:
        raise UserError("give --config=... to look at its training and test data, or --source=... and --path=...")
    if not -1 <= values.distance <= 16 or values.threads < 1:
        raise UserError(f"--distance is -1..16, --threads at least 1; got {values.distance} and {values.threads}")
    parts = ({"data": datasets.build(values.source, path=values.path)} if values.source else
             {"train": data.train_source(config), "test": data.test_source(config)})
    seen = {name: duplicates.look(source, name, values.threads) for name, source in parts.items()}
    record = {name: describe(source, seen[name]) for name, source in parts.items()}
    record["duplicates"] = duplicates.compare(parts, seen, values.distance)
    path = os.path.join(values.out, "inspection.json")
    with_boxes = {name: source for name, source in parts.items() if isinstance(source, datasets.BoxFiles)}
    sheets = {"samples.png": boxes.samples(with_boxes, seen) if with_boxes else _png(samples(parts, seen))}
    if "train" in parts:
        sheets["views.png"] = (boxes.views(config, parts["train"]) if "train" in with_boxes else
                               _png(views.draw(config, parts["train"])))
    hosts.first_does(lambda: workdir.write_json(path, record))
    for name, drawn in sheets.items():
        hosts.first_does(lambda name=name, drawn=drawn: workdir.write_atomically(os.path.join(values.out, name), drawn))
    report(record)
    print(f"written to {path}, beside {' and '.join(sheets)}")
    return 1 if any(kind["across"] for kind in (record["duplicates"]["pixels"], record["duplicates"]["files"])) else 0


def describe(source: datasets.Source, seen: list[dict]) -> dict:
    """What is to be said of one part of the data by itself. An image with boxes is of all classes that it shows."""
    has_boxes = isinstance(source, datasets.BoxFiles)
    counts = (boxes.pictures_of_each_class(source) if has_boxes else
              np.bincount(source.labels, minlength=source.num_classes))
    labels = source.boxes.classes if has_boxes else source.labels
    read = [image for image in seen if "problem" not in image]
    problems = [image["problem"] for image in seen if "problem" in image]
    single = [source.class_names[label] for label in np.flatnonzero(counts == 1)]
    spread = lambda values: [float(value) for value in np.quantile(values, (0, 0.5, 1))] if len(values) else []
    result = {
        "images": len(source), "classes": source.num_classes,
        "labels": [int(labels.min()), int(labels.max())] if len(labels) else [0, 0],
        "classes_without_image": int((counts == 0).sum()), "classes_with_one_image": len(single),
        "one_image": single[:_LISTED], "images_per_class": spread(counts[counts > 0]),
        "heights": spread([image["height"] for image in read]), "widths": spread([image["width"] for image in read]),
        "file_bytes": spread([image["bytes"] for image in read if image["bytes"]]),
        "remarks": datasets.remarks(source), "unreadable": len(problems), "unreadable_images": problems[:_LISTED],
        "regions": dict(collections.Counter(region for image in seen for region in image["regions"])),
    }
    if isinstance(source, datasets.ArrayRecord):
        result["damaged_shards"] = array_record.damaged_shards(source.folder)
    return result | ({"boxes": boxes.describe(source, seen)} if has_boxes else {})


def samples(parts: dict, seen: dict) -> np.ndarray:
    """u8[H,W,3]: a row of images for each of some classes of each part, with its name above."""
    size, rows = _SHEET_PIXELS, []
    for part, source in parts.items():
        present = np.unique(source.labels)
        for label in present[np.linspace(0, len(present) - 1, min(_SHEET_CLASSES, len(present))).astype(int)]:
            row = np.full((size + 20, _SHEET_IMAGES * size, 3), 255, np.uint8)
            places = [place for place in np.flatnonzero(source.labels == label) if "problem" not in seen[part][place]]
            for column, place in enumerate(places[:_SHEET_IMAGES]):
                image = crops.fit(crops.cut(source[place], crops.whole, None), size, "center_crop")
                row[20:, column * size:(column + 1) * size] = image
            title = f"{part}: {source.class_names[label]} ({len(places)})".encode("ascii", "replace").decode()
            rows.append(cv2.putText(row, title, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA))
    return np.concatenate(rows)


def _png(sheet: np.ndarray) -> bytes:
    return cv2.imencode(".png", sheet[:, :, ::-1])[1].tobytes()


def report(record: dict) -> None:
    for name, part in record.items():
        if name == "duplicates":
            continue
        middle = lambda key, part=part: " / ".join(f"{value:g}" for value in part[key]) or "-"
        print(f"{name}: {part['images']:,} images of {part['classes']:,} classes, labels {part['labels'][0]} to "
              f"{part['labels'][1]}; least / median / most: {middle('images_per_class')} images in a class, "
              f"{middle('heights')} high, {middle('widths')} wide, {middle('file_bytes')} bytes")
        print(f"  {part['classes_without_image']:,} classes without an image, {part['classes_with_one_image']:,} with "
              f"one" + _first(part["one_image"]))
        print(f"  {part['unreadable']:,} unreadable" + _first(part["unreadable_images"]))
        if part["regions"]:
            print("  images with a " + ", ".join(f"{what}: {count:,}" for what, count in part["regions"].items()))
        for line in boxes.lines(part["boxes"]) if "boxes" in part else ():
            print(f"  {line}")
        for shard in part.get("damaged_shards", []):
            print(f"  damaged: {shard} (another sha256 than the manifest's)")
    what = {"files": "the same file", "pixels": "the same pixels", "near": "nearly the same"}
    for kind, found in record["duplicates"].items():
        within = ", ".join(f"{found[name]:,} within {name}" for name in record if name != "duplicates")
        print(f"{what[kind]}: {within}, {found['across']:,} ACROSS, {found['of_several_classes']:,} of several classes"
              + _first([" = ".join(group[:4]) for group in found["groups"]]))


def _first(lines: list[str]) -> str:
    return "".join(f"\n    {line}" for line in lines[:_PRINTED]) + ("\n    ..." if len(lines) > _PRINTED else "")


if __name__ == "__main__":
    cli.run(main, define_flags, required=(), buckets=("out",))
