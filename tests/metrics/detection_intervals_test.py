import time

import numpy as np
import pytest

from geodesic.metrics import bootstrap, detection, detection_intervals, detection_scores
from tests.metrics.goldens import scenes


def matched(images: int, seed: int, many: int = 0) -> detection.Matches:
    found, truth = scenes.scene(np.random.default_rng(seed), images, np.array([3, 7, 9]), many=many)
    return detection.match([detection.Detections(*image) for image in found],
                           [detection.Truth(*image) for image in truth])


def test_the_estimate_is_the_summary():
    matches = matched(12, seed=0)
    found = detection_intervals.intervals(matches, samples=3)
    assert {name: interval.estimate for name, interval in found.items()} == detection_scores.summary(matches)
    assert detection_scores.summary(matches, np.ones(12, int)) == detection_scores.summary(matches)


def test_replicates_are_the_summaries_of_the_drawn_images():
    matches = matched(12, seed=1)
    drawn = [detection_scores.summary(matches, weights)["ap50"] for weights in bootstrap.weights(12, 40, seed=5)]
    assert len(set(drawn)) > 20
    found = detection_intervals.intervals(matches, samples=40, seed=5, level=0.8)["ap50"]
    assert [found.low, found.high] == pytest.approx(np.percentile(drawn, [10, 90]))


def test_one_class_has_intervals_of_its_own():
    matches = matched(12, seed=2)
    found = detection_intervals.intervals(matches.only(7), samples=20)
    assert found["ap"].estimate == detection_scores.by_class(matches)[7]["ap"]
    assert found["ap"].low < found["ap"].estimate < found["ap"].high


def test_what_no_replicate_can_score_has_no_interval():
    box = [[0, 0, 10, 10]]
    matches = detection.match([detection.Detections(box, [0.5], [7])], [detection.Truth(box, [7])])
    assert detection_intervals.intervals(matches, samples=5)["ap_large"][1:] == (None, None)


def test_a_thousand_replicates_of_72_images_take_seconds():
    matches, begun = matched(72, seed=3), time.process_time()
    detection_intervals.intervals(matches, samples=100)
    assert time.process_time() - begun < 4
