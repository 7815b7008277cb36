"""Corrupted pictures search clean ones, and never find themselves."""

import types

import numpy as np
import pytest

from geodesic.configs import default
from geodesic.datasets import corruptions
from geodesic.errors import UserError
from geodesic.experiments.protocols import robustness


class Colours:
    """Pictures of one colour, a class each, with a little of a gradient: 4 of each of 6 classes."""

    def __init__(self, each: int = 4, classes: int = 6):
        self.labels = np.repeat(np.arange(classes), each)

    def __getitem__(self, place: int) -> dict:
        rng = np.random.default_rng(int(self.labels[place]))
        pixels = np.full((20, 20, 3), rng.integers(40, 160, 3)) + (place % 4)
        return {"image": pixels.astype(np.uint8), "label": 0, "path": str(place)}


def run_of(embed):
    config = default.get_config()
    config.input.image_size = 20
    return types.SimpleNamespace(config=config, mesh=types.SimpleNamespace(size=1),
                                 embed_views=lambda views, batch: embed(views.astype(np.float32)))


def colour(views):
    """Which channels are above the middle, and by how much: another light is another colour."""
    return views.mean(axis=(1, 2)) - 100


def test_every_kind_at_every_strength_is_scored_against_the_clean_pictures():
    passed, source = [], Colours()
    found = robustness.measure(run_of(colour), source, np.arange(24), progress=passed.append)
    scores = found["scores"]
    assert len(passed) == robustness.PASSES == 26 and {*passed} == {1}
    assert len(scores) == 1 + 25 + 1 and scores["clean"] == scores["rotation 5"] == scores["jpeg 1"] == 1.0
    assert scores["brightness 5"] < 1
    means = [scores[f"{kind} {strength}"] for kind in corruptions.AMOUNTS for strength in corruptions.STRENGTHS]
    assert scores["mean"] == pytest.approx(np.mean(means))
    assert "24 pictures of 6 classes" in found["what"] and found["what"].endswith(".")


def test_a_picture_is_not_its_own_neighbour():
    """Embeddings that tell pictures apart and no classes find nothing but themselves."""
    apart = lambda views: np.eye(len(views), dtype=np.float32) + 1e-3
    scores = robustness.measure(run_of(apart), Colours(), np.arange(24))["scores"]
    assert scores["clean"] < 0.5 and scores["jpeg 1"] < 0.5


def test_only_readable_pictures_are_looked_at():
    seen = []
    robustness.measure(run_of(lambda views: seen.append(len(views)) or colour(views)), Colours(), np.arange(0, 24, 2))
    assert {*seen} == {12}


def test_of_many_pictures_whole_classes_are_drawn(monkeypatch):
    monkeypatch.setattr(robustness, "MOST", 10)
    labels = Colours().labels
    chosen = robustness.chosen(labels, seed=1)
    assert len(chosen) == 8
    assert all(np.isin(np.flatnonzero(labels == label), chosen).all() for label in labels[chosen])
    assert len(robustness.chosen(np.zeros(50, int), 0)) == 50


def test_classes_of_one_picture_are_refused():
    with pytest.raises(UserError, match="robustness needs a class of two pictures or more"):
        robustness.measure(run_of(colour), Colours(each=1), np.arange(6))
