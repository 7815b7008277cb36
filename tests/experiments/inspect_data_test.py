import json
import shutil
import types

import pytest

from geodesic import datasets
from geodesic.configs import default
from geodesic.experiments import inspect_data
from tests.datasets import images
from tests.experiments import tiny


def run(out, config=None, **changes):
    values = types.SimpleNamespace(**dict(source="", path="", out=str(out), distance=3, threads=2) | changes)
    status = inspect_data.main(config, values)
    return status, json.loads((out / "inspection.json").read_text())


def pictures(root, classes, count):
    """Every image another picture, large enough for its hash to mean something."""
    for label in range(classes):
        (root / f"class{label}").mkdir(parents=True)
        for index in range(count):
            image = images.pixels(1000 + 10 * label + index, 64, 64)
            (root / f"class{label}" / f"{index}.jpg").write_bytes(images.encoded(image, quality=95))
    return root


def test_one_source(tmp_path, capsys):
    folder = pictures(tmp_path / "faces", 3, 3)
    (folder / "class0" / "1.jpg").write_bytes(b"no image")
    for name in ("1.jpg", "2.jpg"):
        (folder / "class2" / name).unlink()
    status, record = run(tmp_path / "out", source="image_folder", path=str(folder))
    found = record["data"]
    assert status == 0 and (found["images"], found["classes"], found["labels"]) == (7, 3, [0, 2])
    assert found["one_image"] == ["class2"] and found["images_per_class"] == [1, 3, 3]
    assert found["unreadable"] == 1 and str(folder / "class0" / "1.jpg") in found["unreadable_images"][0]
    assert found["heights"] == [64, 64, 64]
    assert all(kind["data"] == 0 for kind in record["duplicates"].values())
    sheet = datasets.decode({"image": (tmp_path / "out" / "samples.png").read_bytes(), "path": "x"})
    assert sheet.shape == (3 * 116, 8 * 96, 3) and len({*map(tuple, sheet[20:116, :96].reshape(-1, 3))}) > 100
    assert "1 unreadable" in capsys.readouterr().out


def test_boxes_are_counted(tmp_path, capsys):
    folder = pictures(tmp_path / "faces", 1, 5)
    boxes = ["0 0 40 40", "", "50 50 500 500", "1000 1000 1100 1100", "64 0 70 9"]
    (tmp_path / "table.csv").write_text("path,label,box\n" + "".join(
        f"faces/class0/{place}.jpg,{place % 2},{box}\n" for place, box in enumerate(boxes)))
    status, record = run(tmp_path / "out", source="manifest", path=str(tmp_path / "table.csv"))
    found = record["data"]
    assert status == 0 and found["regions"] == {"box": 4, "box beyond the edge": 1, "box outside": 2}
    assert found["unreadable"] == 2 and f"{folder}/class0/3.jpg: the box (1000, 1000, 1100, 1100) holds nothing of" in \
        found["unreadable_images"][0]
    assert "images with a box: 4, box beyond the edge: 1, box outside: 2" in capsys.readouterr().out


def test_shares_are_counted_and_the_sheet_shows_what_is_seen(tmp_path, capsys):
    folder = pictures(tmp_path / "faces", 1, 1)
    image = images.pixels(7, 64, 64) // 2
    image[:32, :32] = 255
    (folder / "class0" / "0.jpg").write_bytes(images.encoded(image, "PNG"))
    (tmp_path / "table.csv").write_text("path,label,box\nfaces/class0/0.jpg,a,0 0 0.5 0.5\n")
    _, record = run(tmp_path / "out", source="manifest", path=str(tmp_path / "table.csv"))
    assert record["data"]["regions"] == {"box": 1, "box in shares of the sides": 1}
    sheet = datasets.decode({"image": (tmp_path / "out" / "samples.png").read_bytes(), "path": "x"})
    assert (sheet[20:116, :96] == 255).all()
    assert "box in shares of the sides: 1" in capsys.readouterr().out


def coco(folder, name, pictures, **more):
    """A file of COCO's form: a picture of 64 x 64 pixels each, with a box."""
    folder.mkdir(exist_ok=True)
    for place in pictures:
        (folder / f"{place}.png").write_bytes(images.encoded(images.pixels(2000 + place, 64, 64), "PNG"))
    (folder / name).write_text(json.dumps({
        "images": [{"id": place, "file_name": f"{place}.png"} | more for place in pictures],
        "categories": [{"id": 3, "name": "ant"}, {"id": 8, "name": "bee"}],
        "annotations": [{"image_id": place, "category_id": 8, "bbox": [place, 2, 40, 30]} for place in pictures]}))
    return str(folder / name)


def test_boxes_are_counted_and_drawn(tmp_path, capsys):
    config = default.get_config()
    config.detection.height, config.detection.width, config.batch_size = 32, 64, 4
    for part, pictures in (("train", range(5)), ("test", range(4, 6))):
        config[f"{part}_data"].name, config[f"{part}_data"].path = "coco", coco(tmp_path, f"{part}.json", pictures)
    status, record = run(tmp_path / "out", config)
    assert status == 1 and record["duplicates"]["pixels"]["across"] == 1
    assert record["train"]["boxes"]["of_class"] == {"ant": [0, 0], "bee": [5, 5]}
    assert record["train"]["classes_without_image"] == 1 and record["train"]["images_per_class"] == [5, 5, 5]
    assert "5 boxes, 0 of them crowds" in capsys.readouterr().out
    for name, rows in (("samples", 3), ("views", 5)):  # of three pictures each: 5 and 2, and 15
        drawn = datasets.decode({"image": (tmp_path / "out" / f"{name}.png").read_bytes(), "path": "x"})
        assert drawn.shape[:2] == pytest.approx(((3.2 * rows + 0.4) * 140, 3 * 4 * 140), abs=4)


def test_a_picture_of_another_size_than_its_boxes_cannot_be_read(tmp_path):
    path = coco(tmp_path, "x.json", range(2), width=64, height=48)
    _, record = run(tmp_path / "out", source="coco", path=path)
    assert record["data"]["unreadable"] == 2
    line = "0.png: it has 64 x 64 pixels, upright, and its boxes are of 64 x 48"
    assert line in record["data"]["unreadable_images"][0]


def test_what_was_passed_over_is_told(tmp_path, capsys):
    folder = pictures(tmp_path / "faces", 2, 2)
    (folder / "class0" / "x.jp2").write_bytes(b"x")
    line = f"{folder}: passed over 1 file(s) that are not read: 1 .jp2"
    _, record = run(tmp_path / "out", source="image_folder", path=str(folder))
    assert record["data"]["remarks"] == [line] and line in capsys.readouterr().out.splitlines()


def test_the_sides_of_a_split_share_no_image(tmp_path):
    config = tiny.config(pictures(tmp_path / "faces", 3, 5), train_data__test_share=0.4, test_data__test_share=0.4,
                         test_data__part="test")
    status, record = run(tmp_path / "out", config)
    assert status == 0 and (record["train"]["images"], record["test"]["images"]) == (9, 6)
    config.test_data.split_seed = 1
    assert run(tmp_path / "out", config)[0] == 1
    sheet = datasets.decode({"image": (tmp_path / "out" / "views.png").read_bytes(), "path": "x"})
    assert sheet.shape == (6 * 144, 8 * 128, 3)


def test_a_leak_is_found_in_whatever_form(tmp_path):
    train, test = pictures(tmp_path / "train", 2, 3), tmp_path / "test"
    (test / "other").mkdir(parents=True)
    shutil.copy(train / "class0" / "0.jpg", test / "other" / "file.jpg")
    pixels = datasets.decode({"image": (train / "class1" / "1.jpg").read_bytes(), "path": "x"})
    (test / "other" / "pixels.png").write_bytes(images.encoded(pixels, "PNG"))
    (test / "other" / "near.jpg").write_bytes(images.encoded(images.pixels(1012, 64, 64), quality=60))
    config = tiny.config(train)
    config.test_data.path = str(test)
    status, record = run(tmp_path / "out", config)
    found = record["duplicates"]
    assert status == 1
    assert (found["files"]["across"], found["pixels"]["across"], found["near"]["across"]) == (1, 2, 1)
    assert found["near"]["groups"] == [[str(train / "class1" / "2.jpg"), str(test / "other" / "near.jpg")]]
    assert found["pixels"]["of_several_classes"] == 2


def test_what_is_asked_must_make_sense(tmp_path):
    with pytest.raises(ValueError, match="give --config"):
        run(tmp_path)
    with pytest.raises(ValueError, match=r"--distance is -1\.\.16"):
        run(tmp_path, source="orl_faces", distance=40)
