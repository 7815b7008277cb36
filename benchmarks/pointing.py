"""Do similarity maps point at what is alike? Mosaics of photographs, white blood cells, deletion and insertion.

    geodesic import_weights --weights=... --embedder=resnet50 --out=weights/resnet50
    python -m benchmarks.pointing --weights=weights/resnet50 --photos=grocery --part=val     # choose by this
    python -m benchmarks.pointing --weights=weights/resnet50 --photos=grocery --cells=bccd --out=pointing

* mosaics: two photographs of other classes side by side, or four, and a third of one of the classes as the query: is
  the largest place of its map within the photograph of that class? All readings of the maps, ours, Grad-CAM's and those
  of the untrained network, are of the same mosaics. A centred map is of the embedding less the mean of photographs to
  train on: an affine neck, so that it is as exact as the plain one.
* cells: photographs of blood, and crops of white cells of other photographs as the query: which share of what is
  positive in the map lies in the boxes of white cells, beside their share of the area?
* curves: pairs of photographs of a class: the cosine as the places of one are taken away and brought, the largest of
  our map first or of Grad-CAM's (`geodesic explain --curves`).

What is done is kept in OUT.json, part by part, and not done again.
"""

import json
import os
import pathlib

import cv2
import jax
import numpy as np

import geodesic
from benchmarks import turns
from benchmarks.pointing_maps import LAYERS, Maps, readings, unit
from geodesic import datasets
from geodesic.datasets import crops, transforms
from geodesic.experiments.process import workdir
from geodesic.experiments.trained import attribution, embedding, network
from geodesic.metrics import bootstrap, saliency

USUAL = {"part": "test", "tile": 224, "mosaics": 120, "fours": 40, "means": 96, "height": 320, "width": 416,
         "cell": "WBC", "size": 160, "pairs": 50, "steps": 7, "seed": 0}
# The largest share of hits with --part=val; others are within its interval.
CHOSEN = "stage3, centred, of 3 x 3 places"


def drawn(labels: np.ndarray, tiles: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(i[count,tiles] the photographs of mosaics, each of another class, i[count,tiles] a query for each: another
    photograph of its class).
    """
    rng, mosaics, queries = np.random.default_rng(seed), [], []
    able = np.flatnonzero(np.bincount(labels)[labels] > 1)
    while len(mosaics) < count:
        photos = rng.choice(able, tiles, replace=False)
        if len(set(labels[photos])) == tiles:
            mosaics.append(photos)
            queries.append([rng.choice(np.setdiff1d(np.flatnonzero(labels == labels[photo]), photo))
                            for photo in photos])
    return np.array(mosaics), np.array(queries)


def tiled(views: np.ndarray) -> np.ndarray:
    """One image of two views side by side, or of four, two a row."""
    rows = [np.concatenate(views[at:at + 2], axis=1) for at in range(0, len(views), 2)]
    return np.concatenate(rows)


def mosaics(run, options, tiles: int, count: int) -> dict:
    """Network -> reading -> share of hits, with its interval over mosaics."""
    source = datasets.build("image_folder", path=os.path.join(options.photos, options.part))
    others = datasets.build("image_folder", path=os.path.join(options.photos, "train"))
    view = lambda source, places: np.stack([transforms.eval_view(source[int(place)], run.config.input)
                                            for place in places])
    pick = np.random.default_rng(options.seed).permutation(len(others))[:options.means]
    photos, queries = drawn(source.labels, tiles, count, options.seed)
    asked = np.unique(queries)
    images = np.stack([tiled(view(source, row)) for row in photos])
    found, high = {}, -(-tiles // 2)
    # What is chosen on `val` is the trained network's alone.
    for name in ("trained",) if options.part == "val" else ("trained", "untrained"):
        network_ = Maps(run, run.variables if name == "trained" else network.untrained(run.embedder, run.config),
                        view(others, pick))
        rows = network_.pooled(view(source, asked))
        hits = {}
        for at in range(0, count, 8):
            maps = network_.of(images[at:at + 8])
            for tile in range(tiles):
                row, column = divmod(tile, 2)
                box = np.array([[column / 2, row / high, (column + 1) / 2, (row + 1) / high]])
                own = np.searchsorted(asked, queries[at:at + 8, tile])
                for how, map_ in readings(maps, {layer: rows[layer][own] for layer in LAYERS}, network_.mean).items():
                    hits.setdefault(how, []).append(saliency.points_inside(map_, box.repeat(len(map_), axis=0)))
        # In `hits` the mosaics come by eights, and in each of these the tiles one after another.
        group = np.concatenate([np.tile(np.arange(at, min(at + 8, count)), tiles) for at in range(0, count, 8)])
        found[name] = {how: bootstrap.mean_interval(np.concatenate(hit), group, seed=options.seed)
                       for how, hit in hits.items()}
    return {"games": count * tiles, "mosaics": count, "networks": found}


def alone(run, options) -> dict:
    """Layer -> in what share of the games of two the query is nearer to the photograph of its class than to the other,
    each embedded alone: where it is not, no map of the layer can be expected to point at it.
    """
    source = datasets.build("image_folder", path=os.path.join(options.photos, options.part))
    photos, queries = drawn(source.labels, 2, options.mosaics, options.seed)
    used = np.unique([photos, queries])
    views = np.stack([transforms.eval_view(source[int(place)], run.config.input) for place in used])
    rows = Maps(run, run.variables, views[:1]).pooled(views)
    at = lambda layer, places: unit(rows[layer][np.searchsorted(used, places)])
    right = {layer: (at(layer, queries) * at(layer, photos)).sum(axis=-1)
             > (at(layer, queries) * at(layer, photos[:, ::-1])).sum(axis=-1) for layer in LAYERS}
    groups = np.arange(options.mosaics).repeat(2)
    return {layer: bootstrap.mean_interval(hits.ravel(), groups, seed=options.seed) for layer, hits in right.items()}


def cells(run, options) -> dict:
    """Reading -> the share of the positive map in the boxes of the test photographs, less that of their area, and its
    interval over photographs; also the pointing game in the same boxes."""
    size = (options.width, options.height)
    photographs = lambda given: np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image, _ in given])
    known, given = (_cells_of(options, part) for part in ("val", "test"))
    network_ = Maps(run, run.variables, photographs(known[:options.means]))
    examples = np.stack([crops.fit(image[top:bottom, left:right], options.tile, "center_crop")
                         for image, boxes in known for left, top, right, bottom in
                         (boxes * ([*image.shape[1::-1]] * 2)).round().astype(int)])
    query = {name: rows.mean(axis=0) for name, rows in network_.pooled(examples).items()}
    inside, hits, area = {}, {}, [float((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum()) for _, boxes in given]
    for at, (_, boxes) in enumerate(given):
        maps = network_.of(photographs(given[at:at + 1]), 1)
        for how, map_ in readings(maps, {name: query[name][None] for name in LAYERS}, network_.mean).items():
            each = map_.repeat(len(boxes), axis=0)
            inside.setdefault(how, []).append(saliency.energy_inside(each, boxes).sum())
            hits.setdefault(how, []).append(saliency.points_inside(each, boxes).any())
    spread = lambda values: bootstrap.mean_interval(np.asarray(values, float), np.arange(len(given)), seed=options.seed)
    return {"photographs": len(given), "queries": len(examples), "area": spread(area), "readings": {
        how: {"energy": spread(values), "above area": spread(np.array(values) - area), "hits": spread(hits[how])}
        for how, values in inside.items()}}


def _cells_of(options, part: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(image u8[H,W,3], boxes f[K,4] as shares) of photographs with such cells, whose boxes do not overlap."""
    folder = pathlib.Path(options.cells)
    record = json.loads((folder / f"{part}.json").read_text())
    wanted = {one["id"] for one in record["categories"] if one["name"] == options.cell}
    found = []
    for image in record["images"]:
        boxes = np.array([one["bbox"] for one in record["annotations"]
                          if one["image_id"] == image["id"] and one["category_id"] in wanted]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        low, high = (pick(boxes[:, None, half], boxes[None, :, half]) for pick, half in (
            (np.maximum, slice(0, 2)), (np.minimum, slice(2, 4))))
        apart = ((high - low).min(axis=-1) <= 0) | np.eye(len(boxes), dtype=bool)
        if len(boxes) and apart.all():
            pixels = datasets.decode({"image": (folder / "images" / image["file_name"]).read_bytes(),
                                      "path": image["file_name"]})
            found.append((pixels, boxes / ([image["width"], image["height"]] * 2)))
    return found


def curves(options) -> dict:
    """Measure -> the mean of our map's over pairs, of Grad-CAM's, and their paired difference with its interval."""
    run = geodesic.load(options.weights, overrides={"input.image_size": options.size})
    source = datasets.build("image_folder", path=os.path.join(options.photos, options.part))
    photos, queries = drawn(source.labels, 1, options.pairs, options.seed)
    apply = jax.jit(lambda images: run.embedder.apply(run.variables, embedding.normalize(images, run.config.input),
                                                      train=False))
    areas = {"ours": [], "Grad-CAM": []}
    for one, other in zip(photos[:, 0], queries[:, 0], strict=True):
        found = attribution.pair(run, source[int(one)]["image"], source[int(other)]["image"])
        view, wanted = found.views[0], unit(np.asarray(apply(found.views[1][None]))[0])
        filled = np.broadcast_to(view.mean(axis=(0, 1)).round().astype(np.uint8), view.shape)
        score = lambda shown, wanted=wanted: unit(np.asarray(apply(shown))) @ wanted
        for name, map_ in zip(areas, (found.maps[0], found.gradients[0]), strict=True):
            areas[name].append(saliency.deletion_and_insertion(score, view, map_, filled, options.steps))
    result = {"pairs": options.pairs}
    for what in ("deletion", "insertion"):
        values = {name: np.array([one[f"{what}_area"] for one in each]) for name, each in areas.items()}
        spread = lambda values: bootstrap.mean_interval(values, np.arange(len(values)), seed=options.seed)
        result[what] = {name: spread(one) for name, one in values.items()} | {
            "difference": spread(values["ours"] - values["Grad-CAM"])}
    return result


def described(record: dict) -> str:
    """The tables in Markdown, of the parts that there are."""
    share = lambda one: f"{one[0]:.3f} ({one[1]:.3f} to {one[2]:.3f})"
    signed = lambda one: f"{one[0]:+.3f} ({one[1]:+.3f} to {one[2]:+.3f})"
    options, parts = record["options"], record["parts"]
    lines = ["# Do similarity maps point at what is alike?", ""]
    for name, what in (("mosaics", "two photographs"), ("fours", "four photographs")):
        if name in parts:
            one = parts[name]
            lines += [f"**Pointing game, {what} of {options['part']}**: {one['mosaics']} mosaics, {one['games']} "
                      f"games, {options['tile']} px each; share of hits (95 % over mosaics).", "",
                      "| map | " + " | ".join(one["networks"]) + " |", "|---" * (1 + len(one["networks"])) + "|"]
            lines += [f"| {how}{' **(chosen on val)**' if how == CHOSEN else ''} | "
                      + " | ".join(share(hits[how]) for hits in one["networks"].values()) + " |"
                      for how in one["networks"]["trained"]] + [""]
    if "alone" in parts:
        lines += ["Where the two photographs are embedded alone, the query is nearer to that of its class in "
                  + ", ".join(f"{share(value)} ({layer})" for layer, value in parts["alone"].items())
                  + " of the games: what no map can be asked to beat.", ""]
    if "cells" in parts:
        one = parts["cells"]
        lines += [f"**Energy in the boxes of white blood cells**: {one['photographs']} photographs to test on, the "
                  f"mean of {one['queries']} crops of others as the query; the boxes have {share(one['area'])} of the "
                  "area.", "", "| map | energy inside | above the area's share | largest place inside |",
                  "|---|---|---|---|"]
        lines += [f"| {how} | {share(row['energy'])} | {signed(row['above area'])} | {share(row['hits'])} |"
                  for how, row in one["readings"].items()] + [""]
    if "curves" in parts:
        one = parts["curves"]
        lines += [f"**Deletion and insertion**, {one['pairs']} pairs of a class, {options['size']} px, areas (95 % "
                  "over pairs); a true map has a small one of deletion, a large one of insertion.", "",
                  "| | our map | Grad-CAM | difference, paired |", "|---|---|---|---|"]
        lines += [f"| {what} | {share(one[what]['ours'])} | {share(one[what]['Grad-CAM'])} | "
                  f"{signed(one[what]['difference'])} |" for what in ("deletion", "insertion")] + [""]
    environment = record["environment"]
    given = "".join(f" --{key}={value}" for key, value in options.items() if value != USUAL[key])
    commits = ", ".join(dict.fromkeys(record["commits"].values()))
    return "\n".join([*lines, f"{record['weights']}. {environment['devices']}, {environment['machine']}, jax "
                      f"{environment['packages']['jax']}, {environment['date'][:10]}, commit {commits}, "
                      f"`python -m benchmarks.pointing{given}`, seed {options['seed']}."]) + "\n"


def main() -> None:
    options = turns.options(__doc__, weights="", photos="", cells="", only="mosaics,alone,fours,cells,curves", out="",
                            **USUAL)
    run = geodesic.load(options.weights, overrides={"input.image_size": options.tile})
    given = {key: vars(options)[key] for key in USUAL}
    out = pathlib.Path(options.out or f"pointing_{options.part}").with_suffix(".json")
    record = json.loads(out.read_text()) if out.exists() else {}
    if record.get("options") != given:
        record = {"environment": workdir.environment(jax.devices()), "options": given, "parts": {}, "commits": {},
                  "weights": f"{run.config.embedder.name}, weights {run.digest}"}
    make = {"mosaics": lambda: mosaics(run, options, 2, options.mosaics),
            "alone": lambda: alone(run, options), "fours": lambda: mosaics(run, options, 4, options.fours),
            "cells": lambda: cells(run, options), "curves": lambda: curves(options)}
    for name in options.only.split(","):
        if name not in record["parts"]:
            record["parts"][name] = make[name]()
            record["commits"][name] = workdir.environment(jax.devices())["commit"]
            out.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{name}: done", flush=True)
    out.with_suffix(".md").write_text(described(record))
    print(described(record))


if __name__ == "__main__":
    main()
