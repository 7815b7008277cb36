import numpy as np
import pytest

from geodesic.embedders.public_weights import detectors
from geodesic.errors import UserError

LOGITS, BOXES = "head.classification_head.cls_logits.weight", "head.regression_head.bbox_reg.weight"


def state(**more) -> dict[str, np.ndarray]:
    """Of a RetinaNet with two classes, as far as it is looked at."""
    names = {LOGITS: np.zeros((18, 8, 3, 3)), BOXES: np.zeros((36, 8, 3, 3)),
             "backbone.body.conv1.weight": np.zeros((64, 3, 7, 7))}
    return names | {key.replace("__", "."): value for key, value in more.items()}


def test_older_and_newer_names_of_convolutions():
    """Files of older versions have a ReLU between the convolutions of a tower, newer ones put both into one module."""
    conv = lambda number: np.full((8, 8, 3, 3), number)
    older = {f"head.classification_head.conv.{2 * place}.weight": conv(place) for place in range(4)}
    newer = {f"head.classification_head.conv.{place}.0.weight": conv(place) for place in range(4)}
    fpn = {"backbone.fpn.inner_blocks.1.weight": np.zeros((8, 16, 1, 1))}, {
        "backbone.fpn.inner_blocks.1.0.weight": np.zeros((8, 16, 1, 1))}
    for names, pyramid in zip((older, newer), fpn, strict=True):
        found = detectors.convert(state() | names | pyramid, "resnet18")
        assert not found.unexpected and found.detection["depth"] == 4 and found.detection["channels"] == 8
        tower = found.head["retinanet"]["class_tower"]
        assert [tower[f"conv{place}"]["kernel"].max() for place in (1, 2, 3, 4)] == [0, 1, 2, 3]
        assert [*found.head["pyramid"]] == ["lateral_stage3"]


def test_classes_are_kept_of_each_anchor():
    values = np.arange(9 * 2, dtype=np.float32)
    found = detectors.convert(state(head__classification_head__cls_logits__bias=values), "resnet18")
    assert found.outputs == 2
    kept = detectors.keep_classes(found, [1])["retinanet"]["logits"]
    assert kept["bias"].tolist() == [*range(1, 18, 2)] and kept["kernel"].shape == (3, 3, 8, 9)


def test_other_weights_are_refused():
    with pytest.raises(UserError, match="these weights are of no detector that is known"):
        detectors.convert({"conv1.weight": np.zeros((64, 3, 7, 7))}, "resnet18")
    with pytest.raises(UserError, match="these weights are of retinanet_resnet50_fpn_v2, whose head has GroupNorm"):
        detectors.convert(state(head__classification_head__conv__0__1__weight=np.ones(8)), "resnet18")
    found = detectors.convert(state(odd=np.ones(1), head__regression_head__odd=np.ones(1)), "resnet18")
    assert found.unexpected == ["odd", "head.regression_head.odd"]
