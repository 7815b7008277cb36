import os
import types

import numpy as np
import pytest

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.trained import collection, embedding_file, thresholds
from tests.datasets import images
from tests.experiments.galleries import fake


class Run(fake.Run):
    def embed_source(self, source, advance=lambda images: None):
        advance(len(source))
        return super().embed_source(source)


def test_the_same_pictures_wherever_their_vectors_lie(tmp_path):
    names = {f"{label}/{place}.jpg": f"{label}{place}" for label in "abc" for place in range(3)}
    faces = fake.folder(tmp_path / "faces", names | {"b/1.jpg": "broken", "c/0.jpg": "nan"})
    run, said = Run(), []
    now = collection.of_source(run, datasets.build("image_folder", path=str(faces)), said.append)
    assert now.labels == ["a"] * 3 + ["b"] * 2 + ["c"] * 2 and now.identity == run.identity and now.labelled
    assert len(said) == 2 and "b/1.jpg" in said[0] and "c/0.jpg: its embedding is not finite" in said[1]
    np.testing.assert_allclose(now.embeddings[3], run.vector(b"b0"), atol=1e-6)
    embedding_file.write(str(tmp_path / "a.parquet"), embedding_file.Embeddings(
        now.paths, now.embeddings, run.identity, now.labels, str(faces)))
    gallery = Gallery(str(tmp_path / "gallery"), run).create()
    gallery.add(str(faces))
    for other in (collection.of_file(str(tmp_path / "a.parquet")), collection.of_gallery(gallery.path)):
        assert other[:3] == now[:3] and other.identity == now.identity
        np.testing.assert_allclose(other.embeddings, now.embeddings, atol=1e-6)


def test_pixels_are_read_from_wherever_they_are(tmp_path):
    faces = images.make_folder(tmp_path / "faces", 1, 3)
    source = datasets.build("image_folder", path=str(faces))
    (faces / "class0" / "0.jpg").write_bytes(b"broken")
    run = types.SimpleNamespace(identity={}, embed_source=lambda *_: fake.Embedded(
        np.eye(3), np.array([False, True, True]), ["cannot read"]))
    now = collection.of_source(run, source)
    assert [os.path.basename(path) for path in now.paths] == ["1.jpg", "2.jpg"]
    np.testing.assert_array_equal(now.read(1), datasets.decode(source[2]))  # the broken one is left out
    embedding_file.write(str(tmp_path / "a.npz"), embedding_file.Embeddings(now.paths, now.embeddings, {}))
    np.testing.assert_array_equal(collection.of_file(str(tmp_path / "a.npz")).read(1), now.read(1))


def rows(**changes):
    return collection.Collection(**dict(
        ids=["a", "b"], paths=["", ""], labels=["", ""], embeddings=np.eye(2, dtype=np.float32),
        identity={"checkpoint": "1"}, read=None) | changes)


def entry(far, threshold):
    return thresholds.Calibration(far, threshold, (0, 1), far, (0, 1), 1.0, (0, 1), 9, 9, 9, 9)


def test_the_threshold_is_given_or_calibrated_or_the_gallerys(tmp_path):
    for far, cosine in ((1e-2, 0.3), (1e-3, 0.4)):
        thresholds.save(str(tmp_path), {"checkpoint": "1"}, entry(far, cosine), {})
    stored = entry(1e-1, 0.2)._asdict()
    assert collection.threshold(rows(), str(tmp_path), 0.9) == (0.9, "as given", None)
    assert collection.threshold(rows(), str(tmp_path))[::2] == (0.4, 1e-3)
    assert collection.threshold(rows(stored=stored), str(tmp_path), far=1e-2)[::2] == (0.3, 1e-2)
    found = collection.threshold(rows(stored=stored), "")
    assert found[::2] == (0.2, 1e-1) and "calibrated on 9 identities for FAR 0.1" in found.whence
    assert collection.threshold(rows(), "").cosine is None
    with pytest.raises(UserError, match="are of another model: checkpoint 1 there, 2 here"):
        collection.threshold(rows(identity={"checkpoint": "2"}), str(tmp_path))
    with pytest.raises(UserError, match=r"no threshold for a false accept rate of 0.05 in the gallery; it has 0.1"):
        collection.threshold(rows(stored=stored), "", far=0.05)
    with pytest.raises(UserError, match=r"--far=0.05: there is no threshold of geodesic calibrate"):
        collection.threshold(rows(), "", far=0.05)


def test_nothing_and_what_is_no_file(tmp_path):
    path = str(tmp_path / "a.npz")
    embedding_file.write(path, embedding_file.Embeddings([], np.zeros((0, 2), np.float32), {}))
    with pytest.raises(UserError, match=r"a\.npz: there is no picture with a vector"):
        collection.of_file(path)
    embedding_file.write(path, embedding_file.Embeddings(["x"], np.ones((1, 2), np.float32), {}))
    with pytest.raises(FileNotFoundError):
        collection.of_file(path).read(0)
