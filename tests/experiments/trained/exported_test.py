"""Exported files that are not whole, or not where they were, are refused in a line; the rest is in export_test.py."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import geodesic
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import loading, network
from tests.experiments import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    config = tiny.config(tiny.faces(folder / "faces", 4, 4))
    embedder = network.make_embedder(config.embedder, config.head)
    imported.save(str(folder / "run"), config, jax.jit(lambda: network.init_embedder(embedder, 16, seed=0))(), {})
    loading.load(folder / "run").export(folder / "out")
    return folder / "out"


@pytest.fixture
def folder(made, tmp_path):
    return pathlib.Path(shutil.copytree(made, tmp_path / "out"))


def test_pictures_in_any_form(made):
    model = geodesic.load(made / "model.onnx")
    photo = str(made.parent / "faces" / "class0" / "0.jpg")
    expected = model.embed(photo)
    assert expected.shape == (1, 16) and repr(model).endswith("16 px -> embedding [16]>")
    np.testing.assert_array_equal(model.embed(pathlib.Path(photo).read_bytes()), expected)
    assert model.embed(str(made.parent / "faces")).shape == (16, 16)
    with pytest.raises(UserError, match="cannot read the image image 0"):
        model.embed(b"no picture")
    with pytest.raises(UserError, match="has no threshold: set one with"):
        model.same(photo, photo)
    with pytest.raises(UserError, match="of length 1"):
        model.embed(photo, normalized=False)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"no file 'nowhere/model\.onnx'"):
        geodesic.load("nowhere/model.onnx")


def test_a_file_without_its_record(folder):
    (folder / "model.json").unlink()
    with pytest.raises(UserError, match=r"model\.json, which says what its images are, does not lie beside it"):
        geodesic.load(folder / "model.onnx")


def test_a_damaged_file(folder):
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match="it is damaged, or of another export"):
        geodesic.load(folder / "model.onnx")


def test_a_record_of_something_else(folder):
    record = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(record | {"version": 99}))
    with pytest.raises(UserError, match="is not the record of an export"):
        geodesic.load(folder / "model.onnx")
