"""Against torchvision's own: goldens/policies.py."""

import collections
import itertools

import numpy as np
import pytest

from geodesic.datasets import operations, policies
from tests.datasets import goldens

GOLDEN = goldens.load("policies")


@pytest.mark.parametrize(("policy", "magnitude", "count"), [
    ("RandAugment", policies.rand_augment_magnitude, 31), ("AugMix", policies.augmix_magnitude, 10)])
def test_magnitudes_are_torchvisions(policy, magnitude, count):
    for name in GOLDEN[f"{policy}/names"].tolist():
        ours = [[magnitude(name, index, height, width) for index in range(count)] for height, width in goldens.SIDES]
        np.testing.assert_allclose(ours, GOLDEN[f"{policy}/magnitudes/{name}"], rtol=1e-5, err_msg=name)


@pytest.fixture
def applied(monkeypatch):
    """A list of the (name, magnitude) of operations, of which none is done."""
    made = []
    monkeypatch.setattr(operations, "apply", lambda name, image, amount, how=0: (made.append((name, amount)), image)[1])
    return made


def test_rand_augment_draws_every_operation_and_sign_alike(applied):
    image, rng = np.zeros((32, 32, 3), np.uint8), np.random.default_rng(0)
    for _ in range(3500):
        policies.rand_augment(image, rng, 2, 9)
    counts = collections.Counter(name for name, _ in applied)
    assert {*counts} == {*GOLDEN["RandAugment/names"].tolist()}
    assert all(430 <= count <= 570 for count in counts.values())  # 500 of 7,000 each
    amounts = {amount for name, amount in applied if name == "Rotate"}
    assert amounts == {9.0, -9.0}
    positive = [amount > 0 for name, amount in applied if name in operations.SIGNED]
    assert np.mean(positive) == pytest.approx(0.5, abs=0.03)
    assert {amount for name, amount in applied if name == "Posterize"} == {7.0}


def test_augmix_draws_as_torchvisions(applied):
    image, rng = np.zeros((32, 32, 3), np.uint8), np.random.default_rng(0)
    depths = []
    for _ in range(1500):
        before = len(applied)
        policies.augmix(image, rng, severity=3, chains=1, depth=0, alpha=1.0)
        depths.append(len(applied) - before)
    assert [np.mean(np.array(depths) == depth) for depth in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.05)
    counts = collections.Counter(name for name, _ in applied)
    assert {*counts} == {*GOLDEN["AugMix/names"].tolist()}  # without the identity
    assert min(counts.values()) > 0.7 * len(applied) / 13
    angles = {round(amount, 3) for name, amount in applied if name == "Rotate"}
    assert angles == {0.0, 3.333, -3.333, 6.667, -6.667}  # the first three of its ten magnitudes


class Given:
    """A generator whose draws are those of the golden mixture."""

    def __init__(self):
        names = [*operations.OPERATIONS][1:]
        self._weights = iter(goldens.MIXTURE)
        # Of each operation, which it is and the index of its magnitude, of which severity 1 has one.
        self._numbers = itertools.chain(*((names.index(name), 0) for name in itertools.chain(*goldens.CHAINS)))

    def dirichlet(self, alpha):
        return np.array(next(self._weights))

    def integers(self, *bounds):
        return next(self._numbers)

    def random(self):
        return 0.9


def test_a_mixture_is_torchvisions():
    ours = policies.augmix(GOLDEN["image"], Given(), severity=1, chains=3, depth=2, alpha=1.0).astype(int)
    difference = GOLDEN["mixture"] - ours
    assert -1 <= difference.min() and difference.max() <= 0  # it cuts off what is rounded here
    assert np.abs(ours - GOLDEN["image"]).mean() > 5


def test_a_mixtures_weights_sum_to_one(applied):
    image = np.full((4, 4, 3), 200, np.uint8)
    for seed in range(20):
        out = policies.augmix(image, np.random.default_rng(seed), severity=3, chains=4, depth=0, alpha=0.5)
        np.testing.assert_array_equal(out, image)
