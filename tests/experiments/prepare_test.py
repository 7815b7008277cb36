import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from geodesic import datasets
from geodesic.datasets import alignment, attempts
from geodesic.datasets.sources import array_record
from geodesic.experiments import prepare
from geodesic.experiments.process import storage
from tests.datasets import images, streams


def run(path, out, **changes):
    values = dict(source="image_folder", path=str(path), out=str(out), short_side=16, quality=95, shards=3, threads=2)
    return prepare.main(None, types.SimpleNamespace(**values | changes))


@pytest.fixture
def folder(tmp_path):
    return images.make_folder(tmp_path / "faces", 3, 3)


def test_images_come_back_at_the_short_side(folder, tmp_path):
    assert run(folder, tmp_path / "out") == 0
    before, after = datasets.build("image_folder", path=str(folder)), datasets.build("array_record",
                                                                                     path=str(tmp_path / "out"))
    assert after.labels.tolist() == before.labels.tolist() and after.class_names == before.class_names
    assert after.paths == before.paths
    for index in range(9):
        whole, small = datasets.decode(before[index]), datasets.decode(after[index])
        assert small.shape == (19, 16, 3)
        assert abs(whole.mean() - small.mean()) < 2
    assert array_record.damaged_shards(str(tmp_path / "out")) == []


def test_small_images_stay_as_they_are(folder, tmp_path):
    run(folder, tmp_path / "out", short_side=20)
    before, after = (datasets.build(*name, path=str(path)) for name, path in
                     ((("image_folder",), folder), (("array_record",), tmp_path / "out")))
    assert all(before[index]["image"] == after[index]["image"] for index in range(9))


def test_pixels_become_lossless_files_and_boxes_are_cut_out():
    image = images.pixels(0)
    record = {"image": image, "label": 0, "path": "x"}
    np.testing.assert_array_equal(datasets.decode({"image": prepare.encode(record, 0, 95), "path": "x"}), image)
    cut = prepare.encode(record | {"box": (2, 3, 12, 23)}, 0, 95)
    np.testing.assert_array_equal(datasets.decode({"image": cut, "path": "x"}), image[3:23, 2:12])


def test_faces_are_aligned_once():
    """Also those that are small: what is stored is the face, whose landmarks are nobody's any more."""
    image = images.pixels(0, 100, 90)
    face = {"image": images.encoded(image, "PNG"), "path": "x", "landmarks": (*alignment.TEMPLATE.ravel() / 2,)}
    stored = datasets.decode({"image": prepare.encode(face, 256, 95), "path": "x"})
    np.testing.assert_array_equal(stored, alignment.align(image, alignment.TEMPLATE / 2))


def test_a_killed_one_goes_on_and_ends_the_same(folder, tmp_path, monkeypatch):
    run(folder, tmp_path / "whole")
    written, real = [], array_record.write_shard

    def write(folder, name, records, columns):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(name)
        return real(folder, name, records, columns)

    monkeypatch.setattr(array_record, "write_shard", write)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="finished"):
        datasets.build("array_record", path=str(tmp_path / "out"))
    first = written.pop(0), written.pop(0)
    assert run(folder, tmp_path / "out") == 0
    assert len(written) == 1 and written[0] not in first  # the two that were done are not done again
    whole, resumed = (array_record.read_manifest(str(tmp_path / name)) for name in ("whole", "out"))
    assert [shard["sha256"] for shard in whole["shards"]] == [shard["sha256"] for shard in resumed["shards"]]


def test_unreadable_images_are_left_out_and_listed(folder, tmp_path, capsys):
    bad = folder / "class1" / "1.jpg"
    bad.write_bytes(b"no image")
    assert run(folder, tmp_path / "out") == 1
    assert f"left out: cannot read the image {bad}" in capsys.readouterr().out
    assert len(datasets.build("array_record", path=str(tmp_path / "out"))) == 8
    assert str(bad) in array_record.read_manifest(str(tmp_path / "out"))["unreadable"][0]


def test_requests_that_are_refused(folder, tmp_path):
    run(folder, tmp_path / "out")
    with pytest.raises(ValueError, match=r"another request: short_side 16 \(now 32\)"):
        run(folder, tmp_path / "out", short_side=32)
    with pytest.raises(ValueError, match="not empty and holds no prepared data"):
        run(folder, folder)
    with pytest.raises(ValueError, match=r"--quality is 1\.\.100"):
        run(folder, tmp_path / "new", quality=0)


def test_a_name_in_no_encoding(folder, tmp_path):
    (folder / "class1" / "0.jpg").rename(folder / "class1" / "caf\udce9.jpg")
    assert run(folder, tmp_path / "out") == 0
    after = datasets.build("array_record", path=str(tmp_path / "out"))
    assert [path for path in after.paths if path.endswith("class1/caf\\xe9.jpg")] and len(after) == 9


TABLE = """path,labels,box,note,split,note
class0/0.jpg,red|round,,first,a,1
class0/1.jpg,round,2 2 18 18,second,b,2
class1/0.jpg,square,,"third, last",a,3
class1/1.jpg,red|square,,é,a,4
"""


def test_tags_boxes_and_every_other_column_of_a_manifest_are_kept(folder, tmp_path):
    (folder / "m.csv").write_text(TABLE)
    (folder / "class1" / "0.jpg").write_bytes(b"no image")
    assert run(folder / "m.csv", tmp_path / "out", source="manifest", shards=2) == 1
    before, after = (datasets.build(name, path=str(path)) for name, path in (
        ("manifest", folder / "m.csv"), ("array_record", tmp_path / "out")))
    assert after.tag_names == before.class_names == after.class_names == ["red", "round", "square"]
    assert after.tags.tolist() == before.tags[[0, 1, 3]].tolist() and after.labels.tolist() == [0, 1, 0]
    assert after[2]["tags"].tolist() == [True, False, True]
    assert after.columns().to_pydict() == {"box": ["", "2 2 18 18", ""], "note": ["first", "second", "é"],
                                           "split": ["a", "b", "a"], "note.1": ["1", "2", "4"]}
    np.testing.assert_allclose(datasets.decode(after[1]).shape, (16, 16, 3))
    assert "box" not in after[1]  # it is cut out
    run(tmp_path / "out", tmp_path / "again", source="array_record", short_side=12)
    again = datasets.build("array_record", path=str(tmp_path / "again"))
    assert again.columns() == after.columns() and (again.tags == after.tags).all()


def test_a_manifest_with_one_label_has_no_tags(folder, tmp_path):
    pa.parquet.write_table(pa.table({"path": ["class0/0.jpg", "class1/0.jpg"], "label": [7, 8], "labels": [[1], [2]],
                                     "age": pa.array([3, None], pa.int16())}), folder / "m.parquet")
    run(folder / "m.parquet", tmp_path / "out", source="manifest")
    after = datasets.build("array_record", path=str(tmp_path / "out"))
    assert after.tags is None and after.tag_names is None and after.class_names == ["7", "8"] and "tags" not in after[0]
    assert after.columns() == pa.table({"labels": [[1], [2]], "age": pa.array([3, None], pa.int16())})


def test_what_has_no_other_columns_has_none(folder, tmp_path):
    run(folder, tmp_path / "out")
    assert datasets.build("array_record", path=str(tmp_path / "out")).columns().num_columns == 0


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_shards_from_a_bucket_into_a_bucket(folder, tmp_path, monkeypatch, kind):
    here = datasets.build("image_folder", path=str(folder))
    write = {"webdataset": streams.write_shards, "parquet": streams.write_parquet}[kind]
    write(tmp_path / "buckets" / "from", here)
    bucket = streams.use_bucket(monkeypatch, tmp_path / "buckets")
    system = attempts._filesystem("gs", 0)
    monkeypatch.setattr(storage, "_filesystem", lambda scheme: system)
    monkeypatch.setattr(storage, "_LONGEST_PAUSE", 0.0)
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        bucket.failures += [ConnectionResetError("by peer"), OSError(16, "slow down")]
        assert run("gs://from", "gs://to/faces", source=kind, short_side=20) == 0
        there = datasets.build("array_record", path="gs://to/faces")
        assert streams.same(streams.batches(there), streams.batches(here))
        assert array_record.damaged_shards("gs://to/faces") == []
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "buckets" / "to").rglob("images-*")}
        lost = [*written][1]
        lost.unlink()
        assert run("gs://from", "gs://to/faces", source=kind, short_side=20) == 0  # goes on with what is missing
        assert [path for path in written if path.stat().st_mtime_ns != written[path]] == [lost]
        with pytest.raises(ValueError, match="is being prepared from another request: short_side 20"):
            run("gs://from", "gs://to/faces", source=kind, short_side=10)
        with pytest.raises(ValueError, match="is not empty and holds no prepared data"):
            run("gs://from", "gs://from", source=kind)


def test_a_bucket_that_stays_away_leaves_out_no_image(folder, tmp_path, monkeypatch):
    streams.write_shards(tmp_path / "buckets" / "from", datasets.build("image_folder", path=str(folder)))
    bucket = streams.use_bucket(monkeypatch, tmp_path / "buckets")
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        datasets.build("webdataset", path="gs://from")
        bucket.failures += [ConnectionResetError("by peer")] * 999
        with pytest.raises(attempts.UnreachableError):
            run("gs://from", tmp_path / "out", source="webdataset")
    assert not (tmp_path / "out" / "manifest.json").exists()
