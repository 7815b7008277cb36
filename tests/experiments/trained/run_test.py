"""A trained model in one's own hands: any form of image, no training data, any number of devices."""

import os
import pathlib
import types

import jax
import numpy as np
import PIL.Image
import pytest

import geodesic
from geodesic import datasets
from geodesic.datasets import transforms
from geodesic.experiments import calibrate, embed, train
from geodesic.experiments.checkpoints import stored_arrays
from geodesic.experiments.trained import embedding_file
from tests.experiments import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run whose training photographs have gone; calibrated; with photographs that it never saw."""
    folder = tmp_path_factory.mktemp("run")
    faces = tiny.faces(folder / "faces", 8, 4)
    config = tiny.config(faces, train_data__classes=(0, 3), test_data__classes=(3, 5), total_steps=2,
                         evaluation__average_horizontal_flips=True)
    train.train(config, str(folder / "run"))
    calibrate.main(config, types.SimpleNamespace(workdir=str(folder / "run"), far=0.1, source="image_folder",
                                                 data=str(faces), classes=["5", "8"], other_identities=False))
    faces.rename(folder / "unseen")
    for name in ("class0", "class1", "class2"):
        (folder / "unseen" / name).rename(folder / f"gone_{name}")
    return folder / "run"


@pytest.fixture(scope="module")
def photos(workdir):
    return sorted(str(path) for path in (workdir.parent / "unseen").rglob("*.jpg"))


@pytest.fixture(scope="module")
def run(workdir):
    return geodesic.load(workdir)


def test_whatever_an_image_comes_in_it_has_the_same_embedding(run, photos):
    expected = run.embed(photos[:3])
    assert expected.shape == (3, 16) and expected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, rtol=1e-6)
    decoded = [datasets.decode({"image": pathlib.Path(path).read_bytes(), "path": path}) for path in photos[:3]]
    forms = [[pathlib.Path(path) for path in photos[:3]], [pathlib.Path(path).read_bytes() for path in photos[:3]],
             decoded, np.stack(decoded), jax.numpy.stack(decoded), [PIL.Image.fromarray(pixels) for pixels in decoded],
             datasets.Files(photos[:3], [0, 0, 0], ["x"])]
    for form in forms:
        np.testing.assert_array_equal(run.embed(form), expected)
    one = run.embed(photos[0])
    assert one.shape == (1, 16)
    np.testing.assert_allclose(one, expected[:1], rtol=1e-5, atol=1e-6)
    folder = os.path.dirname(photos[0])
    np.testing.assert_allclose(run.embed(folder), run.embed(sorted(photos[:4])), rtol=1e-5, atol=1e-6)


def test_it_sees_the_pixels_of_the_programs(run, photos, workdir, tmp_path):
    out = str(tmp_path / "e.npz")
    embed.main(None, types.SimpleNamespace(workdir=str(workdir), images=os.path.dirname(os.path.dirname(photos[0])),
                                           source="", path="", root="", labels=True, out=out, overwrite=False,
                                           gallery=""))
    content = embedding_file.read(out)
    assert content.paths == photos and content.identity == run.identity
    np.testing.assert_array_equal(run.embed(photos), content.embeddings)
    by_hand = run.embedder.apply(run.variables, run.preprocess(photos[:2]), train=False)
    mirrored = run.embedder.apply(run.variables, run.preprocess(photos[:2])[:, :, ::-1], train=False)
    np.testing.assert_allclose(run.embed(photos[:2], normalized=False), (by_hand + mirrored) / 2, rtol=1e-4, atol=1e-5)


def test_named_layers(run, photos):
    assert run.layers["embedding"] == (16,) and run.embedding_size == 16
    for name, shape in run.layers.items():
        assert run.features(photos[:2], name).shape == (2, *shape)
    pooled = geodesic.load(run.workdir, overrides={"evaluation.layer": "stage2"})
    np.testing.assert_allclose(pooled.embed(photos[:2], normalized=False),
                               run.features(photos[:2], "stage2").mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    with pytest.raises(geodesic.UserError, match="no layer 'stage9'; it has stem, stage1"):
        run.features(photos[:1], "stage9")


def test_classes_and_thresholds_lie_in_the_workdir(run, photos, workdir):
    assert run.class_names == ["class0", "class1", "class2"] and run.trained_on["images"] == [4, 4, 4]
    seen = sorted(str(path) for path in (workdir.parent / "gone_class1").iterdir())
    scores = run.classify(seen)
    assert scores.shape == (4, 3)
    weights = run.classifier.params["prototypes"]
    expected = run.embed(seen) @ (weights / np.linalg.norm(weights, axis=1, keepdims=True)).T
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert run.same(photos[0], photos[0]) is True
    assert run.same(photos[0], photos[1]) == (run.cosine(photos[0], photos[1]) >= run.threshold)
    assert -1 <= run.threshold <= 1 and run.threshold_of(0.1)["far"] == 0.1


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_any_number_of_devices(run, photos, devices):
    other = geodesic.load(run.workdir, devices=jax.devices()[:devices])
    np.testing.assert_allclose(other.embed(photos), run.embed(photos), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 8])
def test_a_query_has_one_embedding_whatever_is_asked_beside_it(run, photos, devices):
    """The last bits depend on the size of the batch: of queries there is one."""
    other = geodesic.load(run.workdir, devices=jax.devices()[:devices])
    assert other.query_batch == devices
    together = other.embed_queries(other.source(photos)).embeddings
    alone = np.concatenate([other.embed_queries(other.source(path)).embeddings for path in photos[:5]])
    np.testing.assert_array_equal(alone, together[:5])
    views = np.stack([transforms.eval_view(other.source(photos)[place], other.config.input) for place in range(5)])
    np.testing.assert_array_equal(other.embed_views(views[::-1]), alone[::-1])


@pytest.mark.parametrize(("images", "said"), [
    ([], "the list is empty"), ("nowhere.jpg", "no image 'nowhere.jpg'"), (3, "of type int"),
    ([None], "of type NoneType"),
    (np.zeros((4, 4, 3), np.float32), r"image 0 is an array float32 \[4, 4, 3\]; images are a path, .* uint8"),
    (np.zeros((2, 4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
])
def test_what_is_no_image_is_named(run, images, said):
    with pytest.raises((geodesic.UserError, FileNotFoundError), match=said):
        run.embed(images)


def test_an_image_that_cannot_be_read_is_named(run, photos, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    with pytest.raises(geodesic.UserError, match=r"cannot read the image .*broken\.jpg"):
        run.embed([photos[0], tmp_path / "broken.jpg"])


def test_only_the_embedder_is_read(workdir, monkeypatch):
    read, names = stored_arrays.read, []
    monkeypatch.setattr(stored_arrays, "read", lambda folder, wanted: names.extend(wanted) or read(folder, wanted))
    geodesic.load(workdir)
    assert names and all(name.startswith(("params/embedder/", "batch_stats/")) for name in names)


def test_no_run_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run in"):
        geodesic.load(tmp_path)


def test_an_unknown_field_is_refused_with_the_nearest(workdir):
    with pytest.raises(geodesic.UserError, match=r"no field 'evaluation\.layr': did you mean 'evaluation\.layer'"):
        geodesic.load(workdir, overrides={"evaluation.layr": "stage1"})
