"""Pictures of drawn rectangles with their boxes, red ones of one class and green ones of the other, as COCO's files."""

import json
import pathlib

import jax
import numpy as np
import PIL.Image

from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import detector, loading, network
from tests.experiments import tiny

NAMES, COLOURS = ("green", "red"), np.array([[30, 200, 60], [220, 40, 30]], np.uint8)
SIZE = (48, 64)  # height and width


def folder(path, count: int, seed: int = 0) -> str:
    """The JSON file of `count` grey pictures, each with up to three rectangles that do not touch; the first has none.

    Ids of categories are 3 and 7, those of pictures count from 100. The last picture has a crowd over its left half.
    """
    path = pathlib.Path(path)
    path.mkdir()
    images, annotations = [], []
    for place in range(count):
        picture, boxes = draw(np.random.default_rng((seed, place)), empty=not place)
        PIL.Image.fromarray(picture).save(path / f"{place}.png")
        images.append({"id": 100 + place, "file_name": f"{place}.png", "height": SIZE[0], "width": SIZE[1]})
        annotations += [{"image_id": 100 + place, "category_id": (3, 7)[label], "bbox": box, "iscrowd": 0,
                         "area": box[2] * box[3]} for box, label in boxes]
    annotations.append({"image_id": 99 + count, "category_id": 3, "bbox": [0, 0, 32, 48], "iscrowd": 1, "area": 1536})
    categories = [{"id": number, "name": name} for number, name in zip((3, 7), NAMES, strict=True)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (path / "boxes.json").write_text(json.dumps(content))
    return str(path / "boxes.json")


def draw(rng, empty: bool = False):
    """(pixels u8[H,W,3], [([x, y, width, height], class), ...]) of one picture."""
    picture, boxes = rng.integers(90, 130, (*SIZE, 3), np.uint8), []
    third = SIZE[1] // 3
    for column in range(0 if empty else 3):  # each in a third of its own
        if rng.random() < 0.4:
            continue
        width, height = (int(rng.integers(low, high)) for low, high in ((third // 2, third - 2),
                                                                        (SIZE[0] // 4, SIZE[0] // 2)))
        left, top = column * third + int(rng.integers(third - width)), int(rng.integers(SIZE[0] - height))
        label = int(rng.integers(2))
        picture[top:top + height, left:left + width] = COLOURS[label]
        boxes.append(([left, top, width, height], label))
    return picture, boxes


def config(folder_, **changes):
    """A detector of two levels for the pictures of `data`; changes: as of `tiny.config`."""
    made = tiny.config(task="detection", loss__name="fcos", total_steps=6, optimizer__name="adamw",
                       optimizer__learning_rate=3e-3, optimizer__weight_decay=1e-4)
    made.detection.update(height=48, width=64, max_boxes=4, layers=("stage1", "stage2"), channels=16, depth=1, kept=10)
    made.embedder.stem = "half"
    made.train_data.update(name="coco", path=f"{folder_}/train/boxes.json")
    made.test_data.update(name="coco", path=f"{folder_}/test/boxes.json")
    return tiny.changed(made, **changes)


def untrained(folder_, made, mesh):
    """The run of a detector that has not learnt yet, without the seconds that a training takes to compile."""
    network_ = detector.make(made, len(NAMES))
    variables = jax.jit(lambda: network.init_embedder(network_, network.image_size(made), made.seed))()
    head = imported.Head(np.zeros((0, len(NAMES)), np.float32), np.zeros(len(NAMES), np.float32), [*NAMES],
                         [""] * len(NAMES))
    imported.save(str(folder_), made, variables, {}, head)
    return loading.load(str(folder_), mesh=mesh)


def data(path) -> str:
    """A folder with 24 pictures to train on and 10 to test on."""
    pathlib.Path(path).mkdir(exist_ok=True)
    folder(f"{path}/train", 24)
    folder(f"{path}/test", 10, seed=1)
    return str(path)
