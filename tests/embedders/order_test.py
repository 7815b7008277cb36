import jax
import jax.numpy as jnp
import pytest

from geodesic import embedders


@pytest.mark.parametrize(("name", "count"), [("resnet18", 8), ("resnet50", 16), ("iresnet18", 8),
                                             ("resnext29_32x4d", 9)])
def test_the_stem_is_layer_0_and_every_block_is_one(name, count):
    found = embedders.layer_numbers(embedders.build(name, embedding_size=4, remat=(1,)), 64)
    blocks = [part for part in found if "_block" in part]
    assert [found[part] for part in blocks] == list(range(1, count + 1))
    assert {number for part, number in found.items() if part not in blocks} == {0, count + 1}


def test_every_part_of_every_family_has_a_layer():
    families = {getattr(made, "func", made): name for name, made in reversed(embedders.EMBEDDERS.items())}
    for name in families.values():
        network = embedders.build(name, embedding_size=4)
        params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
        modules = {part for part, tree in params.items() if isinstance(tree, dict)}
        found = embedders.layer_numbers(network, 64)
        assert modules <= {*found} and list(found.values()) == sorted(found.values())


def test_inception_has_its_units_and_modules():
    found = embedders.layer_numbers(embedders.build("inception_bn", embedding_size=4), 64)
    assert [found[name] for name in ("conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3", "inception_3a", "inception_5b",
                                     "neck")] == [0, 1, 2, 3, 12, 13]
