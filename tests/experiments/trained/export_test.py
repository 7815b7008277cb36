"""A trained run as files: what they give is what the run gives, and what is wrong with a request is said first."""

import importlib.util
import json
import os
import types

import jax
import numpy as np
import onnx
import pytest

import geodesic
from geodesic.configs import stored
from geodesic.embedders.public_weights import publish
from geodesic.errors import UserError
from geodesic.experiments import calibrate
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import export, exportable, loading, network
from tests.experiments import tiny


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return tiny.faces(tmp_path_factory.mktemp("faces"), 8, 4)


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    """Weights that average the mirror, with a classifier and a threshold."""
    folder = tmp_path_factory.mktemp("run") / "run"
    config = tiny.config(faces, train_data__classes=(0, 3), test_data__classes=(3, 5),
                         evaluation__average_horizontal_flips=True)
    embedder = network.make_embedder(config.embedder, config.head)
    kernel = np.random.default_rng(0).standard_normal((16, 3), np.float32)
    head = imported.Head(kernel, np.arange(3, dtype=np.float32), ["ape", "bee", "cat"], ["", "", ""])
    imported.save(str(folder), config, jax.jit(lambda: network.init_embedder(embedder, 16, seed=0))(), {}, head)
    calibrate.main(config, types.SimpleNamespace(workdir=str(folder), far=0.1, source="image_folder", data=str(faces),
                                                 classes=["5", "8"], other_identities=False))
    return geodesic.load(folder)


@pytest.fixture(scope="module")
def photos(faces):
    return sorted(str(path) for path in faces.rglob("*.jpg"))[:5]


def test_the_files_embed_and_verify_as_the_run_does(run, photos, tmp_path):
    said = []
    record = run.export(tmp_path / "out", ("int8", "onnx", "stablehlo"), say=said.append)
    assert sorted(os.listdir(tmp_path / "out")) == ["model.int8.onnx", "model.json", "model.onnx", "model.stablehlo"]
    assert len(said) == 3 and "nodes of ONNX 17" in said[0] and "on 8 pictures" in said[2]
    assert json.loads((tmp_path / "out" / "model.json").read_text()) == json.loads(json.dumps(record))
    assert record["output"] == {"name": "embedding", "shape": ["batch", 16], "layer": "", "normalized": True,
                                "mirror_averaged": True, "probabilities": False}
    for name in ("model.onnx", "model.stablehlo"):
        found = record["files"][name]["parity"]
        assert found["relative"] < 1e-5 and found["batches"] == [8, 1, 3]
        model = geodesic.load(tmp_path / "out" / name)
        np.testing.assert_allclose(model.embed(photos), run.embed(photos), atol=1e-5)
        assert model.identity == run.identity and model.embedding_size == 16 and model.threshold == run.threshold
        assert model.cosine(*photos[:2]) == pytest.approx(run.cosine(*photos[:2]), abs=1e-5)
        assert model.same(photos[0], photos[0]) and model.threshold_of(0.1) == run.threshold_of(0.1)
        with pytest.raises(UserError, match=r"no threshold for a false accept rate of 0\.2 in .*; it has 0\.1"):
            model.threshold_of(0.2)
    check_golden(record, tmp_path / "out" / "model.onnx")
    facts = record["files"]["model.int8.onnx"]
    assert facts["dtype"] == "int8" and facts["parity"]["allowed"] == {"relative": None, "one_minus_cosine": 0.01}
    model = geodesic.load(tmp_path / "out" / "model.int8.onnx")
    rows = model.embed(photos)
    assert 1e-6 < 1 - (rows * run.embed(photos)).sum(1).min() < 0.01 and model.threshold == run.threshold
    np.testing.assert_array_equal(model.embed(photos[:1]), rows[:1])  # whatever it lies beside


def check_golden(record, path) -> None:
    """The golden pair, as its record describes it, by somebody who has the record and the file alone."""
    import hashlib

    import onnxruntime

    y, x, c = np.meshgrid(range(16), range(16), range(3), indexing="ij")
    picture = ((7 * y + 13 * x + 101 * c + x * y) % 256).astype(np.uint8)[None]
    assert hashlib.sha256(picture.tobytes()).hexdigest() == record["golden"]["sha256"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"images": picture})[0][0], record["golden"]["output"], atol=1e-5)


def test_scores_of_the_classes(run, photos, tmp_path):
    record = run.export(tmp_path, output="scores", preprocessing=False)
    model = geodesic.load(tmp_path / "model.onnx")
    np.testing.assert_allclose(model.classify(photos), run.classify(photos), atol=1e-5)
    assert model.class_names == run.class_names == record["class_names"] and not record["thresholds"]
    assert record["input"]["dtype"] == "float32" and record["model"] == run.classifier_identity
    with pytest.raises(UserError, match=r"gives scores, and no embedding: export the run with output='embedding'"):
        model.embed(photos)


@pytest.mark.slow
def test_a_layer_and_its_map(run, photos, tmp_path):
    run.export(tmp_path / "pooled", layer="stage1")
    pooled = geodesic.load(run.workdir, overrides={"evaluation.layer": "stage1"})
    model = geodesic.load(tmp_path / "pooled" / "model.onnx")
    np.testing.assert_allclose(model.embed(photos), pooled.embed(photos), atol=1e-5)
    assert model.threshold is None  # that of the run is of another layer
    run.export(tmp_path / "map", layer="stage1", output="map")
    found = geodesic.load(tmp_path / "map" / "model.onnx").map(photos)
    np.testing.assert_allclose(found, run.features(photos, "stage1"), atol=1e-4 * np.abs(found).max())


@pytest.mark.parametrize(("options", "told"), [
    ({"formats": ("onx",)}, "unknown format 'onx'; known: onnx, int8, stablehlo, safetensors"),
    ({"formats": ()}, "no format is given: name one or more of onnx"),
    ({"output": "logits"}, "output is one of embedding, scores, map"),
    ({"output": "map"}, "give a layer, one of stem, stage1"),
    ({"layer": "stage9"}, "tiny has no layer 'stage9'; it has stem, stage1"),
    ({"formats": ("onnx", "safetensors")}, "no public layout has this tiny"),
    ({"images": []}, "there are no images"),
    ({"output": "boxes"}, "output 'boxes' is of a detector, and this is a run of --config.task=embedding"),
    ({"output": "scores", "layer": "stage1"}, "output 'scores' is of the whole network, and layer 'stage1' is given"),
])
def test_what_cannot_be_is_said_and_writes_nothing(run, tmp_path, options, told):
    with pytest.raises(UserError, match=told):
        run.export(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_tools_that_are_not_there_are_named(run, tmp_path, monkeypatch):
    true = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else true(name))
    with pytest.raises(UserError, match=r"exporting int8, onnx needs onnx and onnxruntime: pip install 'geodesic\[exp"):
        run.export(tmp_path / "out", ("int8", "onnx"))
    assert not (tmp_path / "out").exists()


def test_what_a_layout_has_no_place_for_is_told_by_its_modules():
    facts = {"bytes": 2**20, "layout": "torchvision",
             "left_out": ["params/head/fcos/logits/bias", "params/head/fcos/logits/kernel", "params/neck/fc/kernel",
                          publish.CLASSIFIER]}
    assert export.describe(facts) == ("1.0 MiB, in the layout of torchvision, without head/fcos, neck/fc, the "
                                      "classifier, which it has no place for")


def test_a_folder_with_something_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty"):
        run.export(tmp_path)


def test_a_file_that_gives_something_else_is_not_kept(run, tmp_path, monkeypatch):
    """As if the writer had forgotten the mirror."""
    true = exportable.function
    monkeypatch.setattr(exportable, "function", lambda run, *others, **more: true(geodesic.load(
        run.workdir, overrides={"evaluation.average_horizontal_flips": False}), *others, **more))
    with pytest.raises(UserError, match=r"model\.onnx does not give what the model gives"):
        run.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_bfloat16_trunk_is_float32_in_onnx_and_itself_in_stablehlo(run, photos, tmp_path):
    narrow = geodesic.load(run.workdir, overrides={"embedder.dtype": "bfloat16"})
    record = narrow.export(tmp_path, ("onnx", "stablehlo"))
    assert [record["files"][name]["dtype"] for name in ("model.onnx", "model.stablehlo")] == ["float32", "bfloat16"]
    wide = geodesic.load(tmp_path / "model.onnx").embed(photos)
    np.testing.assert_allclose(wide, run.embed(photos), atol=1e-5)
    difference = np.abs(geodesic.load(tmp_path / "model.stablehlo").embed(photos) - wide).max()
    assert 1e-5 < difference < 0.05


@pytest.mark.slow
def test_weights_become_public_weights_again(tmp_path, faces):
    config = stored.changed(tiny.config(faces), {"embedder.name": "iresnet18", "embedder.embedding_size": 4,
                                                 "input.image_size": 32})
    embedder = network.make_embedder(config.embedder, config.head)
    variables = jax.tree.map(np.asarray, network.init_embedder(embedder, 32, seed=0))
    imported.save(str(tmp_path / "weights"), config, variables, {})
    record = loading.load(tmp_path / "weights").export(tmp_path / "out", ("safetensors",))
    facts = record["files"]["model.safetensors"]
    assert facts["layout"] == "insightface" and facts["channel_order"] == "rgb" and not facts["left_out"]
    assert "parity" not in facts and "golden" not in record


@pytest.mark.slow
def test_the_onnx_file_says_what_it_is(run, tmp_path):
    run.export(tmp_path)
    made = onnx.load(tmp_path / "model.onnx")
    assert made.opset_import[0].version == 17 and made.producer_name == "geodesic"
    assert {prop.key: prop.value for prop in made.metadata_props} == {"checkpoint": run.digest, "record": "model.json"}
    sizes = [[size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
             for value in (made.graph.input[0], made.graph.output[0])]
    assert sizes == [["batch", 16, 16, 3], ["batch", 16]]
