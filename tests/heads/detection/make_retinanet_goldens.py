"""Writes goldens/retinanet.npz: what torchvision's RetinaNet head gives of the weights of retinanet_cases, and detects.

    pip install torch torchvision==0.16.2
    python -m tests.heads.detection.make_retinanet_goldens
"""

import pathlib
import types

import numpy as np
import torch
from torchvision.models.detection import retinanet
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from tests.heads.detection import retinanet_cases as cases
from tests.heads.detection.make_goldens import batched_nms

FILE = pathlib.Path(__file__).parent / "goldens" / "retinanet.npz"


def given() -> dict[str, np.ndarray]:
    """What the head gives, all levels one after the other."""
    head, state = retinanet.RetinaNetHead(cases.CHANNELS, cases.ANCHORS, cases.NUM_CLASSES), {}
    parts = {"class": "classification_head", "box": "regression_head"}
    for path, values in cases.weights().items():
        module, _, leaf = path.rpartition("/")
        tower, _, conv = module.partition("_tower/conv")
        name = (f"{parts[tower]}.conv.{int(conv) - 1}.0" if conv else
                {"logits": "classification_head.cls_logits", "offsets": "regression_head.bbox_reg"}[module])
        values = torch.tensor(values)
        state[f"{name}.{'bias' if leaf == 'bias' else 'weight'}"] = (
            values.permute(3, 2, 0, 1) if leaf == "kernel" else values)
    head.load_state_dict(state)
    with torch.no_grad():
        found = head([torch.tensor(level).permute(0, 3, 1, 2) for level in cases.maps()])
    return {"logits": found["cls_logits"].numpy(), "offsets": found["bbox_regression"].numpy()}


def detected() -> dict[str, np.ndarray]:
    outputs = {name: [torch.tensor(level) for level in levels] for name, levels in cases.outputs().items()}
    maps = [torch.zeros(1, 1, *level) for level in cases.LEVELS]
    sizes = tuple((4 * stride, int(4 * stride * 2 ** (1 / 3)), int(4 * stride * 2 ** (2 / 3)))
                  for stride in cases.STRIDES)
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(maps))
    anchors = generator(ImageList(torch.zeros(1, 3, *cases.IMAGE_SIZE), [cases.IMAGE_SIZE]), maps)[0]
    levels, batch = anchors.split([level.numel() * cases.ANCHORS for level in maps]), len(outputs["logits"][0])
    model = types.SimpleNamespace(score_thresh=0.3, topk_candidates=40, nms_thresh=0.5, detections_per_img=20,
                                  box_coder=BoxCoder((1.0, 1.0, 1.0, 1.0)))
    images = retinanet.RetinaNet.postprocess_detections(
        model, {"cls_logits": outputs["logits"], "bbox_regression": outputs["offsets"]}, [list(levels)] * batch,
        [cases.IMAGE_SIZE] * batch)
    print("detected:", [len(image["scores"]) for image in images])
    return {f"{index}/{name}": value.numpy() for index, image in enumerate(images) for name, value in image.items()}


def main() -> None:
    retinanet.box_ops.batched_nms = batched_nms
    np.savez_compressed(FILE, **given(), **detected())


if __name__ == "__main__":
    main()
