import io

import numpy as np
import PIL.Image
import pytest

from geodesic import datasets
from geodesic.errors import UserError
from tests.datasets import images

YAML = "train: ../train/images\nval: val/images\nnc: 2\nnames: [cat, dog]\n"


def write(folder, *labels: str | None, options=YAML, split="train"):
    for name in ("images", "labels"):
        (folder / split / name).mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text(options)
    for place, content in enumerate(labels):
        (folder / split / "images" / f"{place}.png").write_bytes(images.encoded(images.pixels(place, 40, 60), "PNG"))
        if content is not None:
            (folder / split / "labels" / f"{place}.txt").write_text(content)
    return f"{folder}/data.yaml#{split}"


def test_shares_are_of_the_pictures_sides(tmp_path):
    path = write(tmp_path, "1 0.5 0.5 0.5 0.25\n\n0 0.25 0.25 0.1 0.1\n", "", None)
    source = datasets.build("yolo", path=path)
    assert source.class_names == ["cat", "dog"] and len(source) == 3
    np.testing.assert_allclose(source[0]["boxes"], [[15, 15, 45, 25], [12, 8, 18, 12]], rtol=1e-6)
    assert source[0]["classes"].tolist() == [1, 0] and source[0]["size"] == (40, 60)
    assert source[1]["boxes"].shape == source[2]["boxes"].shape == (0, 4)
    assert source.remarks == [f"{tmp_path}/data.yaml: 1 picture(s) have no file of labels, and so no boxes"]
    assert datasets.decode(source[0]).shape == (40, 60, 3)
    assert len(datasets.build("yolo", path=f"{tmp_path}#train")) == 3


def test_the_pictures_are_upright(tmp_path):
    path, exif, buffer = write(tmp_path, "0 0.5 0.25 1.0 0.5\n"), PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    PIL.Image.fromarray(images.pixels(0, 40, 60)).save(buffer, "JPEG", exif=exif)
    (tmp_path / "train" / "images" / "0.png").write_bytes(buffer.getvalue())
    [record] = datasets.build("yolo", path=path)
    assert record["size"] == (60, 40) == datasets.decode(record).shape[:2]
    assert record["boxes"].tolist() == [[0, 0, 40, 30]]


def test_rounded_numbers_do_not_reach_over_the_edge(tmp_path):
    source = datasets.build("yolo", path=write(tmp_path, "0 0.166667 0.5 0.333334 1.0\n0 0.833333 0.5 0.333335 1\n"))
    assert source[0]["boxes"][0, 0] == 0 and source[0]["boxes"][1, 2] == 60 and not source.remarks


def test_a_picture_that_cannot_be_read_is_said(tmp_path):
    path = write(tmp_path, "0 0.5 0.5 0.5 0.5\n", "0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "train" / "images" / "0.png").write_bytes(b"no image")
    source = datasets.build("yolo", path=path)
    assert not len(source[0]["boxes"]) and len(source[1]["boxes"]) == 1
    assert "1 picture(s) cannot be read, the first" in source.remarks[0]


@pytest.mark.parametrize("options", ["names: {0: cat, 1: dog}\ntrain: list.txt\n",
                                     "path: ..\nnames: [cat, dog]\ntrain: [HERE/train/images]\n"])
def test_forms_of_the_options(tmp_path, options):
    path = write(tmp_path, "0 0.5 0.5 0.5 0.5\n", "1 0.5 0.5 0.5 0.5\n", options=options.replace("HERE", tmp_path.name))
    (tmp_path / "list.txt").write_text("./train/images/1.png\n")
    source = datasets.build("yolo", path=path)
    assert [source[place]["classes"].tolist() for place in range(len(source))][-1] == [1]
    assert len(source) == (1 if "list" in options else 2)


@pytest.mark.parametrize("line, message", [
    ("0 0.5 0.5 0.5", "line 1 has 4 columns: expected class, x, y, width, height"),
    ("0 0.5 0.5 0.5 0.5 0.9", "has 6 columns"), ("0 0.1 0.1 0.2 0.1 0.2 0.2", "has 7 columns.*an outline is no box"),
    ("2 0.5 0.5 0.5 0.5", "names a class that is none of 0 to 1"), ("-1 0.5 0.5 0.5 0.5", "names a class"),
    ("0.5 0.5 0.5 0.5 0.5", "names a class"), ("0 50 20 10 10", "has numbers that are no shares"),
    ("0 nan 0.5 0.5 0.5", "no shares"), ("0 0.5 0.5 -0.5 0.5", "no shares"),
    ("cat 0.5 0.5 0.5 0.5", "is 'cat 0.5 0.5 0.5 0.5': expected five numbers")])
def test_what_a_line_cannot_mean_is_refused(tmp_path, line, message):
    path = write(tmp_path, "1 0.5 0.5 0.5 0.5\n", f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(UserError, match=message.replace("line 1", "line 2")) as error:
        datasets.build("yolo", path=path)
    assert f"{tmp_path}/train/labels/1.txt, line 2" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("options, message", [
    ("train: train/images\n", "has no names"), ("a: [", "is no YAML"),
    ("names: [a]\nnc: 3\ntrain: x\n", "nc is 3, and there are 1 names"),
    ("names: {1: a, 2: b}\ntrain: x\n", "names has the keys 1, 2: expected 0 to 1"),
    ("names: []\ntrain: x\n", "names is"), ("names: [a]\nval: x\n", "its splits are val; got 'train'"),
    ("names: [a]\nval: x\ntrain:\n", "its splits are val; got 'train'"),
    ("names: [a]\ntrain: gone\n", "no folder or list '.*gone'"),
    ("names: [a]\ntrain: list.txt\n", "1 of its 1 pictures are not there, the first '.*gone.png'")])
def test_options_that_are_none(tmp_path, options, message):
    path = write(tmp_path, "0 0.5 0.5 0.5 0.5\n", options=options)
    (tmp_path / "list.txt").write_text("gone.png\n")
    with pytest.raises((UserError, FileNotFoundError), match=message):
        datasets.build("yolo", path=path)


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a data.yaml with names"):
        datasets.build("yolo", path=f"{tmp_path}/data.yaml#train")
    with pytest.raises(UserError, match=r"is opened as data.yaml#SPLIT; its splits are train, val"):
        datasets.build("yolo", path=write(tmp_path, "").partition("#")[0])
    with pytest.raises(UserError, match="is read from a disk; of a bucket, coco is"):
        datasets.build("yolo", path="gs://bucket/data.yaml#train")
