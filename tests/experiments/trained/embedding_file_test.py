import numpy as np
import pytest

from geodesic.experiments.trained import embedding_file

IDENTITY = {"checkpoint": "abc", "input": {"image_size": 64, "mean": [127.5]}}


@pytest.fixture
def content():
    return embedding_file.Embeddings(["a/1.jpg", "b/ü.jpg"], np.arange(6, dtype=np.float32).reshape(2, 3), IDENTITY)


@pytest.mark.parametrize("name", ["e.parquet", "e.npz"])
def test_round_trip(name, content, tmp_path):
    path = str(tmp_path / name)
    embedding_file.write(path, content)
    back = embedding_file.read(path)
    assert back.paths == content.paths and back.identity == IDENTITY
    np.testing.assert_array_equal(back.embeddings, content.embeddings)
    assert back.embeddings.dtype == np.float32


def test_another_extension_is_refused(content, tmp_path):
    with pytest.raises(ValueError, match=r"\.parquet or \.npz"):
        embedding_file.write(str(tmp_path / "e.csv"), content)


@pytest.mark.parametrize("name", ["e.parquet", "e.npz"])
@pytest.mark.parametrize("damage", [lambda b: b[:len(b) // 2], lambda b: b"", lambda b: b"not a table at all"])
def test_a_damaged_file_is_said_to_be_one(name, damage, content, tmp_path):
    path = tmp_path / name
    embedding_file.write(str(path), content)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"is not a file of geodesic embed"):
        embedding_file.read(str(path))


def test_a_full_disk_leaves_what_was_there(content, tmp_path, monkeypatch):
    path = tmp_path / "e.npz"
    path.write_bytes(b"before")

    def no_space(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", no_space)
    with pytest.raises(OSError, match="No space left"):
        embedding_file.write(str(path), content)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_identities_must_agree():
    embedding_file.check_same(IDENTITY, dict(IDENTITY), "e.npz")
    with pytest.raises(ValueError, match=r"e\.npz was made by another model .*checkpoint abc there, xyz here"):
        embedding_file.check_same(IDENTITY, IDENTITY | {"checkpoint": "xyz"}, "e.npz")
