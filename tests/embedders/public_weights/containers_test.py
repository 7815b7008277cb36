"""Which weights are taken from the files that people pass on. goldens/ was written by torch: make_goldens.py."""

import pathlib
import shutil

import numpy as np
import pytest

from geodesic.embedders.public_weights import containers, weight_files
from geodesic.errors import UserError
from tests.embedders.public_weights.weight_files_test import damaged

GOLDENS = pathlib.Path(__file__).parent / "goldens"
FIRST = ("conv1.weight",)
# File -> (the container that is taken, what chooses the others, what stands in front of the names).
FILES = {
    "numpy_scalar.pth": ("state_dict", [], ""),
    "namespace.pth": ("state_dict", [], ""),
    "legacy.pth.tar": ("state_dict", [], ""),
    "model_state_dict.pth": ("model_state_dict", [], ""),
    "network.pth": ("network", [], ""),
    "nested.pth": ("model.state_dict", [], ""),
    "dino.pth": ("teacher", ["student"], "backbone."),
    "timm_ema.pth": ("state_dict", ["state_dict_ema"], ""),
    "lightning.ckpt": ("state_dict", [], "model.backbone."),
    "moco.pth": ("state_dict", [], "module.encoder_q."),
    "pytorch_model.bin": ("", [], ""),
    "model.safetensors.index.json": ("", [], ""),
    "pytorch_model.bin.index.json": ("", [], ""),
}


def assert_network(tensors: dict, number: int, prefix: str = "", more: int = 0) -> None:
    """That these are the tensors of network `number` of the goldens, and so many others."""
    expected = {"conv1.weight": np.arange(4.0).reshape(2, 2, 1, 1) + 100 * number,
                "bn1.weight": np.array([1.5, -2.0]) + 100 * number, "bn1.num_batches_tracked": np.array(7)}
    assert len(tensors) == len(expected) + more
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[prefix + name], value)


@pytest.mark.parametrize("name", FILES)
def test_what_is_taken_and_what_else_there_is(name):
    container, others, prefix = FILES[name]
    taken = containers.choose(weight_files.read_all(str(GOLDENS / name)), "", FIRST)
    assert (taken.container, taken.others, taken.prefix, taken.outside) == (container, others, "", [])
    more = {"lightning.ckpt": 1, "moco.pth": 4}.get(name, 0)
    assert_network(taken.tensors, 1, prefix, more)
    assert_network(weight_files.read(str(GOLDENS / name)), 1, prefix, more)  # without knowing how a network begins


@pytest.mark.parametrize(("name", "prefix", "number", "outside"), [
    ("moco.pth", "module.encoder_q", 1, 4),
    ("moco.pth", "module.encoder_k", 2, 4),
    ("moco.pth", "module.encoder_k.", 2, 4),
    ("moco.pth", "state_dict.module.encoder_k", 2, 4),
    ("lightning.ckpt", "model.backbone", 1, 1),
    ("dino.pth", "teacher.backbone", 1, 0),
    ("dino.pth", "student.module.backbone", 2, 0),
    ("dino.pth", "module.backbone", 2, 0),
    ("timm_ema.pth", "state_dict_ema", 2, 0),
    ("nested.pth", "model", 1, 0),
])
def test_a_prefix_chooses(name, prefix, number, outside):
    taken = containers.choose(weight_files.read_all(str(GOLDENS / name)), prefix, FIRST)
    assert_network(taken.tensors, number)
    assert len(taken.outside) == outside
    assert_network(weight_files.read(str(GOLDENS / name), prefix), number)


@pytest.mark.parametrize("prefix", ["module.enc", "encoder_q", "state_dict.", "x"])
def test_a_prefix_of_nothing_is_refused_with_what_there_is(prefix):
    found = weight_files.read_all(str(GOLDENS / "moco.pth"))
    if prefix == "state_dict.":
        assert len(containers.choose(found, prefix, FIRST).tensors) == 7
        return
    with pytest.raises(ValueError, match=r"no tensor .* there are state_dict with 7 tensors: module\.encoder_q, mod"):
        containers.choose(found, prefix, FIRST)


@pytest.mark.parametrize(("tree", "container"), [
    ({"conv1.weight": 1, "ema": {"conv1.weight": 2}}, ""),                    # the file is a network by itself
    ({"best": 1, "model": {"scale": 2}, "backbone": {"conv1.weight": 3}}, "backbone"),
    ({"a": {"conv1.weight": 1}, "b": {"conv1.weight": 2, "x": 3}}, "b"),      # of unknown ones the largest
    ({"net": {"conv1.weight": 1}, "ema": {"conv1.weight": 2}}, "ema"),
    ({1: {2: {"conv1.weight": 1}}}, "1.2"),
])
def test_the_likeliest_is_taken(tree, container):
    arrays = lambda node: {key: arrays(value) if isinstance(value, dict) else np.array(value)
                           for key, value in node.items()}
    assert containers.choose(containers.collect(arrays(tree)), "", FIRST).container == container


def test_a_dictionary_that_holds_itself_and_a_deep_one_end():
    tree = {"w": np.ones(1)}
    tree["again"] = tree
    deep = {"w": np.ones(1)}
    for _ in range(10_000):
        deep = {"x": deep}
    assert list(containers.collect(tree)) == [""] and len(containers.collect(deep)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_thousand_damaged_files_are_read_or_refused(tmp_path, name):
    """Never a traceback: what a damaged pickle asks for is passed over, or refused."""
    shutil.copytree(GOLDENS, tmp_path, dirs_exist_ok=True)
    path, rng, read = tmp_path / name, np.random.default_rng(0), 0
    whole = path.read_bytes()
    for _ in range(1000):
        path.write_bytes(damaged(whole, rng))
        try:
            weight_files.read(str(path))
            read += 1
        except (UserError, FileNotFoundError) as error:
            assert str(path) in str(error)
    assert 0 < read < 1000


def test_a_shard_alone_and_an_index_without_its_shards_are_refused(tmp_path):
    for name in ("model.safetensors.index.json", "model-00001-of-00002.safetensors"):
        shutil.copy(GOLDENS / name, tmp_path)
    with pytest.raises(ValueError, match=r"is one of 2 shards, a part of the weights: give their index"):
        weight_files.read(str(tmp_path / "model-00001-of-00002.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"model-00002-of-00002\.safetensors.*weights lie in it"):
        weight_files.read(str(tmp_path / "model.safetensors.index.json"))
    shutil.copy(tmp_path / "model-00001-of-00002.safetensors", tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"says that bn1\.weight and 1 other tensors lie beside it, and they do not"):
        weight_files.read(str(tmp_path / "model.safetensors.index.json"))
