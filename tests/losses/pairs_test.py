import math

import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from tests.losses import cases
from tests.losses.goldens import compare


@pytest.mark.parametrize("golden, name, values", [
    ("peer/circle", "circle", {}),
    ("peer/contrastive", "contrastive", {}),
    ("peer/lifted_structure", "lifted_structure", {}),
    ("peer/multi_similarity", "multi_similarity", {}),
    ("peer/multi_similarity/all", "multi_similarity", {"epsilon": None}),
    ("peer/n_pairs", "n_pairs", {}),
    ("peer/nt_xent", "nt_xent", {"temperature": 0.2}),
    ("peer/sup_con", "sup_con", {"temperature": 0.2}),
])
def test_value_and_gradient_are_those_of_the_peer(golden, name, values):
    compare.check(golden, name, weights=None, file="pairs", **values)


def value_of(name, embeddings, labels, **values):
    loss = losses.build(name, num_classes=4, **values)
    embeddings, labels = jnp.asarray(embeddings, jnp.float32), jnp.asarray(labels)
    return float(cases.jit(loss.apply)({}, {}, embeddings, labels, cases.key())[0])


SQUARE = [[1, 0], [0, 1], [-1, 0], [0, -1]]


def test_contrastive_by_hand():
    """Neighbours of the square are sqrt(2) apart, opposite corners 2; one positive pair each way."""
    assert value_of("contrastive", SQUARE, [0, 0, 1, 2], neg_margin=1.5) == pytest.approx(
        math.sqrt(2) + 1.5 - math.sqrt(2), rel=1e-5)


def test_nt_xent_by_hand():
    """Anchors 0 and 1 are each other's positive, cosine 0; their negatives have cosines -1 and 0."""
    expected = -math.log(1 / (1 + math.exp(-2) + 1))
    assert value_of("nt_xent", SQUARE, [0, 0, 1, 2], temperature=0.5) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", sorted(losses.PAIR_LOSSES))
def test_nothing_to_compare_costs_nothing_or_a_constant(name):
    """All of different classes: no positives, so no pull, and finite."""
    embeddings, labels = cases.batch()[0], np.arange(8, dtype=np.int32)
    (value, _), (_, gradient) = cases.compiled(name)({}, {}, embeddings, labels, cases.key())
    assert np.isfinite(value) and np.all(np.isfinite(gradient))
    if name not in ("contrastive", "multi_similarity"):  # these push negatives away, positives or not
        assert value == 0 and np.all(np.asarray(gradient) == 0)


def test_length_penalty_of_n_pairs():
    embeddings = np.array([[3, 4], [1, 0], [0, 1], [0, 2]])
    plain, penalised = (value_of("n_pairs", embeddings, [0, 0, 1, 1], l2_weight=w) for w in (0.0, 0.1))
    assert penalised - plain == pytest.approx(0.1 * (25 + 1 + 1 + 4) / 4, rel=1e-5)


def test_labels_that_floats_would_confuse_stay_apart():
    """2^24 and 2^24 + 1 are one number in float32; here they are two classes."""
    labels = np.array([2**24, 2**24 + 1, 2**24, 2**24 + 1], np.int32)
    loss = losses.build("contrastive", num_classes=2**24 + 2)
    apart = cases.jit(loss.apply)({}, {}, jnp.asarray(SQUARE, jnp.float32), labels, cases.key())[0]
    assert float(apart) == pytest.approx(2.0, rel=1e-5)  # opposite corners are the positives
