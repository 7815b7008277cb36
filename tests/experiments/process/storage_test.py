"""Places that are no folder of this machine."""

import importlib.util

import pytest

from geodesic.errors import UserError
from geodesic.experiments.process import storage


@pytest.mark.parametrize("path, kind", [
    ("runs/faces", ""), ("/a/b:c", ""), ("C:/runs", ""), ("a/gs://b", ""), ("gs://bucket/run", "gs"),
    ("gs:/bucket", "gs"), ("s3:bucket", "s3"), ("hdfs://host/run", "hdfs"),
    ("file:///run", "file"), ("stored:gs://bucket/config.json", "")])
def test_what_is_a_url(path, kind):
    assert storage.scheme(path) == kind
    assert storage.is_remote(path) == (path == "gs://bucket/run")


@pytest.mark.parametrize("path, line", [
    ("hdfs://host/run", "there is no storage hdfs://; known are folders of this machine, gs:// and s3://"),
    ("file:///run", "there is no storage file://"), ("gs:/bucket/run", "expected gs://BUCKET/FOLDER"),
    ("s3://", "expected s3://BUCKET/FOLDER")])
def test_what_cannot_be_reached_is_refused_in_one_line(path, line):
    with pytest.raises(UserError) as error:
        storage.check(path, f"--out={path}")
    assert str(error.value).startswith(f"--out={path}: {line}") and "\n" not in str(error.value)


@pytest.mark.parametrize("path, package, extra", [
    ("gs://bucket/run", "gcsfs", "gcs"), ("s3://bucket/run", "s3fs", "s3")])
def test_a_package_that_is_missing_is_named_with_its_extra(path, package, extra, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(UserError, match=rf"{path} needs {package}, .* pip install 'geodesic\[{extra}\]'"):
        storage.check(path)


def test_a_file_is_whole_or_what_it_was(tmp_path, monkeypatch):
    path = str(tmp_path / "folder" / "file")
    storage.write(path, b"one")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        storage.write(path, b"two")
    assert storage.read(path) == b"one" and storage.names(str(tmp_path / "folder")) == ["file"]
