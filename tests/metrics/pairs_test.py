import numpy as np
import pytest

from geodesic.metrics import pairs, verification


@pytest.mark.parametrize("rounded", [False, True])
def test_counted_pairs_equal_held_pairs(rounded):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 40, 200)
    rows = rng.normal(size=(200, 16)) + rng.normal(size=(40, 16))[labels]
    rows = np.sign(rows) if rounded else rows  # ties, in every order of summation
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    options = {"far": (1, 0.1, 1e-2, 1e-3, 1e-6), "fmr": (0.5, 0.1, 1e-3)}
    held = verification.verification_scores(rows, labels, **options)
    counted = pairs.scores(rows, labels, **options, block=64)
    assert counted["unreachable_far"] == held["unreachable_far"]
    for name in held:
        assert counted[name] == pytest.approx(held[name], abs=1e-4), name  # blocks round their products differently
    assert pairs.scores(rows, labels, **options) == {name: pytest.approx(value) for name, value in held.items()}
    assert verification.verification_scores(rows, labels, **options, held_pairs=0) == pairs.scores(
        rows, labels, **options)


@pytest.mark.parametrize("far", [0.3, 0.01, 1e-4])
def test_the_threshold_of_a_rate_is_that_of_the_held_curve(far):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 4)).round(1)  # so that scores tie
    rows, labels = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), np.arange(60) // 3
    curve = verification.curve_of_pairs(rows, labels)
    at = int(np.searchsorted(curve.far, far, side="right")) - 1
    threshold, *rates = pairs.threshold_at(rows, labels, far, block=16)
    assert rates == [curve.far[at], curve.tar[at]]
    assert threshold == (curve.threshold[at] if at else np.nextafter(curve.threshold[1], np.inf))
