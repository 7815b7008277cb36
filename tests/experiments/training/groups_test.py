import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from geodesic import embedders
from geodesic.configs import default
from geodesic.experiments.training import groups, optimizer
from tests.experiments import tiny

PARAMS = {"embedder": {"conv1": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
                       "neck": {"kernel": jnp.ones((2, 2))}},
          "loss": {"prototypes": jnp.ones((3, 2))}}


def moved(params=PARAMS, gradient=0.5, layers=None, **options):
    """By how much one step of SGD at a rate of 1 lowers each parameter."""
    config = default.get_config()
    config.optimizer.update(weight_decay=0.1, **options)
    rule = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(1.0), layers=layers)
    update = jax.jit(lambda params: rule.update(jax.tree.map(lambda p: gradient * p, params), rule.init(params),
                                                params)[0])(params)
    return {groups.name_of(path): round(-float(leaf.ravel()[0]), 6)
            for path, leaf in jax.tree_util.tree_leaves_with_path(update)}


def test_the_first_group_that_matches_holds():
    found = moved(groups=(("*/bias", 2.0, 0.0), ("embedder/conv1", 0.1, 3.0), ("loss", 4.0, 0.5)))
    assert found == pytest.approx({"embedder/conv1/bias": 2 * 0.5, "embedder/conv1/kernel": 0.1 * (0.5 + 3 * 0.1),
                                   "embedder/neck/kernel": 0.5 + 0.1, "loss/prototypes": 4 * (0.5 + 0.5 * 0.1)})


def test_a_group_adds_to_the_other_factors():
    found = moved(groups=(("*", 2.0, 1.0),), trunk_learning_rate_factor=0.5, loss_learning_rate_factor=10.0,
                  decay_norm_and_bias=False)
    assert found == pytest.approx({"embedder/conv1/bias": 2 * 0.5 * 0.5, "embedder/conv1/kernel": 2 * 0.5 * 0.6,
                                   "embedder/neck/kernel": 2 * 0.6, "loss/prototypes": 2 * 10 * 0.6})


def test_layer_decay_is_timms():
    """For timm's resnet18, the stem is group 0, the eight blocks are 1 to 8 and the classifier is 9; the rate of group
    i has the factor .5 ** (9 - i)."""
    network = embedders.build("resnet18", embedding_size=4)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    params = {"embedder": jax.tree.map(lambda p: np.ones(p.shape, np.float32), variables["params"]),
              "loss": {"prototypes": jnp.ones((3, 4))}}
    found = moved(params, layers=embedders.layer_numbers(network, 32), layer_decay=0.5, groups=(("*", 1.0, 0.0),))
    of = lambda name: {value for path, value in found.items() if path.startswith(name)}
    assert of("embedder/conv1/") == of("embedder/bn1/") == {round(0.5 / 512, 6)}
    blocks = [f"stage{stage}_block{block}" for stage in (1, 2, 3, 4) for block in (1, 2)]
    assert [of(f"embedder/{name}/") for name in blocks] == [{round(0.5 * 0.5 ** (9 - i), 6)} for i in range(1, 9)]
    assert of("embedder/neck/") == of("loss/") == {0.5}


@pytest.mark.parametrize(("given", "told"), [
    ((("embedder/stage9_*", 1.0, 1.0),), r"'embedder/stage9_\*' is no parameter's path, .* embedder/bn1/bias"),
    ((("*/bias", 1.0),), "expected a pattern, a learning-rate factor and a decay factor"),
    ((("*/bias", -1.0, 1.0),), "expected a pattern"),
])
def test_what_is_no_group_is_refused_before_the_first_step(given, told):
    with pytest.raises(ValueError, match=told):
        tiny.built(tiny.config(optimizer__groups=given), jax.devices()[:1])


def test_decay_by_groups_is_decoupled_where_the_rule_is():
    params = {"embedder": {"neck": {"kernel": jnp.full((2, 2), 2.0)}}, "loss": {"prototypes": jnp.full((3, 2), 2.0)}}
    config = default.get_config()
    config.optimizer.update(name="adamw", weight_decay=0.1, groups=(("loss", 1.0, 5.0),))
    rule = optimizer.make_optimizer(config.optimizer, optax.constant_schedule(0.1))
    update, _ = rule.update(jax.tree.map(jnp.zeros_like, params), rule.init(params), params)
    np.testing.assert_allclose(update["embedder"]["neck"]["kernel"], -0.1 * 0.1 * 2, rtol=1e-6)
    np.testing.assert_allclose(update["loss"]["prototypes"], -0.1 * 0.5 * 2, rtol=1e-6)


def test_what_the_start_says_of_groups():
    config = default.get_config()
    config.optimizer.update(groups=(("*/bias", 2.0, 0.0),), layer_decay=0.5)
    assert groups.describe(config.optimizer, PARAMS, {"conv1": 0, "neck": 1}) == [
        "*/bias: 1 arrays, learning rate x 2, decay x 0",
        "layers: learning rate x 0.5 for each layer below the top, 0.5 for the stem"]
    assert groups.describe(default.get_config().optimizer, PARAMS, None) == []
