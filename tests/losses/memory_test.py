import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.losses import memory
from tests.losses import cases


def steps(name, count, devices=0, state=None, start=0, **options):
    """Losses and state after batches start..start+count-1."""
    loss = cases.build(name, devices, memory_size=20, **options)
    params, first = loss.init(cases.key(), cases.SIZE)
    state, values = first if state is None else state, []
    step = cases.compiled(name, devices, memory_size=20, **options)
    for seed in range(start, start + count):
        (value, (state, _)), _ = step(params, state, *cases.batch(seed), cases.key())
        values.append(float(value))
    return values, state


def test_a_ring_keeps_the_last_examples():
    _, state = steps("contrastive", 4)
    seen = np.concatenate([cases.batch(seed)[0] for seed in range(4)])
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    kept = np.asarray(state["memory"]["embeddings"])
    np.testing.assert_allclose(np.sort(kept[:, 0]), np.sort(seen[-20:, 0]), rtol=1e-5)
    assert memory.contents(state, cases.SIZE).count == 20
    # The next batch replaces the oldest eight.
    _, state = steps("contrastive", 1, state=state, start=4)
    assert np.sum(np.any(np.asarray(state["memory"]["embeddings"]) != kept, axis=1)) == 8


def test_the_first_step_is_the_plain_loss_and_later_ones_compare_with_the_memory():
    values, state = steps("multi_similarity", 2)
    plain = cases.compiled("multi_similarity")({}, {}, *cases.batch(0), cases.key())[0][0]
    assert values[0] == pytest.approx(float(plain), rel=1e-6)
    assert int(memory.contents(state, cases.SIZE).count) == 16
    alone = cases.compiled("multi_similarity")({}, {}, *cases.batch(1), cases.key())[0][0]
    assert values[1] != pytest.approx(float(alone), rel=1e-3)


def test_remembered_examples_are_references_without_gradient():
    """Contrastive against the memory, written out for the anchors of one batch."""
    _, state = steps("contrastive", 1)
    x, labels = cases.batch(1)
    (value, _), _ = cases.compiled("contrastive", memory_size=20)({}, state, x, labels, cases.key())
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    references = np.concatenate([x, np.asarray(state["memory"]["embeddings"])[:8]])
    reference_labels = np.concatenate([labels, np.asarray(state["memory"]["labels"])[:8]])
    d = np.linalg.norm(x[:, None] - references[None], axis=2)
    same = labels[:, None] == reference_labels
    near = d[same & (np.arange(16) != np.arange(8)[:, None])]
    far = (1 - d)[~same & (d < 1)]
    assert float(value) == pytest.approx(near.mean() + far.mean(), rel=1e-5)


def test_resuming_is_exact():
    whole, end = steps("triplet", 5)
    first, state = steps("triplet", 3)
    state = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)  # as a checkpoint would
    second, again = steps("triplet", 2, state=state, start=3)
    assert first + second == whole
    jax.tree.map(np.testing.assert_array_equal, again, end)


def test_every_device_remembers_the_same():
    values, state = steps("lifted_structure", 3, devices=8)
    expected, single = steps("lifted_structure", 3)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-6)
        shards = {np.asarray(shard.data).tobytes() for shard in leaf.addressable_shards}
        assert len(shards) == 1 and leaf.addressable_shards[0].data.shape == leaf.shape


def test_nothing_is_remembered_before_the_start():
    values, state = steps("contrastive", 3, memory_start_step=2)
    assert int(memory.contents(state, cases.SIZE).count) == 8 and int(state["memory"]["step"]) == 3
    plain = [cases.compiled("contrastive")({}, {}, *cases.batch(seed), cases.key())[0][0] for seed in range(3)]
    np.testing.assert_allclose(values, plain, rtol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="memory of 4 cannot hold a batch of 8: use a memory_size of at least 8"):
        loss = losses.build("contrastive", num_classes=11, memory_size=4)
        loss.apply({}, loss.init(cases.key(), 8)[1], *cases.batch(), cases.key())
    with pytest.raises(ValueError, match="cross-batch memory is for losses of pairs"):
        losses.build("arcface", num_classes=11, memory_size=4)
    with pytest.raises(ValueError, match="sample_rate is a share of prototypes, and triplet has none"):
        losses.build("triplet", num_classes=11, sample_rate=0.5)
    with pytest.raises(ValueError, match="update says what becomes of prototypes, and triplet has none: use 'all'"):
        losses.build("triplet", num_classes=11, update="sampled")


def test_a_remembered_nan_makes_the_loss_nan():
    _, state = steps("contrastive", 1)
    memory = {**state["memory"], "embeddings": state["memory"]["embeddings"].at[2].set(jnp.nan)}
    step = cases.compiled("contrastive", memory_size=20)
    (value, _), _ = step({}, {"memory": memory}, *cases.batch(1), cases.key())
    assert np.isnan(value)
