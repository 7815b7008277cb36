import numpy as np
import pytest

from geodesic.experiments.protocols import intervals
from geodesic.metrics import bootstrap


def test_means_carry_the_interval_of_their_classes():
    values, classes = np.array([0.0, 1.0, 1.0, 1.0]), np.array([3, 3, 4, 5])
    estimate, low, high = bootstrap.mean_interval(values, classes, seed=2)
    assert intervals.of_means({"m": values}, classes, 2)["m"] == {"value": estimate, "low": low, "high": high}
    assert 0.5 <= low < high == 1


def test_means_over_one_class_have_no_interval():
    assert intervals.of_means({"m": np.array([0.0, 1.0])}, np.array([3, 3]), 0)["m"] == {
        "value": 0.5, "low": None, "high": None}


@pytest.mark.parametrize("ends", [(None, None), (0.1, np.nan), (np.inf, 0.2)])
def test_an_interval_that_is_no_number_is_none(ends):
    assert intervals.metric(0.5, *ends) == {"value": 0.5, "low": None, "high": None}
