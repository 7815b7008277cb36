"""What the tests of the loss with anchors share with the script of its golden file, in the manner of detection_cases.

NumPy keeps the stream of RandomState for ever, so the golden file holds results alone.
"""

import numpy as np

from tests.losses import detection_cases as cases

NUM_CLASSES, IMAGES = cases.NUM_CLASSES, 4
# Name -> (image size, strides): in the second one 64 pixels divide neither side.
GRIDS = {"even": (cases.IMAGE_SIZE, cases.STRIDES), "spread": ((96, 160), (16, 32, 64))}
# Name -> ours of torchvision's losses of boxes.
BOX_LOSSES = {"l1": {"box_loss": "smooth_l1", "beta": 0.0}, "smooth_l1": {"box_loss": "smooth_l1", "beta": 1.0},
              "giou": {"box_loss": "giou"}}


def matching() -> dict[str, cases.Sets]:
    """By grid: corners on a grid of whole pixels, so that overlaps are equal, and any corners."""
    return {f"{grid}, {name}": cases.random_sets(seed, 60, whole, *GRIDS[grid])
            for seed, (grid, name, whole) in enumerate((grid, name, name == "whole") for grid in GRIDS
                                                       for name in ("whole", "any"))}


def images() -> cases.Sets:
    """The last one has no box."""
    sets = cases.random_sets(9, IMAGES, False, offset=0.0)
    return sets._replace(num_boxes=np.array([5, 12, 1, 0], np.int32))


def outputs() -> dict[str, list[np.ndarray]]:
    """What a network gives of nine anchors at each place of STRIDES on IMAGE_SIZE."""
    random, levels = np.random.RandomState(6), [9 * (96 // stride) * (128 // stride) for stride in cases.STRIDES]
    return {"logits": [random.normal(-2, 2, (IMAGES, size, NUM_CLASSES)).astype(np.float32) for size in levels],
            "offsets": [random.normal(0, 0.7, (IMAGES, size, 4)).astype(np.float32) for size in levels]}
