"""Folds of the people, and what is said of the scores of each."""

import numpy as np
import pytest

from benchmarks import people
from geodesic import datasets
from geodesic.experiments.training import data


def test_every_person_is_left_out_once():
    left_out = []
    for fold in range(people.FOLDS):
        config = people.config(fold, seed=1)
        train, test = data.train_source(config), data.test_source(config)
        assert (train.num_classes, test.num_classes, len(train), len(test)) == (30, 10, 300, 100)
        assert not {*train.class_names} & {*test.class_names}
        left_out += test.class_names
        assert config.seed == 1
    assert left_out == datasets.build("orl_faces").class_names


def test_scores_are_of_people():
    """The first person's two portraits are alike, the second's are not; the third stands between."""
    embeddings = np.array([[1, 0], [1, 0.01], [0, 1], [1, 0.2], [-1, 1], [-1, 1.1]], np.float32)
    labels = np.array([4, 4, 5, 5, 6, 6])
    found, scores, eer = people.measured(embeddings, labels)
    assert found.tolist() == [4, 5, 6] and scores.tolist() == [1.0, 0.0, 1.0] and 0 < eer < 0.5
    rows = people.summarised({"trained": np.array([scores, scores - 0.1])}, {"trained": np.array([[eer], [eer]])})
    assert rows["trained"]["seeds"] == pytest.approx([2 / 3, 2 / 3 - 0.1]) and rows["trained"]["eer"] == eer
    of = rows["trained"]["map@r"]
    assert of["low"] < of["value"] < of["high"] and of["value"] == pytest.approx(2 / 3 - 0.05)
    made = {"machine": "m", "devices": "d", "date": "2026-01-02T", "commit": "c", "packages": {"jax": "1"}}
    text = people.table({"seeds": 2, "folds": 4, "rows": rows, "environment": made})
    assert "| trained | 0.617 [" in text and "| 0.667, 0.567 |" in text
