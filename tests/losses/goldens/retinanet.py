"""Writes retinanet.npz: anchors, matching and loss by torchvision's own RetinaNet.

    pip install torch torchvision==0.16.2
    python -m tests.losses.goldens.retinanet

The matching is in float32, as torchvision runs it; losses and their gradients are in float64, image by image.
"""

import types

import numpy as np
import torch
from torchvision.models.detection import retinanet
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from tests.losses import detection_cases, retinanet_cases
from tests.losses.goldens import FOLDER
from tests.losses.goldens.recording import RESULTS, record

MATCHER = Matcher(0.5, 0.4, allow_low_quality_matches=True)


def anchors_of(image_size: tuple[int, int], strides: tuple[int, ...]) -> torch.Tensor:
    """As torchvision's default generator makes them, of other strides."""
    maps = [torch.zeros(1, 1, *(-(-size // stride) for size in image_size)) for stride in strides]
    sizes = tuple((4 * stride, int(4 * stride * 2 ** (1 / 3)), int(4 * stride * 2 ** (2 / 3))) for stride in strides)
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(strides))
    return generator(ImageList(torch.zeros(1, 3, *image_size), [image_size]), maps)[0]


def targets_of(sets: detection_cases.Sets) -> list[dict[str, torch.Tensor]]:
    return [{"boxes": torch.tensor(boxes[:number]), "labels": torch.tensor(classes[:number]).long()}
            for boxes, classes, number in zip(sets.boxes, sets.classes, sets.num_boxes, strict=True)]


def matched(targets: list[dict], anchors: torch.Tensor) -> list[torch.Tensor]:
    keep = types.SimpleNamespace(compute_loss=lambda targets, found, anchors, owners: owners)
    return retinanet.RetinaNet.compute_loss(types.SimpleNamespace(proposal_matcher=MATCHER, head=keep), targets, {},
                                            [anchors] * len(targets))


def main() -> None:
    for name, (size, strides) in retinanet_cases.GRIDS.items():
        RESULTS[f"anchors/{name}"] = anchors_of(size, strides).numpy()
    for name, sets in retinanet_cases.matching().items():
        owners = torch.stack(matched(targets_of(sets), anchors_of(sets.image_size, sets.strides)))
        print(f"{name}: {(owners >= 0).float().mean():.3f} of the anchors learn a box, {(owners == -2).sum()} nothing")
        RESULTS[f"owners/{name}"] = owners.numpy().astype(np.int8)

    sets, outputs = retinanet_cases.images(), retinanet_cases.outputs()
    anchors = anchors_of(sets.image_size, sets.strides)
    head = retinanet.RetinaNetHead(32, 9, retinanet_cases.NUM_CLASSES)
    head.regression_head.box_coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    for kind in retinanet_cases.BOX_LOSSES:
        head.regression_head._loss_type = kind
        for place, target in enumerate(targets_of(sets)):
            owners = matched([target], anchors)
            target = {"boxes": target["boxes"].double(), "labels": target["labels"]}

            def total(logits, offsets, target=target, owners=owners, name=f"{kind}/{place}"):
                parts = head.compute_loss([target], {"cls_logits": logits[None], "bbox_regression": offsets[None]},
                                          [anchors.double()], owners)
                RESULTS.update({f"{name}/{part}": value.detach().numpy() for part, value in parts.items()})
                return sum(parts.values())

            record(f"{kind}/{place}", total, *(np.concatenate(levels, 1)[place] for levels in outputs.values()))
            if kind != "l1":  # the classes learn the same whatever the boxes do
                del RESULTS[f"{kind}/{place}/gradient0"]
    np.savez_compressed(FOLDER / "retinanet.npz", **{name: value if value.dtype == np.int8 else value.astype(np.float32)
                                                    for name, value in RESULTS.items()})


if __name__ == "__main__":
    main()
