"""A detector as files: with suppression inside or outside they find what the run finds, in letterboxed pictures."""

import json
import types

import jax
import numpy as np
import pytest

import geodesic
from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import classes, detector, exportable, network
from geodesic.experiments.trained.run import Run
from tests.experiments import drawn


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A detector that is not trained, whose scores are nearly all alike: it finds as much as it may."""
    folder = tmp_path_factory.mktemp("detector")
    config = drawn.config(drawn.data(folder / "drawn"), detection__candidates=300)
    embedder = detector.make(config, len(drawn.NAMES))
    variables = jax.jit(lambda: network.init_embedder(embedder, (48, 64), seed=0))()
    names = {"class_names": list(drawn.NAMES), "records": "", "counts": [1, 1]}
    classes.write(str(folder), names, names)
    return Run(str(folder), config, meshes.make(jax.devices()[:1]), embedder, jax.tree.map(np.asarray, variables), 0)


@pytest.fixture(scope="module")
def out(run, tmp_path_factory):
    """Both files, with suppression inside."""
    folder = tmp_path_factory.mktemp("exported")
    run.export(folder / "out", ("onnx", "stablehlo"))
    return folder / "out"


def test_the_files_find_what_the_run_finds(run, out):
    record = json.loads((out / "model.json").read_text())
    assert record["input"]["shape"] == ["batch", 48, 64, 3] and record["input"]["fit"] == "letterbox"
    assert record["input"]["border"] == [128, 128, 128] and record["class_names"] == list(drawn.NAMES)
    assert record["output"]["arrays"] == {"boxes": ["batch", 10, 4], "scores": ["batch", 10],
                                          "classes": ["batch", 10]}
    assert record["output"]["suppression"]["inside"] and record["output"]["levels"] == [768, 192]
    assert {name: len(numbers) for name, numbers in record["golden"]["output"].items()} == {
        "boxes": 40, "scores": 10, "classes": 10}
    pictures = [drawn.draw(np.random.default_rng(seed))[0] for seed in range(3)]
    pictures.append(pictures[0][:24])  # a flat one has a border above and below
    wanted = run.detect(pictures)
    for name in ("model.onnx", "model.stablehlo"):
        model = geodesic.load(out / name)
        assert model.class_names == list(drawn.NAMES) and repr(model).endswith("48 x 64 -> boxes>")
        for found, expected in zip(model.detect(pictures), wanted, strict=True):
            np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
            np.testing.assert_array_equal(found.classes, expected.classes)
    with pytest.raises(UserError, match="cannot read the image image 0"):
        model.detect(b"no picture")


def test_all_points_of_which_nothing_is_chosen(run, tmp_path):
    record = run.export(tmp_path / "out", output="boxes", preprocessing=False)
    assert record["output"]["arrays"] == {"boxes": ["batch", 960, 4], "scores": ["batch", 960, 2]}
    assert not record["output"]["suppression"]["inside"] and record["input"]["dtype"] == "float32"
    with pytest.raises(UserError, match="from which nothing is chosen yet: what is loaded here is exported with --out"):
        geodesic.load(tmp_path / "out" / "model.onnx")


def test_the_best_of_all_points_is_what_is_found_first(run):
    """The points are those that `detect` chooses from: decoded, cut at the edges, the score with its centerness."""
    wanted = types.SimpleNamespace(output="boxes", layer="", preprocessing=True)
    pixels = np.stack([drawn.draw(np.random.default_rng(seed))[0] for seed in range(2)])
    given = exportable.expected(run, wanted, pixels, "float32")
    for picture, boxes, scores in zip(run.detect(pixels), *given.values(), strict=True):
        point, label = np.unravel_index(scores.argmax(), scores.shape)
        assert label == picture.classes[0] and scores.max() == pytest.approx(picture.scores[0], rel=1e-5)
        np.testing.assert_allclose(boxes[point], picture.boxes[0], atol=1e-3)


@pytest.mark.parametrize(("options", "told"), [
    ({"output": "embedding"}, "a detector gives boxes, and no embedding of a picture: the output is detections or"),
    ({"output": "scores", "layer": "stage1"}, "a detector gives boxes, and no scores of a picture"),
    ({"output": "boxes", "layer": "stage1"}, "output 'boxes' is of the whole network, and layer 'stage1' is given too"),
    ({"formats": ("int8",)}, "a detector's boxes have none: leave it out of the formats"),
])
def test_what_a_detector_cannot_give(run, tmp_path, options, told):
    with pytest.raises(UserError, match=told):
        run.export(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_soft_suppression_is_no_operator_of_onnx(run, tmp_path):
    config = run.config.copy_and_resolve_references()
    config.detection.suppression = "linear"
    soft = Run(run.workdir, config, run.mesh, run.embedder, run.variables, 0)
    with pytest.raises(UserError, match="ONNX has no linear suppression: give --output=boxes"):
        soft.export(tmp_path / "out")


@pytest.mark.slow
def test_a_head_with_anchors(tmp_path):
    config = drawn.config(drawn.data(tmp_path / "drawn"), detection__head="retinanet", detection__smallest_score=0.0)
    embedder = detector.make(config, len(drawn.NAMES))
    variables = jax.jit(lambda: network.init_embedder(embedder, (48, 64), seed=0))()
    names = {"class_names": list(drawn.NAMES), "records": "", "counts": [1, 1]}
    classes.write(str(tmp_path), names, names)
    run = Run(str(tmp_path), config, meshes.make(jax.devices()[:1]), embedder, jax.tree.map(np.asarray, variables), 0)
    record = run.export(tmp_path / "out")
    assert record["output"]["levels"] == [9 * 768, 9 * 192] and record["files"]["model.onnx"]["nodes"] < 130
    run.export(tmp_path / "points", ("onnx", "stablehlo"), output="boxes")


@pytest.mark.slow
def test_a_layer_of_its_trunk(run, tmp_path):
    record = run.export(tmp_path / "out", layer="stage1", images=datasets.build(**run.config.test_data))
    assert record["input"]["shape"] == ["batch", 48, 64, 3] and record["input"]["fit"] == "letterbox"
    pictures = [drawn.draw(np.random.default_rng(0))[0]]
    rows = geodesic.load(tmp_path / "out" / "model.onnx").embed(pictures)
    wanted = run.features(pictures, "stage1").mean((1, 2))
    np.testing.assert_allclose(rows, wanted / np.linalg.norm(wanted), atol=1e-5)
