"""What is to be said of pictures with boxes, and sheets of them with their boxes drawn."""

import colorsys
import itertools
import types

import cv2
import numpy as np

from geodesic import datasets
from geodesic.datasets import box_views, boxes

# Areas in pixels at which COCO's small, medium and large objects part.
SMALL, LARGE = 32 ** 2, 96 ** 2
TWINS = 0.95  # two boxes of one class that overlap by more are probably one
_LISTED, _PRINTED = 1000, 20
_COLUMNS, _CELL, _GAP, _TITLE, _LEGEND = 4, 300, 4, 16, 20
_PICTURES, _VIEWS = 12, 16


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
    areas = known.areas[~known.crowd]
    spread = lambda values: np.quantile(values, (0, 0.5, 1)).round(4).tolist() if len(values) else []
    names = lambda rows: [*dict.fromkeys(source.paths[place] for place in owners[rows])][:_LISTED]
    return {
        "boxes": len(corners), "crowds": int(known.crowd.sum()), "boxes_per_picture": spread(counts),
        "pictures_without_boxes": int((counts == 0).sum()),
        "of_class": {name: [int(number), int(pictures)] for name, number, pictures in zip(
            source.class_names, np.bincount(known.classes, minlength=source.num_classes),
            pictures_of_each_class(source), strict=True)},
        "sizes": {"small": int((areas < SMALL).sum()), "medium": int(((areas >= SMALL) & (areas <= LARGE)).sum()),
                  "large": int((areas > LARGE).sum())},
        "widths": spread(sides[:, 0]), "heights": spread(sides[:, 1]), "aspects": spread(sides[:, 0] / sides[:, 1]),
        "below_a_pixel": int((sides < 1).any(axis=1).sum()), "beyond_the_edge": int(beyond.sum()),
        "outside": int(outside.sum()), "outside_in": names(outside),
        "twins": len(twins), "twins_in": [*dict.fromkeys(twins)][:_LISTED]}


def _twins(own: dict) -> int:
    """How many boxes of a picture have an earlier one of their class that is nearly the same."""
    found = np.triu(boxes.overlaps(own["boxes"], own["boxes"]) > TWINS, 1)
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


def samples(parts: dict[str, datasets.BoxFiles], seen: dict[str, list[dict]]) -> np.ndarray:
    """u8[H,W,3]: some pictures of each part, evenly spread, with their boxes. Crowds are crossed out.
    """
    cells, detection = [], types.SimpleNamespace(height=_CELL, width=_CELL)
    inputs = types.SimpleNamespace(mean=(255, 255, 255), decode_to_scale=True)
    for part, source in parts.items():
        there = [place for place in range(len(source)) if "problem" not in seen[part][place]]
        for number in np.linspace(0, len(there) - 1, min(_PICTURES, len(there))).astype(int):
            record = source[there[number]]
            view = box_views.eval_view(record, inputs, detection)
            shown = box_views.to_input(record["boxes"], view.scale, view.offset)
            image = drawn(view.image, shown, record["classes"], source.num_classes, record["crowd"])
            left, top = view.offset.astype(int)
            image = image[top:_CELL - top, left:_CELL - left]
            cells.append((f"{part}: {record['path'].rpartition('/')[2]} ({len(shown)})", image))
    return _sheet(cells, next(iter(parts.values())).class_names)


def views(config, source: datasets.BoxFiles) -> np.ndarray:
    """u8[H,W,3]: the first examples of a run of this configuration, in the order of its batches, with their boxes."""
    batches = datasets.detection_batches(
        source, input=config.input, augment=config.box_augment, detection=config.detection, seed=config.seed,
        batch_size=config.batch_size, parts=config.accumulation_steps, tolerance_percent=100.0, process_index=0,
        process_count=1, threads=1, buffer=1)
    try:
        examples = [*itertools.islice(({name: values[row] for name, values in batch.items()} for batch in batches
                                       for row in range(len(batch["image"]))), _VIEWS)]
    finally:
        batches.close()
    height, width = config.detection.height, config.detection.width
    scale = _CELL / max(height, width)
    size, cells = (round(width * scale), round(height * scale)), []
    for place, example in enumerate(examples):
        count = example["num_boxes"]
        small = cv2.resize(example["image"], size, interpolation=cv2.INTER_AREA)
        image = drawn(small, example["boxes"][:count] * scale, example["classes"][:count], source.num_classes)
        cells.append((f"{place}: {count} boxes", image))
    return _sheet(cells, source.class_names)


def drawn(image: np.ndarray, corners: np.ndarray, classes: np.ndarray, num_classes: int,
          crowd: np.ndarray | None = None) -> np.ndarray:
    """The image u8[H,W,3] with boxes, f32[n,4], in the colours of their classes; crowds are crossed out."""
    image = image.copy()
    for place, (box, label) in enumerate(zip(corners, classes, strict=True)):
        left, top, right, bottom = (round(float(value)) for value in box)
        colour = _colour(label, num_classes)
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, 1)
        if crowd is not None and crowd[place]:
            cv2.line(image, (left, top), (right - 1, bottom - 1), colour, 1)
            cv2.line(image, (left, bottom - 1), (right - 1, top), colour, 1)
    return image


def _colour(label: int, num_classes: int) -> tuple[int, int, int]:
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(label / num_classes, 1.0, 0.85))


def _sheet(cells: list[tuple[str, np.ndarray]], class_names: list[str]) -> np.ndarray:
    width, left = _COLUMNS * (_CELL + _GAP), 4
    blocks = [np.full((_LEGEND, width, 3), 255, np.uint8)]
    for label, name in enumerate(class_names):
        left = _write(blocks[0], name, left, 14, _colour(label, len(class_names))) + 12
    for row in (cells[start:start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)):
        block = np.full((_TITLE + max(len(image) for _, image in row) + _GAP, width, 3), 255, np.uint8)
        for place, (title, image) in enumerate(row):
            left = place * (_CELL + _GAP)
            _write(block[:, :left + _CELL], title, left + 2, 11, (0, 0, 0), 0.35)
            block[_TITLE:_TITLE + image.shape[0], left:left + image.shape[1]] = image
        blocks.append(block)
    return np.concatenate(blocks)


def _write(sheet: np.ndarray, text: str, left: int, bottom: int, colour: tuple, size: float = 0.42) -> int:
    """Returns where the text ends."""
    text = text.encode("ascii", "replace").decode()
    # OpenCV draws on whole arrays alone, not on a part of one.
    drawn = cv2.putText(np.ascontiguousarray(sheet), text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1,
                        cv2.LINE_AA)
    sheet[:] = drawn
    return left + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
