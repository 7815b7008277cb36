"""Folders of images and manifests in buckets: as on a disk, of the services' stand-ins and with their pages."""

import collections
import pathlib
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from geodesic import datasets
from geodesic.datasets import attempts, identity, objects
from geodesic.errors import UserError
from geodesic.experiments.process import storage
from tests.datasets import images, streams

once = pytest.mark.parametrize("bucket", ["gs"], indirect=True)  # what s3 is asked for, the others ask it for


@pytest.fixture
def here(bucket, monkeypatch, tmp_path):
    """The bucket, with a cache of this test alone and requests that are counted in `asked`."""
    monkeypatch.setattr(objects, "_PAGE", 7)
    attempts._filesystem.cache_clear()
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        yield bucket
    attempts._filesystem.cache_clear()


@pytest.fixture
def photos(tmp_path):
    """A folder with whatever a bucket can have, and none of what only disks have."""
    folder = images.make_folder(tmp_path / "photos", 3, 5)
    png = images.encoded(images.pixels(9, 300, 290), "PNG")  # more than two blocks of the cache
    assert len(png) > 2 * 16384
    for name, content in {
            "stray.png": png, "class1/deeper/z.PNG": png, "class1/0.jpg.txt": b"x", "README": b"x",
            "class1-b/0.jpg": png, "class1/._0.jpg": b"\0\5", ".hidden/0.jpg": png,
            "class2/@eaDir/deep/0.jpg": png, "notes/a.TXT": b"x",
            "Zoe # 1/a b%20?&+ü.jpg": png, "class0/broken.jpg": png[:300], "class0/nothing.jpg": b""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def counted(monkeypatch, url: str) -> collections.Counter:
    """Requests from now on, by what they ask: "page" of a list, "range" of an object."""
    asked, system = collections.Counter(), attempts.filesystem(url)
    name = "call" if url.startswith("gs") else "call_s3"
    call, ranges = getattr(system, name), system.cat_ranges
    monkeypatch.setattr(system, name, lambda *given, **options: (asked.update(["page"]), call(*given, **options))[1])
    monkeypatch.setattr(system, "cat_ranges", lambda paths, *given, **options: (
        asked.update(range=len(paths), times=1), ranges(paths, *given, **options))[1])
    return asked


def test_a_folder_there_is_the_folder_of_a_disk(here, photos, monkeypatch):
    storage.send(str(photos), f"{here}/some/photos")
    storage.write(f"{here}/some/photos-2/class0/0.jpg", b"of another folder")
    asked = counted(monkeypatch, here)
    on_disk, there = (datasets.build("image_folder", path=path) for path in (str(photos), f"{here}/some/photos/"))
    assert asked == {"page": 4}  # of 7: 26 objects
    assert there.class_names == on_disk.class_names and there.labels.tolist() == on_disk.labels.tolist()
    assert there.paths == [path.replace(str(photos), f"{here}/some/photos") for path in on_disk.paths]
    assert there.remarks == [line.replace(str(photos), f"{here}/some/photos") for line in on_disk.remarks]
    assert len(there.remarks) == 3
    assert there.record_names() == on_disk.record_names() and identity.identity(there) == identity.identity(on_disk)
    assert asked["range"] == 15 + 2 * 4 + 1  # two pieces of what is large, the whole of what is small, none of nothing
    assert [there[place]["image"] for place in range(len(there))] == [
        on_disk[place]["image"] for place in range(len(on_disk))]
    cut = datasets.build("image_folder", path=f"{here}/some/photos", classes=(1, 4), test_share=0.4)
    cut_on_disk = datasets.build("image_folder", path=str(photos), classes=(1, 4), test_share=0.4)
    assert identity.identity(cut) == identity.identity(cut_on_disk)


def test_batches_on_several_hosts_and_after_a_resume(here, tmp_path, monkeypatch):
    folder = images.make_folder(tmp_path / "photos", 3, 7)
    storage.send(str(folder), f"{here}/photos")
    whole = streams.batches(datasets.build("image_folder", path=str(folder)), 6)
    there = pickle.loads(pickle.dumps(datasets.build("image_folder", path=f"{here}/photos")))
    asked = counted(monkeypatch, here)
    parts = [streams.batches(there, 6, process_index=process, process_count=2, threads=1) for process in range(2)]
    joined = [{key: np.concatenate([one[key], other[key]]) for key in one} for one, other in zip(*parts, strict=True)]
    assert streams.same(joined, whole) and asked["range"] == 21 and asked["times"] <= 14  # each image once, by batches
    assert streams.same(streams.batches(there, 3, first_step=3), whole[3:]) and asked["range"] == 21


def test_what_is_kept_is_in_few_files_and_a_change_costs_its_pack_alone(here, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "_PACKED", 4)
    folder = images.make_folder(tmp_path / "photos", 3, 7)
    storage.send(str(folder), f"{here}/photos")
    read = lambda: [source[place]["image"] for source in [datasets.build("image_folder", path=f"{here}/photos")]
                    for place in range(len(source))]
    first = read()
    asked = counted(monkeypatch, here)
    assert read() == first and not asked["range"]
    kept = [*(tmp_path / "cache" / "geodesic" / "pieces").iterdir()]
    assert 2 * 3 < len(kept) <= 2 * 8  # packs for 21 objects, four in each and a power of two
    storage.write(f"{here}/photos/class0/0.jpg", first[20])
    second = read()
    assert second == [first[20], *first[1:]] and 1 <= asked["range"] < 21
    for pack in (tmp_path / "cache" / "geodesic" / "pieces").glob("*.data"):
        pack.write_bytes(bytes(len(pack.read_bytes())))  # harmed: fetched again
    assert read() == second


def test_an_object_that_goes_or_changes_is_one_line_and_costs_no_other(here, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODESIC_CACHE_GB", "0")
    folder = images.make_folder(tmp_path / "photos", 3, 7)
    storage.send(str(folder), f"{here}/photos")
    source = datasets.build("image_folder", path=f"{here}/photos")
    storage.remove(f"{here}/photos/class0/1.jpg")
    storage.write(f"{here}/photos/class1/0.jpg", b"short")
    with pytest.raises(FileNotFoundError, match=f"^no file '{here}/photos/class0/1.jpg'$"):
        source[1]
    with pytest.raises(UserError, match=rf"^{here}/photos/class1/0.jpg is damaged: it has 5 bytes and had \d+\. "):
        source[7]
    with pytest.raises(UserError, match=f"^no file '{here}/photos/class0/1.jpg'"):
        streams.batches(source, 6)
    asked = counted(monkeypatch, here)
    source.fetch(range(len(source)))
    assert [len(source[place]["image"]) > 5 for place in range(len(source)) if place not in (1, 7)] == [True] * 19
    assert asked["range"] == 21 and asked["times"] == 1
    (folder / "class0" / "1.jpg").unlink()
    (folder / "class1" / "0.jpg").write_bytes(b"short")
    there, on_disk = (datasets.build("image_folder", path=path) for path in (f"{here}/photos", str(folder)))
    assert there.record_names() == on_disk.record_names()


@once
@pytest.mark.parametrize(("path", "message"), [
    ("/nothing", "no folder 'URL/nothing'"), ("-nowhere/x", "no folder|no file"), ("/a.jpg", "no folder 'URL/a.jpg'"),
    ("/texts", r"no image in 'URL/texts' \(looked for .*; URL/texts: passed over 1 file\(s\) that are not read")])
def test_folders_that_are_none(here, path, message):
    storage.write(f"{here}/texts/class0/a.txt", b"x")
    storage.write(f"{here}/a.jpg", b"x")
    with pytest.raises(FileNotFoundError, match=message.replace("URL", here)):
        datasets.build("image_folder", path=f"{here}{path}")


@once
def test_what_no_disk_has_is_no_image(here):
    image = images.encoded(images.pixels(0))
    for name in ("a/0.jpg", "a//1.jpg"):
        storage._filesystem(here[:2]).pipe_file(f"{here}/photos/{name}", image)
    for name in ("photos/", "photos/empty/"):  # as consoles make folders
        storage._filesystem(here[:2]).pipe_file(f"{here}/{name}", b"")
    source = datasets.build("image_folder", path=f"{here}/photos")
    assert source.paths == [f"{here}/photos/a/0.jpg"] and len(source.remarks) == 2
    assert "1 file(s) that are not read: 1 .jpg" in source.remarks[0]
    assert "1 folder(s) without an image, which are no class: empty" in source.remarks[1]


ROWS = ("path,label,split,box\nclass0/0.jpg,ann,train,1 1 9 9\nclass0/0.jpg,ann,test,\n../other/x.jpg,bob,train,\n"
        "class2/./3.jpg,bob,train,2 2 8 8\ngone.jpg,cat,train,\n")


@pytest.mark.parametrize(("name", "alone"), [("m.csv", 100), ("m.csv.gz", 0), ("m.parquet", 0)])
def test_a_manifest_there_is_that_of_a_disk(here, tmp_path, monkeypatch, name, alone):
    monkeypatch.setattr(objects, "_ASKED_ALONE", alone)
    folder = images.make_folder(tmp_path / "set" / "photos", 3, 5)
    write(folder / name)
    (tmp_path / "set" / "other").mkdir()
    (tmp_path / "set" / "other" / "x.jpg").write_bytes((folder / "class1" / "0.jpg").read_bytes())
    storage.send(str(tmp_path / "set"), f"{here}/set")
    for split in ("", "#train"):
        on_disk, there = (datasets.build("manifest", path=f"{root}/photos/{name}{split}")
                          for root in (tmp_path / "set", f"{here}/set"))
        assert there.class_names == on_disk.class_names and there.boxes == on_disk.boxes
        assert there.paths == [path.replace(str(tmp_path), here) for path in on_disk.paths]
        assert identity.identity(there) == identity.identity(on_disk) and " -1 None" in there.record_names()[-1]
        assert there.columns() == on_disk.columns() and there.remarks == []
        options = {"steps": 4, "tolerance_percent": 100.0, "batch_size": 2}
        assert streams.same(streams.batches(there, **options), streams.batches(on_disk, **options))
        with pytest.raises(FileNotFoundError, match=f"no file '{here}/set/photos/gone.jpg'"):
            there[len(there) - 1]


def write(path: pathlib.Path) -> None:
    if path.suffix == ".parquet":
        rows = [line.split(",") for line in ROWS.splitlines()]
        pa.parquet.write_table(pa.table(dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))), path)
    else:
        with pa.output_stream(path, compression="gzip" if path.suffix == ".gz" else None) as file:
            file.write(ROWS.encode())


@once
def test_a_manifest_of_this_machine_may_name_objects_and_not_both(here, tmp_path):
    folder = images.make_folder(tmp_path / "photos", 2, 2)
    storage.send(str(folder), f"{here}/photos")
    table = tmp_path / "m.csv"
    table.write_text(f"path,label\n{here}/photos/class0/0.jpg,a\n{here}/photos/class1/1.jpg,b\n")
    source = datasets.build("manifest", path=str(table))
    assert source[1]["image"] == (folder / "class1" / "1.jpg").read_bytes()
    table.write_text(table.read_text() + "photos/class0/1.jpg,a\n")
    with pytest.raises(UserError, match=r"lies in a bucket, and .*class0/1.jpg on a disk: expected all images at one"):
        datasets.build("manifest", path=str(table))


@once
@pytest.mark.parametrize(("path", "error", "message"), [
    ("none.csv", FileNotFoundError, "no manifest 'URL/none.csv'"),
    ("photos", UserError, "URL/photos is a folder of a bucket: expected one table, CSV or Parquet"),
    ("latin.csv", UserError, r"URL/latin.csv, line 2: byte 0xe9 is no UTF-8; .*iconv"),
    ("cut.parquet", UserError, "URL/cut.parquet is no CSV or Parquet table")])
def test_manifests_that_are_none(here, path, error, message):
    storage.write(f"{here}/latin.csv", "path,label\ncaf\xe9.jpg,a\n".encode("latin-1"))
    storage.write(f"{here}/cut.parquet", b"PAR1")
    storage.write(f"{here}/photos/a.jpg", b"x")
    with pytest.raises(error, match=message.replace("URL", here)):
        datasets.build("manifest", path=f"{here}/{path}")


@once
def test_a_name_with_a_hash(here, tmp_path):
    storage.write(f"{here}/a#b/0.jpg", images.encoded(images.pixels(0)))
    storage.write(f"{here}/a#b/m#1.csv", b"path,label,split\n0.jpg,x,train\n")
    for split in ("", "#train"):
        assert datasets.build("manifest", path=f"{here}/a#b/m#1.csv{split}").paths == [f"{here}/a#b/0.jpg"]
