"""Which detections are where nothing is labelled, and what is left of AP50's losses without them."""

import types

import numpy as np

from benchmarks import unlabelled
from geodesic.metrics.detection import Detections, Truth

BOX, FAR, NEAR = [10, 10, 30, 30], [60, 60, 80, 80], [12, 12, 32, 32]
FOUND = [Detections(np.float32([BOX, FAR, NEAR, FAR]), np.float32([0.9, 0.95, 0.8, 0.3]), np.int64([0, 0, 0, 0]))]
THERE = [Truth(np.float32([BOX]), np.int64([0]), np.zeros(1, bool), np.float32([400]))]


def test_what_overlaps_no_label_and_is_sure_enough():
    rows = unlabelled.unlabelled(FOUND[0], THERE[0], 0.5, 0.1)
    assert rows.tolist() == [False, True, False, False]
    assert unlabelled.of_class(0, FOUND, THERE, [rows], 0.5) == {"labelled": 1, "found": 3,
                                                                 "where nothing is labelled": 1}
    assert unlabelled.ap50(FOUND, THERE) == 0.5
    assert unlabelled.ap50([Detections(*(values[~rows] for values in FOUND[0]))], THERE) == 1.0


def test_they_are_drawn_with_the_labels_around_them(monkeypatch):
    monkeypatch.setattr(unlabelled.pictures, "read_file", lambda path: np.full((300, 400, 3), 200, np.uint8))
    rows = [unlabelled.unlabelled(FOUND[0], THERE[0], 0.5, 0.1)]
    asked = types.SimpleNamespace(seed=0, shown=12)
    drawn = np.asarray(unlabelled.picture(FOUND, THERE, rows, ["a.jpg"], ["cell"], asked))
    assert drawn.shape == (220, 6 * 220, 3)
    assert (drawn[60, 62:79] != 200).all() and (drawn[:, 220:] == 255).all()
