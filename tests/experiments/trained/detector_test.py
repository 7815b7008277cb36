import dataclasses
import inspect

import numpy as np
import pytest

from geodesic import embedders
from geodesic.configs import default
from geodesic.errors import UserError
from geodesic.experiments.trained import detector
from geodesic.heads.detection import fcos, postprocess, retinanet
from geodesic.losses import anchors, detection
from geodesic.losses import retinanet as retinanet_loss


def made(name="resnet18", size=(64, 96), **changes):
    config = default.get_config()
    config.task, config.embedder.name = "detection", name
    config.detection.update(height=size[0], width=size[1], **changes)
    return config, detector.make(config, 3)


@pytest.mark.parametrize(("name", "layers", "strides"), [
    ("resnet18", ("stage2", "stage3", "stage4"), (8, 16, 32)),
    ("iresnet18", ("stage2", "stage3", "stage4"), (4, 8, 16)),
    ("resnet8", ("stage1", "stage2", "stage3"), (2, 4, 8)),
    ("inception_bn", ("inception_3b/concat", "inception_4d/concat", "inception_5b/concat"), (8, 16, 32))])
def test_levels_are_the_last_layers_of_the_three_coarsest_strides(name, layers, strides):
    config, found = made(name)
    assert (found.head_layers, found.head.strides) == (layers, strides)
    points = detector.points(found, config.detection)
    assert points.sizes == tuple(64 * 96 // stride ** 2 for stride in strides)
    assert points.places[0].tolist() == [strides[0] / 2] * 2


def test_layers_that_are_named_and_levels_above_them():
    """In any order; a further level of a map of odd height is rounded up, as its points are."""
    config, found = made(layers=("stage4", "stage2"), coarser=2, size=(96, 160))
    assert (found.head_layers, found.head.strides) == (("stage2", "stage4"), (8, 32, 64, 128))
    assert detector.points(found, config.detection).sizes == (12 * 20, 3 * 5, 2 * 3, 1 * 2)


def test_a_size_that_a_stride_does_not_divide_is_refused():
    """Of 100 pixels the first stage has 25 rows, which is whole, and the last one 4: all maps are looked at."""
    for size in ((100, 96), (96, 100), (100, 100)):
        with pytest.raises(UserError, match="multiples of the trunk's coarsest stride high and wide, 32 pixels; got"):
            made(size=size)


def test_the_sections_have_the_fields_of_what_they_make():
    """A default of the configuration is the default of the function or module."""
    config = default.get_config()
    defaults = {name: parameter.default for name, parameter in inspect.signature(detection.fcos).parameters.items()
                if parameter.default is not inspect.Parameter.empty}
    assert dict(config.loss.fcos) == defaults
    of_anchors = {name: parameter.default for function in (retinanet_loss.retinanet, anchors.make)
                  for name, parameter in inspect.signature(function).parameters.items()
                  if parameter.default is not inspect.Parameter.empty}
    assert {**config.loss.retinanet, **{name: config.detection[name] for name in (
        "scales", "ratios", "offset", "spread")}} == of_anchors
    fields = {field.name: field.default for field in dataclasses.fields(fcos.Detector)}
    assert all(config.detection[name] == fields[name] for name in ("channels", "coarser", "depth", "distances"))
    found = inspect.signature(postprocess.detect).parameters
    assert {name: config.detection[name] for name in ("candidates", "suppression", "threshold", "sigma", "kept")} == {
        name: found[name].default for name in ("candidates", "suppression", "threshold", "sigma", "kept")}
    assert config.detection.smallest_score == found["smallest"].default


def test_the_embedders_own_neck_makes_way():
    """Fields of the neck, as imported weights have them, are not a detector's."""
    config = default.get_config()
    config.task = "detection"
    config.embedder.update(name="resnet18", neck="bn_fc_bn", pooling="max", dropout=0.1, embedding_size=64)
    found = detector.make(config, 2)
    assert isinstance(found, embedders.EMBEDDERS["resnet18"].func) and found.head.num_classes == 2


def test_the_head_with_anchors():
    config, found = made(head="retinanet", coarser=1, ratios=(0.5, 2.0))
    assert isinstance(found.head, retinanet.Detector) and found.head.anchors == 6
    places = detector.points(found, config.detection)
    assert places.sizes == tuple(6 * cells for cells in (96, 24, 6, 2)) and places.places.shape == (6 * 128, 4)
    with pytest.raises(UserError, match=r"detection.head is one of fcos, retinanet; got 'yolo'"):
        made(head="yolo")


def test_classes_are_counted_of_either_head():
    options = default.get_config().detection
    weights = lambda head, size: {"params": {"head": {head: {"logits": {"bias": np.zeros(size)}}}}}
    assert detector.count_classes(weights("fcos", 7), options) == 7
    with pytest.raises(UserError, match=r"weights are of --config.detection.head=retinanet; got 'fcos'"):
        detector.count_classes(weights("retinanet", 27), options)
    options.head = "retinanet"
    assert detector.count_classes(weights("retinanet", 27), options) == 3
    with pytest.raises(UserError, match=r"the head has 28 outputs, and detection.scales and ratios make 9 anchors"):
        detector.count_classes(weights("retinanet", 28), options)
    with pytest.raises(UserError, match=r"these weights hold no detector: leave out --config.task=detection"):
        detector.count_classes({"params": {"neck": {}}}, options)
