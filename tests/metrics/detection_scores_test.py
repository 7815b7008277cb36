import contextlib
import io

import numpy as np
import pytest
from pycocotools import coco, cocoeval

from geodesic.errors import UserError
from geodesic.metrics import detection, detection_scores
from tests.metrics.goldens import scenes

# Sparse, and not in order.
CLASSES, IMAGES = np.array([17, 3, 90, 44]), (2, 9, 131, 7000, 7001)


def matched(found, truth) -> detection.Matches:
    return detection.match([detection.Detections(*image) for image in found],
                           [detection.Truth(*image) for image in truth])


def sized(boxes) -> list:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def judged(found, truth) -> cocoeval.COCOeval:
    """COCOeval after its work; NaN stands where it writes -1."""
    objects = [{"image_id": image, "bbox": box, "category_id": int(label), "iscrowd": int(crowd), "area": float(area)}
               for image, (boxes, *columns) in zip(IMAGES, truth, strict=True)
               for box, label, crowd, area in zip(sized(boxes), *columns, strict=True)]
    detections = [{"image_id": image, "bbox": box, "score": float(score), "category_id": int(label)}
                  for image, (boxes, *columns) in zip(IMAGES, found, strict=True)
                  for box, score, label in zip(sized(boxes), *columns, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        given = coco.COCO()
        given.dataset = {"images": [{"id": image} for image in IMAGES],
                         "categories": [{"id": int(label)} for label in CLASSES],
                         "annotations": [{"id": place + 1, **one} for place, one in enumerate(objects)]}
        given.createIndex()
        result = cocoeval.COCOeval(given, given.loadRes(detections) if detections else coco.COCO(), "bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    for numbers in (result.stats, result.eval["precision"], result.eval["recall"]):
        numbers[numbers == -1] = np.nan
    return result


@pytest.mark.parametrize("block", range(10))
def test_all_numbers_equal_those_of_pycocotools(block):
    """Twenty sets a block, two of them with more detections in an image than count."""
    for seed in range(20 * block, 20 * block + 20):
        found, truth = scenes.scene(np.random.default_rng(seed), len(IMAGES), CLASSES, many=140 * (seed % 10 == 3))
        matches, wanted = matched(found, truth), judged(found, truth)
        np.testing.assert_allclose(list(detection_scores.summary(matches).values()), wanted.stats, atol=1e-6, rtol=0,
                                   err_msg=str(seed))
        for label, own in detection_scores.by_class(matches).items():
            place = sorted(CLASSES).index(label)
            precision, recall = wanted.eval["precision"][:, :, place, :, 2], wanted.eval["recall"][:, place]
            np.testing.assert_allclose(
                [own["ap"], own["ap50"], own["ap75"], own["ap_small"], own["ap_medium"], own["ap_large"]],
                [precision[..., 0].mean(), precision[0, :, 0].mean(), precision[5, :, 0].mean(),
                 *precision[..., 1:].mean(axis=(0, 1))], atol=1e-6, rtol=0, err_msg=f"{seed} {label}")
            np.testing.assert_allclose([own["ar@1"], own["ar@10"], own["ar@100"], own["ar_large"]],
                                       [*recall[:, 0].mean(axis=0), recall[:, 3, 2].mean()], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("on", "ap50"), [(0, 1), (1, 51 / 101)])
def test_of_objects_overlapped_alike_the_later_is_taken(on, ap50):
    """The first detection overlaps both objects by .8, the second only one of them by more than .5."""
    objects = np.array([[0, 0, 18, 10], [4, 0, 22, 10]])
    boxes = np.array([[2, 0, 20, 10], [[-3, 0, 15, 10], [7, 0, 25, 10]][on]])
    found = [(boxes, [0.9, 0.8], [3, 3])] + [(np.zeros((0, 4)), [], [])] * 4
    truth = [(objects, [3, 3], [0, 0], [180, 180])] + [(np.zeros((0, 4)), [], [], [])] * 4
    assert detection_scores.summary(matched(found, truth))["ap50"] == pytest.approx(ap50)
    assert judged(found, truth).stats[1] == pytest.approx(ap50)


def test_the_sets_hold_what_they_should():
    """Each trap is in many of the sets, so that the comparison above sees it."""
    counts = dict.fromkeys(("crowds", "ties", "no objects", "no detections", "flat", "too many", "absent"), 0)
    for seed in range(200):
        found, truth = scenes.scene(np.random.default_rng(seed), len(IMAGES), CLASSES, many=140 * (seed % 10 == 3))
        scores, labels = (np.concatenate([image[column] for image in found]) for column in (1, 2))
        boxes = np.concatenate([image[0] for image in (*found, *truth)])
        counts["crowds"] += any(image[2].any() for image in truth)
        counts["ties"] += len(np.unique(scores)) < len(scores)
        counts["no objects"] += any(not len(image[0]) for image in truth)
        counts["no detections"] += any(not len(image[0]) for image in found)
        counts["flat"] += bool((boxes[:, 2:] == boxes[:, :2]).any())
        counts["too many"] += any(np.bincount(image[2]).max() > 100 for image in found if len(image[2]))
        counts["absent"] += not set(labels) <= set(np.concatenate([image[1] for image in truth]))
    assert min(counts.values()) >= 15, counts


def test_the_truth_as_detections_scores_1_and_half_a_box_off_nothing_at_75():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (6, 9, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 200, (6, 9, 2))], axis=2)
    labels = rng.integers(0, 3, (6, 9))
    truth = [(own, label) for own, label in zip(boxes, labels, strict=True)]
    scores = detection_scores.summary(matched(zip(boxes, rng.random((6, 9)), labels, strict=True), truth))
    assert {name: scores[name] for name in ("ap", "ap50", "ap75", "ar@10", "ar@100")} == dict.fromkeys(
        ("ap", "ap50", "ap75", "ar@10", "ar@100"), 1.0)
    # One box an image, or a moved one may lie on its neighbour.
    half = boxes[:, :1] + np.tile((boxes[:, :1, 2:] - boxes[:, :1, :2]) * [0.5, 0], 2)
    moved = matched([(box, [0.5], label[:1]) for box, label in zip(half, labels, strict=True)],
                    [(box[:1], label[:1]) for box, label in zip(boxes, labels, strict=True)])
    assert detection_scores.summary(moved)["ap75"] == 0


def test_a_hand_made_case():
    """Right, wrong, right of three objects: precision 1 up to recall 1/3, 2/3 up to 2/3, then none."""
    boxes = np.array([[0, 0, 10, 10], [200, 200, 210, 210], [20, 20, 30, 30]])
    truth = (np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]), [1, 1, 1])
    matches = matched([(boxes, [0.9, 0.8, 0.7], [1, 1, 1])], [truth])
    assert detection_scores.summary(matches)["ap50"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    line = detection_scores.curve(matches, 1)
    assert line.scores.tolist() == [0.9, 0.8, 0.7]
    assert line.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert line.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert detection_scores.average_precision([0.7, 0.9, 0.8], [True, True, False], 3) == pytest.approx(56 / 101)


def test_images_may_count_more_than_once():
    """As if they were there as often, copies side by side: also where images share scores or pass the limits."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found, truth = scenes.scene(rng, 5, CLASSES, many=140 * (seed % 5 == 0))
        found = [(boxes, rng.permutation(200)[:len(boxes)] / 200, labels) for boxes, _, labels in found]
        weights = np.bincount(rng.integers(0, 5, 5), minlength=5)
        again = matched([found[image] for image in np.repeat(range(5), weights)],
                        [truth[image] for image in np.repeat(range(5), weights)])
        counted = detection_scores.summary(matched(found, truth), weights)
        assert counted == pytest.approx(detection_scores.summary(again), abs=1e-12, nan_ok=True), seed


def test_equal_scores_of_an_image_that_counts_twice_follow_one_another():
    """Right, right, wrong, wrong, where two copies of the image would be right, wrong, right, wrong."""
    found = (np.array([[0, 0, 10, 10], [50, 50, 60, 60]]), [0.5, 0.5], [1, 1])
    truth = (np.array([[0, 0, 10, 10]]), [1])
    assert detection_scores.summary(matched([found], [truth]), [2])["ap50"] == 1
    assert detection_scores.summary(matched([found] * 2, [truth] * 2))["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_curve_of_what_is_not_there_is_refused():
    empty = matched([([], [], [])], [(np.array([[0, 0, 1, 1]]), [4])])
    assert len(detection_scores.curve(empty, 4).scores) == 0
    with pytest.raises(UserError, match="class 5 is neither detected nor true"):
        detection_scores.curve(empty, 5)
    with pytest.raises(UserError, match=r"overlap=0.4: expected one of"):
        detection_scores.curve(empty, 4, 0.4)


def test_nothing_at_all_scores_nothing():
    assert all(np.isnan(value) for value in detection_scores.summary(matched([], [])).values())
    assert all(np.isnan(value) for value in detection_scores.summary(matched([([], [], [])], [([], [])])).values())
