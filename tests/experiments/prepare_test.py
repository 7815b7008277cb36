import types

import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import alignment
from geodesic.datasets.sources import array_record
from geodesic.experiments import prepare
from tests.datasets import images


def run(source, out, **changes):
    values = dict(source="image_folder", path=str(source), out=str(out), short_side=16, quality=95, shards=3, threads=2)
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

    def write(folder, name, records):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(name)
        return real(folder, name, records)

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
