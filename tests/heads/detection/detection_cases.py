"""What the tests of post-processing share with the script of its golden file: inputs of a frozen random stream.

NumPy keeps the stream of RandomState for ever, so the golden file holds results alone.
"""

from typing import NamedTuple

import numpy as np

THRESHOLDS, SETS, BOXES, NUM_CLASSES = (0.3, 0.5, 0.6, 0.75), 250, 32, 3
STRIDES, IMAGE_SIZE = (8, 16), (48, 64)


class Sets(NamedTuple):
    """Random candidates: of each set the first `number` ones."""

    boxes: np.ndarray    # f32[S,N,4]
    scores: np.ndarray   # f32[S,N], -inf of what is none
    classes: np.ndarray  # i32[S,N]
    number: np.ndarray   # i32[S]


def sets(seed: int) -> Sets:
    """Corners on a small grid and scores of few values: equal scores, and IoUs that are a threshold, are many."""
    random = np.random.RandomState(seed)
    corners, sides = random.randint(0, 4, (SETS, BOXES, 2)), random.randint(2, 8, (SETS, BOXES, 2))
    number = random.randint(0, BOXES + 1, SETS)
    scores = random.randint(1, 12, (SETS, BOXES)) / 12
    scores[np.arange(BOXES) >= number[:, None]] = -np.inf
    return Sets(np.concatenate([corners, corners + sides], -1).astype(np.float32), scores.astype(np.float32),
                random.randint(0, NUM_CLASSES, (SETS, BOXES)).astype(np.int32), number)


def greedy(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float) -> list[int]:
    """Suppression as torchvision defines it, box by box: IoUs of float32, compared with a threshold of float64."""
    areas, kept = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), []
    for place in np.argsort(-scores, kind="stable"):
        def overlap(better, place=place):
            low, high = np.maximum(boxes[better, :2], boxes[place, :2]), np.minimum(boxes[better, 2:], boxes[place, 2:])
            shared = np.prod(np.maximum(high - low, np.float32(0)))
            return float(shared / (areas[better] + areas[place] - shared))

        if not any(classes[better] == classes[place] and overlap(better) > threshold for better in kept):
            kept.append(int(place))
    return kept


def outputs(batch: int = 4) -> dict[str, list[np.ndarray]]:
    """What a network gives at the points of STRIDES on IMAGE_SIZE; little is found in the last image."""
    random, levels = np.random.RandomState(9), [(48 // stride) * (64 // stride) for stride in STRIDES]
    found = {"logits": [random.normal(-1, 2, (batch, size, NUM_CLASSES)) for size in levels],
             "distances": [random.exponential(2, (batch, size, 4)) for size in levels],
             "centerness": [random.normal(0, 2, (batch, size)) for size in levels]}
    for level in found["logits"]:
        level[-1] -= 4
    return {name: [level.astype(np.float32) for level in values] for name, values in found.items()}
