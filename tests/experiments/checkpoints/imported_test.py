"""Imported weights: the folder, what it refuses, and a training that starts from it."""

import functools
import json
import types

import jax
import numpy as np
import pytest

from geodesic import embedders
from geodesic.configs import stored
from geodesic.embedders.public_weights import containers, pretrained
from geodesic.embedders.resnet import BasicBlock, ResNet
from geodesic.experiments import import_weights, train
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import stop_signal
from geodesic.experiments.trained import loading
from geodesic.experiments.training import init_from, model
from tests.embedders import seeded
from tests.experiments import tiny

RESNET_TINY = functools.partial(ResNet, stage_sizes=(1, 1), block=BasicBlock, width=8, stem="small", layer="stage2")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(embedders.EMBEDDERS, "resnet_tiny", RESNET_TINY)
    monkeypatch.setitem(embedders.PUBLIC_LAYOUTS, "resnet_tiny", ("torchvision",))


def state_dict() -> dict[str, np.ndarray]:
    """Of the tiny network under torchvision's names, with a classifier of three classes."""
    leaves = ("weight", "bias", "running_mean", "running_var")
    norm = lambda name, width: {f"{name}.{leaf}": (width,) for leaf in leaves}
    shapes = {"conv1.weight": (8, 3, 3, 3), **norm("bn1", 8), "fc.weight": (3, 16), "fc.bias": (3,)}
    for layer, inputs, width in (("layer1.0", 8, 8), ("layer2.0", 8, 16)):
        shapes |= {f"{layer}.conv1.weight": (width, inputs, 3, 3), **norm(f"{layer}.bn1", width),
                   f"{layer}.conv2.weight": (width, width, 3, 3), **norm(f"{layer}.bn2", width)}
    shapes |= {"layer2.0.downsample.0.weight": (16, 8, 1, 1), **norm("layer2.0.downsample.1", 16)}
    return seeded.state_dict(shapes)


def run_import(tmp_path, state: dict, **values) -> str:
    np.savez(tmp_path / "public.npz", **state)
    given = {"weights": str(tmp_path / "public.npz"), "embedder": "resnet_tiny", "out": str(tmp_path / "imported"),
             "prefix": "", "class_names": "",
             "allow_missing": [], "allow_unexpected": [], "channel_order": "", "mean": [], "std": [], "image_size": 16}
    import_weights.main(None, types.SimpleNamespace(**given | values))
    return given["out"]


def test_an_imported_folder_embeds_as_its_weights_do(tmp_path, capsys):
    folder = run_import(tmp_path, state_dict())
    assert "torchvision layout as resnet_tiny: 30 of the file's 32 tensors matched, 0 missing, 0 left over" in (
        capsys.readouterr().out)
    config = stored.get_config(f"{folder}/config.json")
    assert config.input.mean == (123.675, 116.28, 103.53) and config.input.fit == "center_crop"
    loaded = loading.load(folder)
    images = tiny.batch()["image"]
    expected = jax.jit(RESNET_TINY().apply)(
        pretrained.convert(state_dict(), "resnet_tiny"),
        (images - np.float32(config.input.mean)) / np.float32(config.input.std))
    found = loaded.embed(images, normalized=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_classifier_comes_along_with_its_names(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("apple\n\nbanana\ncherry \n")
    state, faces = state_dict(), tiny.faces(tmp_path / "faces", 2, 2)
    run = loading.load(run_import(tmp_path, state, class_names=str(tmp_path / "names.txt")))
    assert "the classifier of 3 classes is kept: those of names.txt" in capsys.readouterr().out
    assert run.class_names == ["apple", "banana", "cherry"] == [*run.class_places]
    logits = run.embed(str(faces), normalized=False) @ state["fc.weight"].T + state["fc.bias"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run.classify(str(faces)), expected, rtol=1e-4, atol=1e-6)
    assert [row[0][0] for row in run.predict(str(faces))] == [run.class_names[row.argmax()] for row in expected]


def test_a_thousand_classes_are_those_of_imagenet(tmp_path, capsys):
    state = state_dict() | {"fc.weight": np.zeros((1000, 16), np.float32), "fc.bias": np.arange(1000, dtype=np.float32)}
    run = loading.load(run_import(tmp_path, state))
    assert "those of ImageNet in their usual order" in capsys.readouterr().out
    assert run.class_names[388] == "giant panda"
    assert run.class_places["n02510455"] == 388 == run.class_places["giant panda"]
    assert run.predict(np.zeros((1, 20, 20, 3), np.uint8), top=1)[0][0][0] == "toilet tissue"


def test_names_that_are_not_those_of_the_classifier_are_refused(tmp_path):
    (tmp_path / "names.txt").write_text("apple\nbanana\napple\n")
    with pytest.raises(ValueError, match="has 3 names, 2 of them different; the classifier has 3 classes"):
        run_import(tmp_path, state_dict(), class_names=str(tmp_path / "names.txt"))
    state = {name: value for name, value in state_dict().items() if not name.startswith("fc.")}
    with pytest.raises(ValueError, match="these weights bring no classifier"):
        run_import(tmp_path, state, class_names=str(tmp_path / "names.txt"))
    assert not (tmp_path / "imported").exists()
    run = loading.load(run_import(tmp_path, state))
    with pytest.raises(ValueError, match="does not hold the names of its classes"):
        run.class_names  # noqa: B018


def test_what_was_taken_is_said_and_a_prefix_chooses(tmp_path, capsys):
    state = state_dict()
    state |= {f"k.{name}": value + 1 for name, value in state.items()} | {"queue": np.zeros(2, np.float32)}
    both = {name if name.startswith(("k.", "queue")) else f"q.{name}": value for name, value in state.items()}
    with pytest.raises(ValueError, match=r"--prefix=q, --prefix=k"):
        run_import(tmp_path, both)
    assert "left over: 13 more" in capsys.readouterr().out
    folder = run_import(tmp_path, both, prefix="k")
    assert ("taken: 32 tensors of the file itself, below k\n  33 tensor(s) outside of the prefix are left out: "
            "q.conv1") in capsys.readouterr().out
    with open(f"{folder}/weights.json") as file:
        record = json.load(file)
    assert (record["container"], record["prefix"], record["left_out"], record["shards"]) == ("", "k", [], {})
    found = loading.load(folder).variables["params"]["conv1"]["kernel"]
    np.testing.assert_array_equal(found, (state_dict()["conv1.weight"] + 1).transpose(2, 3, 1, 0))


def test_of_an_average_beside_the_weights_it_is_said(tmp_path, capsys):
    container = lambda name, other: containers.Chosen({"a": np.ones(1)}, name, "", [], [other])
    assert import_weights.describe(container("state_dict", "state_dict_ema")) == (
        "taken: 1 tensors of state_dict\n  state_dict_ema holds such a network too: --prefix=state_dict_ema takes it")


def test_weights_that_are_not_finite_are_refused_and_nothing_is_written(tmp_path):
    state = state_dict()
    state["layer2.0.bn2.bias"][3] = np.nan
    with pytest.raises(ValueError, match=r"layer2\.0\.bn2\.bias: 1 of 16 numbers are not finite"):
        run_import(tmp_path, state)
    assert not (tmp_path / "imported").exists()


def test_missing_and_left_over_tensors_must_be_named(tmp_path):
    state = state_dict()
    del state["bn1.bias"]
    state["extra"] = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="params/bn1/bias missing"):
        run_import(tmp_path, state)
    with pytest.raises(ValueError, match="extra left over"):
        run_import(tmp_path, state, allow_missing=["params/bn1/bias"])
    folder = run_import(tmp_path, state, allow_missing=["params/bn1/bias"], allow_unexpected=["extra"])
    with open(f"{folder}/weights.json") as file:
        record = json.load(file)
    assert record["random"] == ["params/bn1/bias"] and record["left_out"] == ["extra"]
    with pytest.raises(ValueError, match="not empty"):
        run_import(tmp_path, state_dict())


def test_another_normalisation_is_refused(tmp_path):
    folder = run_import(tmp_path, state_dict())
    config = stored.get_config(f"{folder}/config.json")
    config.input.mean = (127.5, 127.5, 127.5)
    with pytest.raises(ValueError, match=r"need images of mean \(123\.675, .*--config\.input\.mean='\(123\.675, .*\)'"):
        imported.load(folder, config)


def test_a_changed_bit_is_refused(tmp_path):
    folder = run_import(tmp_path, state_dict())
    with np.load(f"{folder}/weights.npz") as file:
        arrays = dict(file)
    arrays["params/bn1/bias"].view(np.uint32)[0] ^= 1
    np.savez(f"{folder}/weights.npz", **arrays)
    with pytest.raises(ValueError, match="are damaged: import them again"):
        imported.load(folder, stored.get_config(f"{folder}/config.json"))


def training(folder: str, tmp_path):
    config = stored.get_config(f"{folder}/config.json")
    faces = tiny.faces(tmp_path / "faces")
    for data in (config.train_data, config.test_data):
        data.name, data.path = "image_folder", str(faces)
    config.update(init_from=folder, batch_size=8, total_steps=2)
    config.evaluation.batch_size = 8
    config.embedder.update(embedding_size=4)
    return config


def test_training_starts_from_the_trunk_and_keeps_its_own_neck(tmp_path):
    folder = run_import(tmp_path, state_dict())
    config = training(folder, tmp_path)
    built, mesh = tiny.built(config, jax.devices()[:1])
    fresh = model.init_state(built, mesh)
    state = init_from.initialise(fresh, folder, config)
    expected = pretrained.convert(state_dict(), "resnet_tiny")
    given = {**state.params["embedder"]}
    np.testing.assert_array_equal(given.pop("neck")["fc"]["kernel"], fresh.params["embedder"]["neck"]["fc"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, given, expected["params"])
    jax.tree.map(np.testing.assert_array_equal, {**state.batch_stats}, expected["batch_stats"])


def test_another_trunk_is_refused(tmp_path):
    folder = run_import(tmp_path, state_dict())
    config = training(folder, tmp_path)
    config.embedder.update(name="resnet8")
    built, mesh = tiny.built(config, jax.devices()[:1])
    with pytest.raises(ValueError, match=r"has another trunk than config\.embedder: .* arrays differ"):
        init_from.initialise(model.init_state(built, mesh), folder, config)


def test_a_run_can_start_from_weights_and_another_from_that_run(tmp_path):
    folder = run_import(tmp_path, state_dict())
    config = training(folder, tmp_path)
    assert train.train(config, str(tmp_path / "first"), stop_signal.StopSignal()) == 0
    trained = loading.load(str(tmp_path / "first"))
    config.init_from = str(tmp_path / "first")
    built, mesh = tiny.built(config, jax.devices()[:2])
    state = init_from.initialise(model.init_state(built, mesh), config.init_from, config)
    jax.tree.map(np.testing.assert_array_equal, state.params["embedder"], trained.variables["params"])
