"""Writes detection.npz: FCOS's matching and loss by torchvision's own code, and its losses between boxes.

    pip install torch torchvision==0.16.2
    python -m tests.losses.goldens.detection

The matching is in float32, as torchvision runs it; losses and their gradients are in float64.
"""

import types

import numpy as np
import torch
from torchvision import ops
from torchvision.models.detection import fcos
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from tests.losses import detection_cases as cases
from tests.losses.goldens import FOLDER
from tests.losses.goldens.recording import RESULTS, record


def anchors_of(sets: cases.Sets) -> tuple[torch.Tensor, list[int]]:
    """(the squares of all points, how many each level has)."""
    maps = [torch.zeros(1, 1, *(size // stride for size in sets.image_size)) for stride in sets.strides]
    generator = AnchorGenerator(tuple((stride,) for stride in sets.strides), ((1.0,),) * len(sets.strides))
    anchors = generator(ImageList(torch.zeros(1, 3, *sets.image_size), [sets.image_size]), maps)[0]
    sizes = [level.numel() for level in maps]
    strides = torch.tensor(sets.strides).repeat_interleave(torch.tensor(sizes))
    return anchors + sets.offset * strides[:, None], sizes


def matched(sets: cases.Sets, found, head) -> list:
    """What torchvision hands to `head.compute_loss` after its matching, for each image."""
    anchors, sizes = anchors_of(sets)
    targets = [{"boxes": torch.tensor(boxes[:number]), "labels": torch.tensor(classes[:number]).long()}
               for boxes, classes, number in zip(sets.boxes, sets.classes, sets.num_boxes, strict=True)]
    model = types.SimpleNamespace(center_sampling_radius=1.5, head=head)
    return fcos.FCOS.compute_loss(model, targets, found, [anchors] * len(targets), sizes)


def main() -> None:
    keep = types.SimpleNamespace(compute_loss=lambda targets, found, anchors, owners: owners)
    for name, sets in cases.matching().items():
        owners = torch.stack(matched(sets, {}, keep))
        print(f"{name}: {(owners >= 0).float().mean():.3f} of the points learn a box")
        RESULTS[f"owners/{name}"] = owners.numpy().astype(np.int8)

    sets = cases.random_sets(9, cases.BATCH, False, offset=0.5)
    head = fcos.FCOSHead(32, 1, cases.NUM_CLASSES, 1)

    def total(logits, distances, centerness):
        found = {"cls_logits": logits, "bbox_regression": distances, "bbox_ctrness": centerness[..., None]}
        parts = matched(sets, found, head)
        RESULTS.update({f"fcos/{name}": value.detach().numpy() for name, value in parts.items()})
        return sum(parts.values())

    record("fcos", total, *(np.concatenate(levels, 1) for levels in cases.outputs().values()))

    weights = torch.linspace(1, 2, 64, dtype=torch.float64)
    for name, loss in (("giou", ops.generalized_box_iou_loss), ("diou", ops.distance_box_iou_loss),
                       ("ciou", ops.complete_box_iou_loss)):
        record(name, lambda first, second, loss=loss: (weights * loss(first, second)).sum(), *cases.pairs())
    logits, positive = cases.logits()
    for gamma in (0.0, 0.5, 2.0):
        record(f"focal/{gamma}", lambda logits, gamma=gamma: (weights * ops.sigmoid_focal_loss(
            logits, torch.tensor(positive).double(), alpha=0.3, gamma=gamma)).sum(), logits)
    np.savez_compressed(FOLDER / "detection.npz", **{name: value if value.dtype == np.int8 else value.astype(np.float32)
                                                    for name, value in RESULTS.items()})


if __name__ == "__main__":
    main()
