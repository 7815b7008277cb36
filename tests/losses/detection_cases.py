"""What the tests of the detection loss share with the script of its golden file: inputs of a frozen random stream.

NumPy keeps the stream of RandomState for ever, so the golden file holds results alone.
"""

from typing import NamedTuple

import numpy as np

STRIDES, IMAGE_SIZE, MAX_BOXES, NUM_CLASSES, BATCH = (8, 16, 32), (96, 128), 12, 3, 8


class Sets(NamedTuple):
    """Random images. The points lie at `offset` strides, the boxes after an image's own ones are rubbish."""

    image_size: tuple[int, int]
    strides: tuple[int, ...]
    offset: float
    boxes: np.ndarray      # f32[B,M,4]
    classes: np.ndarray    # i32[B,M]
    num_boxes: np.ndarray  # i32[B]


def random_sets(seed: int, number: int, whole: bool, image_size=IMAGE_SIZE, strides=STRIDES, offset=0.0,
                smallest=0.02) -> Sets:
    """Images of one size.

    whole: corners lie on a grid of 4 pixels (1/32 of the image), so that bounds are met exactly and areas are equal.
    smallest: side of a box, as a share of the image's.
    """
    random = np.random.RandomState(seed)
    height, width = image_size
    grid = max(image_size) // 32
    centres = random.uniform(0, 1, (number, MAX_BOXES, 2)) * (width, height)
    sides = np.exp(random.uniform(np.log(smallest), np.log(1.5), (number, MAX_BOXES, 2))) * (width, height)
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], -1)
    if whole:
        boxes = np.round(boxes / grid) * grid
    boxes = np.clip(boxes, 0, (width, height, width, height))
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + grid / 4)  # torchvision takes none without area
    boxes[:, 5] = boxes[:, 2]  # the same box twice: the first one wins
    num_boxes = random.randint(0, MAX_BOXES + 1, number)
    boxes[np.arange(MAX_BOXES) >= num_boxes[:, None]] = (5, 5, 60, 60)
    classes = random.randint(0, NUM_CLASSES, (number, MAX_BOXES))
    return Sets(image_size, strides, offset, boxes.astype(np.float32), classes.astype(np.int32),
                num_boxes.astype(np.int32))


def matching() -> dict[str, Sets]:
    """The last one has boxes of more than 1e8 square pixels."""
    return {"whole, corners": random_sets(0, 250, True), "whole, middles": random_sets(1, 250, True, offset=0.5),
            "any, corners": random_sets(2, 250, False), "any, middles": random_sets(3, 250, False, offset=0.5),
            "one level": random_sets(4, 50, True, strides=(16,)),
            "large": random_sets(5, 100, False, (16384, 16384), (2048, 4096), 0.5, 0.4)}


def outputs(seed: int = 6, batch: int = BATCH) -> dict[str, list[np.ndarray]]:
    """What a network gives at the points of STRIDES on IMAGE_SIZE."""
    random, levels = np.random.RandomState(seed), [(96 // stride) * (128 // stride) for stride in STRIDES]
    return {"logits": [random.normal(-2, 2, (batch, size, NUM_CLASSES)).astype(np.float32) for size in levels],
            "distances": [random.exponential(2, (batch, size, 4)).astype(np.float32) for size in levels],
            "centerness": [random.normal(0, 2, (batch, size)).astype(np.float32) for size in levels]}


def pairs(number: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """f32[N,4] twice: pairs of boxes that overlap, that do not, and that lie within each other."""
    random = np.random.RandomState(7)
    corners, sides = random.uniform(0, 3, (2, number, 2)), random.uniform(0.1, 3, (2, number, 2))
    first, second = np.concatenate([corners, corners + sides], -1).astype(np.float32)
    return first, second


def logits(number: int = 64) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(8)
    return random.normal(0, 4, number).astype(np.float32), random.uniform(size=number) < 0.3
