"""Networks written as ONNX and read back: of every family, pooling and neck the same function of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from onnx import numpy_helper

from geodesic import embedders, heads
from geodesic.embedders.public_weights import onnx_file, own_onnx
from geodesic.errors import UserError
from geodesic.experiments.exporting import write
from geodesic.experiments.trained import network

SIZE = 32
# Each a family, with a pooling and a neck, or a head.
NETWORKS = {
    "resnet": ("resnet8", {"pooling": "generalised_mean", "neck": "bn_fc_bn"}),
    "resnet, deep stem": ("resnet8", {"stem": "deep", "pooling": "average_max", "neck": "layer_norm"}),
    "resnet v1": ("resnet50", {"layer": "stage1", "version": "v1", "bn_epsilon": 1e-3, "embedding_size": 0}),
    "resnext": ("resnext11_16x4d", {"pooling": "flatten", "neck": "linear"}),
    "iresnet": ("iresnet18", {"layer": "stage1", "width": 8}),
    "inception_bn": ("inception_bn", {"layer": "inception_3a/concat", "embedding_size": 4}),
    "mlp": ("resnet8", {"head": heads.build("mlp", hidden_sizes=(6,), size=4), "embedding_size": None}),
}
# The modules of Inception-BN above its layer here.
ABOVE = {f"inception_{module}" for module in ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")}


def built(name: str):
    """(the network, its variables, their shapes by path, the channels that its neck is given)."""
    family, fields = NETWORKS[name]
    if family != "inception_bn":
        fields = {"stage_sizes": (1,), "layer": "stage1", "embedding_size": 4} | fields
    embedder = embedders.build(family, convolution="native", **fields)
    shapes = jax.eval_shape(embedder.init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))
    rng = np.random.default_rng(0)
    flat = {path: rng.uniform(0.3, 1.2, leaf.shape).astype(np.float32) if path.endswith(("var", "scale", "/p"))
            else rng.normal(0, 0.2, leaf.shape).astype(np.float32)
            for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items()}
    return embedder, traverse_util.unflatten_dict(flat, sep="/"), {path: value.shape for path, value in flat.items()}, (
        network.layers(embedder, SIZE)[embedder.layer][-1])


def written(embedder, variables, folder) -> tuple[dict[str, np.ndarray], onnx_file.Model]:
    """(the arrays of the file, what is read of it), of a network whose mirror is averaged, as runs have it."""
    model = write.onnx_model(
        lambda images: sum(embedder.apply(variables, side, train=False) for side in (images, jnp.flip(images, 2))),
        (SIZE, SIZE, 3), "float32", ["embedding"], {})
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return ({array.name: numpy_helper.to_array(array) for array in model.graph.initializer},
            onnx_file.read_model(str(folder / "model.onnx")))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name == "inception_bn" else [])
                                  for name in NETWORKS])
def test_writing_again_what_was_read_gives_the_same_arrays(name, tmp_path):
    embedder, variables, wanted, channels = built(name)
    first, model = written(embedder, variables, tmp_path)
    found, _ = own_onnx.convert(model, wanted, channels, embedder.bn_epsilon)
    above = {path for path in wanted if name == "inception_bn" and path.split("/")[1] in ABOVE}
    assert {*found} == {*wanted} - above
    again, _ = written(embedder, traverse_util.unflatten_dict(
        {path: np.zeros(wanted[path], np.float32) for path in above} | found, sep="/"), tmp_path)
    assert [*again] == [*first]
    for path, values in first.items():
        np.testing.assert_allclose(again[path], values, rtol=2e-7, atol=1e-8, err_msg=path)


@pytest.mark.parametrize(("layer", "norm"), [
    ("conv1", "bn1"), ("conv1_2", "bn1_2"), ("conv1_3", "bn1"), ("stage1_block1/downsample_conv",
                                                                 "stage1_block1/downsample_bn"),
    ("stage1_block1/conv2", "stage1_block1/bn3"), ("inception_3a/1x1/conv", "inception_3a/1x1/bn")])
def test_a_bias_is_that_of_the_batch_norm_behind(layer, norm):
    bias = np.array([1.0, 2.0], np.float32)
    model = onnx_file.Model({"kernel": np.ones((2, 3, 1, 1), np.float32), "bias": bias},
                            [onnx_file.Node("Conv", f"{layer}/Conv", ["x", "kernel", "bias"])], {})
    wanted = {f"params/{layer}/kernel": (1, 1, 3, 2), f"params/{norm}/bias": (2,), f"batch_stats/{norm}/mean": (2,)}
    found, _ = own_onnx.convert(model, wanted, 3, 1e-5)
    assert {*found} == {*wanted}
    np.testing.assert_array_equal(found[f"params/{norm}/bias"], bias)


def test_what_lies_above_the_layer_is_missing_and_a_classifier_is_left_out(tmp_path):
    embedder, variables, wanted, channels = built("resnet")
    kernel = np.ones((4, 3), np.float32)
    model = write.onnx_model(lambda images: embedder.apply(variables, images, train=False) @ kernel, (SIZE, SIZE, 3),
                             "float32", ["scores"], {})
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    above = {"params/stage2_block1/conv1/kernel": (3, 3, 32, 64)}
    found, left_out = own_onnx.convert(onnx_file.read_model(str(tmp_path / "model.onnx")), wanted | above, channels,
                                       embedder.bn_epsilon)
    assert {*wanted} == {*found} and left_out == ["Gemm"]


@pytest.mark.parametrize(("change", "line"), [
    (lambda wanted: wanted | {"params/neck/other/kernel": (2, 2)}, "not the whole network .*neck/other/kernel missing"),
    (lambda wanted: wanted | {"params/neck/fc/kernel": (32, 5)}, r"is of shape \(32, 4\) in this file, and \(32, 5\)"),
])
def test_a_file_of_another_network_is_refused(change, line, tmp_path):
    embedder, variables, wanted, channels = built("resnet")
    _, model = written(embedder, variables, tmp_path)
    with pytest.raises(UserError, match=line):
        own_onnx.convert(model, change(wanted), channels, embedder.bn_epsilon)


def test_a_bias_without_a_place_is_refused():
    model = onnx_file.Model({"kernel": np.ones((2, 3, 1, 1), np.float32), "bias": np.ones(2, np.float32)},
                            [onnx_file.Node("Conv", "conv1/Conv", ["x", "kernel", "bias"])], {})
    with pytest.raises(UserError, match="conv1 has a bias in this file, and neither it nor a BatchNorm behind it"):
        own_onnx.convert(model, {"params/conv1/kernel": (1, 1, 3, 2)}, 3, 1e-5)
