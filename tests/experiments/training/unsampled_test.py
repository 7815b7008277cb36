"""Partial FC in the training step: what `sampled` leaves alone, it leaves alone bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from geodesic.configs import default
from geodesic.errors import UserError
from geodesic.experiments import tasks
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model, optimizer, unsampled
from geodesic.experiments.training import step as steps

CLASSES = 40


class Flat(nn.Module):
    """The smallest embedder."""

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(8)(images.reshape(images.shape[0], -1))


def make(name, update, rule, accumulation_steps, ema_decay=0.0):
    config = default.get_config()
    config.optimizer.update(name=rule, ema_decay=ema_decay)
    config.loss.update(name=name, sample_rate=0.5, sample_update=update)
    config.input.image_size = 2
    config.accumulation_steps = accumulation_steps
    config.batch_size = 8 * accumulation_steps
    mesh = meshes.make(jax.devices()[:2])
    config.update(num_epochs=3)
    config.optimizer.learning_rate, config.schedule.name = 0.1, "constant"
    task = tasks.get("embedding")._replace(network=lambda *_: Flat())
    return model.build(config, task, CLASSES, config.batch_size, mesh), mesh


def batch(built, mesh, seed):
    rng, size = np.random.default_rng(seed), built.batch["label"].shape[0]
    images = rng.integers(0, 255, (size, 2, 2, 3), np.uint8)
    labels = rng.integers(0, CLASSES, size).astype(np.int32)
    return steps.put_train_batch(built, mesh, {"image": images, "label": labels}), labels


def by_class(state, opt_state_too=True):
    """Every array with a row per class, of the parameters and of the optimizer, by name."""
    trees = (state.params["loss"], state.opt_state) if opt_state_too else (state.params["loss"],)
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves if leaf.shape[:1] == (CLASSES,)}


@pytest.mark.parametrize("name, rule, accumulation_steps", [("arcface", "sgd", 1), ("softmax", "adamw", 2)])
def test_sampled_leaves_the_others_bit_identical(name, rule, accumulation_steps):
    built, mesh = make(name, "sampled", rule, accumulation_steps)
    state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
    arrays = {"sgd": 2, "adamw": 6}[rule]  # parameters and momentum; twice (weights, biases) both moments too
    for seed in range(3):
        before = by_class(state)
        assert len(before) == arrays
        data, labels = batch(built, mesh, seed)
        state, _ = train_step(state, data)
        mask = np.asarray(state.loss_state["sampled"]["prototypes"])
        assert mask[labels].all()
        assert 20 <= mask.sum() < CLASSES and (accumulation_steps > 1 or mask.sum() == 20)
        for path, values in by_class(state).items():
            np.testing.assert_array_equal(values[~mask], before[path][~mask], err_msg=path)
            assert np.all(np.any((values != before[path]).reshape(CLASSES, -1), axis=1)[mask]), path


@pytest.mark.parametrize("rule", ["sgd", "adamw", "rmsprop", "lion", "lamb", "lars", "muon", "adafactor"])
def test_an_update_is_that_of_the_sampled_rows_alone(rule):
    """As in Partial FC's first code, whose optimizer is given the sampled weights and what it remembers of them."""
    config, rng = default.get_config(), np.random.default_rng(0)
    config.optimizer.update(name=rule, learning_rate=0.1, weight_decay=0.1)
    rule = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(0.1))
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    params = {"embedder": {"conv1": {"kernel": normal(3, 3, 4, 8)}}, "loss": {"prototypes": normal(12, 6)}}
    found = alone = params, rule.init(params)
    is_rows = lambda leaf: leaf.shape == (12, 6)
    for _ in range(3):
        rows = np.sort(rng.choice(12, 5, replace=False))
        mask = jnp.zeros(12, bool).at[rows].set(True)
        gradients = jax.tree.map(lambda leaf: normal(*leaf.shape), params)
        gradients["loss"]["prototypes"] *= mask[:, None]
        found = unsampled.update(rule, gradients, *found[::-1], {"sampled": {"prototypes": mask}})
        part = lambda tree, rows=rows: jax.tree.map(lambda leaf: leaf[rows] if is_rows(leaf) else leaf, tree)
        updates, state = rule.update(part(gradients), part(alone[1]), part(alone[0]))
        new = optax.apply_updates(part(alone[0]), updates), state
        alone = jax.tree.map(lambda old, new, rows=rows: old.at[rows].set(new) if is_rows(old) else new, alone, new)
        for (path, ours), theirs in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(alone),
                                        strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=jax.tree_util.keystr(path))


def test_an_average_is_of_all_rows():
    """a + (1 - d) (w - a), whether w has moved or not; what has never moved is its own average, bit for bit."""
    built, mesh = make("arcface", "sampled", "sgd", 1, ema_decay=0.5)
    state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
    of = lambda tree: np.asarray(tree["loss"]["prototypes"])
    start, ever = of(state.params), np.zeros(CLASSES, bool)
    for seed in range(3):
        before = of(state.ema["params"])
        state, _ = train_step(state, batch(built, mesh, seed)[0])
        ever |= np.asarray(state.loss_state["sampled"]["prototypes"])
        share = 1 - min(0.5, (1 + seed) / (10 + seed))
        np.testing.assert_allclose(of(state.ema["params"]), before + share * (of(state.params) - before), rtol=1e-6)
    assert 0 < ever.sum() < CLASSES
    np.testing.assert_array_equal(of(state.ema["params"])[~ever], start[~ever])
    assert np.all(np.any(of(state.ema["params"]) != start, axis=1)[ever])


def test_lion_is_refused_where_rows_without_a_gradient_would_run_on():
    with pytest.raises(UserError, match=r"lion moves every number .* use --config\.loss\.sample_update=sampled"):
        make("arcface", "all", "lion", 1)
    make("arcface", "sampled", "lion", 1)


def test_all_moves_every_prototype():
    built, mesh = make("arcface", "all", "sgd", 1)
    state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
    assert built.loss.init(jax.random.key(0), 8)[1] == {}
    before = by_class(state, opt_state_too=False)
    state, _ = train_step(state, batch(built, mesh, 0)[0])
    for path, values in by_class(state, opt_state_too=False).items():
        assert np.all(np.any(values != before[path], axis=1)), path  # weight decay


def test_parts_of_a_combination_have_their_own_masks():
    masks = {"a": np.array([True, False]), "b": np.array([False, True])}
    loss_state = {name: {"sampled": {"prototypes": jnp.asarray(mask)}} for name, mask in masks.items()}
    loss_state["c"] = {}
    params = {"embedder": {"bias": jnp.zeros(2)}, "loss": {name: {"prototypes": jnp.zeros((2, 3))} for name in "abc"}}
    momentum = optax.trace(0.9).init(params)
    add = lambda tree: jax.tree.map(lambda x: x + 1, tree)
    kept, momentum = unsampled.keep_unsampled(loss_state, (add(params), add(momentum)), (params, momentum))
    for tree in kept, momentum.trace:
        for name, mask in masks.items():
            np.testing.assert_array_equal(tree["loss"][name]["prototypes"][:, 0], mask)
        assert np.all(tree["loss"]["c"]["prototypes"] == 1) and np.all(tree["embedder"]["bias"] == 1)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(unsampled.clear_sampled(loss_state)))


def test_arrays_by_class_are_split_by_class():
    built, mesh = make("softmax", "sampled", "adamw", 1)
    state = model.abstract_state(built, mesh)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        split = leaf.shape[:1] == (CLASSES,)
        assert (leaf.sharding.spec == jax.sharding.PartitionSpec("data")) == split, jax.tree_util.keystr(path)
