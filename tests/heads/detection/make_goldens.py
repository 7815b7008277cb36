"""Writes goldens/torchvision.npz: what torchvision's FCOS detects: its decoding, its best candidates, its order.

    pip install torch torchvision==0.16.2
    python -m tests.heads.detection.make_goldens
"""

import pathlib
import types

import numpy as np
import torch
from torchvision.models.detection import fcos
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from tests.heads.detection import detection_cases as cases

FILE = pathlib.Path(__file__).parent / "goldens" / "torchvision.npz"


def batched_nms(boxes, scores, classes, threshold: float) -> torch.Tensor:
    """In the place of torchvision's, whose compiled operators do not load beside every torch."""
    return torch.tensor(cases.greedy(boxes.numpy(), scores.numpy(), classes.numpy(), threshold), dtype=torch.int64)


def detected() -> dict[str, np.ndarray]:
    outputs = {name: [torch.tensor(level) for level in levels] for name, levels in cases.outputs().items()}
    maps = [torch.zeros(1, 1, *(size // stride for size in cases.IMAGE_SIZE)) for stride in cases.STRIDES]
    generator = AnchorGenerator(tuple((stride,) for stride in cases.STRIDES), ((1.0,),) * len(maps))
    anchors = generator(ImageList(torch.zeros(1, 3, *cases.IMAGE_SIZE), [cases.IMAGE_SIZE]), maps)[0]
    levels, batch = anchors.split([level.numel() for level in maps]), len(outputs["logits"][0])
    model = types.SimpleNamespace(score_thresh=0.3, topk_candidates=40, nms_thresh=0.5, detections_per_img=20,
                                  box_coder=BoxLinearCoder(normalize_by_size=True))
    heads = {"cls_logits": outputs["logits"], "bbox_regression": outputs["distances"],
             "bbox_ctrness": [level[..., None] for level in outputs["centerness"]]}
    images = fcos.FCOS.postprocess_detections(model, heads, [list(levels)] * batch, [cases.IMAGE_SIZE] * batch)
    print("detected:", [len(image["scores"]) for image in images])
    return {f"{index}/{name}": value.numpy() for index, image in enumerate(images)
            for name, value in image.items()}


def main() -> None:
    fcos.box_ops.batched_nms = batched_nms
    np.savez_compressed(FILE, **detected())


if __name__ == "__main__":
    main()
