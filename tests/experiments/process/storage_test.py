"""Places that are no folder of this machine."""

import importlib.util
import re
import time

import pytest

from geodesic.errors import UserError
from geodesic.experiments.process import storage
from tests import buckets


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


def test_files_of_a_bucket(bucket):
    run = f"{bucket}/a folder [1]/run"
    assert not storage.exists(run) and not storage.is_folder(run) and storage.names(run) == []
    assert storage.files(run) == {}
    storage.write(f"{run}//config.json", b"one")
    storage.write(f"{run}/run/deeper/x", b"12345")
    assert storage.names(f"{run}/") == ["config.json", "run"] and storage.names(f"{run}/run") == ["deeper"]
    assert storage.files(run) == {"config.json": 3, "run/deeper/x": 5}
    assert storage.read(f"{run}/config.json") == storage.opened(f"{run}/config.json").read() == b"one"
    assert storage.is_file(f"{run}/config.json") and not storage.is_file(run) and storage.is_folder(run)
    assert abs(storage.changed(f"{run}/config.json") - time.time()) < 60 and storage.changed(f"{run}/none") == 0
    with pytest.raises(FileNotFoundError, match=r"a folder \[1\]/run/none"):
        storage.read(f"{run}/none")
    storage.move(run, f"{bucket}/other", last=["config.json"])
    assert storage.files(f"{bucket}/other") == {"config.json": 3, "run/deeper/x": 5} and not storage.files(run)
    storage.remove(f"{bucket}/other", last=["config.json"])
    storage.remove(f"{bucket}/other/none")
    assert not storage.exists(f"{bucket}/other")


def test_of_all_who_create_an_object_one_does(bucket):
    made = storage.each(lambda number: storage.create(f"{bucket}/one", b"%d" % number), list(range(12)))
    assert sum(made) == 1 and storage.read(f"{bucket}/one") == b"%d" % made.index(True)


def test_folders_go_there_and_back(bucket, tmp_path):
    for name in ("a", "b/c"):
        storage.write(str(tmp_path / "from" / name), name.encode())
    storage.send(str(tmp_path / "from"), f"{bucket}/x")
    storage.fetch(f"{bucket}/x", str(tmp_path / "to"))
    assert (tmp_path / "to/b/c").read_bytes() == b"b/c" and storage.files(f"{bucket}/x") == {"a": 1, "b/c": 3}


@pytest.mark.slow
@buckets.s3_and_slowly_gs
@pytest.mark.parametrize("wanted", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_what_the_network_does_loses_nothing(bucket, servers, monkeypatch, wanted):
    """A service that is busy, at fault, or gone before, in or after its answer, at every third request."""
    kind = bucket.partition("://")[0]
    with buckets.Proxy(servers[kind], 0.33) as proxy:
        buckets.use(monkeypatch, **{kind: proxy.port})
        buckets.without_pauses(monkeypatch)
        number, there = 0, {}
        while proxy.faults.total() < wanted:
            number += 1
            path, content = f"{bucket}/f/{number % 7}", b"%d" % number * 1000
            storage.write(path, content)
            there[str(number % 7)] = len(content)
            assert storage.read(path) == content and storage.files(f"{bucket}/f") == there
            assert storage.names(f"{bucket}/f") == sorted(there) and storage.is_file(path)
            assert not storage.exists(f"{bucket}/none")
            assert storage.create(f"{bucket}/once/{number}", content)
            assert not storage.create(f"{bucket}/once/{number}", b"other")
            storage.remove(f"{bucket}/once")
        assert {*proxy.faults} - {None} == {*proxy.KINDS}


def test_a_connection_that_is_lost_is_named_and_found_again(bucket, servers, monkeypatch, capsys):
    kind = bucket.partition("://")[0]
    with buckets.Proxy(servers[kind], 1.0) as proxy:
        buckets.use(monkeypatch, **{kind: proxy.port})
        buckets.without_pauses(monkeypatch)
        monkeypatch.setattr(storage.time, "sleep", lambda seconds: setattr(proxy, "share", 0.0))
        storage.write(f"{bucket}/file", b"x")
        assert re.fullmatch(rf"{bucket}/file: .+; trying again\n{bucket}/file: reached again after \d+ s\n",
                            capsys.readouterr().out)
        proxy.share = 1.0
        monkeypatch.setattr(storage, "_PATIENCE", -1.0)
        with pytest.raises(storage.LostError, match=f"{bucket}/file could not be reached for .* s: "):
            storage.read(f"{bucket}/file")


def test_what_no_trying_mends_is_told_at_once(bucket, monkeypatch):
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: pytest.fail("tried again"))
    with pytest.raises(FileNotFoundError, match="nobodys-bucket-of-all/file"):
        storage.write(f"{bucket.partition('://')[0]}://nobodys-bucket-of-all/file", b"x")
