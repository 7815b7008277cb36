import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from geodesic import embedders
from geodesic.errors import UserError
from geodesic.heads.detection.fcos import DISTANCES, FCOS, Detector
from tests.heads.detection import network_cases as cases

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "network.npz"


def params() -> dict:
    given = traverse_util.unflatten_dict(cases.weights(), sep="/")
    given["fcos"]["factors"] = np.ones(5, np.float32)
    return given


def test_pyramid_and_head_are_torchvisions():
    detector = Detector(cases.NUM_CLASSES, cases.CHANNELS, cases.COARSER, cases.DEPTH, "relu")
    found = jax.jit(lambda layers: detector.apply({"params": params()}, layers))(cases.layers())
    with np.load(GOLDEN) as golden:
        for name in ("logits", "distances", "centerness"):
            joined = jnp.concatenate(found[name], axis=1)
            np.testing.assert_allclose(joined, golden[name], rtol=1e-3, atol=1e-5, err_msg=name)
        assert (golden["distances"] > 0).mean() > 0.2


@pytest.mark.parametrize("distances", DISTANCES)
def test_each_level_has_its_own_factor_of_the_distances(distances):
    level = np.random.default_rng(0).normal(size=(1, 4, 4, 32)).astype(np.float32)
    run = jax.jit(FCOS(cases.NUM_CLASSES, cases.DEPTH, distances).apply)
    of = lambda *factors: run({"params": {**params()["fcos"], "factors": np.float32(factors)}}, [level, level])
    one, other = of(1, 1), of(1, 3)
    np.testing.assert_array_equal(one["distances"][0], one["distances"][1])
    np.testing.assert_array_equal(one["distances"][0], other["distances"][0])
    inverse = {"softplus": lambda y: np.log(np.expm1(y)), "relu": lambda y: y, "exp": np.log}[distances]
    np.testing.assert_allclose(inverse(np.asarray(other["distances"][1], float)),
                               3 * inverse(np.asarray(one["distances"][1], float)), rtol=1e-3, atol=1e-4)
    assert (other["distances"][1] >= 0).all() and (other["distances"][1] != one["distances"][1]).any()


def test_before_training_hardly_anything_is_there():
    levels = [np.random.default_rng(0).normal(size=(1, 8, 8, 32)).astype(np.float32)]
    outputs, _ = jax.jit(FCOS(num_classes=5, depth=1).init_with_output)(jax.random.key(0), levels)
    probability = 1 / (1 + np.exp(-np.asarray(outputs["logits"][0])))
    assert np.allclose(probability.mean(), 0.01, atol=0.001) and probability.max() < 0.02
    assert np.allclose(np.mean(outputs["distances"][0]), np.log(2), atol=0.1)  # softplus of about 0


def test_unknown_distances_are_refused():
    with pytest.raises(UserError, match="distances are made by one of softplus, relu, exp; got 'linear'"):
        jax.eval_shape(FCOS(2, distances="linear").init, jax.random.key(0), [jnp.ones((1, 2, 2, 8))])


@pytest.mark.parametrize(("name", "layers", "size"), [
    ("resnet18", ("stage2", "stage3", "stage4"), (64, 96)),
    ("iresnet18", ("stage2", "stage3", "stage4"), (64, 96)),
    ("inception_bn", ("inception_3b/concat", "inception_4d/concat", "inception_5b/concat"), (64, 96))])
def test_it_sits_on_every_family(name, layers, size):
    """A detector's trunk has the parameters of an embedder's, and all else lies in "head"."""
    detector = embedders.build(name, head=Detector(4, channels=32, depth=1, coarser=1), head_layers=layers)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    outputs, variables = jax.eval_shape(lambda rng, x: detector.init_with_output(rng, x), jax.random.key(0), images)
    plain = jax.eval_shape(embedders.build(name, embedding_size=4).init, jax.random.key(0), jax.ShapeDtypeStruct(
        (2, 64, 64, 3), jnp.float32))
    assert {**variables["params"], "neck": 0}.keys() == {**plain["params"], "head": 0}.keys()
    fine = (size[0] // 8) * (size[1] // 8) if name != "iresnet18" else (size[0] // 4) * (size[1] // 4)
    assert [level.shape for level in outputs["logits"]][:2] == [(2, fine, 4), (2, fine // 4, 4)]
