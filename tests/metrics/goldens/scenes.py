"""Random images with objects and detections of them, as plain arrays, for tests and golden files of detection.

Edges lie on quarters of a pixel, so that x1, y1, x2, y2 and x, y, width, height are the same boxes to the last bit.
"""

import numpy as np


def scene(rng, images: int, classes, *, crowds: bool = True, many: int = 0) -> tuple[list, list]:
    """Gives the detections (boxes, scores, classes) and the objects (boxes, classes, crowd, area) of some images.

    Some images are without objects, some without detections. `many` more detections lie in the first image. Scores are
    often equal, boxes sometimes of area 0 or the same twice.
    """
    found, truth = [], []
    for image in range(images):
        count = rng.integers(0, 8) * (rng.random() < 0.85)
        corner, size = rng.integers(0, 1200, (count, 2)), np.exp(rng.uniform(2, 6.5, (count, 2))).astype(int)
        size[rng.random((count, 2)) < 0.04] = 0
        boxes, labels = np.concatenate([corner, corner + size], axis=1), rng.choice(classes, count)
        crowd = (rng.random(count) < 0.2) & crowds
        area = np.floor(size.prod(axis=1) / 16 * rng.choice([1, 0.75], count))
        truth.append((boxes / 4, labels, crowd, area))
        found.append(_detections(rng, boxes, labels, classes, many * (image == 0)))
    return found, truth


def _detections(rng, boxes, labels, classes, many: int):
    copies = rng.integers(0, len(boxes), int(1.8 * len(boxes))) if len(boxes) else np.zeros(0, int)
    spread = rng.choice([0, 0.05, 0.15], (len(copies), 1))
    size = np.maximum(boxes[copies, 2:] - boxes[copies, :2], 1)
    moved = boxes[copies] + np.round(rng.normal(size=(len(copies), 4)) * spread * np.tile(size, 2)).astype(int)
    moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)
    named = np.where(rng.random(len(copies)) < 0.85, labels[copies], rng.choice(classes, len(copies)))
    stray = rng.integers(0, 5) + many
    corner = rng.integers(0, 1200, (stray, 2))
    boxes = np.concatenate([moved, np.concatenate([corner, corner + rng.integers(0, 300, (stray, 2))], axis=1)])
    scores = np.round(rng.random(len(boxes)), 1 if rng.random() < 0.5 else 6)
    order = rng.permutation(len(boxes)) if rng.random() > 0.15 or many else np.zeros(0, int)
    # With many, most are of one class.
    return boxes[order] / 4, scores[order], np.concatenate(
        [named, np.where(rng.random(stray) < bool(many), classes[0], rng.choice(classes, stray))])[order]
