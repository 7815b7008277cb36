import numpy as np

from geodesic.experiments.reporting import detections


def test_boxes_are_drawn_where_they_are():
    """Doubled: the outline of the first box, in its class's colour; a missed one is dashed."""
    picture = np.zeros((50, 100, 3), np.uint8)
    shown = detections.Shown("a.png", picture, np.array([[20.0, 20, 40, 30], [60, 5, 90, 45]]), np.array([0, 1]),
                             ["cell 0.9", detections.MISSED])
    image = np.asarray(detections.draw(shown, side=200))
    assert image.shape == (100, 200, 3)
    blue, orange = np.array([31, 119, 180]), np.array([255, 127, 14])
    assert (image[50, 40] == blue).all() and (image[60, 60] == blue).all() and not image[50, 60].any()
    side = (image[12:88, 120] == orange).all(axis=1)
    assert 0.3 < side.mean() < 0.7
    assert (image[27:40, 42:60] == blue).all(axis=2).any()  # the caption above the box


def test_a_crowd_is_crossed_out():
    picture, box = np.zeros((40, 60, 3), np.uint8), np.array([[10.0, 5, 30, 25]])
    middle = lambda caption: np.asarray(detections.draw(
        detections.Shown("a.png", picture, box, np.array([0]), [caption]), side=60))[14:17, 19:22]
    assert middle(detections.CROWD).any() and not middle("cell").any()


def test_a_sheet_says_how_many_it_shows(tmp_path):
    grey, nothing = np.full((20, 30, 3), 99, np.uint8), np.zeros((0, 4))
    shown = [detections.Shown(f"{place}.png", grey, nothing, nothing[:, 0], []) for place in range(2)]
    detections.write_sheet(str(tmp_path / "a.html"), shown, 7, "boxes")
    page = (tmp_path / "a.html").read_text()
    assert "the first 2 of 7 pictures; boxes" in page and "0.png" in page and "1.png" in page
