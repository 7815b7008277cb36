"""Maps that are true and maps that are not."""

import numpy as np

from geodesic.metrics import saliency


def test_the_largest_place_points_by_its_middle():
    maps = np.zeros((2, 4, 8))
    maps[0, 3, 6], maps[1, 0, 0] = 1, 1
    right_bottom = [6.5 / 8, 3.5 / 4, 1, 1]
    assert saliency.points_inside(maps, [right_bottom, right_bottom]).tolist() == [True, False]
    assert saliency.points_inside(maps, [[0, 0, 6.4 / 8, 1], [0, 0, 0.5 / 8, 0.5 / 4]]).tolist() == [False, True]


def test_energy_is_the_share_of_a_fine_count():
    """The area by pixels of a map drawn large is the same, for boxes on its grid and off it."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(20, 3, 5))
    low, size = rng.integers(0, 40, (20, 2)), rng.integers(1, 60, (20, 2))
    high = np.minimum(low + size, [100, 90])
    boxes = np.concatenate([low / [100, 90], high / [100, 90]], axis=1)
    large = np.maximum(maps, 0).repeat(30, axis=1).repeat(20, axis=2)
    wanted = [one[top:bottom, left:right].sum() / one.sum()
              for one, (left, top), (right, bottom) in zip(large, low, high, strict=True)]
    np.testing.assert_allclose(saliency.energy_inside(maps, boxes), wanted, rtol=1e-12)


def test_a_map_that_is_nowhere_positive_has_the_boxs_share():
    assert saliency.energy_inside(-np.ones((1, 2, 2)), [[0, 0, 0.5, 0.5]]).tolist() == [0.25]


def test_a_true_map_beats_a_false_one():
    rng = np.random.default_rng(1)
    image = rng.random((12, 12, 3))
    weights = rng.random((4, 4))
    score = lambda images: np.einsum("khw,hw->k", images.mean(axis=3), weights.repeat(3, 0).repeat(3, 1)) / 50
    worth = weights * image.mean(axis=2).reshape(4, 3, 4, 3).sum(axis=(1, 3))
    true, false = (saliency.deletion_and_insertion(score, image, map_, np.zeros_like(image))
                   for map_ in (worth, -worth))
    assert true["deletion_area"] < false["deletion_area"] and true["insertion_area"] > false["insertion_area"]
    assert len(true["deletion"]) == 17
    # Additive scores: what deletion takes is what insertion brings, step by step.
    np.testing.assert_allclose(true["deletion"] + true["insertion"], score(image[None])[0])


def test_steps_are_at_most_the_places():
    image = np.ones((8, 8, 3))
    found = saliency.deletion_and_insertion(lambda images: images.mean(axis=(1, 2, 3)), image, np.eye(8), 0 * image, 4)
    assert found["deletion"].tolist() == [1, 0.75, 0.5, 0.25, 0]
