import jax
import numpy as np
import pytest

from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model
from geodesic.experiments.training import step as steps
from tests.experiments import tiny

DEVICES = jax.devices()[:2]


@pytest.mark.parametrize("parts", [1, 4])
def test_a_memory_starts_at_its_step_however_many_parts_a_step_has(parts):
    config = tiny.config(loss__name="multi_similarity", loss__memory_size=64, loss__memory_start_step=2,
                         accumulation_steps=parts)
    built, mesh = tiny.built(config, DEVICES)
    state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
    remembered = []
    for update in range(4):
        state, _ = train_step(state, steps.put_train_batch(built, mesh, tiny.batch(seed=update)))
        remembered.append(int(state.loss_state["memory"]["remembered"]))
    assert remembered == [0, 0, 8, 16]


@pytest.mark.parametrize("names, options, told", [
    (("triplet", "n_pairs"), {"sample_rate": 0.5}, "sample_rate is a share of prototypes"),
    (("triplet", "n_pairs"), {"sample_update": "sampled"}, "update says what becomes of prototypes"),
    (("arcface", "cosface"), {"memory_size": 64}, "cross-batch memory is for losses of pairs"),
    (("triplet", "n_pairs"), {"logits_dtype": "bfloat16"}, "logits_dtype is of logits"),
    (("arcface", "triplet"), {"logits_dtype": "float16"}, "unknown logits_dtype 'float16'"),
])
def test_a_combination_refuses_what_none_of_its_losses_can_do(names, options, told):
    config = tiny.config(loss__name="combine")
    config.loss.combine.update(dict.fromkeys(names, 1.0))
    config.loss.update(options)
    with pytest.raises(ValueError, match=told):
        model.make_loss(config, 5, None)


def leaves(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_without_an_average_a_state_is_what_it_always_was():
    built, mesh = tiny.built(tiny.config(), DEVICES)
    state = model.init_state(built, mesh)
    assert not any("ema" in path for path in leaves(state)) and model.averaged(state) is not state
    assert leaves(model.averaged(state)).keys() == leaves(state).keys()
    back = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(state))
    assert back == state and back.ema == {}


def test_the_average_is_that_of_its_formula_and_a_skipped_step_leaves_it():
    """a <- a + (1 - d) (w - a), d the smaller of .5 and (1 + t) / (10 + t): .1, 2 / 11 is skipped, .25."""
    built, mesh = tiny.built(tiny.config(optimizer__ema_decay=0.5, optimizer__learning_rate=0.1), DEVICES)
    state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
    average = expected = jax.device_get(model.embedder_variables(state))
    loss = jax.device_get(state.params["loss"])
    for update, taken in ((0, 0.9), (1, None), (2, 0.75)):
        if taken is None:
            state = steps.skip(state)
        else:
            state, _ = train_step(state, steps.put_train_batch(built, mesh, tiny.batch(seed=update)))
            now = jax.device_get(state)
            expected = jax.tree.map(lambda a, w, taken=taken: a + taken * (w - a), expected,
                                    model.embedder_variables(now))
            loss = jax.tree.map(lambda a, w, taken=taken: a + taken * (w - a), loss, now.params["loss"])
        found = jax.device_get(model.averaged(state))
        average = model.embedder_variables(found)
        for path, leaf in leaves((expected, loss)).items():
            np.testing.assert_allclose(leaves((average, found.params["loss"]))[path], leaf, rtol=1e-5, atol=1e-7,
                                       err_msg=path)
    moved = jax.tree.map(lambda a, w: not np.array_equal(a, w), average, model.embedder_variables(now))
    assert jax.tree.all(moved)


def test_the_average_is_split_as_what_it_is_of():
    built, mesh = tiny.built(tiny.config(optimizer__ema_decay=0.9), jax.devices())
    state = model.init_state(built, mesh)
    split = {path for path, leaf in leaves(state).items() if leaf.sharding.spec == meshes.SPLIT}
    assert split == {path for path in leaves(state) if "prototypes" in path} and len(split) == 3


def test_an_average_does_not_change_what_is_learnt():
    found = []
    for decay in (0.0, 0.9):
        built, mesh = tiny.built(tiny.config(optimizer__ema_decay=decay), DEVICES)
        state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
        for update in range(2):
            state, _ = train_step(state, steps.put_train_batch(built, mesh, tiny.batch(seed=update)))
        found.append(jax.device_get(state.params))
    for ours, theirs in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_what_never_moves_is_its_own_average():
    built, mesh = tiny.built(tiny.config(optimizer__ema_decay=0.9, optimizer__trunk_learning_rate_factor=0.0), DEVICES)
    state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
    for update in range(3):
        state, _ = train_step(state, steps.put_train_batch(built, mesh, tiny.batch(seed=update)))
    for part in ("conv1", "bn1", "stage2_block1"):
        for tree, average in ((state.params["embedder"], state.ema["params"]["embedder"]),
                              (state.batch_stats, state.ema["batch_stats"])):
            assert jax.tree.all(jax.tree.map(np.array_equal, tree.get(part, {}), average.get(part, {})))
