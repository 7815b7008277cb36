"""What an image's embedding is: its layer, its mirror, and the devices it was computed on."""

import jax
import numpy as np
import pytest

from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import embedding
from geodesic.experiments.training import model
from tests.experiments import tiny


def embeddings(devices: int = 1, **changes) -> np.ndarray:
    config = tiny.config(**changes)
    built, mesh = tiny.built(config, jax.devices()[:devices])
    variables = model.embedder_variables(model.init_state(built, mesh))
    images = meshes.put_batch(mesh, {"image": tiny.batch()["image"]})["image"]
    return np.asarray(embedding.make_embed_step(
        built.embedder, mesh, config.input, layer=config.evaluation.layer,
        average_horizontal_flips=config.evaluation.average_horizontal_flips)(variables, images))


def named_layers(config) -> dict[str, np.ndarray]:
    built, mesh = tiny.built(config, jax.devices()[:1])
    variables = model.embedder_variables(model.init_state(built, mesh))
    images = embedding.normalize(tiny.batch()["image"], config.input)
    return built.embedder.apply(variables, images, train=False, method="features")


def test_the_embedding_comes_from_the_layer_that_is_asked_for():
    named = named_layers(tiny.config())
    np.testing.assert_allclose(embeddings(), named["embedding"], rtol=1e-5, atol=1e-6)
    of_a_map = embeddings(evaluation__layer="stage1")
    np.testing.assert_allclose(of_a_map, np.mean(named["stage1"], (1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embeddings(evaluation__layer="pool"), named["pool"], rtol=1e-5, atol=1e-6)


def test_an_unknown_layer_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'stage9' is not one of stem, stage1, stage2, pool, embedding"):
        embeddings(evaluation__layer="stage9")


def test_the_mean_with_the_mirror_on_any_number_of_devices():
    one = embeddings(evaluation__average_horizontal_flips=True)
    np.testing.assert_allclose(embeddings(8, evaluation__average_horizontal_flips=True), one, rtol=1e-4, atol=1e-5)
    assert np.abs(one - embeddings()).max() > 1e-3
