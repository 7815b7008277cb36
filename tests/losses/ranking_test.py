import numpy as np
import pytest

from geodesic import losses
from tests.losses import cases
from tests.losses.goldens import compare


@pytest.mark.parametrize("name, values", [
    ("smooth_ap", {"temperature": 0.05}), ("recall_at_k", {"temperature": 0.05, "ks": (1, 2, 4)})])
def test_value_and_gradient_are_those_of_the_definition(name, values):
    compare.check(name, name, weights=None, file="pairs", **values)


# Points of a circle. Queries 0, 1 and 3 have two positives each: at ranks (1, 3), (1, 3) and (3, 4).
ANGLES, LABELS = np.array([0.0, 0.25, 0.6, 0.9, 1.3]), np.array([0, 0, 1, 0, 2])


def value(name, **values):
    embeddings = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
    loss = losses.build(name, num_classes=3, **values)
    return float(cases.jit(loss.apply)({}, {}, embeddings, LABELS, cases.key())[0])


def test_smooth_ap_approaches_average_precision():
    expected = 1 - (2 * (1 / 1 + 2 / 3) / 2 + (1 / 3 + 2 / 4) / 2) / 3
    assert value("smooth_ap", temperature=1e-4) == pytest.approx(expected, abs=1e-4)


def test_recall_at_k_approaches_recall():
    """A positive at rank k itself counts half."""
    sharp = {"temperature": 1e-4, "rank_temperature": 1e-2}
    assert value("recall_at_k", ks=(3,), **sharp) == pytest.approx(1 - (0.75 + 0.75 + 0.25) / 3, abs=1e-4)
    assert value("recall_at_k", ks=(2, 5), **sharp) == pytest.approx(1 - ((0.5 + 0.5 + 0) / 3 + 1) / 2, abs=1e-4)


def test_refusals():
    with pytest.raises(ValueError, match=r"places in the ranking, at least 1; got \(0, 1\)"):
        losses.build("recall_at_k", num_classes=3, ks=(0, 1))
