import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.losses import pair_axis


def test_distances_have_finite_slopes():
    cosines = jnp.array([1.0, 1 - 1e-7, 1 - 1e-5, 0.0, -1.0])
    values, slopes = jax.vmap(jax.value_and_grad(pair_axis.distance))(cosines)
    expected = np.sqrt(2 - 2 * np.asarray(cosines, np.float64))
    np.testing.assert_allclose(values, np.where(expected < 0.002, 0, expected), rtol=1e-6)
    assert np.all(np.isfinite(slopes)) and np.all(slopes[:2] == 0) and slopes[3] == pytest.approx(-1 / np.sqrt(2))


def contrastive(d, same, other):
    near, far = d[same], np.maximum(1 - d, 0)[other]
    return sum(part[part > 0].mean() if (part > 0).any() else 0.0 for part in (near, far))


def lifted_structure(d, same, other):
    pushed = np.sum(np.where(other, np.exp(1 - d), 0), axis=1)
    with np.errstate(divide="ignore"):
        costs = np.maximum(d + np.log(pushed[:, None] + pushed), 0) ** 2 / 2
    return costs[same & (pushed[:, None] + pushed > 0)].mean()


def triplet(d, same, other):
    costs = np.maximum(d[:, :, None] - d[:, None, :] + 0.2, 0)[same[:, :, None] & other[:, None, :]]
    return costs[costs > 0].mean() if (costs > 0).any() else 0.0


def margin_pairs(d, same, other):
    triplets = same[:, :, None] & other[:, None, :]
    near = np.broadcast_to(np.maximum(d - 1, 0)[:, :, None], triplets.shape)[triplets]
    far = np.broadcast_to(np.maximum(1.4 - d, 0)[:, None, :], triplets.shape)[triplets]
    return (near.sum() + far.sum()) / max((near > 0).sum() + (far > 0).sum(), 1)


@pytest.mark.parametrize("size", [4, 128, 512, 2048])
@pytest.mark.parametrize("reference, values", [(contrastive, {}), (lifted_structure, {}), (triplet, {"mining": "all"}),
                                               (margin_pairs, {"mining": "all"})])
def test_copies_of_a_row_are_at_distance_zero(reference, values, size):
    """Half of the rows are copies, of their own class; beside float64, where the distance of copies is 0."""
    loss = losses.build(reference.__name__, num_classes=10, **values)
    apply = jax.jit(lambda x, labels: loss.apply({}, {}, x, labels, jax.random.key(0))[0])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(12, size)).astype(np.float32) * np.float32(10.0 ** rng.uniform(-2, 2))
        x, labels = np.concatenate([x, x]), np.tile(rng.integers(0, 4, 12), 2).astype(np.int32)
        unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        d = np.linalg.norm(unit[:, None] - unit, axis=2)
        same = (labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)
        expected = reference(d, same, labels[:, None] != labels)
        assert float(apply(x, labels)) == pytest.approx(expected, rel=1e-4), seed


def test_a_copy_is_no_pair_that_pays():
    """Three rows of one class, of which two are the same: four of the six pairs are apart."""
    x = np.array([[7.0, 3.0, 0.0, -4.0], [7.0, 3.0, 0.0, -4.0], [-4.0, -9.0, -8.0, -9.0]], np.float32)
    loss = losses.build("contrastive", num_classes=1)
    value, _, _ = loss.apply({}, {}, x, np.zeros(3, np.int32), jax.random.key(0))
    assert float(value) == pytest.approx(np.sqrt(2 - 2 * (-28 - 27 + 36) / np.sqrt(74 * 242)), rel=1e-5)


def temporaries(name, chunk_size, batch, **values):
    loss = losses.build(name, num_classes=10, chunk_size=chunk_size, **values)
    value = lambda x, y: loss.apply({}, {}, x, y, jax.random.key(0))[0]
    step = jax.jit(jax.grad(value)).lower(jax.ShapeDtypeStruct((batch, 16), jnp.float32),
                                          jax.ShapeDtypeStruct((batch,), jnp.int32))
    return step.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("name, batch, values", [("multi_similarity", 2048, {}), ("triplet", 128, {"mining": "all"})])
def test_chunks_bound_the_memory(name, batch, values):
    """Sixteen chunks of anchors need less than a quarter of what all at once need."""
    assert temporaries(name, batch // 16, batch, **values) < temporaries(name, 0, batch, **values) / 4
