import jax
import numpy as np
import pytest

from geodesic import heads
from geodesic.embedders.embedder import Embedder
from geodesic.experiments.trained import network
from tests.experiments import tiny


def test_without_a_head_nothing_changes():
    config = tiny.config()
    assert network.make_embedder(config.embedder, config.head) == network.make_embedder(config.embedder)


@pytest.mark.parametrize("layers", [(), ("stage2",), ("stage2", "stage1")])
def test_a_head_is_given_its_layers_and_takes_the_place_of_the_neck(layers):
    """The order in which the layers are named does not count."""
    config = tiny.config(head__name="linear", head__layers=layers)
    embedder = network.make_embedder(config.embedder, config.head)
    assert isinstance(embedder, Embedder)
    variables = network.init_embedder(embedder, 16, seed=0)
    images = tiny.batch(2)["image"].astype(np.float32)
    named = jax.jit(lambda: embedder.apply(variables, images, method="features"))()
    assert set(named) == {"stem", "stage1", "stage2", "embedding"} and "neck" not in variables["params"]
    expected = [np.asarray(named[layer]).mean((1, 2)) for layer in sorted(layers or ("stage2",))]
    np.testing.assert_allclose(named["embedding"], np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)


def test_every_field_of_a_head_reaches_it():
    config = tiny.config(head__name="recurrent")
    config.head.recurrent.update(cell="lstm", hidden_size=3, bidirectional=True, dropout=0.25, size=2)
    assert network.make_head(config.head) == heads.build("recurrent", cell="lstm", hidden_size=3, bidirectional=True,
                                                         dropout=0.25, size=2)
