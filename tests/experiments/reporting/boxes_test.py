import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import boxes as known
from geodesic.experiments.reporting import boxes
from tests.datasets import images


@pytest.fixture
def source(tmp_path):
    """Three pictures: one of four boxes, one of none, one that cannot be read."""
    names = ["a.png", "b.png", "c.png"]
    grey = images.encoded(np.full((100, 200, 3), 128, np.uint8), "PNG")
    for name, content in zip(names, (grey, grey, b"no image"), strict=True):
        (tmp_path / name).write_bytes(content)
    corners = np.array([[0, 0, 20, 10], [0, 0, 20, 10.2], [0, 0, 20, 10.1], [150, 50, 250, 150.5], [0, 0, 0.5, 50],
                        [10, 200, 20, 300], [0, 0, 99, 99]])
    found, _ = known.gather("x", names, np.array([0, 0, 0, 0, 0, 0, 2]), corners, np.array([1, 1, 0, 0, 0, 0, 2]),
                            crowd=np.array([False] * 3 + [True] + [False] * 3))
    return known.BoxFiles([str(tmp_path / name) for name in names], ["ant", "bee", "cat"], found)


SEEN = [{"height": 100, "width": 200}, {"height": 100, "width": 200}, {"problem": "no image"}]


def test_what_is_counted(source):
    found = boxes.describe(source, SEEN)
    assert (found["boxes"], found["crowds"], found["pictures_without_boxes"]) == (7, 1, 1)
    assert found["of_class"] == {"ant": [4, 1], "bee": [2, 1], "cat": [1, 1]}
    assert found["boxes_per_picture"] == [0, 1, 6]
    assert found["sizes"] == {"small": 5, "medium": 0, "large": 1}  # without the crowd; 1000 is medium, 9801 large
    assert (found["below_a_pixel"], found["beyond_the_edge"], found["outside"]) == (1, 1, 1)
    assert found["twins"] == 1 and found["twins_in"] == [source.paths[0]] == found["outside_in"]
    assert found["widths"] == [0.5, 20, 100] and found["aspects"][0] == 0.01
    text = "\n".join(boxes.lines(found))
    assert "7 boxes, 1 of them crowds" in text and "ant: 4 boxes in 1 pictures" in text and source.paths[0] in text


def test_areas_are_parted_as_cocos(tmp_path):
    corners = np.array([[0, 0, 31.9, 32], [0, 0, 32, 32], [0, 0, 96, 96], [0, 0, 96.1, 96]])
    found, _ = known.gather("x", ["a"], np.zeros(4, int), corners, np.zeros(4, int))
    assert boxes.describe(known.BoxFiles(["a"], ["x"], found), SEEN[:1])["sizes"] == {
        "small": 1, "medium": 2, "large": 1}


def test_the_sheet_has_what_can_be_read(source):
    """Two pictures in a row of their own: what cannot be read is left out. The crowd is crossed out."""
    sheet = datasets.decode({"image": boxes.samples({"data": source}, {"data": SEEN}), "path": "x"})
    assert sheet.shape[1] == pytest.approx(2 * 4 * 140, abs=4)
    with_boxes, without = np.split(sheet, [sheet.shape[1] // 2], axis=1)
    colour = lambda image, rgb: (np.abs(image.astype(int) - rgb).sum(axis=2) < 10).sum()
    for rgb in ([31, 119, 180], [255, 127, 14]):  # the classes 0 and 1
        assert colour(with_boxes, rgb) > 100 and colour(without, rgb) < colour(with_boxes, rgb) / 4
    assert colour(without, [128, 128, 128]) > 300 * 200  # the grey picture without boxes


def test_nothing_that_can_be_read_is_a_sheet_too(source):
    assert boxes.samples({"data": source}, {"data": [{"problem": "no image"}] * 3})[1:4] == b"PNG"
