"""Features are computed once, and never taken for others."""

import json
import os
import pathlib

import numpy as np
import pytest

import geodesic
from geodesic import datasets
from geodesic.experiments import train
from geodesic.experiments.process import mapped
from geodesic.experiments.trained import embedding, features
from tests.experiments import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    faces = tiny.faces(folder / "faces", 5, 4)
    (faces / "class1" / "0.jpg").write_bytes(b"\xff\xd8 broken")
    config = tiny.config(faces, train_data__classes=(2, 5), total_steps=1)
    train.train(config, str(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def source(workdir):
    return datasets.build("image_folder", path=str(workdir.parent / "faces"))


@pytest.fixture(scope="module")
def run(workdir):
    return geodesic.load(workdir)


@pytest.fixture
def passes(monkeypatch):
    """How many images have gone through a network."""
    gone = []

    def counted(*arguments, batches_of=embedding.batches_of, **options):
        for places, rows, count in batches_of(*arguments, **options):
            gone.append(count)
            yield places, rows, count

    monkeypatch.setattr(embedding, "batches_of", counted)
    return gone


def test_several_layers_in_one_pass_and_then_from_the_disk(run, source, passes, tmp_path):
    found = features.of(run, source, ("stage1", "embedding"), folder=str(tmp_path))
    assert sum(passes) == 20
    again = features.of(run, source, ("embedding", "stage1"), folder=str(tmp_path))
    assert sum(passes) == 20
    for layer in found:
        np.testing.assert_array_equal(found[layer].values, again[layer].values)
        assert isinstance(again[layer].values, np.memmap) and again[layer].values.dtype == np.float32
    expected = run.embed_source(source)
    np.testing.assert_allclose(found["embedding"].values, expected.embeddings, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["embedding"].readable, expected.readable)
    assert found["embedding"].problems == expected.problems and len(expected.problems) == 1
    kept = datasets.Records(source, np.flatnonzero(expected.readable))
    maps = features.of(run, kept, ("stage1",), folder=str(tmp_path), pooled=False)["stage1"].values
    assert maps.shape == (19, *run.layers["stage1"])
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), found["stage1"].values[expected.readable], rtol=1e-5, atol=1e-6)
    passes.clear()
    features.of(run, source, ("embedding", "stage1"), folder=str(tmp_path))
    assert not passes
    features.of(run, source, ("embedding", "stage2"), folder=str(tmp_path))  # only what is not there
    assert sum(passes) == 20


@pytest.mark.parametrize("changes", [
    {"input.image_size": 12}, {"input.fit": "center_crop"}, {"input.mean": (1.0, 2.0, 3.0)},
    {"evaluation.average_horizontal_flips": True}, {"embedder.dtype": "bfloat16"},
])
def test_whatever_decides_the_values_is_part_of_their_name(run, source, workdir, changes):
    known = features.made_by(run, source, "embedding")
    other = geodesic.load(workdir, overrides=changes)
    assert features.made_by(other, source, "embedding") != known
    assert mapped.place("x", features.made_by(other, source, "embedding")) != mapped.place("x", known)


def test_other_weights_layers_poolings_and_images_are_others(run, source, workdir):
    known = [features.made_by(run, source, "embedding"), features.made_by(run, source, "stage1"),
             features.made_by(run, source, "stage1", pooled=False),
             features.made_by(run, datasets.Records(source, np.arange(19)), "embedding"),
             features.made_by(run, datasets.Records(source, np.arange(20)[::-1]), "embedding"),
             features.made_by(run, source, "embedding",
                              variables={**run.variables, "params": {"x": np.zeros(2, np.float32)}})]
    assert len({mapped.place("x", one) for one in known}) == len(known)
    before = known[0]
    assert features.made_by(geodesic.load(workdir), source, "embedding") == before
    path = pathlib.Path(source.paths[3])
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-40] + bytes(40))
        assert features.made_by(run, source, "embedding") != before
    finally:
        path.write_bytes(content)
    assert features.made_by(run, source, "embedding") == before


def test_what_was_begun_goes_on_where_it_stopped(run, source, passes, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_KEEP_EVERY", 0.0)

    def stop(count):
        if sum(passes) >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features.of(run, source, folder=str(tmp_path), progress=stop)
    identity = features.made_by(run, source, "embedding")
    assert features.read(str(tmp_path), identity) is None and not list(tmp_path.rglob("features.npy"))
    passes.clear()
    told = []
    found = features.of(run, source, folder=str(tmp_path), progress=told.append)["embedding"]
    assert sum(passes) == 4 and sum(told) == 20
    np.testing.assert_allclose(found.values, run.embed_source(source).embeddings, rtol=1e-5, atol=1e-6)
    assert found.readable.sum() == 19
    (inside,) = tmp_path.iterdir()
    assert {*os.listdir(inside)} == {"features.npy", "readable.npy", "about.json", ".lock"}


def test_what_is_not_whole_is_not_read(run, source, tmp_path):
    features.of(run, source, folder=str(tmp_path))
    identity = features.made_by(run, source, "embedding")
    (inside,) = tmp_path.iterdir()
    content = (inside / "features.npy").read_bytes()
    (inside / "features.npy").write_bytes(content[:-100])
    with pytest.raises(geodesic.UserError, match=r"the features in .* are damaged.*Remove that folder"):
        features.read(str(tmp_path), identity)
    np.save(inside / "features.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(geodesic.UserError, match=r"not those that about\.json tells of"):
        features.read(str(tmp_path), identity)
    about = json.loads((inside / "about.json").read_text())
    (inside / "about.json").write_text(json.dumps(about | {"identity": {}}))
    assert features.read(str(tmp_path), identity) is None
    (inside / "about.json").unlink()
    assert features.read(str(tmp_path), identity) is None


@pytest.mark.parametrize(("layers", "folder", "said"), [
    (("stage9",), "", "has no layer 'stage9'; it has stem, stage1"), (("embedding",), "gs://bucket/x", "this machine"),
])
def test_what_cannot_be_is_said_before_anything_is_computed(run, source, passes, layers, folder, said):
    with pytest.raises(geodesic.UserError, match=said):
        features.of(run, source, layers, folder=folder)
    assert not passes and features.default_folder(run) == os.path.join(run.workdir, "features")
    assert not os.path.exists(features.default_folder(run))
