"""What a source says of its pictures, and what tells two of them apart."""

import numpy as np
import pytest

from geodesic import datasets
from geodesic.experiments.galleries import pictures
from tests.experiments.galleries import fake


@pytest.mark.parametrize("name", ["plain.jpg", "caf\udce9.jpg", "caf\\xe9.jpg", "back\\\\slash.jpg", "a\\", "\\x",
                                  "名.jpg", "\\\udcff\\", "\\xzz"])
def test_any_name_comes_back_and_no_two_are_one(name):
    assert pictures.unescaped(pictures.escaped(name)) == name
    pictures.escaped(name).encode()
    assert pictures.escaped("caf\udce9") != pictures.escaped("caf\\xe9")


def test_digests_tell_bytes_pixels_and_crops_apart():
    image = np.zeros((4, 6, 3), np.uint8)
    records = [{"image": b"a"}, {"image": b"b"}, {"image": b"a", "box": (0, 0, 1, 1)},
               {"image": b"a", "box": (0, 0, 1, 2)}, {"image": b"a", "landmarks": (0, 0, 1, 1)}, {"image": image},
               {"image": image.reshape(6, 4, 3)}]
    digests = [pictures.digest(record) for record in records]
    assert len({*digests}) == len(records) and all(len(digest) == 32 for digest in digests)
    assert pictures.digest({"image": b"a", "box": [0.0, 0.0, 1.0, 1.0]}) == digests[2]


def test_pictures_are_read_in_order_whatever_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_AT_ONCE", 4)
    for count in (1, 4, 11):
        names = {f"{place:02}.jpg": f"a{place}" for place in range(count)}
        listed = pictures.Listed(datasets.build("image_folder", path=str(fake.folder(tmp_path / str(count), names))))
        read = [picture for part in listed.read() for picture in part]
        assert [picture.record["image"] for picture in read] == [content.encode() for content in names.values()]
        assert [picture.id for picture in read] == listed.ids


def test_a_box_of_a_manifest_is_kept_so_that_the_picture_can_be_embedded_again(tmp_path):
    fake.folder(tmp_path, {"a.jpg": "ann"})
    (tmp_path / "m.csv").write_text("path,label,box\na.jpg,x,1 2 3 4\n")
    ((picture,),) = pictures.Listed(datasets.build("manifest", path=str(tmp_path / "m.csv"))).read()
    assert '"box": [1.0, 2.0, 3.0, 4.0]' in picture.metadata
    row = {name: getattr(picture, name) for name in ("id", "path", "label", "metadata", "digest")}
    ((again,),) = pictures.again([row])
    assert again.digest == picture.digest and again.record["box"] == (1, 2, 3, 4)
    (tmp_path / "a.jpg").unlink()
    ((gone,),) = pictures.again([row])
    assert "No such file" in gone.problem


def test_images_that_are_no_files_have_names_and_no_paths(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4, 3), np.uint8), labels=[0, 1])
    listed = pictures.Listed(datasets.build("npz", path=str(tmp_path / "a.npz")))
    assert listed.paths == ["", ""] and len({*listed.ids}) == 2
