"""Public weights of our variables: read again they are the same to the bit, under the names of the public models."""

import functools
import pathlib

import jax
import numpy as np
import pytest

from geodesic import embedders
from geodesic.embedders.public_weights import layouts, pretrained, publish, weight_files
from geodesic.errors import UserError
from tests.embedders import goldens

# Case -> (embedder, fields of ours, layout).
CASES = {
    "torchvision": ("resnet50", {"embedding_size": 0}, "torchvision"),
    "torchvision, groups": ("resnext50_32x4d", {"embedding_size": 0}, "torchvision"),
    "timm": ("resnet18", {"embedding_size": 0, "stem": "deep"}, "timm, deep stem"),
    "Keras": ("resnet101", {"embedding_size": 0, "version": "v1", "bn_epsilon": 1e-3}, "Keras v1"),
    "insightface": ("iresnet18", {"embedding_size": 8}, "insightface"),
}
BLOCKS = {"Keras": (1, 4, 1, 1)}  # more than three: they are called b1, b2, ...


def variables_of(module, size: int = 32):
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), "float32"))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)


def check_round_trip(name, fields, layout, known=None, size=32):
    module = embedders.build(name, **fields)
    variables = variables_of(module, size)
    made = publish.convert(variables, name, module)
    found = pretrained.inspect(made.tensors, name, fields=known or {})
    pretrained.check(found, name)
    assert made.layout.name == found.layout.name == layout and not made.left_out
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
    jax.tree.map(lambda one, other: np.testing.assert_equal(one.tobytes(), other.tobytes()), found.variables, variables)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if "torchvision" in name else ())
                                  for name in CASES])
def test_what_is_written_is_read_as_it_was(name):
    embedder, fields, layout = CASES[name]
    blocks = {"stage_sizes": BLOCKS.get(name, (1, 1, 1, 1))}
    check_round_trip(embedder, fields | blocks, layout, blocks)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout"), [(name, layout) for name, known in embedders.PUBLIC_LAYOUTS.items()
                                              for layout in known])
def test_every_embedder_in_each_of_its_layouts(name, layout):
    fields = {key: value for key, value in layouts.LAYOUTS[layout].fields.items() if key != "bn_momentum"}
    size = 32 if layouts.LAYOUTS[layout].neck else 0
    check_round_trip(name, {**fields, "embedding_size": size}, layout, size=64 if name == "inception_bn" else 32)


@pytest.mark.parametrize(("name", "size"), [
    ("resnet50_tiny", 64), ("iresnet18_tiny", 64), pytest.param("resnext50_32x4d_tiny", 64, marks=pytest.mark.slow),
    pytest.param("inception_bn", 64, marks=pytest.mark.slow)])
def test_names_and_shapes_are_those_of_the_public_models(name, size):
    """The golden files have the names and shapes of torchvision's, Cadene's and insightface's own state_dicts."""
    case, golden = goldens.CASES[name], np.load(goldens.FOLDER / f"{name}.npz")
    shapes = {key: tuple(map(int, filter(None, shape.split(",")))) for key, shape in
              zip(golden["names"].tolist(), golden[f"{size}/shapes"].tolist(), strict=True)
              if not key.endswith("num_batches_tracked")}
    fields = {"stage_sizes": case.stage_sizes} if case.stage_sizes else {}
    width = shapes.get("fc.weight", (0,))[0] if case.embedder.startswith("iresnet") else 0
    module = embedders.build(case.embedder, embedding_size=width, **fields)
    made = publish.convert(variables_of(module, size), case.embedder, module)
    head = () if made.layout.neck else (f"{made.layout.head}.weight", f"{made.layout.head}.bias")
    assert {key: value.shape for key, value in made.tensors.items()} == {
        key: shape for key, shape in shapes.items() if key not in head}


def test_a_linear_neck_is_the_public_networks_last_layer():
    module = embedders.build("resnet18", embedding_size=6, stage_sizes=(1, 1, 1, 1))
    variables = variables_of(module)
    made = publish.convert(variables, "resnet18", module)
    fc = variables["params"]["neck"]["fc"]
    np.testing.assert_array_equal(made.tensors["fc.weight"], fc["kernel"].T)
    np.testing.assert_array_equal(made.tensors["fc.bias"], fc["bias"])
    assert not made.left_out


@pytest.mark.parametrize(("fields", "kept"), [
    ({"embedding_size": 0}, True), ({"embedding_size": 6}, False), ({"embedding_size": 0, "pooling": "max"}, False),
    ({"embedding_size": 0, "layer": "stage3"}, False)])
def test_a_classifier_is_the_last_layer_of_a_bare_averaged_trunk_alone(fields, kept):
    module = embedders.build("resnet18", stage_sizes=(1, 1, 1, 1), **fields)
    head = {"kernel": np.ones((512, 3)), "bias": np.arange(3.0)}
    made = publish.convert(variables_of(module), "resnet18", module, head)
    assert ("fc.weight" in made.tensors) == kept and ("the classifier" in made.left_out) != kept
    assert not kept or made.tensors["fc.weight"].shape == (3, 512)


@pytest.mark.parametrize(("name", "fields", "told"), [
    ("resnet8", {}, "there are no public weights of it"),
    ("resnet50", {"stem": "small"}, "torchvision has not stem small"),
    ("resnet50", {"bn_epsilon": 1e-3}, "torchvision has not bn_epsilon 0.001"),
    ("resnet50", {"version": "v1"}, "Keras v1 has not bn_epsilon 1e-05"),
    ("iresnet18", {"neck": "linear"}, "insightface has not neck linear"),
    ("iresnet18", {"layer": "stage3"}, "insightface has not layer stage3"),
])
def test_a_network_that_no_public_model_is_has_no_public_weights(name, fields, told):
    module = embedders.build(name, **{"embedding_size": 8} | fields)
    with pytest.raises(UserError, match=told):
        publish.layout_of(name, module)


def test_the_file_is_one_of_safetensors(tmp_path: pathlib.Path):
    tensors = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.float32(3)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(publish.safetensors(tensors, {"format": "pt"}))
    found = weight_files.read(str(path))
    assert {*found} == {"a.weight", "b"}
    functools.reduce(lambda _, key: np.testing.assert_array_equal(found[key], tensors[key]), tensors, None)
