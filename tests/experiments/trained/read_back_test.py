"""An exported ONNX file, imported: the run's embeddings again, and what cannot be imported is said."""

import json
import os
import types

import jax
import numpy as np
import onnx
import pytest

import geodesic
from geodesic.errors import UserError
from geodesic.experiments import import_weights
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import network
from tests.experiments import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of faces, weights, and what they were exported as."""
    folder = tmp_path_factory.mktemp("read_back")
    faces = tiny.faces(folder / "faces", 4, 4)
    config = tiny.config(faces, evaluation__average_horizontal_flips=True, input__mean=(100.0, 90.0, 80.0))
    embedder = network.make_embedder(config.embedder, config.head)
    imported.save(str(folder / "run"), config, jax.jit(lambda: network.init_embedder(embedder, 16, seed=0))(), {})
    run = geodesic.load(folder / "run")
    run.export(folder / "whole", ("onnx", "int8"), images=faces)
    run.export(folder / "layer", layer="stage1", images=faces)
    return folder


def import_(path, out, **values) -> None:
    given = {"weights": str(path), "embedder": "", "out": str(out), "prefix": "", "class_names": "",
             "allow_missing": [], "allow_unexpected": [], "channel_order": "", "mean": [], "std": [], "image_size": 0}
    import_weights.main(None, types.SimpleNamespace(**given | values))


def test_what_is_imported_again_embeds_as_the_run_does(folder, tmp_path, capsys):
    import_(folder / "whole" / "model.onnx", tmp_path / "again")
    assert "BatchNorm is part of the layer" in capsys.readouterr().out
    run, again = geodesic.load(folder / "run"), geodesic.load(tmp_path / "again")
    np.testing.assert_allclose(again.embed(folder / "faces"), run.embed(folder / "faces"), atol=1e-6)
    assert tuple(again.config.input.mean) == (100.0, 90.0, 80.0) and again.config.evaluation.average_horizontal_flips
    record = json.loads((tmp_path / "again" / "weights.json").read_text())
    assert record["checkpoint"] == run.digest and record["random"] == record["left_out"] == []


def test_a_layer_alone_is_the_embedding_of_what_is_imported(folder, tmp_path, capsys):
    import_(folder / "layer" / "model.onnx", tmp_path / "again", embedder="tiny")
    again = geodesic.load(tmp_path / "again")
    exported = geodesic.load(folder / "layer" / "model.onnx")
    np.testing.assert_allclose(again.embed(folder / "faces"), exported.embed(folder / "faces"), atol=1e-6)
    assert "random, as its output does not need it: params/stage2" in capsys.readouterr().out


@pytest.mark.parametrize(("values", "line"), [
    ({"embedder": "resnet50"}, r"--embedder=resnet50, and .*model\.onnx holds a tiny"),
    ({"mean": ["1", "2", "3"], "image_size": 32}, "--mean, --image_size would change it: leave them out"),
])
def test_what_the_file_says_is_not_changed(folder, tmp_path, values, line):
    with pytest.raises(UserError, match=line):
        import_(folder / "whole" / "model.onnx", tmp_path / "again", **values)
    assert not os.path.exists(tmp_path / "again")


def test_files_that_cannot_be_read_back_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="is in eight bits: give the model before it was quantised"):
        import_(folder / "whole" / "model.int8.onnx", tmp_path / "again")
    for notes, line in (({"checkpoint": "a"}, "does not say which network it holds: it is a detector, or of an older"),
                        ({"checkpoint": "a", "network": "{"}, "its note 'network' is no sections"),
                        ({"checkpoint": "a", "network": '{"embedder": {"odd": 1}}'}, "this version does not know")):
        model = onnx.load(folder / "whole" / "model.onnx")
        onnx.helper.set_model_props(model, notes)
        onnx.save(model, tmp_path / "model.onnx")
        with pytest.raises(UserError, match=line):
            import_(tmp_path / "model.onnx", tmp_path / "again")
    with pytest.raises(UserError, match=r"--embedder=\.\.\. is required: whose weights they are, one of resnet18"):
        import_(tmp_path / "other.npz", tmp_path / "again")
