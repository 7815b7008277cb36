import pytest

from geodesic import datasets
from tests.datasets import images


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
