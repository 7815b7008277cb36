import io
import os
import sys

import numpy as np
import PIL.Image
import pytest

from geodesic import datasets
from geodesic.datasets import heif, identity
from tests.datasets import images, odd_folders


def test_the_first_folder_below_is_the_class(tmp_path):
    folder = images.make_folder(tmp_path, 3, 2)
    (folder / "class1" / "deeper").mkdir()
    (folder / "class1" / "deeper" / "z.PNG").write_bytes(images.encoded(images.pixels(0), "PNG"))
    (folder / "class1" / "notes.txt").write_text("not an image")
    source = datasets.build("image_folder", path=str(folder))
    assert source.class_names == ["class0", "class1", "class2"]
    assert source.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert datasets.decode(source[4]).shape == (24, 20, 3)


def test_what_begins_with_a_dot_is_passed_over(tmp_path):
    """._0.jpg is what macOS writes beside 0.jpg, and no image."""
    folder = images.make_folder(tmp_path, 2, 1)
    (folder / "class1" / "._0.jpg").write_bytes(b"\0\5\x16\7")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "0.jpg").write_bytes(images.encoded(images.pixels(0)))
    source = datasets.build("image_folder", path=str(folder))
    assert source.paths == [str(folder / f"class{label}" / "0.jpg") for label in range(2)]


def test_a_flat_folder_is_one_class(tmp_path):
    (tmp_path / "a.png").write_bytes(images.encoded(images.pixels(0), "PNG"))
    source = datasets.build("image_folder", path=str(tmp_path))
    assert (source.num_classes, source.labels.tolist()) == (1, [0])


def test_a_folder_without_images_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image in"):
        datasets.build("image_folder", path=str(tmp_path))


def test_no_folder_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        datasets.build("image_folder", path=str(tmp_path / "absent"))


def test_an_unknown_source_raises_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown source 'imagnet'; known: orl_faces, image_folder, "):
        datasets.build("imagnet")


@pytest.fixture
def odd(tmp_path):
    return odd_folders.write(tmp_path)


def test_folders_as_people_have_them(odd):
    source = datasets.build("image_folder", path=str(odd))
    assert source.class_names == [*odd_folders.RECORDS]
    assert source.paths == [os.path.join(odd, file) for files in odd_folders.RECORDS.values() for file in files]
    assert [source.class_names[label] for label in source.labels] == [
        name for name, files in odd_folders.RECORDS.items() for _ in files]
    assert source.remarks == [f"{odd}: {remark}" for remark in odd_folders.REMARKS]
    unread = []
    for index in range(len(source)):
        try:
            assert datasets.decode(source[index]).shape == (24, 20, 3)
        except FileNotFoundError:
            unread.append(source.paths[index])
    assert unread == [str(odd / "ann" / "gone.png")]
    assert len(identity.identity(source)["classes"]) == len(odd_folders.RECORDS)


def test_what_is_passed_over_is_said_once(odd, capsys):
    for _ in range(2):
        datasets.build("image_folder", path=str(odd), classes=(1, 3))
    assert capsys.readouterr().out.splitlines() == [f"{odd}: {remark}" for remark in odd_folders.REMARKS]


def test_of_a_tidy_folder_nothing_is_said(tmp_path, capsys):
    folder = images.make_folder(tmp_path, 2, 1)
    (folder / ".DS_Store").write_bytes(b"x")
    assert datasets.build("image_folder", path=str(folder)).remarks == [] and not capsys.readouterr().out


def test_a_linked_root_and_links_to_one_folder(tmp_path):
    folder = images.make_folder(tmp_path / "real", 2, 2)
    (tmp_path / "root").symlink_to(folder)
    assert len(datasets.build("image_folder", path=str(tmp_path / "root"))) == 4
    (tmp_path / "linked").mkdir()
    for name in "ab":
        (tmp_path / "linked" / name).symlink_to(folder / "class0")
    source = datasets.build("image_folder", path=str(tmp_path / "linked"))
    assert source.class_names == ["a"] and "1 link(s) to folders" in source.remarks[0]


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    folder, scan = images.make_folder(tmp_path, 2, 1), os.scandir

    def refuse(path):
        if str(path).endswith("class1"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="class1"):
        datasets.build("image_folder", path=str(folder))


def test_heic_is_read_where_its_decoder_is_installed(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    pillow_heif.from_pillow(PIL.Image.fromarray(images.pixels(1, 64, 48))).save(tmp_path / "a.HEIC", quality=95,
                                                                                exif=turned.tobytes())
    source = datasets.build("image_folder", path=str(tmp_path))
    shown = datasets.decode(source[0])
    assert shown.shape == (48, 64, 3)
    assert np.abs(shown.astype(int) - np.rot90(images.pixels(1, 64, 48), -1)).mean() < 5
    monkeypatch.setattr(heif, "is_available", lambda: False)
    monkeypatch.setattr(PIL.Image, "open", lambda file: (_ for _ in ()).throw(PIL.UnidentifiedImageError("x")))
    with pytest.raises(ValueError, match="pip install pillow-heif"):
        datasets.decode(source[0])
    with pytest.raises(FileNotFoundError, match=r"not read: 1 \.heic \(HEIC takes another package: pip install"):
        datasets.build("image_folder", path=str(tmp_path))


def test_a_path_that_is_one_level_too_high_is_warned_of(tmp_path, capsys):
    for part in ("test", "train"):
        images.make_folder(tmp_path / "up" / part, 3, 2)
    source = datasets.build("image_folder", path=str(tmp_path / "up"))
    assert source.class_names == ["test", "train"]
    assert ("its 2 classes are test, train, and all images lie deeper, in test/class0, test/class1, test/class2, "
            "train/class0, train/class1, ...: if those are the classes, the path is one level too high"
            ) in capsys.readouterr().out
    (tmp_path / "up" / "test" / "own.png").write_bytes((tmp_path / "up" / "test" / "class0" / "0.jpg").read_bytes())
    assert datasets.build("image_folder", path=str(tmp_path / "up")).remarks == []  # test has an image of its own


def test_a_name_in_no_encoding_is_said_on_any_terminal(tmp_path, monkeypatch):
    folder = images.make_folder(tmp_path / "caf\udce9", 2, 1)
    (folder / "x.\udcff").write_bytes(b"x")
    shown = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")
    monkeypatch.setattr(sys, "stdout", shown)
    datasets.build("image_folder", path=str(folder))
    assert shown.buffer.getvalue().endswith(b"caf\\udce9: passed over 1 file(s) that are not read: 1 .\\udcff\n")


def test_classes_that_look_like_one_are_said(tmp_path):
    for name in ("Jos\u00e9", "Jose\u0301", "Ann", "Ann ", "Bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(images.encoded(images.pixels(0), "PNG"))
    source = datasets.build("image_folder", path=str(tmp_path))
    assert source.class_names == ["Ann", "Ann ", "Bob", "Jose\u0301", "Jos\u00e9"]
    assert source.remarks == [f"{tmp_path}: classes whose names differ in capitals, blanks or Unicode form alone: "
                              "'Ann' and 'Ann ', 'Jose\u0301' and 'Jos\u00e9'"]
