"""A run's own evaluation through its exported files: the same scores, and which files are none of it."""

import json
import pathlib
import types

import jax
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments import evaluate
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import exported_files
from geodesic.experiments.trained import classes, detector, loading, network
from geodesic.experiments.trained.run import Run
from tests.experiments import drawn, tiny


def weights(folder, faces, seed: int):
    """A run with the weights that this seed draws."""
    config = tiny.config(faces)
    embedder = network.make_embedder(config.embedder, config.head)
    imported.save(str(folder), config, jax.jit(lambda: network.init_embedder(embedder, 16, seed=seed))(), {})
    return loading.load(folder)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return tiny.faces(tmp_path_factory.mktemp("faces"), 8, 4)


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    """With its files in the folder "out"."""
    folder = tmp_path_factory.mktemp("run")
    run = weights(folder / "run", faces, 0)
    run.export(folder / "run" / "out", ("onnx", "int8"))
    return run


def test_the_score_that_differs_most_is_named():
    of = lambda above: exported_files.describe({"trained": "trained", "scores": {"a.onnx": {"map@r": 0.5, "eer": 0.25}},
                                                "exported": {"a.onnx": {"above": above}}})
    assert of({"map@r": 1e-9, "eer": 0.0}) == ["a.onnx: map@r 0.50000, +0.00000 to trained; no score differs"]
    assert of({"map@r": 1e-3, "eer": -2e-3}) == ["a.onnx: map@r 0.50000, +0.00100 to trained; the score that differs "
                                                 "most is eer, by -0.00200"]


def test_the_scores_through_the_files_are_those_of_the_run(run, capsys):
    files = [f"{run.workdir}/out/{name}" for name in ("model.onnx", "model.int8.onnx")]
    record = evaluate.evaluate(run, baselines=False, exported=files)
    own = record["scores"]["trained, step 0"]
    for metric, value in own.items():
        assert record["scores"]["model.onnx"][metric] == pytest.approx(value, abs=1e-4), metric
    made = json.loads(pathlib.Path(run.workdir, "out", "model.json").read_text())
    for name in ("model.onnx", "model.int8.onnx"):
        told = record["exported"][name]
        assert told["sha256"] == made["files"][name]["sha256"] and told["path"].endswith(f"out/{name}")
        assert told["above"]["map@r"] == record["scores"][name]["map@r"] - own["map@r"]
    shown = capsys.readouterr().out
    (line,) = (line for line in shown.splitlines() if line.startswith("model.onnx: "))
    assert line.startswith(f"model.onnx: map@r {own['map@r']:.5f}, +0.00000 to trained, step 0; ")
    # Their columns would leave no room for the names of the scores.
    assert "model" not in shown[:shown.index("model.onnx: ")]
    evaluate.evaluate(run, baselines=False)
    assert "model.onnx" not in capsys.readouterr().out


def test_a_file_of_other_weights_is_refused(run, faces, tmp_path):
    other = weights(tmp_path / "other", faces, 1)
    with pytest.raises(UserError, match=r"model\.onnx was exported from another model than .*: it differs in check"):
        evaluate.evaluate(other, baselines=False, exported=[f"{run.workdir}/out/model.onnx"])
    assert not (tmp_path / "other" / "evaluation.json").exists()


def test_what_is_no_file_for_it_is_refused(run, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.onnx or \.stablehlo"):
        evaluate.evaluate(run, baselines=False, exported=[f"{run.workdir}/out"])
    run.export(tmp_path / "map", layer="stage1", output="map")
    with pytest.raises(UserError, match=r"gives map, and .* is scored by its embedding: export it with --output=embed"):
        evaluate.evaluate(run, baselines=False, exported=[str(tmp_path / "map" / "model.onnx")])
    with pytest.raises(UserError, match="--exported is scored on the run's own test data: leave out --protocol"):
        evaluate.main(run.config, types.SimpleNamespace(protocol="orl_faces", exported=["model.onnx"]))


@pytest.mark.slow
def test_a_detector_finds_as_much_through_its_file(tmp_path, capsys):
    config = drawn.config(drawn.data(tmp_path / "drawn"))
    embedder = detector.make(config, len(drawn.NAMES))
    variables = jax.tree.map(np.asarray, jax.jit(lambda: network.init_embedder(embedder, (48, 64), seed=0))())
    names = {"class_names": list(drawn.NAMES), "records": "", "counts": [1, 1]}
    classes.write(str(tmp_path), names, names)
    run = Run(str(tmp_path), config, meshes.make(jax.devices()[:1]), embedder, variables, 0)
    run.export(tmp_path / "out")
    record = evaluate.evaluate(run, exported=[str(tmp_path / "out" / "model.onnx")])
    assert record["scores"]["model.onnx"] == pytest.approx(record["scores"]["trained, step 0"], abs=1e-4)
    assert "model.onnx: ap 0." in capsys.readouterr().out
