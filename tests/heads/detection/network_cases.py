"""What the tests of a detector's network share with the script of its golden file: weights and maps of a frozen stream.

NumPy keeps the stream of RandomState for ever, so the golden file holds results alone.
"""

import numpy as np

CHANNELS, DEPTH, NUM_CLASSES, COARSER = 32, 2, 3, 2
# Layers of a trunk, (height, width, channels).
LAYERS = {"stage2": (12, 10, 8), "stage3": (6, 5, 16), "stage4": (3, 3, 24)}


def shapes() -> dict[str, tuple[int, ...]]:
    """Path of each parameter of `Detector` below the head -> shape, kernels as height, width, in, out."""
    convs = {}
    for name, (_, _, channels) in LAYERS.items():
        convs |= {f"pyramid/lateral_{name}": (1, 1, channels, CHANNELS),
                  f"pyramid/output_{name}": (3, 3, CHANNELS, CHANNELS)}
    convs |= {f"pyramid/coarser{place + 1}": (3, 3, CHANNELS, CHANNELS) for place in range(COARSER)}
    convs |= {f"fcos/{tower}_tower/conv{place + 1}": (3, 3, CHANNELS, CHANNELS)
              for tower in ("class", "box") for place in range(DEPTH)}
    convs |= {f"fcos/{name}": (3, 3, CHANNELS, size)
              for name, size in (("logits", NUM_CLASSES), ("distances", 4), ("centerness", 1))}
    found = {}
    for name, shape in convs.items():
        found |= {f"{name}/kernel": shape, f"{name}/bias": shape[-1:]}
    for tower in ("class", "box"):
        for place in range(DEPTH):
            found |= {f"fcos/{tower}_tower/norm{place + 1}/{name}": (CHANNELS,) for name in ("scale", "bias")}
    return found


def weights() -> dict[str, np.ndarray]:
    """Of the golden file: each output depends on each."""
    random = np.random.RandomState(3)
    return {path: random.normal(path.endswith("scale"), 0.1, shape).astype(np.float32)
            for path, shape in shapes().items()}


def layers(batch: int = 2) -> dict[str, np.ndarray]:
    """The trunk's layers [B,h,w,C]."""
    random = np.random.RandomState(4)
    return {name: random.normal(0, 1, (batch, *shape)).astype(np.float32) for name, shape in LAYERS.items()}
