import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from geodesic import embedders
from geodesic.configs import default
from geodesic.experiments.training import optimizer


def schedule(total=100, per_epoch=10, **options):
    config = default.get_config()
    config.optimizer.learning_rate = 0.4
    config.schedule.update(options)
    made = optimizer.make_schedule(config, per_epoch, total)
    return lambda step: float(made(step))


def test_polynomial_of_power_two():
    rate = schedule(name="polynomial", power=2.0)
    assert [rate(step) for step in (0, 50, 75, 100)] == pytest.approx([0.4, 0.1, 0.025, 0])


def test_cosine_ends_at_its_factor():
    rate = schedule(name="cosine", end_factor=0.1)
    assert [rate(step) for step in (0, 50, 100)] == pytest.approx([0.4, 0.22, 0.04])


def test_steps_drop_at_their_epochs():
    rate = schedule(name="step", step_epochs=(3.0, 6.0), step_factor=0.1)
    assert [rate(step) for step in (0, 29, 30, 59, 60)] == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004])


def test_steps_count_from_the_start_with_warm_up_too():
    rate = schedule(name="step", step_epochs=(3.0,), step_factor=0.1, warmup_epochs=2.0)
    assert [rate(step) for step in (10, 20, 29, 30)] == pytest.approx([0.2, 0.4, 0.4, 0.04])


def test_drops_that_fall_on_one_update_multiply():
    rate = schedule(total=12, per_epoch=1, name="step", step_epochs=(10.0, 10.4), step_factor=0.1)
    assert [rate(step) for step in (9, 10, 11)] == pytest.approx([0.4, 0.004, 0.004])
    rate = schedule(total=12, per_epoch=1, name="step_every", first_step_epoch=10.0, step_every_epochs=0.4,
                    step_factor=0.1)  # at 10.0, 10.4, 10.8, 11.2, 11.6 and 12.0
    assert [rate(step) for step in (9, 10, 11)] == pytest.approx([0.4, 0.004, 0.00004])


def test_warm_up_is_linear_from_zero():
    rate = schedule(name="constant", warmup_epochs=2.0)
    assert [rate(step) for step in (0, 5, 10, 20, 99)] == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])


def test_a_drop_within_the_warm_up_is_refused():
    with pytest.raises(ValueError, match="within the warm-up"):
        schedule(name="step", step_epochs=(1.0,), warmup_epochs=2.0)


PARAMS = {"embedder": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full((2,), 2.0)},
          "loss": {"prototypes": jnp.full((3, 2), 2.0)}}
GRADIENTS = jax.tree.map(lambda p: jnp.full_like(p, 0.5), PARAMS)


def updates(steps=1, **options):
    config = default.get_config()
    config.optimizer.update(options)
    made = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(config.optimizer.learning_rate))
    state = made.init(PARAMS)
    for _ in range(steps):
        update, state = made.update(GRADIENTS, state, PARAMS)
    return update


def test_sgd_is_pytorchs():
    """v <- .9 v + (g + wd w); w <- w - lr v: after two equal gradients v is 1.9 of one."""
    update = updates(2, learning_rate=0.1, weight_decay=0.1)
    np.testing.assert_allclose(update["embedder"]["kernel"], -0.1 * 1.9 * (0.5 + 0.1 * 2), rtol=1e-6)


def test_adamw_decay_is_decoupled():
    update = updates(name="adamw", learning_rate=0.1, weight_decay=0.1)
    np.testing.assert_allclose(update["embedder"]["kernel"], -0.1 * (1 + 0.1 * 2), rtol=1e-5)


_DEFAULT = (("sgd", True, 0.0), ("sgd", False, 3.0), ("adamw", True, 3.0), ("adamw", False, 0.0),
            ("rmsprop", True, 0.0))  # the suite's; the others are slow


@pytest.mark.parametrize(("rule", "vectors_too", "head_only_epochs"), [
    pytest.param(*case, marks=() if case in _DEFAULT else pytest.mark.slow)
    for case in itertools.product(("sgd", "adamw", "rmsprop"), (True, False), (0.0, 3.0))])
def test_exponents_of_pooling_and_slopes_of_prelu_never_decay(rule, vectors_too, head_only_epochs):
    embedder = embedders.build("iresnet18", pooling="generalised_mean", embedding_size=4)
    variables = jax.eval_shape(embedder.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    params = {"embedder": jax.tree.map(lambda p: jnp.ones(p.shape), variables["params"]),
              "loss": {"prototypes": jnp.ones((3, 4))}}
    config = default.get_config()
    config.optimizer.update(name=rule, learning_rate=0.1, weight_decay=0.1, decay_norm_and_bias=vectors_too,
                            head_only_epochs=head_only_epochs)
    made = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(0.1))
    nothing = jax.tree.map(jnp.zeros_like, params)
    update, _ = jax.jit(lambda: made.update(nothing, made.init(params), params))()
    moved = {jax.tree_util.keystr(path): bool(jnp.any(leaf))
             for path, leaf in jax.tree_util.tree_leaves_with_path(update)}
    shapes = [path for path in moved if path.endswith("['slope']") or path.endswith("['p']")]
    assert len(shapes) > 8 and "['embedder']['neck']['generalised_mean']['p']" in shapes
    assert not any(moved[path] for path in shapes)
    assert moved["['embedder']['neck']['fc']['kernel']"] and moved["['loss']['prototypes']"]
    assert moved["['embedder']['neck']['fc']['bias']"] == vectors_too


def test_decay_can_spare_vectors():
    update = updates(learning_rate=0.1, weight_decay=0.1, decay_norm_and_bias=False)
    np.testing.assert_allclose(update["embedder"]["bias"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(update["embedder"]["kernel"], -0.07, rtol=1e-6)


def test_clipping_to_a_norm_is_of_the_whole_embedder_and_not_of_the_loss():
    """Of the gradient (.5, .5, .5, .5, .5, .5), trunk and neck together, the norm is sqrt(1.5)."""
    params = {"embedder": {"conv1": {"kernel": jnp.ones((2, 2))}, "neck": {"bias": jnp.ones(2)}},
              "loss": {"prototypes": jnp.ones((3, 2))}}
    config = default.get_config()
    config.optimizer.update(weight_decay=0.0, embedder_clip_norm=0.1)
    made = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(1.0))
    update, _ = made.update(jax.tree.map(lambda p: 0.5 * p, params), made.init(params), params)
    np.testing.assert_allclose(update["embedder"]["neck"]["bias"], -0.05 / np.sqrt(1.5), rtol=1e-6)
    np.testing.assert_allclose(update["embedder"]["conv1"]["kernel"], -0.05 / np.sqrt(1.5), rtol=1e-6)
    np.testing.assert_allclose(update["loss"]["prototypes"], -0.5)


def test_clipping_the_whole_gradient_follows_that_of_the_embedder():
    """(3, 4) and 12 have the norm 13; with the embedder clipped to 1 before, (.6, .8) and 12 have sqrt(145)."""
    params = {"embedder": {"conv1": jnp.array([3.0, 4.0])}, "loss": {"prototypes": jnp.full((1, 1), 12.0)}}
    for options, scale in (({}, 1 / 13), ({"embedder_clip_norm": 1.0}, 1 / np.sqrt(145))):
        config = default.get_config()
        config.optimizer.update(weight_decay=0.0, clip_norm=1.0, **options)
        made = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(1.0))
        update, _ = made.update(params, made.init(params), params)
        embedder = np.array([3.0, 4.0]) / (5 if options else 1)
        np.testing.assert_allclose(update["embedder"]["conv1"], -scale * embedder, rtol=1e-6)
        np.testing.assert_allclose(update["loss"]["prototypes"], -scale * 12, rtol=1e-6)


def test_the_norm_is_clipped_before_the_numbers():
    """(3, 4) becomes (.6, .8) and then (.6, .7); the other order would make it (.7, .7), whose norm is below 1."""
    params = {"embedder": {"conv1": jnp.array([3.0, 4.0])}, "loss": {"prototypes": jnp.ones((1, 1))}}
    config = default.get_config()
    config.optimizer.update(weight_decay=0.0, embedder_clip_norm=1.0, value_clip=0.7)
    made = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(1.0))
    update, _ = made.update(params, made.init(params), params)
    np.testing.assert_allclose(update["embedder"]["conv1"], [-0.6, -0.7], rtol=1e-6)
    np.testing.assert_allclose(update["loss"]["prototypes"], -0.7, rtol=1e-6)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="unknown optimizer 'sgdd'; known: sgd, adamw, rmsprop"):
        updates(name="sgdd")
    with pytest.raises(ValueError, match="unknown schedule 'steps'; known: constant, step,"):
        schedule(name="steps")


def test_the_losss_learning_rate_factor():
    update = updates(learning_rate=1.0, weight_decay=0.0, loss_learning_rate_factor=100.0)
    np.testing.assert_allclose(update["loss"]["prototypes"], -50)
    np.testing.assert_allclose(update["embedder"]["kernel"], -0.5)


def test_the_trunks_learning_rate_factor_spares_the_neck():
    params = {"embedder": {"conv1": np.ones(2), "neck": np.ones(2)}, "loss": {"prototypes": np.ones(2)}}
    config = default.get_config()
    config.optimizer.update(learning_rate=1.0, weight_decay=0.0, trunk_learning_rate_factor=0.1)
    made = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(1.0))
    update, _ = made.update(params, made.init(params), params)
    assert [float(leaf[0]) for leaf in jax.tree.leaves(update)] == pytest.approx([-0.1, -1.0, -1.0])


def test_rmsprop_is_pytorchs():
    """v <- .99 v + .01 g^2; b <- .9 b + g / (sqrt v + eps); w <- w - lr b; decay in the gradient: g = .5 + .1 x 2."""
    update = updates(2, name="rmsprop", learning_rate=0.1, weight_decay=0.1)
    first, second = 0.7 / np.sqrt(0.7 ** 2 * 0.01), 0.7 / np.sqrt(0.7 ** 2 * 0.01 * (1 + 0.99))
    np.testing.assert_allclose(update["embedder"]["kernel"], -0.1 * (0.9 * first + second), rtol=1e-5)


def test_gradients_are_clipped_number_by_number():
    update = updates(learning_rate=1.0, weight_decay=0.0, value_clip=0.2)
    np.testing.assert_allclose(update["loss"]["prototypes"], -0.2)


def test_the_head_learns_first_and_the_trunk_then_starts_as_if_new():
    params = {"embedder": {"conv1": jnp.ones(2), "neck": jnp.ones(2)}, "loss": {"prototypes": jnp.ones(2)}}
    config = default.get_config()
    config.optimizer.update(name="adamw", learning_rate=0.1, weight_decay=0.0)
    made = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(0.1), {"conv1": 3, "neck": 0})
    state, moved = made.init(params), []
    for _ in range(4):
        update, state = made.update(jax.tree.map(lambda p: 0.5 * p, params), state, params)
        moved.append([float(leaf[0]) for leaf in jax.tree.leaves(update)])
    assert [trunk for trunk, _, _ in moved] == pytest.approx([0, 0, 0, -0.1], rel=1e-4)
    assert [neck for _, neck, _ in moved] == pytest.approx([-0.1] * 4, rel=1e-4)


def test_the_templates_schedule_drops_every_few_epochs():
    rate = schedule(total=650, name="step_every", first_step_epoch=25.0, step_every_epochs=7.0, step_factor=0.5)
    drops = [step for step in range(1, 650) if rate(step) < rate(step - 1)]
    assert drops == [250, 320, 390, 460, 530, 600]  # the first update after epochs 25, 32, 39, 46, 53 and 60
    assert rate(649) == pytest.approx(0.4 / 64)


def test_a_learning_rate_per_item_grows_with_the_batch():
    config = default.get_config()
    config.batch_size = 64
    config.optimizer.learning_rate_per_item = 7.8125e-5
    assert optimizer.peak_learning_rate(config) == pytest.approx(0.005)
    config.batch_size = 640
    assert optimizer.peak_learning_rate(config) == pytest.approx(0.05)
