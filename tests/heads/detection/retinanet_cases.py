"""What the tests of RetinaNet's head share with the script of its golden file, in the manner of network_cases.

NumPy keeps the stream of RandomState for ever, so the golden file holds results alone.
"""

import numpy as np

CHANNELS, DEPTH, NUM_CLASSES, ANCHORS = 16, 4, 3, 9
LEVELS, STRIDES, IMAGE_SIZE = ((6, 8), (3, 4)), (8, 16), (48, 64)


def weights() -> dict[str, np.ndarray]:
    """Path of each parameter of `RetinaNet` -> values, kernels as height, width, in, out."""
    random, found = np.random.RandomState(3), {}
    sizes = {f"{tower}_tower/conv{place + 1}": CHANNELS for tower in ("class", "box") for place in range(DEPTH)}
    for name, size in (sizes | {"logits": ANCHORS * NUM_CLASSES, "offsets": ANCHORS * 4}).items():
        found[f"{name}/kernel"] = random.normal(0, 0.12, (3, 3, CHANNELS, size)).astype(np.float32)
        found[f"{name}/bias"] = random.normal(0, 0.1, size).astype(np.float32)
    return found


def maps(batch: int = 2) -> list[np.ndarray]:
    random = np.random.RandomState(4)
    return [random.normal(0, 1, (batch, *level, CHANNELS)).astype(np.float32) for level in LEVELS]


def outputs(batch: int = 4) -> dict[str, list[np.ndarray]]:
    """What a network gives of the anchors of LEVELS; some boxes would be too large, little is found in the last image.
    """
    random, sizes = np.random.RandomState(9), [height * width * ANCHORS for height, width in LEVELS]
    found = {"logits": [random.normal(-2.5, 2, (batch, size, NUM_CLASSES)) for size in sizes],
             "offsets": [random.normal(0, 0.5, (batch, size, 4)) for size in sizes]}
    for level in found["logits"]:
        level[-1] -= 4
    found["offsets"][0][:, ::7] += 4
    return {name: [level.astype(np.float32) for level in values] for name, values in found.items()}
