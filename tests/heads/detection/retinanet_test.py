import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from geodesic.heads.detection import postprocess
from geodesic.heads.detection.retinanet import RetinaNet
from geodesic.losses import anchors
from tests.heads.detection import retinanet_cases as cases

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "retinanet.npz"
HEAD = RetinaNet(cases.NUM_CLASSES, cases.ANCHORS, cases.DEPTH)


def test_the_head_is_torchvisions():
    params = traverse_util.unflatten_dict(cases.weights(), sep="/")
    found, golden = jax.jit(HEAD.apply)({"params": params}, cases.maps()), np.load(GOLDEN)
    for name in ("logits", "offsets"):
        np.testing.assert_allclose(jnp.concatenate(found[name], axis=1), golden[name], rtol=1e-3, atol=1e-5)
        assert golden[name].std() > 0.1


def test_what_is_detected_is_what_torchvision_detects():
    """Boxes of more than 62.5 times an anchor's sides are of these."""
    places = anchors.make(cases.IMAGE_SIZE, cases.STRIDES, offset=0.0)
    detect = functools.partial(postprocess.detect, image_size=cases.IMAGE_SIZE, smallest=0.3, candidates=40,
                               threshold=0.5, kept=20)
    found, golden = jax.jit(detect)(cases.outputs(), places.places, places.strides), np.load(GOLDEN)
    numbers = [len(golden[f"{index}/scores"]) for index in range(4)]
    assert numbers[0] == 20 and 0 < numbers[3] < 20
    for index, number in enumerate(numbers):
        np.testing.assert_array_equal(found.classes[index, :number], golden[f"{index}/labels"])
        np.testing.assert_allclose(found.scores[index, :number], golden[f"{index}/scores"], rtol=1e-5)
        np.testing.assert_allclose(found.boxes[index, :number], golden[f"{index}/boxes"], atol=1e-4)
        assert (found.classes[index, number:] == -1).all()


def test_before_training_hardly_anything_is_there():
    outputs, variables = jax.jit(HEAD.init_with_output)(jax.random.key(0), cases.maps())
    probability = 1 / (1 + np.exp(-np.concatenate(outputs["logits"], 1)))
    assert np.allclose(probability.mean(), 0.01, atol=0.001) and probability.max() < 0.02
    assert np.abs(np.concatenate(outputs["offsets"], 1)).max() < 0.05
    assert {*variables["params"]} == {"class_tower", "box_tower", "logits", "offsets"}


def test_what_is_encoded_is_decoded():
    """The loss and what reads the network mean the same by an offset."""
    places = anchors.make(cases.IMAGE_SIZE, cases.STRIDES).places
    boxes = places + np.random.default_rng(0).uniform(-3, 3, places.shape).astype(np.float32)
    found = postprocess.decode_anchors(places, anchors.encode(places, boxes))
    np.testing.assert_allclose(found, boxes, atol=1e-3)
