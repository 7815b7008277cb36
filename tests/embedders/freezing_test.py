import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import embedders
from tests.embedders import seeded

IMAGES = seeded.images(4, 32)


def network(**fields):
    return embedders.build("resnet18", stage_sizes=(1, 1), layer="stage2", width=8, embedding_size=4, neck="bn_fc_bn",
                           dropout=0.5, drop_path=0.5, **fields)


def trained(embedder, variables, frozen, seed=0):
    return embedder.apply(variables, IMAGES, train=True, frozen=frozen, mutable=["batch_stats"],
                          rngs={"dropout": jax.random.key(seed)})


@pytest.fixture(scope="module")
def variables():
    return network().init(jax.random.key(0), IMAGES)


@pytest.mark.parametrize("remat", [(), (1, 2)])
def test_a_network_that_is_frozen_whole_is_one_that_is_evaluated(variables, remat):
    embedder = network(remat=remat)
    parts = tuple(variables["params"])
    found, updated = trained(embedder, variables, parts)
    np.testing.assert_array_equal(found, embedder.apply(variables, IMAGES, train=False))
    assert jax.tree.all(jax.tree.map(np.array_equal, updated["batch_stats"], variables["batch_stats"]))


@pytest.mark.parametrize("remat", [(), (1, 2)])
def test_statistics_of_frozen_parts_stay_and_no_others(variables, remat):
    _, updated = trained(network(remat=remat), variables, ("bn1", "stage2_block1"))
    for part, before in variables["batch_stats"].items():
        unchanged = jax.tree.leaves(jax.tree.map(np.array_equal, before, updated["batch_stats"][part]))
        assert set(unchanged) == {part in ("bn1", "stage2_block1")}, part


def test_nothing_is_dropped_inside_of_frozen_parts(variables):
    embedder = network()
    dropping = ("stage2_block1", "neck")  # the first block drops nothing
    assert not np.array_equal(*(trained(embedder, variables, (), seed)[0] for seed in (0, 1)))
    np.testing.assert_array_equal(*(trained(embedder, variables, dropping, seed)[0] for seed in (0, 1)))


def test_gradients_of_the_others_are_those_of_an_evaluation_in_their_place(variables):
    """With all statistics frozen, what is frozen makes no difference to what the others' gradient is."""
    embedder = network(batch_norm="frozen")
    dropping = ("stage2_block1", "neck")

    def gradient(frozen):
        loss = lambda kernel: jnp.sum(embedder.apply(
            {**variables, "params": {**variables["params"], "conv1": {"kernel": kernel}}}, IMAGES, train=bool(frozen),
            frozen=frozen, rngs={"dropout": jax.random.key(0)})[:, 0])
        return jax.jit(jax.grad(loss))(variables["params"]["conv1"]["kernel"])

    np.testing.assert_allclose(gradient(dropping), gradient(()), rtol=1e-4, atol=1e-5)
