import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.losses import pair_axis, triplets
from tests.losses import cases
from tests.losses.goldens import compare


@pytest.mark.parametrize("golden, name, mining", [
    ("peer/triplet/all", "triplet", "all"), ("peer/triplet/semi_hard", "triplet", "semi_hard"),
    ("peer/triplet/batch_hard", "triplet", "batch_hard"), ("peer/margin_pairs/all", "margin_pairs", "all"),
])
def test_value_and_gradient_are_those_of_the_peer(golden, name, mining):
    compare.check(golden, name, weights=None, file="pairs", mining=mining)


def anchor_at(angles, index=0):
    """An anchor among points of a circle; the first half is of its class."""
    cosines = jnp.cos(jnp.asarray(angles) - angles[index])
    same = jnp.arange(len(angles)) < len(angles) // 2
    return pair_axis.Anchor(cosines, same & (jnp.arange(len(angles)) != index), ~same, jnp.int32(index),
                            cases.key(), embedding_size=16)


def mine(anchor, mining):
    """(distances, mined) at margin .2."""
    found = jax.jit(lambda s, p, n, i, rng: triplets._mine(
        pair_axis.Anchor(s, p, n, i, rng, anchor.embedding_size), mining, 0.2))
    return found(*anchor[:5])


def test_distance_weighted_draws_one_negative_for_every_positive():
    anchor = anchor_at(np.array([0.0, 0.2, 0.4, 0.3, 0.6, 3.0]))
    d, mined = mine(anchor, "distance_weighted")
    np.testing.assert_array_equal(np.asarray(mined).sum(axis=1), [0, 1, 1, 0, 0, 0])
    assert not mined[:, 5].any(), "beyond the cutoff of 1.4"
    assert float(d[5]) > triplets.NONZERO_LOSS_CUTOFF


def test_distance_weighted_draws_are_even_over_distances():
    """Odds of two negatives are those of the inverse densities of their distances."""
    anchor = anchor_at(np.array([0.0, 0.2, 0.7, 1.0]))
    draw = jax.jit(jax.vmap(lambda seed: triplets._mine(
        anchor._replace(common=jax.random.key(seed)), "distance_weighted", 0.2)[1][1]))
    share = np.asarray(draw(jnp.arange(4000))).mean(axis=0)[2:]
    d = 2 * np.sin(np.array([0.35, 0.5]))
    weights = d ** (2 - 16) * (1 - d**2 / 4) ** ((3 - 16) / 2)
    expected = weights / weights.sum()
    np.testing.assert_allclose(share, expected, atol=5 * np.sqrt(expected.prod() / 4000))


def test_semi_hard_negatives_are_further_but_within_the_margin():
    anchor = anchor_at(np.array([0.0, 0.5, 0.4, 0.6, 0.9, 0.55])[[0, 1, 1, 2, 3, 4]])
    d, mined = mine(anchor, "semi_hard")
    gap = np.asarray(d)[None, :] - np.asarray(d)[:, None]
    assert np.asarray(mined).any() and np.all((gap[mined] > 0) & (gap[mined] < 0.2))


def test_refusals():
    for name in "triplet", "margin_pairs":
        with pytest.raises(ValueError, match=f"{name}: unknown mining 'hard'; known: all, semi_hard, batch_hard"):
            losses.build(name, num_classes=3, mining="hard")
