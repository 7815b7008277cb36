import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


@pytest.mark.parametrize("name", ["e.parquet", "e.npz", "a:b.parquet", "k=v.parquet", "[0].npz", "\udce9.parquet"])
@pytest.mark.parametrize("labels", [None, ["7", "07"], ["", "\udce9 $b$"]])
def test_pictures_and_embeddings_move_together(name, labels, content, tmp_path):
    photos = tmp_path / "one" / "photos"
    paths = [f"{photos}/a/1.jpg", f"{photos}/caf\udce9 [b]:$.jpg"]
    written = content._replace(paths=paths, labels=labels, root=str(photos))
    embedding_file.write(str(tmp_path / "one" / name), written)
    assert_same(embedding_file.read(str(tmp_path / "one" / name)), written)
    (tmp_path / "one").rename(tmp_path / "two")
    moved = [path.replace("/one/", "/two/") for path in paths]
    assert_same(embedding_file.read(str(tmp_path / "two" / name)),
                written._replace(paths=moved, root=str(tmp_path / "two" / "photos")))


def assert_same(read, written):
    assert read._replace(embeddings=None) == written._replace(embeddings=None)
    np.testing.assert_array_equal(read.embeddings, written.embeddings)


@pytest.mark.parametrize("extension", ["parquet", "npz"])
def test_a_root_elsewhere_is_kept_and_can_be_given_anew(extension, content, tmp_path, monkeypatch):
    path = str(tmp_path / f"runs/e.{extension}")
    root = str(tmp_path / "photos")
    embedding_file.write(path, content._replace(paths=[f"{root}/a/1.jpg", f"{root}/2.jpg"], root=root))
    (tmp_path / "runs").rename(tmp_path / "moved")
    path = path.replace("/runs/", "/moved/")
    assert embedding_file.read(path).paths == [f"{root}/a/1.jpg", f"{root}/2.jpg"]
    monkeypatch.chdir(tmp_path)
    assert embedding_file.read(path, "other").paths == [f"{tmp_path}/other/a/1.jpg", f"{tmp_path}/other/2.jpg"]
    embedding_file.write(path, content)
    assert embedding_file.read(path).paths == content.paths and embedding_file.read(path).root == ""
    with pytest.raises(ValueError, match=r"not relative to a root"):
        embedding_file.read(path, "other")


def test_pictures_beside_the_file_have_the_root_dot(content, tmp_path):
    path = str(tmp_path / "e.parquet")
    embedding_file.write(path, content._replace(paths=[f"{tmp_path}/a/1.jpg", f"{tmp_path}/2.jpg"], root=str(tmp_path)))
    table = pq.read_table(path)
    assert table["path"].to_pylist() == ["a/1.jpg", "2.jpg"] and table.schema.metadata[b"geodesic.root"] == b"."
    assert table.column_names == ["path", "embedding"]


@pytest.mark.parametrize("name", ["e.parquet", "e.npz"])
def test_what_must_not_be_written(name, content, tmp_path):
    path = str(tmp_path / name)
    with pytest.raises(ValueError, match=r"/elsewhere/2\.jpg does not lie below the root /photos"):
        embedding_file.write(path, content._replace(paths=["/photos/1.jpg", "/elsewhere/2.jpg"], root="/photos"))
    with pytest.raises(ValueError, match=r"does not lie below the root /photos"):
        embedding_file.write(path, content._replace(paths=["/photos/1.jpg", "/photos2/2.jpg"], root="/photos"))
    for value in (np.nan, np.inf):
        wrong = content.embeddings.copy()
        wrong[1, 2] = value
        with pytest.raises(ValueError, match="not finite"):
            embedding_file.write(path, content._replace(embeddings=wrong))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["e.parquet", "e.npz"])
def test_a_file_of_an_older_version_is_read(name, content, tmp_path):
    """It has neither a root nor labels."""
    path = tmp_path / name
    if name == "e.npz":
        np.savez(path, paths=np.asarray(content.paths), embeddings=content.embeddings,
                 identity=np.asarray(json.dumps(IDENTITY)))
    else:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(content.embeddings.ravel()), 3)
        table = pa.table({"path": content.paths, "embedding": rows})
        pq.write_table(table.replace_schema_metadata({"geodesic": json.dumps(IDENTITY)}), path)
    assert_same(embedding_file.read(str(path)), content)
