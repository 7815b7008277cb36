import itertools
import re
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.errors import UserError
from geodesic.losses import cross_entropy, partial_fc, similarity
from geodesic.losses.class_axis import ClassAxis
from tests.losses import cases

LABELS = jnp.array([3, 3, 7, 11, 3, 3, 7, 7])


def draw(axis, labels, seeds):
    """Whether each row is in the sample, bool[seeds, rows]."""
    state = partial_fc.init_state(axis)
    one = cases.jit(lambda seed: partial_fc.sample(axis, state, labels, jax.random.key(seed))[1])
    return np.stack([one(seed)["sampled"]["prototypes"] for seed in seeds])


def test_a_sample_holds_the_positives_and_uniform_others():
    axis = ClassAxis(20, sample_rate=0.5, update="sampled")
    masks = draw(axis, LABELS, range(400))
    assert np.all(masks.sum(axis=1) == 10)
    assert np.all(masks[:, [3, 7, 11]])
    share = np.delete(masks, [3, 7, 11], axis=1).mean(axis=0)
    np.testing.assert_allclose(share, 7 / 17, atol=5 * np.sqrt(7 / 17 * 10 / 17 / 400))


def test_every_shard_draws_its_own_and_no_padding():
    axis = ClassAxis(157, cases.mesh_of(8), sample_rate=0.5, update="sampled")
    assert axis.rows == 160 and axis.sampled == 10 and axis.softmax_classes == 80
    masks = draw(axis, jnp.array([0, 20, 40, 60, 156, 156, 0, 1]), range(10))
    assert np.all(masks.reshape(10, 8, 20).sum(axis=2) == 10)
    assert np.all(masks[:, [0, 1, 20, 40, 60, 156]])
    assert not masks[:, 157:].any()
    assert len({shard.tobytes() for shard in masks[0].reshape(8, 20)}) == 8, "shards draw with keys of their own"


def test_a_sample_of_all_is_the_full_softmax():
    axis = ClassAxis(cases.CLASSES, cases.mesh_of(8))
    params, _ = cases.init("arcface", 8)
    embeddings, labels = cases.batch()

    def value(params, sample):
        x = similarity.unit(embeddings)
        rows = cross_entropy.softmax(axis, x, params, labels, lambda cosines, _: 8 * cosines, sample=sample)
        return jnp.sum(cross_entropy.cross_entropy(rows.target, rows.others)), rows

    step = cases.jit(jax.value_and_grad(value, has_aux=True))
    everything = jnp.tile(jnp.arange(2), 8)  # two rows on each of eight devices
    assert cases.relative_difference(step(params, everything), step(params, None)) < 1e-6


def full_gradients_of_subsets(params, embeddings, labels, positives, others, count):
    """Of the plain loss over the positives and every choice of others, at their rows."""
    loss = losses.build("cosface", num_classes=len(positives) + count, scale=8.0)
    step = cases.jit(jax.grad(lambda params, labels: loss.apply(params, {}, embeddings, labels, cases.key())[0]))
    for chosen in itertools.combinations(others, count):
        ids = np.array(sorted((*positives, *chosen)))
        gradient = np.zeros_like(params["prototypes"])
        gradient[ids] = step({"prototypes": params["prototypes"][ids]}, np.searchsorted(ids, labels))["prototypes"]
        yield gradient


def test_the_expected_gradient_is_the_mean_over_all_samples():
    draws, embeddings = 600, cases.batch()[0][:3]
    labels = np.array([1, 4, 1])
    loss = losses.build("cosface", num_classes=6, scale=8.0, sample_rate=0.67)  # 4 of 6: both positives, 2 of 4 others
    params, state = loss.init(cases.key(), cases.SIZE)
    exact = np.stack(list(full_gradients_of_subsets(params, embeddings, labels, (1, 4), (0, 2, 3, 5), 2)))
    gradient = jax.grad(lambda params, seed: loss.apply(params, state, embeddings, labels, jax.random.key(seed))[0])
    sampled = cases.jit(jax.vmap(gradient, (None, 0)))(params, jnp.arange(draws))["prototypes"]
    for one in np.asarray(sampled[:20]):  # every draw is one of them, exactly
        assert np.min(np.abs(exact - one).max(axis=(1, 2))) < 1e-6 * np.abs(exact).max()
    error = np.abs(np.mean(sampled, axis=0) - exact.mean(axis=0))
    assert np.all(error <= 5 * exact.std(axis=0) / np.sqrt(draws) + 1e-6)


@pytest.mark.parametrize("name", [name if name in ("curricularface", "sigmoid") else
                                  pytest.param(name, marks=pytest.mark.slow) for name in sorted(losses.CLASS_LOSSES)])
def test_every_loss_samples(name):
    """The classes that a step leaves out get no gradient; the others do."""
    mesh = cases.mesh_of(2)
    values = {"tau": 0.0} if name == "soft_triple" else {}  # its regulariser is of all classes
    loss = losses.build(name, num_classes=40, mesh=mesh, sample_rate=0.5, update="sampled", chunk_size=4, **values)
    params, state = loss.init(cases.key(), cases.SIZE)
    embeddings, labels = cases.batch()
    gradient = cases.jit(jax.grad(lambda p: loss.apply(p, state, embeddings, labels, cases.key())[:2], has_aux=True))
    found, new_state = gradient(params)
    mask = np.asarray(new_state["sampled"]["prototypes"])
    moved = np.any(np.asarray(found["prototypes"]).reshape(40, -1) != 0, axis=1)
    assert mask.sum() == 20
    np.testing.assert_array_equal(moved, mask)


def refusal(rows, batch, rate):
    """The error of a sample, or None; shapes alone are computed."""
    axis = ClassAxis(rows, sample_rate=rate)
    try:
        jax.eval_shape(lambda labels: partial_fc.sample(axis, {}, labels, jax.random.key(0))[0], jnp.zeros(batch, int))
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("rows, batch", [(9000, 128), (100, 29), (1000, 7), (1000, 1), (7, 3), (3, 2), (1, 4), (90, 90),
                                         (50, 400), (1001, 1000), (10**6, 999), (10**6, 1000), (10**6, 1001),
                                         (85742, 512), (93431, 1024), (360232, 4096), (2059906, 1)])
def test_the_advised_rate_is_accepted_and_no_smaller_one(rows, batch):
    advice = "use a sample_rate of at least ([0-9.e-]+),"
    advised = Decimal(re.search(advice, refusal(rows, batch, 1e-9))[1])
    assert refusal(rows, batch, float(advised)) is None
    less = advised - Decimal(1).scaleb(advised.adjusted() - 2)  # by one in its third digit
    assert Decimal(re.search(advice, refusal(rows, batch, float(less)))[1]) == advised


def test_a_share_is_taken_as_it_is_written():
    """In floats, .29 * 100 is less than 29."""
    assert ClassAxis(100, sample_rate=0.29).sampled == 29
    assert [ClassAxis(1000, sample_rate=rate).sampled for rate in (0.1, 0.1009, 0.999, 1.0)] == [100, 100, 999, 1000]


def test_refusals():
    embeddings, labels = cases.batch()
    loss = losses.build("arcface", num_classes=64, mesh=cases.mesh_of(8), sample_rate=0.5)
    params, state = loss.init(cases.key(), cases.SIZE)
    with pytest.raises(ValueError, match=r"keeps 4 of the 8 classes of a device, but a batch of 8 can hold 8 of them: "
                                         r"use a sample_rate of at least 1"):
        loss.apply(params, state, embeddings, labels, cases.key())
    with pytest.raises(ValueError, match=r"in \(0, 1\]; got 1.5"):
        losses.build("arcface", num_classes=64, sample_rate=1.5)
    with pytest.raises(ValueError, match="unknown update 'some' of unsampled prototypes; known: all, sampled"):
        losses.build("arcface", num_classes=64, sample_rate=0.5, update="some")
