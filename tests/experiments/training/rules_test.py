"""Each rule, several steps of it, against optax called directly; and on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from geodesic.configs import default
from geodesic.experiments.training import model, optimizer, step
from tests.experiments import tiny

RATE, DECAY = 0.1, 0.01


def start(sizes=(3, 3, 4, 8)):
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return {"embedder": {"conv1": {"kernel": normal(*sizes)}, "neck": {"kernel": normal(8, 6), "bias": normal(6)}},
            "loss": {"prototypes": normal(5, 6)}}


def gradients(params, count=3):
    rng = np.random.default_rng(1)
    return [jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params) for _ in range(count)]


def after(rule, params):
    """The parameters after three steps of an optax rule."""
    state = rule.init(params)
    for gradient in gradients(params):
        updates, state = rule.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def ours(**options):
    config = default.get_config()
    config.optimizer.update(learning_rate=RATE, weight_decay=DECAY, decay_norm_and_bias=False)
    config.optimizer.update(options)
    return optimizer.make_optimizer(config.optimizer, optax.constant_schedule(RATE))


def matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def same(found, expected):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(("options", "theirs"), [
    ({"name": "lion"}, optax.lion(RATE, b1=0.9, b2=0.99, weight_decay=DECAY, mask=matrices)),
    ({"name": "lamb"}, optax.lamb(RATE, weight_decay=DECAY, mask=matrices)),
    ({"name": "lars"}, optax.lars(RATE, weight_decay=DECAY, weight_decay_mask=matrices, trust_ratio_mask=matrices)),
])
def test_a_rule_is_optaxs(options, theirs):
    same(after(ours(**options), start()), after(theirs, start()))


def test_lars_is_the_papers():
    """v <- m v + rate * trust * |w| / |g + wd w| * (g + wd w); w <- w - v (arXiv:1708.03888, algorithm 1)."""
    params = start()
    found, w, v = after(ours(name="lars"), params), np.asarray(params["loss"]["prototypes"]), 0.0
    for gradient in gradients(params):
        g = np.asarray(gradient["loss"]["prototypes"]) + DECAY * w
        v = 0.9 * v + RATE * 1e-3 * np.linalg.norm(w) / np.linalg.norm(g) * g
        w = w - v
    np.testing.assert_allclose(found["loss"]["prototypes"], w, rtol=1e-5)


@pytest.mark.parametrize("rms", [0.0, 0.2])
def test_muon_is_of_kernels_and_adam_of_all_else(rms):
    axes = lambda params: jax.tree_util.tree_map_with_path(
        lambda path, p: optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1)
        if path[-1].key == "kernel" else None, params)
    theirs = optax.contrib.muon(RATE, weight_decay=DECAY, adam_weight_decay=0.0, consistent_rms=rms or None,
                                muon_weight_dimension_numbers=axes)
    found, expected = after(ours(name="muon", muon={"consistent_rms": rms}), start()), after(theirs, start())
    same(found["embedder"]["conv1"], expected["embedder"]["conv1"])
    same(found["embedder"]["neck"]["kernel"], expected["embedder"]["neck"]["kernel"])
    adam = after(optax.adamw(RATE, weight_decay=DECAY, mask=matrices), start())
    same(found["embedder"]["neck"]["bias"], adam["embedder"]["neck"]["bias"])
    same(found["loss"], adam["loss"])


def test_an_update_of_muon_is_nearly_orthogonal():
    """The singular values are about 1, times the root of the longer side and the configured size."""
    params, rule = start(), ours(name="muon", weight_decay=0.0)
    updates, _ = rule.update(gradients(params)[0], rule.init(params), params)
    values = np.linalg.svd(np.asarray(updates["embedder"]["conv1"]["kernel"]).reshape(36, 8), compute_uv=False)
    assert np.all((0.6 < values / (RATE * 0.2 * 6)) & (values / (RATE * 0.2 * 6) < 1.3)), values


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("sizes", [(3, 3, 4, 8), (1, 1, 128, 130)])
def test_adafactor_is_of_the_embedder_and_adam_of_the_classes(relative, sizes):
    """optax decays by a share that the rate is no factor of."""
    theirs = optax.adafactor(RATE, multiply_by_parameter_scale=relative, weight_decay_rate=RATE * DECAY,
                             weight_decay_mask=matrices)
    found = after(ours(name="adafactor", adafactor={"relative": relative}), start(sizes))
    same(found["embedder"], after(theirs, start(sizes))["embedder"])
    same(found["loss"], after(optax.adamw(RATE, weight_decay=DECAY), start(sizes))["loss"])


def test_adafactor_keeps_a_row_and_a_column_of_large_kernels():
    state = jax.eval_shape(ours(name="adafactor").init, start((1, 1, 128, 130)))
    sizes = {leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(state)
             if "conv1" in jax.tree_util.keystr(path)}
    assert sizes == {128, 130, 1}


@pytest.mark.parametrize("numbers", [(1, 8), pytest.param((1, 2, 4, 8), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["lamb", "muon", *(pytest.param(name, marks=pytest.mark.slow)
                                                    for name in ("lion", "lars", "adafactor"))])
def test_many_devices_equal_one(name, numbers):
    """5 classes do not divide by any of the numbers. Lion's sign may turn where a gradient is rounding."""
    rate = {"lion": 1e-4, "lars": 0.01}.get(name, 1e-3)
    config = tiny.config(embedder__batch_norm="synchronised", optimizer__name=name, optimizer__learning_rate=rate,
                         optimizer__decay_norm_and_bias=False, optimizer__lars__trust_coefficient=0.1)
    found = {}
    for devices in numbers:
        built, mesh = tiny.built(config, jax.devices()[:devices])
        state, train_step, losses = model.init_state(built, mesh), step.make_train_step(built, mesh), []
        for index in range(3):
            state, scalars = train_step(state, step.put_train_batch(built, mesh, tiny.batch(8, seed=index)))
            losses.append(float(scalars["loss"]))
        params = jax.device_get(state.params)
        params["loss"]["prototypes"] = params["loss"]["prototypes"][:5]
        found[devices] = losses, np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
    for losses, params in found.values():
        np.testing.assert_allclose(losses, found[1][0], rtol=2e-5)
        turned = np.abs(params - found[1][1]) > 2e-5 + 2e-3 * np.abs(found[1][1])
        assert turned.mean() < (0.01 if name == "lion" else 1e-9), turned.sum()
