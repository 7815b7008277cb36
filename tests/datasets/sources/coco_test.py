import copy
import json

import numpy as np
import pytest

from geodesic import datasets
from geodesic.errors import UserError
from tests.datasets import images, streams

WHOLE = {
    "info": {"year": 2017, "version": None},
    "images": [{"id": 40, "file_name": "b.png", "width": 60, "height": 40, "license": 3},
               {"id": 7, "file_name": "a.png", "width": 60, "height": 40},
               {"id": 9, "file_name": "none.png", "width": 60, "height": 40}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 30.5, 20], "area": 300.25, "iscrowd": 0,
         "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 2, "image_id": 40, "category_id": 3, "bbox": [0, 0, 60, 40], "area": 17, "iscrowd": 1,
         "segmentation": {"counts": [1, 2], "size": [40, 60]}},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [5, 5, 10, 10]}],
    "categories": [{"id": 90, "name": "toothbrush", "supercategory": "indoor"}, {"id": 3, "name": "car"},
                   {"id": 18, "name": "dog"}]}


def write(folder, values, name="x.json", pictures=("a.png", "b.png", "none.png"), **options) -> str:
    for place, picture in enumerate(pictures):
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture).write_bytes(images.encoded(images.pixels(place, 40, 60), "PNG"))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values, **options))
    return str(folder / name)


def changed(kind: str, place: int, **values) -> dict:
    """WHOLE with other values in an entry; None takes the key out."""
    result = copy.deepcopy(WHOLE)
    result[kind][place].update(values)
    result[kind][place] = {key: value for key, value in result[kind][place].items() if value is not None}
    return result


@pytest.mark.parametrize("options", [{}, {"indent": 2}], ids=["one_line", "indented"])
def test_what_a_file_says(tmp_path, options):
    source = datasets.build("coco", path=write(tmp_path, WHOLE, **options))
    assert source.class_names == ["car", "dog", "toothbrush"] and source.category_ids.tolist() == [3, 18, 90]
    assert source.image_ids.tolist() == [40, 7, 9] and not source.remarks and source.num_classes == 3
    crowd, two, none = (source[place] for place in range(3))
    assert crowd["path"] == str(tmp_path / "b.png") and crowd["crowd"].tolist() == [True] and crowd["areas"] == [17]
    assert crowd["boxes"].tolist() == [[0, 0, 60, 40]] and crowd["size"] == (40, 60)
    assert two["boxes"].tolist() == [[1, 2, 31.5, 22], [5, 5, 15, 15]] and two["classes"].tolist() == [2, 0]
    assert two["areas"].tolist() == [300.25, 100] and two["crowd"].tolist() == [False, False]
    assert none["boxes"].shape == (0, 4) and none["label"] == 0
    assert datasets.decode(two).shape == (40, 60, 3)


@pytest.mark.parametrize("values, message", [
    (changed("annotations", 2, category_id=4), "the annotation of id 3 has the category_id 4, which no category has"),
    (changed("annotations", 1, image_id=41), "the annotation of id 2 has the image_id 41, which no image has"),
    (changed("annotations", 1, image_id=41, id=None), "annotation 2 has the image_id 41"),
    (changed("annotations", 0, bbox=[1, 2, 3]), r"id 1 has the bbox \[1.0, 2.0, 3.0\]: expected x, y, width, height"),
    (changed("annotations", 0, bbox=None), "annotation 1 has no bbox"),
    (changed("annotations", 0, bbox=[1, 2, -3, 4]), "id 1, of 'a.png', ends before it begins: x 1 to -2"),
    (changed("annotations", 0, bbox=[60, 2, 3, 4]), "id 1, of 'a.png', lies outside of its picture: x 60 to 63"),
    (changed("annotations", 0, bbox=[1, 2, 1e999, 4]), "x.json"),
    (changed("images", 2, id=7), "the image id 7 stands there 2 times"),
    (changed("categories", 2, id=3), "the category id 3 stands there 2 times"),
    (changed("images", 1, file_name=None), "image 2 has no file_name"),
    (changed("images", 1, file_name="c.png"), "1 of its 3 pictures are not there, the first 'c.png'"),
    (changed("categories", 1, name=None), "category 2 has no name"),
    (changed("images", 0, id="forty"), r"is no JSON of COCO's form: .*/images/\[\]/id\) changed from number to string"),
    ([{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 0.5}], "is no JSON of COCO's form"),
    ('{"images": [', "is no JSON of COCO's form"), ("", "is no JSON of COCO's form"),
    ("{}", "expected one object, with"), ("null", "it begins with b'null'; expected an object, in UTF-8"),
    ('{"images": []}\nnull', "expected one object, with"),
    (changed("annotations", 0, bbox=[1e300, 2, 3, 4]), "no numbers"),
    (changed("annotations", 1, iscrowd=True), "iscrowd\\) changed from number to boolean"),
    ({**WHOLE, "images": [], "annotations": []}, "has no images"),
    ({**WHOLE, "categories": [], "annotations": []}, "has no categories")])
def test_what_a_file_cannot_mean_is_refused_in_a_line(tmp_path, values, message):
    path = write(tmp_path, values)
    with pytest.raises(UserError, match=message) as error:
        datasets.build("coco", path=path)
    assert path in str(error.value) and "\n" not in str(error.value)


def test_boxes_without_area_are_left_out(tmp_path):
    source = datasets.build("coco", path=write(tmp_path, changed("annotations", 0, bbox=[3, 3, 0, 9])))
    assert [len(source.annotations(place)["boxes"]) for place in range(3)] == [1, 1, 0]
    assert source.remarks == [f"{tmp_path}/x.json: 1 box(es) without any area are left out, the first the annotation "
                              f"of id 1, of 'a.png'"]


def test_another_encoding_is_refused_and_a_mark_of_utf_8_is_none(tmp_path):
    path = write(tmp_path, changed("categories", 0, name="caf\u00e9"), ensure_ascii=False)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    for encoding in ("latin-1", "utf-16"):
        (tmp_path / "x.json").write_text(text, encoding=encoding)
        with pytest.raises(UserError, match=r"UTF-?8"):
            datasets.build("coco", path=path)
    (tmp_path / "x.json").write_text(text, encoding="utf-8-sig")
    assert datasets.build("coco", path=path).class_names[2] == "caf\u00e9"


def test_a_size_that_is_none_is_not_known(tmp_path):
    source = datasets.build("coco", path=write(tmp_path, changed("images", 1, width=-60)))
    assert "size" in source[0] and "size" not in source[1]


def test_a_file_without_annotations_is_of_pictures_without_boxes(tmp_path):
    source = datasets.build("coco", path=write(tmp_path, {key: WHOLE[key] for key in ("images", "categories")}))
    assert len(source) == 3 and not len(source.boxes.boxes)


@pytest.mark.parametrize("name, folder", [
    ("annotations/instances_val2017.json", "val2017"), ("annotations/instances_val2017.json", "images/val2017"),
    ("train.json", "images"), ("annotations/train.json", "images"), ("train/_annotations.coco.json", "train")])
def test_images_are_found_where_they_usually_lie(tmp_path, name, folder):
    path = write(tmp_path, WHOLE, name, [f"{folder}/{image}" for image in ("a.png", "b.png", "none.png")])
    source = datasets.build("coco", path=path)
    assert source.paths[0] == str(tmp_path / folder / "b.png")


def test_a_folder_of_the_images_may_be_named(tmp_path):
    path = write(tmp_path, WHOLE, "notes/x.json", [f"photos/{image}" for image in ("a.png", "b.png", "none.png")])
    with pytest.raises(UserError, match=r"its image 'b.png' is not in .*: FILE.json#FOLDER says where the images are"):
        datasets.build("coco", path=path)
    assert len(datasets.build("coco", path=f"{path}#../photos")) == 3
    with pytest.raises(UserError, match=r"its image 'b.png' is not in .*elsewhere$"):
        datasets.build("coco", path=f"{path}#elsewhere")


def test_a_list_and_several_files(tmp_path):
    path = write(tmp_path, WHOLE)
    other = changed("images", 0, file_name="d.png")
    write(tmp_path, other, "y.json", ["a.png", "d.png", "none.png", "b.png"])
    source = datasets.build("coco", path=str(tmp_path / "{x,y}.json"))
    assert [path.split("/")[-1][0] for path in source.paths] == [*"bandan"]
    assert source.image_ids.tolist() == [1, 2, 3, 4, 5, 6] and source.annotations(4)["classes"].tolist() == [2, 0]
    (tmp_path / "list.txt").write_text("# drawn by hand\nd.png\n\nb.png\n")
    some = datasets.build("coco", path=f"{tmp_path}/{{x,y}}.json#{tmp_path}/list.txt")
    assert [path.split("/")[-1] for path in some.paths] == ["d.png", "b.png"] and some.image_ids.tolist() == [4, 1]
    assert some.class_names == source.class_names and some.annotations(1)["areas"].tolist() == [17]
    for names, message in (("c.png\n", "1 of its 1 names are of no picture of the source, the first 'c.png'"),
                           ("b.png\nb.png\n", "1 name\\(s\\) stand there twice, the first 'b.png'"), ("\n", "no name"),
                           ("a.png", "several pictures of the source are called 'a.png'")):
        (tmp_path / "list.txt").write_text(names)
        with pytest.raises(UserError, match=message):
            datasets.build("coco", path=f"{tmp_path}/{{x,y}}.json#{tmp_path}/list.txt")
    write(tmp_path, changed("categories", 0, name="brush"), "y.json")
    with pytest.raises(UserError, match=r"y.json has other categories than"):
        datasets.build("coco", path=str(tmp_path / "{x,y}.json"))
    with pytest.raises(FileNotFoundError, match=r"no list '.*gone.txt'"):
        datasets.build("coco", path=f"{path}#{tmp_path}/gone.txt")
    with pytest.raises(FileNotFoundError, match=r"no file '.*gone.json'"):
        datasets.build("coco", path=str(tmp_path / "gone.json"))
    for name, expected in (("coco", "no file '': expected a JSON file"), ("yolo", "no file '': expected a data.yaml"),
                           ("voc", "no folder '': expected one with Annotations")):
        with pytest.raises(FileNotFoundError, match=expected):
            datasets.build(name, path="")


def test_a_bucket_gives_the_same(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "bucket", WHOLE, "annotations/instances_val.json",
                 [f"val/{name}" for name in ("a.png", "b.png", "none.png")])
    on_disk = datasets.build("coco", path=path)
    streams.use_bucket(monkeypatch, tmp_path)
    there = datasets.build("coco", path="gs://bucket/annotations/instances_val.json")
    assert there.paths == [f"gs://bucket/val/{name}" for name in ("b.png", "a.png", "none.png")]
    assert there.record_names() == on_disk.record_names() and there.image_ids.tolist() == on_disk.image_ids.tolist()
    for some, others in ((there, on_disk), *zip(*([part.subset(np.array([2, 0])), part.subset(np.array([1]))]
                                                  for part in (there, on_disk)), strict=True)):
        assert [some[place]["image"] for place in range(len(some))] == [
            others[place]["image"] for place in range(len(others))]
    (tmp_path / "bucket/val/a.png").unlink()
    gone = datasets.build("coco", path="gs://bucket/annotations/instances_val.json")
    with pytest.raises(FileNotFoundError, match=r"no file 'gs://bucket/val/a.png'"):
        gone[1]


def test_a_share_of_the_pictures_is_set_aside_and_classes_are_not_cut(tmp_path):
    names = [f"{place}.png" for place in range(10)]
    values = {"images": [{"id": place, "file_name": name} for place, name in enumerate(names)],
              "categories": WHOLE["categories"],
              "annotations": [{"image_id": place, "category_id": 3, "bbox": [place, 0, 5, 5]} for place in range(10)]}
    path = write(tmp_path, values, pictures=names)
    parts = [datasets.build("coco", path=path, test_share=0.3, part=part) for part in ("train", "test")]
    assert [len(part) for part in parts] == [7, 3] and {*parts[0].paths} | {*parts[1].paths} == {
        str(tmp_path / name) for name in names}
    for part in parts:
        assert part.num_classes == 3
        assert [part.annotations(place)["boxes"][0, 0] for place in range(len(part))] == part.image_ids.tolist()
    for options in ({"classes": (0, 1)}, {"folds": 2}, {"test_share": 0.5, "split_by": "classes"}):
        with pytest.raises(UserError, match="not cut by classes or folds"):
            datasets.build("coco", path=path, **options)


def test_a_file_of_many_boxes(tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.permutation(5000)[:300]
    corners = rng.integers(0, 50, (20_000, 4)) + 1
    owners, classes = rng.integers(0, 300, 20_000), rng.integers(0, 80, 20_000)
    values = {"images": [{"id": int(one), "file_name": "a.png"} for one in ids],
              "categories": [{"id": 2 * one + 1, "name": str(one)} for one in range(80)],
              "annotations": [{"image_id": int(ids[owner]), "category_id": int(2 * label + 1), "bbox": box}
                              for owner, label, box in zip(owners, classes, corners.tolist(), strict=True)]}
    source = datasets.build("coco", path=write(tmp_path, values))
    for place in (0, 17, 299):
        own = owners == place
        expected = np.concatenate([corners[own, :2], corners[own, :2] + corners[own, 2:]], axis=1)
        np.testing.assert_array_equal(source.annotations(place)["boxes"], expected)
        np.testing.assert_array_equal(source.annotations(place)["classes"], classes[own])
