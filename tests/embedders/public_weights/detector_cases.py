"""Detectors as torchvision names their tensors, with weights from a seed: their shapes, and a picture to look at."""

import zlib

import numpy as np

from tests.embedders import seeded

# Name -> the head, blocks of the trunk's stages, whether these are bottlenecks, outputs (tiny: one is the background).
CASES = {"fcos_tiny": ("fcos", (1, 1, 1, 1), False, 4), "retinanet_tiny": ("retinanet", (1, 1, 1, 1), False, 4),
         "fcos_resnet50": ("fcos", (3, 4, 6, 3), True, 91), "retinanet_resnet50": ("retinanet", (3, 4, 6, 3), True, 91)}
IMAGE_SIZE, CHANNELS, ANCHORS = (96, 160), 256, {"fcos": 1, "retinanet": 9}
# torchvision's own, but for scores of weights that nothing has been learnt by.
OPTIONS = {"fcos": {"score_thresh": 0.1, "nms_thresh": 0.6, "detections_per_img": 100, "topk_candidates": 1000},
           "retinanet": {"score_thresh": 0.1, "nms_thresh": 0.5, "detections_per_img": 300, "topk_candidates": 1000}}
# Factors of the last kernels, of classes and of boxes, by which numbers are as in trained networks.
SCALES = {"fcos_tiny": (1.0, 1.0), "retinanet_tiny": (0.08, 0.04), "fcos_resnet50": (1.0, 1.0),
          "retinanet_resnet50": (0.04, 0.03)}
UNKNOWN = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # outputs that no id of COCO has


def picture() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (*IMAGE_SIZE, 3), np.uint8)


def state_dict(name: str) -> dict[str, np.ndarray]:
    """Nothing is found of the outputs that are no classes, as in trained weights."""
    head, stages, bottleneck, outputs = CASES[name]
    shapes = {f"backbone.body.{key}": shape for key, shape in _trunk(stages, bottleneck).items()}
    shapes |= _pyramid(bottleneck) | _head(head, outputs)
    found = {}
    for key, value in seeded.state_dict({key.removeprefix("backbone.body."): shape for key, shape in shapes.items()}
                                        ).items():
        found[f"backbone.body.{key}" if key.startswith(("conv1", "bn1", "layer")) else key] = value
    unknown = list(UNKNOWN if outputs == 91 else (0,))
    for part, last, scale in (("classification", "cls_logits", SCALES[name][0]),
                              ("regression", "bbox_reg", SCALES[name][1])):
        kernel = found[f"head.{part}_head.{last}.weight"]
        kernel -= kernel.mean(axis=1, keepdims=True)  # what all places have alike tells no place from another
        kernel *= scale
    kernel, bias = (found[f"head.classification_head.cls_logits.{leaf}"] for leaf in ("weight", "bias"))
    kernel.reshape(-1, outputs, *kernel.shape[1:])[:, unknown] = 0
    bias -= 3
    bias.reshape(-1, outputs)[:, unknown] = -40
    return found


def sampled(name: str, values: np.ndarray) -> np.ndarray:
    """Some entries of an array, always the same ones for its name and size."""
    flat = np.asarray(values).reshape(-1)
    return flat[np.random.default_rng(zlib.crc32(name.encode())).integers(0, flat.size, 2000)]


def _norm(name: str, width: int) -> dict:
    return {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def _trunk(stages: tuple[int, ...], bottleneck: bool) -> dict:
    shapes, inputs = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}, 64
    for stage, blocks in enumerate(stages):
        width = 64 * 2 ** stage
        outputs = width * (4 if bottleneck else 1)
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            convs = ([(width, inputs, 1), (width, width, 3), (outputs, width, 1)] if bottleneck else
                     [(width, inputs, 3), (width, width, 3)])
            for place, (out, into, side) in enumerate(convs, start=1):
                shapes |= {f"{name}.conv{place}.weight": (out, into, side, side), **_norm(f"{name}.bn{place}", out)}
            if not block and (stage or bottleneck):
                shapes |= {f"{name}.downsample.0.weight": (outputs, inputs, 1, 1),
                           **_norm(f"{name}.downsample.1", outputs)}
            inputs = outputs
    return shapes


def _conv(name: str, out: int, into: int, side: int = 3) -> dict:
    return {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}


def _pyramid(bottleneck: bool) -> dict:
    shapes = {}
    for place in range(3):
        width = 128 * 2 ** place * (4 if bottleneck else 1)
        shapes |= _conv(f"backbone.fpn.inner_blocks.{place}.0", CHANNELS, width, 1)
        shapes |= _conv(f"backbone.fpn.layer_blocks.{place}.0", CHANNELS, CHANNELS)
    return shapes | _conv("backbone.fpn.extra_blocks.p6", CHANNELS, CHANNELS) | _conv(
        "backbone.fpn.extra_blocks.p7", CHANNELS, CHANNELS)


def _head(head: str, outputs: int) -> dict:
    shapes, each = {}, ANCHORS[head]
    for part in ("classification", "regression"):
        for place in range(4):
            name = f"head.{part}_head.conv"
            if head == "fcos":
                shapes |= _conv(f"{name}.{3 * place}", CHANNELS, CHANNELS)
                shapes |= {f"{name}.{3 * place + 1}.{leaf}": (CHANNELS,) for leaf in ("weight", "bias")}
            else:
                shapes |= _conv(f"{name}.{place}.0", CHANNELS, CHANNELS)
    shapes |= _conv("head.classification_head.cls_logits", outputs * each, CHANNELS)
    shapes |= _conv("head.regression_head.bbox_reg", 4 * each, CHANNELS)
    return shapes | (_conv("head.regression_head.bbox_ctrness", 1, CHANNELS) if head == "fcos" else {})
