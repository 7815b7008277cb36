"""The parts of an embedding add up to it, whatever the pooling and the neck."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import embedders
from geodesic.embedders import neck, places
from geodesic.embedders.embedder import Embedder
from geodesic.errors import UserError


class Two(Embedder):
    """Two layers, without a ReLU: values of both signs."""

    layer: str = "second"

    def trunk(self, images, train):
        first = self.conv()(6, 3)(images)
        return {"first": first, "second": self.conv()(5, 3)(first) - 0.3}


def trained(embedder, images, seed=0):
    """Variables in which nothing is 0 or 1 as it was born."""
    variables = embedder.init(jax.random.key(seed), images)
    leaves, form = jax.tree.flatten(variables)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(form, [jnp.abs(leaf + rng.normal(0, 0.2, leaf.shape)) + 0.1 if leaf.ndim < 2 else leaf
                                     for leaf in leaves])


@pytest.mark.parametrize("pooling, kind", [*itertools.product(neck.POOLINGS, neck.NECKS)])
def test_the_parts_add_up_to_the_embedding(pooling, kind):
    embedder = Two(pooling=pooling, neck=kind, embedding_size=None if kind == "none" else 7)
    images = jax.random.normal(jax.random.key(1), (3, 6, 4, 3))
    variables = trained(embedder, images)
    wanted = embedder.apply(variables, images)
    found = embedders.contributions(embedder, variables, images)
    assert found.parts.shape == (3, 6, 4, wanted.shape[1])
    np.testing.assert_array_equal(found.embeddings, wanted)
    np.testing.assert_allclose(found.parts.sum(axis=(1, 2)), wanted, rtol=0, atol=2e-6 * float(abs(wanted).max()))


def test_a_place_adds_what_it_holds():
    """The dense layer of a flattened map, place by place, by hand."""
    embedder = Two(pooling="flatten", neck="linear", embedding_size=2)
    images = jax.random.normal(jax.random.key(2), (1, 2, 2, 3))
    variables = trained(embedder, images)
    x = np.asarray(embedder.apply(variables, images, method="features")["second"])
    dense = variables["params"]["neck"]["fc"]
    kernel = np.asarray(dense["kernel"]).reshape(4, 5, 2)
    wanted = [x.reshape(4, 5)[place] @ kernel[place] + dense["bias"] / 4 for place in range(4)]
    found = embedders.contributions(embedder, variables, images)
    np.testing.assert_allclose(found.parts.reshape(4, 2), wanted, rtol=1e-5, atol=1e-6)


def test_the_maximum_is_its_places_and_equal_ones_share():
    x = jnp.array([[[[3.0, 1.0], [3.0, 2.0]]]])
    np.testing.assert_array_equal(places._max(x, None)[0, 0], [[1.5, 0.0], [1.5, 2.0]])


@pytest.mark.parametrize("name", ["resnet8", *(
    pytest.param(name, marks=pytest.mark.slow) for name in ("resnext11_16x4d", "iresnet18", "inception_bn"))])
def test_of_trunks_of_the_house(name):
    embedder = embedders.build(name, embedding_size=8)
    images = jax.random.normal(jax.random.key(3), (2, 64, 64, 3))
    variables = trained(embedder, images)
    found = jax.jit(lambda *given: embedders.contributions(embedder, *given))(variables, images)
    wanted = found.embeddings
    np.testing.assert_allclose(found.parts.sum(axis=(1, 2)), wanted, rtol=0, atol=1e-5 * float(abs(wanted).max()))


def test_of_another_layer_it_is_its_average():
    embedder = Two(embedding_size=3)
    images = jax.random.normal(jax.random.key(4), (1, 4, 4, 3))
    variables = embedder.init(jax.random.key(0), images)
    found = embedders.contributions(embedder, variables, images, "first")
    wanted = embedder.apply(variables, images, method="features")["first"].mean(axis=(1, 2))
    np.testing.assert_allclose(found.parts.sum(axis=(1, 2)), wanted, rtol=1e-5, atol=1e-6)


def test_a_head_and_a_layer_without_a_map_are_refused():
    from geodesic.heads.linear import Linear

    images = jnp.zeros((1, 4, 4, 3))
    headed, plain = Two(head=Linear(3)), Two(embedding_size=3)
    with pytest.raises(UserError, match="a head's, which need not be a sum"):
        embedders.contributions(headed, headed.init(jax.random.key(0), images), images)
    with pytest.raises(UserError, match="'pool' is not a map of this embedder; its maps are first, second"):
        embedders.contributions(plain, plain.init(jax.random.key(0), images), images, "pool")
