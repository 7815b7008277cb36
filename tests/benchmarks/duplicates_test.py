"""What is right, wrong and found of the benchmark's pairs; and that edits are drawn by their seeds."""

import numpy as np

from benchmarks import duplicates, edits
from geodesic.datasets.overlay import Compared
from tests.datasets import images


def half():
    """Three photographs, two of them edited in two ways. Of the crops one is found, at a looser threshold both."""
    good, fair, shelf = Compared(0.2, 0.95, 0.1), Compared(0.2, 0.85, 0.1), Compared(0.2, 0.9, 0.45)
    pairs = {"crop": [(0, 1, True), (0, 3, True), (1, 4, False), (2, 3, False)], "grey": [(0, 1, True), (1, 4, True)]}
    compared = {(0, 1): shelf, (0, 3, "crop"): good, (1, 4, "crop"): fair, (2, 3, "crop"): Compared(0.1, 0.0, np.inf),
                (1, 4, "grey"): Compared(1.0, 1.0, 0.0)}
    return {"photographs": ["a", "b", "c"], "pairs": pairs, "compared": compared, "count": 2}


def test_pairs_of_one_photograph_are_right_and_of_two_wrong():
    found = duplicates.measure(half(), beside=0.4, agrees=0.9)
    assert (found["right"], found["errors"], found["precision"], found["recall"]) == (2, 0, 1.0, 0.5)
    assert found["of_kind"] == {"crop": 0.5, "grey": 0.5}
    loose = duplicates.measure(half(), beside=0.5, agrees=0.85)
    assert (loose["right"], loose["errors"], loose["recall"]) == (3, 2, 0.75)  # the shelf, once for each kind
    assert loose["precision"] == 0.6 and loose["wrong"] == [["a", "b"]]
    assert duplicates.measure(half(), 0.4, 0.85, by_hash=True)["of_kind"] == {"crop": 0.5, "grey": 0.5}


def test_the_thresholds_find_most_at_the_precision_and_are_the_strictest_of_those():
    beside, agrees = duplicates.choose(half())
    assert beside == min(duplicates._BESIDE) and agrees == 0.85


def test_edits_are_drawn_by_their_seed_and_leave_the_original_alone():
    image = images.pixels(3, 60, 80)
    for kind in edits.EDITS:
        before = image.copy()
        one, again = (edits.make(kind, image, np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(one, again)
        np.testing.assert_array_equal(image, before)
        assert one.dtype == np.uint8 and one.ndim == 3 and (one.shape != image.shape or (one != image).any()), kind
    assert len(edits.EDITS) == 13
