"""What is to be said of pictures with boxes, and sheets of them with their boxes drawn."""

import itertools

import numpy as np

from geodesic import datasets
from geodesic.experiments.reporting import detections
from geodesic.metrics import boxes as geometry
from geodesic.metrics import detection

TWINS = 0.95  # two boxes of one class that overlap by more are probably one
_LISTED, _PRINTED = 1000, 20
_PICTURES, _VIEWS = 12, 15


def pictures_of_each_class(source: datasets.BoxFiles) -> np.ndarray:
    """i64[C], in how many pictures a class is."""
    owners = np.repeat(np.arange(len(source)), np.diff(source.boxes.starts))
    pairs = np.unique(np.stack([owners, source.boxes.classes], axis=1), axis=0)
    return np.bincount(pairs[:, 1], minlength=source.num_classes)


def describe(source: datasets.BoxFiles, seen: list[dict]) -> dict:
    """What JSON holds of the boxes of one part of the data. seen: height and width of each picture that was read."""
    known, corners = source.boxes, source.boxes.boxes.astype(np.float64)
    sides, counts = corners[:, 2:] - corners[:, :2], np.diff(known.starts)
    owners = np.repeat(np.arange(len(source)), counts)
    sizes = np.array([(one.get("height", 0), one.get("width", 0)) for one in seen]).reshape(-1, 2)[owners]
    read, limits = sizes[:, 0] > 0, sizes[:, ::-1]
    outside = read & ((corners[:, :2] >= limits) | (corners[:, 2:] <= 0)).any(axis=1)
    beyond = read & ~outside & ((corners[:, :2] < 0) | (corners[:, 2:] > limits)).any(axis=1)
    twins = [source.paths[place] for place in range(len(source)) for _ in range(_twins(known.of(place)))]
    areas, (small, large) = known.areas[~known.crowd], detection.AREAS["medium"]
    spread = lambda values: np.quantile(values, (0, 0.5, 1)).round(4).tolist() if len(values) else []
    names = lambda rows: [*dict.fromkeys(source.paths[place] for place in owners[rows])][:_LISTED]
    return {
        "boxes": len(corners), "crowds": int(known.crowd.sum()), "boxes_per_picture": spread(counts),
        "pictures_without_boxes": int((counts == 0).sum()),
        "of_class": {name: [int(number), int(pictures)] for name, number, pictures in zip(
            source.class_names, np.bincount(known.classes, minlength=source.num_classes),
            pictures_of_each_class(source), strict=True)},
        "sizes": {"small": int((areas < small).sum()), "medium": int(((areas >= small) & (areas <= large)).sum()),
                  "large": int((areas > large).sum())},
        "widths": spread(sides[:, 0]), "heights": spread(sides[:, 1]), "aspects": spread(sides[:, 0] / sides[:, 1]),
        "below_a_pixel": int((sides < 1).any(axis=1).sum()), "beyond_the_edge": int(beyond.sum()),
        "outside": int(outside.sum()), "outside_in": names(outside),
        "twins": len(twins), "twins_in": [*dict.fromkeys(twins)][:_LISTED]}


def _twins(own: dict) -> int:
    """How many boxes of a picture have an earlier one of their class that is nearly the same."""
    found = np.triu(geometry.overlaps(own["boxes"], own["boxes"]) > TWINS, 1)
    return int((found & (own["classes"][:, None] == own["classes"])).any(axis=0).sum())


def lines(found: dict) -> list[str]:
    """A report of what `describe` gives."""
    middle = lambda key: " / ".join(f"{value:g}" for value in found[key]) or "-"
    classes = sorted(found["of_class"].items(), key=lambda item: -item[1][0])
    result = [f"{found['boxes']:,} boxes, {found['crowds']:,} of them crowds; least / median / most: "
              f"{middle('boxes_per_picture')} boxes in a picture, {middle('widths')} wide, {middle('heights')} high, "
              f"{middle('aspects')} wide by high",
              f"{found['pictures_without_boxes']:,} pictures without boxes; by area "
              + ", ".join(f"{count:,} {name}" for name, count in found["sizes"].items())
              + " (parted at 32 x 32 and 96 x 96 pixels)",
              f"{found['below_a_pixel']:,} boxes of a side below a pixel, {found['beyond_the_edge']:,} over the edge, "
              f"{found['outside']:,} outside of their picture, {found['twins']:,} nearly the same as another of their "
              f"class" + "".join(f"\n    {path}" for path in (*found["outside_in"][:3], *found["twins_in"][:3]))]
    result += [f"  {name}: {count:,} boxes in {pictures:,} pictures" for name, (count, pictures) in classes[:_PRINTED]]
    return result + ([f"  and {len(classes) - _PRINTED:,} more classes"] if len(classes) > _PRINTED else [])


def samples(parts: dict[str, datasets.BoxFiles], seen: dict[str, list[dict]]) -> bytes:
    """A .png of some pictures of each part, evenly spread, with their boxes. Crowds are crossed out."""
    shown = []
    for part, source in parts.items():
        there = [place for place in range(len(source)) if "problem" not in seen[part][place]]
        for number in np.linspace(0, len(there) - 1, min(_PICTURES, len(there))).astype(int):
            record = source[there[number]]
            captions = [detections.CROWD if crowd else source.class_names[label]
                        for label, crowd in zip(record["classes"], record["crowd"], strict=True)]
            shown.append(detections.Shown(record["path"], datasets.decode(record), record["boxes"], record["classes"],
                                          captions, f"{part}, {len(captions)} boxes"))
    return detections.png(shown, "some pictures with their boxes; a crowd is crossed out")


def views(config, source: datasets.BoxFiles) -> bytes:
    """A .png of the first examples of a run of this configuration, in the order of its batches, with their boxes."""
    batches = datasets.detection_batches(
        source, input=config.input, augment=config.box_augment, detection=config.detection, seed=config.seed,
        batch_size=config.batch_size, parts=config.accumulation_steps, tolerance_percent=100.0, process_index=0,
        process_count=1, threads=1, buffer=1)
    try:
        examples = [*itertools.islice(({name: values[row] for name, values in batch.items()} for batch in batches
                                       for row in range(len(batch["image"]))), _VIEWS)]
    finally:
        batches.close()
    shown = []
    for place, example in enumerate(examples):
        count = example["num_boxes"]
        classes = example["classes"][:count]
        shown.append(detections.Shown(str(place), example["image"], example["boxes"][:count], classes,
                                      [source.class_names[label] for label in classes], f"{count} boxes"))
    return detections.png(shown, "the first examples of the training, with their boxes")
