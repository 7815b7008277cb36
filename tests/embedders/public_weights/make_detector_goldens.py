"""Writes goldens/detectors.npz: what torchvision's detectors give of the weights and the picture of detector_cases.

    pip install torch torchvision==0.16.2
    python -m tests.embedders.public_weights.make_detector_goldens

Outputs of the head are sampled; what is found after suppression is whole.
"""

import pathlib

import numpy as np
import torch
from torchvision.models import resnet
from torchvision.models.detection import fcos, retinanet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from tests.embedders.public_weights import detector_cases as cases
from tests.heads.detection.make_goldens import batched_nms

FILE = pathlib.Path(__file__).parent / "goldens" / "detectors.npz"


def build(name: str):
    head, stages, bottleneck, outputs = cases.CASES[name]
    trunk = resnet.ResNet(resnet.Bottleneck if bottleneck else resnet.BasicBlock, list(stages),
                          norm_layer=FrozenBatchNorm2d)
    backbone = _resnet_fpn_extractor(trunk, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    make = fcos.FCOS if head == "fcos" else retinanet.RetinaNet
    model = make(backbone, outputs, min_size=min(cases.IMAGE_SIZE), max_size=max(cases.IMAGE_SIZE),
                 **cases.OPTIONS[head]).eval()
    model.load_state_dict({key: torch.tensor(value) for key, value in cases.state_dict(name).items()}, strict=False)
    unset = {*model.state_dict()} - {*cases.state_dict(name)}
    assert all(key.endswith(("fc.weight", "fc.bias")) for key in unset), sorted(unset)[:5]
    if head == "retinanet":  # as torchvision does with its published weights
        for module in model.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.eps = 0.0
    return model


def main() -> None:
    fcos.box_ops.batched_nms = retinanet.box_ops.batched_nms = batched_nms
    results = {}
    image = torch.tensor(cases.picture()).permute(2, 0, 1) / 255
    for name in cases.CASES:
        model, given = build(name), {}
        model.head.register_forward_hook(lambda module, inputs, outputs, given=given: given.update(outputs))
        with torch.no_grad():
            found = model([image])[0]
        for key, value in given.items():
            results[f"{name}/{key}"] = cases.sampled(key, value.numpy())
        results |= {f"{name}/{key}": value.numpy() for key, value in found.items()}
        scores = found["scores"]
        print(name, {key: f"{tuple(value.shape)} {value.std():.2f}" for key, value in given.items()}, len(scores),
              f"found, of scores {scores.max():.2f} to {scores.min():.2f} and {len(found['labels'].unique())} classes")
    np.savez_compressed(FILE, **results)


if __name__ == "__main__":
    main()
