"""torchvision's FCOS for `benchmarks.detection_step`: a program of its own, for an interpreter with torch alone.

    python -m benchmarks.detection_step_torch '{"batch": 8, "height": 320, "width": 416, "classes": 3, "boxes": 14}'

Reads lines: "step" is answered by what a training step took, and the end of the input ends it.
"""

import ctypes
import json
import sys

import numpy as np
import torch
from torchvision.models import resnet50
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.fcos import FCOS
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from benchmarks import served


def build(asked: dict):
    """A training step: forward, loss, backward, SGD with momentum. Images are of the size that it works at."""
    torch.manual_seed(0)
    trunk = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    backbone = _resnet_fpn_extractor(trunk, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    model = FCOS(backbone, asked["classes"], _skip_resize=True).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    random = np.random.default_rng(0)
    size = (asked["height"], asked["width"])
    images = [torch.from_numpy(random.uniform(0, 1, (3, *size)).astype(np.float32)) for _ in range(asked["batch"])]
    corners = random.uniform(0, 0.7, (asked["batch"], asked["boxes"], 2))
    sides = random.uniform(0.05, 0.3, (asked["batch"], asked["boxes"], 2))
    boxes = torch.from_numpy((np.concatenate([corners, corners + sides], 2) * (*size[::-1], *size[::-1])).astype(
        np.float32))
    labels = torch.from_numpy(random.integers(0, asked["classes"], (asked["batch"], asked["boxes"])))
    targets = [{"boxes": own, "labels": label} for own, label in zip(boxes, labels, strict=True)]

    def step() -> float:
        optimizer.zero_grad()
        loss = sum(model(images, targets).values())
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def keep_heap() -> None:
    """As our programs do (experiments/process/runtime.py), but for pages of 2 MiB."""
    libc = ctypes.CDLL("libc.so.6")
    for parameter, value in ((-8, 1), (-4, 0), (-1, -1)):  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD
        libc.mallopt(parameter, value)


def main() -> None:
    asked = json.loads(sys.argv[1])
    if asked.get("heap_kept"):
        keep_heap()
    step = build(asked)
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    served.serve(step)


if __name__ == "__main__":
    main()
