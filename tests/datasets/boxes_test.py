import numpy as np
import pytest

from geodesic.datasets import boxes
from geodesic.errors import UserError

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
SIZES = np.array([[100, 200], [100, 200], [0, 0]])


def gather(pictures, corners, **options):
    return boxes.gather("x.json", NAMES, np.array(pictures), np.array(corners, float), np.arange(len(pictures)),
                        sizes=SIZES, **options)


def test_boxes_are_put_to_their_pictures():
    found, remarks = gather([2, 0, 2], [[0, 0, 5, 5], [1, 2, 3, 5], [0, 0, 900, 900]],
                            crowd=np.array([True, False, False]), areas=np.array([np.nan, 4, np.nan]))
    assert not remarks and found.starts.tolist() == [0, 1, 1, 3]
    assert found.of(0)["boxes"].tolist() == [[1, 2, 3, 5]] and found.of(0)["areas"].tolist() == [4]
    assert found.of(1)["boxes"].shape == (0, 4)
    assert found.of(2)["classes"].tolist() == [0, 2] and found.of(2)["areas"].tolist() == [25, 810000]
    assert found.of(2)["crowd"].tolist() == [True, False] and found.counts().tolist() == [1, 0, 1]
    assert {name: str(values.dtype) for name, values in found.of(0).items()} == {
        "boxes": "float32", "classes": "int32", "crowd": "bool", "areas": "float32"}


def test_some_pictures():
    found, _ = gather([2, 0, 2, 1], [[0, 0, 5, 5], [1, 2, 3, 5], [0, 0, 9, 9], [4, 4, 5, 5]])
    some = found.take(np.array([2, 1]))
    assert some.starts.tolist() == [0, 2, 3] and some.classes.tolist() == [0, 2, 3]
    assert some.boxes[:, 2].tolist() == [5, 9, 5]


@pytest.mark.parametrize("box, message", [
    ([0, 0, np.nan, 5], "x.json: box 2, of 'b.jpg', has corners that are no numbers: 0 0 nan 5"),
    ([0, 0, np.inf, 5], "no numbers"), ([5, 0, 4, 5], "box 2, of 'b.jpg', ends before it begins: x 5 to 4, y 0 to 5"),
    ([200, 0, 210, 5], "lies outside of its picture: x 200 to 210, y 0 to 5"), ([-9, 0, 0, 5], "outside"),
    ([0, 100, 9, 101], "outside"), ([0, -7, 9, -1], "outside")])
def test_what_no_box_can_be_is_refused(box, message):
    with pytest.raises(UserError, match=message):
        gather([0, 1], [[0, 0, 1, 1], box])


def test_all_of_a_kind_are_counted():
    with pytest.raises(UserError, match=r"box 1, .*; so do 1 more"):
        gather([0, 1], [[5, 0, 4, 5], [9, 0, 4, 5]])


def test_boxes_without_area_are_left_out_and_those_beyond_the_edge_stay():
    found, remarks = gather([0, 0, 1], [[5, 5, 5, 9], [-3, 0, 250, 20], [1, 1, 2, 2]])
    assert remarks == ["x.json: 1 box(es) without any area are left out, the first box 1, of 'a.jpg'",
                       "x.json: 1 box(es) reach over the edge of their picture"]
    assert found.boxes.tolist() == [[-3, 0, 250, 20], [1, 1, 2, 2]] and found.starts.tolist() == [0, 1, 2, 2]


def test_a_subset_is_a_source_of_its_own(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(name.encode())
    found, _ = gather([2, 0, 2], [[0, 0, 5, 5], [1, 2, 3, 5], [0, 0, 9, 9]])
    source = boxes.BoxFiles([str(tmp_path / name) for name in NAMES], list("xyz"), found, sizes=SIZES,
                            category_ids=[3, 5, 9], image_ids=[7, 8, 9])
    some = source.subset(np.array([2, 0]))
    assert some.image_ids.tolist() == [9, 7] and some.category_ids.tolist() == [3, 5, 9] and some.num_classes == 3
    assert some[0]["image"] == b"c.jpg" and some[0]["boxes"].shape == (2, 4) and "size" not in some[0]
    assert some[1]["size"] == (100, 200) and some.annotations(1)["classes"].tolist() == [1]
    assert "image" not in some.annotations(1) and some.labels.tolist() == [0, 0]


def test_identity_depends_on_boxes(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(b"x")
    paths = [str(tmp_path / name) for name in NAMES]
    one, other = (boxes.BoxFiles(paths, list("xy"), gather([0, 1], [[0, 0, 5, 5], [1, 2, 3, end]])[0])
                  for end in (5, 6))
    first, second = one.record_names(), other.record_names()
    assert [ours == theirs for ours, theirs in zip(first, second, strict=True)] == [True, False, True]
