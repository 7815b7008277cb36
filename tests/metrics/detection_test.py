import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.metrics import detection

BOX, EMPTY = [[0, 0, 10, 10]], detection.Detections([], [], [])


def hits(found, truth) -> list:
    return detection.match([found], [truth]).classes[7].hits[0, 0].tolist()


def test_an_object_is_taken_once_and_a_crowd_often():
    found = detection.Detections(BOX * 3, [0.9, 0.8, 0.7], [7, 7, 7])
    assert hits(found, detection.Truth(BOX, [7])) == [True, False, False]
    crowd = detection.match([found], [detection.Truth(BOX * 2, [7, 7], crowd=[False, True])]).classes[7]
    assert crowd.hits[0, 0].tolist() == [True, False, False]
    assert crowd.ignored[0, 0].tolist() == [False, True, True]
    assert crowd.positives[0].tolist() == [1]


def test_a_crowd_is_overlapped_by_the_share_of_the_detection_within():
    found = detection.Detections([[0, 0, 2, 2], [-6, 0, 4, 10]], [0.9, 0.8], [7, 7])
    crowd = detection.match([found], [detection.Truth(BOX, [7], crowd=[True])]).classes[7]
    assert crowd.ignored[0, 0].tolist() == [True, False]


def test_the_area_of_the_outline_tells_small_from_large():
    found, large = detection.Detections([[0, 0, 40, 40]], [0.9], [7]), [[0, 0, 40, 40]]
    of = lambda truth: detection.match([found], [truth]).classes[7].positives[:, 0].tolist()
    assert of(detection.Truth(large, [7])) == [1, 0, 1, 0]
    assert of(detection.Truth(large, [7], area=[800])) == [1, 1, 0, 0]
    # Both ends of a range are in it.
    assert of(detection.Truth(large, [7], area=[1024])) == [1, 1, 1, 0]


def test_classes_are_kept_apart_and_equals_stay_in_order():
    found = [detection.Detections(BOX * 2, [0.5, 0.5], [3, 7]), detection.Detections(BOX, [0.5], [7])]
    matches = detection.match(found, [detection.Truth(BOX, [3])] * 2)
    assert list(matches.classes) == [3, 7]
    assert matches.classes[3].hits[0, 0].tolist() == [True]
    assert matches.classes[7].images.tolist() == [0, 1] and not matches.classes[7].hits.any()


def test_padding_is_left_out():
    found = detection.Detections(np.concatenate([BOX, np.zeros((2, 4))]), [0.9, 0, 0], [7, -1, -1])
    matches = detection.match([found], [detection.Truth([*BOX, [0, 0, 0, 0]], [7, -1], [False, True], [50, 0])])
    assert list(matches.classes) == [7]
    assert matches.classes[7].hits[0, 0].tolist() == [True]
    assert matches.classes[7].positives[:, 0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(("found", "truth", "message"), [
    (detection.Detections([[5, 5, 3, 9]], [0.5], [7]), detection.Truth(BOX, [7]),
     r"image 1, detections: box \[5.0, 5.0, 3.0, 9.0\] ends before it begins; boxes are x1, y1, x2, y2"),
    (EMPTY, detection.Truth([[5, 5, 9, 3]], [7]), "image 1, truth: box .* ends before it begins"),
    (detection.Detections(BOX, [np.nan], [7]), detection.Truth(BOX, [7]), "scores hold NaN or infinite values"),
    (detection.Detections([[0, 0, np.inf, 1]], [0.5], [7]), detection.Truth(BOX, [7]), "boxes hold NaN or infinite"),
    (detection.Detections(BOX, [0.5, 0.5], [7]), detection.Truth(BOX, [7]), r"scores of \(2,\) for 1 boxes"),
    (EMPTY, detection.Truth(BOX, [7, 7]), r"truth: classes of \(2,\) for 1 boxes"),
    (EMPTY, detection.Truth(BOX, [7.5]), "truth: classes are integers, got float64"),
    (EMPTY, detection.Truth(BOX, [7], crowd=[]), r"truth: crowd of \(0,\) for 1 boxes"),
    (EMPTY, detection.Truth([0, 0, 10, 10], [7]), r"truth: boxes of \(4,\), expected \[N,4\]"),
])
def test_what_cannot_be_scored_is_refused(found, truth, message):
    with pytest.raises(UserError, match=message):
        detection.match([EMPTY, found], [detection.Truth(BOX, [7]), truth])


def test_as_many_images_are_detected_as_are_true():
    with pytest.raises(UserError, match="detections of 1 images and the truth of 2"):
        detection.match([EMPTY], [detection.Truth(BOX, [7])] * 2)
