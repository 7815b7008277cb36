import numpy as np

from geodesic.experiments.reporting import detected
from geodesic.metrics import detection

BOX, OTHER = [0.0, 0, 10, 10], [20.0, 20, 30, 30]
FOUND = [detection.Detections(np.array([BOX, OTHER]), np.array([0.9, 0.4]), np.array([0, 1])),
         detection.Detections(np.array([BOX]), np.array([0.8]), np.array([0])),
         detection.Detections(np.array([OTHER]), np.array([0.2]), np.array([1])),
         detection.Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))]
# Both are right in the first image, the second has another class, the third has nothing, the fourth neither.
THERE = [detection.Truth(np.array([BOX, OTHER]), np.array([0, 1]), np.zeros(2, bool), np.full(2, 100.0)),
         detection.Truth(np.array([BOX]), np.array([1]), np.zeros(1, bool), np.full(1, 100.0)),
         *[detection.Truth(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), np.zeros(0))] * 2]


def test_the_point_of_the_best_f1():
    """At .4: 2 right of 3 found and 3 objects, F1 4 / 6; at .9 2 / 4, at .8 2 / 5, at .2 4 / 7."""
    point = detected.best_point(detection.match(FOUND, THERE))
    assert point.score == 0.4
    assert point.right.tolist() == [2, 0, 0, 0] and point.wrong.tolist() == [0, 1, 0, 0]
    assert point.objects.tolist() == [2, 1, 0, 0] and point.f1.tolist() == [1, 0, 1, 1]


def test_what_is_missed():
    crowd = detection.Truth(np.array([BOX, OTHER, OTHER]), np.array([0, 1, 1]), np.array([False, False, True]),
                            np.full(3, 100.0))
    assert detected.missed(FOUND[1], crowd).tolist() == [False, True, False]
    assert detected.missed(FOUND[0], crowd).tolist() == [False, False, False]
    assert detected.missed(FOUND[3], THERE[0]).tolist() == [True, True]
